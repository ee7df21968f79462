use std::{
    fs::File,
    io::Read,
    path::{Component, Path, PathBuf},
};

use super::EnvError;

/// Most files that one file of requirements may draw in, itself included.
const MAX_FILES: usize = 64;
/// Largest of them, in bytes. Wheels beside them are not counted.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Feeds `hash` with everything that `file` of the project asks for: its text, that of the files it
/// includes, and the bytes of the packages that it names as files.
pub(super) fn digest(
    hash: &mut blake3::Hasher,
    file: &str,
    project: &Path,
) -> Result<(), EnvError> {
    let mut waiting = vec![inside(Path::new(file), file)?];
    let mut seen: Vec<PathBuf> = Vec::new();
    while let Some(path) = waiting.pop() {
        if seen.contains(&path) {
            continue;
        }
        if seen.len() == MAX_FILES {
            return Err(EnvError::Spec(format!("{file} includes more than {MAX_FILES} files")));
        }
        let text = read(&project.join(&path), &path)?;
        hash.update(path.as_os_str().as_encoded_bytes()).update(b"\0");
        hash.update(text.as_bytes()).update(b"\0");
        for (number, line) in logical_lines(&text) {
            follow(hash, &Line { file: &path, number, text: &line }, project, &mut waiting)?;
        }
        seen.push(path);
    }
    Ok(())
}

struct Line<'a> {
    file: &'a Path,
    number: usize,
    text: &'a str,
}

fn follow(
    hash: &mut blake3::Hasher,
    line: &Line<'_>,
    project: &Path,
    waiting: &mut Vec<PathBuf>,
) -> Result<(), EnvError> {
    let place = format!("{} line {}", line.file.display(), line.number);
    if let Some(included) = option(line.text, &["-r", "--requirement", "-c", "--constraint"]) {
        if !included.contains("://") {
            let dir = line.file.parent().unwrap_or(Path::new(""));
            waiting.push(inside(&dir.join(included), &place)?);
        }
        return Ok(());
    }
    let editable = option(line.text, &["-e", "--editable"]);
    let what = editable.unwrap_or(line.text);
    let local = what.strip_prefix("file:").unwrap_or(what);
    let local = local.split([' ', ';', '[', '#']).next().unwrap_or_default();
    if what.contains("://") && !what.starts_with("file:") {
        return Ok(());
    }
    let path = project.join(local.trim_start_matches("//"));
    if editable.is_some() || (local.starts_with(['.', '/']) && path.is_dir()) {
        return Err(EnvError::Spec(format!(
            "{place}: {:?} installs from the project's own files, which every run has at another place; \
             leave it out, the project's modules can be imported anyway, and name what they need",
            line.text
        )));
    }
    if local.starts_with(['.', '/']) {
        let mut file = File::open(&path).map_err(EnvError::io(&path))?;
        hash.update_reader(&mut file).map_err(EnvError::io(&path))?;
    }
    Ok(())
}

/// The value of an option that is written `-r value`, `-rvalue` or `--long=value`.
fn option<'a>(line: &'a str, names: &[&str]) -> Option<&'a str> {
    names.iter().find_map(|name| {
        let rest = line.strip_prefix(name)?;
        let apart = rest.starts_with([' ', '\t', '=']) || !name.starts_with("--");
        apart.then(|| rest.trim_start_matches([' ', '\t', '=']).trim())
    })
}

/// `path` without `.` and `..`; an error where it leaves the project.
fn inside(path: &Path, place: &str) -> Result<PathBuf, EnvError> {
    let mut clean = PathBuf::new();
    for part in path.components() {
        let stays = match part {
            Component::Normal(name) => {
                clean.push(name);
                true
            }
            Component::CurDir => true,
            Component::ParentDir => clean.pop(),
            Component::RootDir | Component::Prefix(_) => false,
        };
        if !stays {
            let shown = path.display();
            return Err(EnvError::Spec(format!("{place}: {shown} is not inside the project")));
        }
    }
    Ok(clean)
}

fn read(path: &Path, shown: &Path) -> Result<String, EnvError> {
    let spec = |what: &str| EnvError::Spec(format!("{} {what}", shown.display()));
    let file = File::open(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => spec("is not among the project's files"),
        _ => EnvError::Io { path: path.to_owned(), source: error },
    })?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(EnvError::io(path))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(spec("is larger than 1 MiB"));
    }
    String::from_utf8(bytes).map_err(|_| spec("is not UTF-8"))
}

/// Lines without comments, continued ones joined, each with the number of its first.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    let mut open = false;
    for (index, line) in text.lines().enumerate() {
        let comment = if line.starts_with('#') { 0 } else { line.find(" #").unwrap_or(line.len()) };
        let line = line.get(..comment).unwrap_or(line).trim_end();
        let (line, goes_on) = line.strip_suffix('\\').map_or((line, false), |line| (line, true));
        match lines.last_mut() {
            Some((_, last)) if open => last.push_str(line),
            Some(_) | None => lines.push((index + 1, line.trim_start().to_owned())),
        }
        open = goes_on;
    }
    lines.retain(|(_, line)| !line.trim().is_empty());
    lines
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::digest;

    fn of(files: &[(&str, &str)]) -> Result<blake3::Hash, String> {
        let place = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = place.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let mut hash = blake3::Hasher::new();
        digest(&mut hash, "requirements.txt", place.path()).map_err(|error| error.to_string())?;
        Ok(hash.finalize())
    }

    #[test]
    fn every_file_that_counts_changes_the_digest() {
        let with = |deep: &str, wheel: &str| {
            of(&[
                (
                    "requirements.txt",
                    "attrs # a comment\n-r more/base.txt\n--constraint=more/c.txt\n./a.whl\n",
                ),
                ("more/base.txt", "-r deep.txt\n-r ../requirements.txt\nfoo \\\n  >= 1\n"),
                ("more/deep.txt", deep),
                ("more/c.txt", "git+https://example.org/x\n"),
                ("a.whl", wheel),
            ])
            .unwrap()
        };
        let first = with("x==1\n", "a");
        assert_eq!(first, with("x==1\n", "a"));
        assert_ne!(first, with("x==2\n", "a"));
        assert_ne!(first, with("x==1\n", "b"));
    }

    #[test]
    fn what_cannot_be_followed_is_named() {
        let refused = |text: &str, says: &str| {
            let said = of(&[("requirements.txt", text), ("sub/setup.py", "")]).unwrap_err();
            assert!(said.contains(says), "{said}");
        };
        refused("attrs\n-r nope.txt\n", "nope.txt is not among the project's files");
        refused("-r ../up.txt\n", "requirements.txt line 1: ../up.txt is not inside the project");
        refused("-r /etc/passwd\n", "/etc/passwd is not inside the project");
        refused("attrs\n\n-e .\n", "requirements.txt line 3");
        refused("./sub\n", "the project's own files");
        let many: String = (0..100).map(|i| format!("-r f{i}.txt\n")).collect();
        let names: Vec<String> = (0..100).map(|i| format!("f{i}.txt")).collect();
        let mut files = vec![("requirements.txt", many.as_str())];
        files.extend(names.iter().map(|name| (name.as_str(), "")));
        assert!(of(&files).unwrap_err().contains("more than 64 files"));
        let large = "#".repeat(2 << 20);
        refused(&large, "larger than 1 MiB");
    }
}
