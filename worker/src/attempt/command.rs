use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::Read,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Component, Path, PathBuf},
};

use rustix::fs::{Access, access};

use super::{StartFailure, contract::Variables};

/// Longest first line of a script that is read, as by the kernel.
const MAX_SHEBANG: u64 = 256;

/// The command for a piece of shell: bash where the step's PATH has it.
pub(super) fn shell(script: &str, env: &Variables) -> Vec<OsString> {
    let path = env.get(OsStr::new("PATH")).map_or(&b""[..], |path| path.as_bytes());
    let has_bash = path
        .split(|&byte| byte == b':')
        .any(|dir| access(Path::new(OsStr::from_bytes(dir)).join("bash"), Access::EXEC_OK).is_ok());
    let words: &[&str] =
        if has_bash { &["bash", "-euo", "pipefail", "-c"] } else { &["sh", "-eu", "-c"] };
    words.iter().copied().chain([script]).map(OsString::from).collect()
}

/// True where `path` is run by the environment's interpreter.
pub(super) fn is_python(sources: &[PathBuf], path: &str) -> bool {
    path.ends_with(".py")
        && find(sources, path)
            .is_ok_and(|file| access(&file, Access::EXEC_OK).is_err() && shebang(&file).is_empty())
}

/// The command for a file of the project: itself where it is executable, else by its `#!` line,
/// else by its name.
pub(super) fn script(
    argv: &[String],
    sources: &[PathBuf],
    cwd: &Path,
    python: &Path,
) -> Result<Vec<OsString>, StartFailure> {
    let (path, args) =
        argv.split_first().ok_or_else(|| StartFailure::new("the step names no script"))?;
    let file = find(sources, path)?;
    let mut words: Vec<OsString> = Vec::new();
    if access(&file, Access::EXEC_OK).is_err() {
        words = shebang(&file);
        if words.is_empty() {
            match Path::new(path).extension().and_then(OsStr::to_str) {
                Some("py") => words.push(python.into()),
                Some("sh") => words.push("sh".into()),
                _ => {
                    return Err(StartFailure::new(format!(
                        "cannot start `{path}`: it is not executable and has no `#!` line; \
                         `chmod +x {path}` makes it so"
                    )));
                }
            }
        }
    }
    words.push(cwd.join(path).into());
    words.extend(args.iter().map(OsString::from));
    Ok(words)
}

fn find(sources: &[PathBuf], path: &str) -> Result<PathBuf, StartFailure> {
    let refused = |why: &str| Err(StartFailure::new(format!("cannot start `{path}`: {why}")));
    if Path::new(path).components().any(|c| !matches!(c, Component::Normal(_) | Component::CurDir))
    {
        return refused("it is not a path inside the project");
    }
    // A whiteout of an upper layer hides what is below: the first that has the name decides.
    let found = sources.iter().map(|dir| dir.join(path)).find(|p| p.symlink_metadata().is_ok());
    match found {
        Some(file) if file.is_file() => Ok(file),
        Some(_) => refused("it is no file"),
        None => refused("no such file in the project"),
    }
}

/// The words of a `#!` line, at most two, as the kernel reads it; empty where there is none.
fn shebang(file: &Path) -> Vec<OsString> {
    let mut head = Vec::new();
    let read = File::open(file).and_then(|file| file.take(MAX_SHEBANG).read_to_end(&mut head));
    let line = head.split(|&byte| byte == b'\n').next().and_then(|line| line.strip_prefix(b"#!"));
    let (Ok(_), Some(line)) = (read, line) else { return Vec::new() };
    let line = line.trim_ascii();
    let mut words = line.splitn(2, |byte| byte.is_ascii_whitespace());
    let program = words.next().unwrap_or_default();
    let rest = words.next().unwrap_or_default().trim_ascii();
    let words = [program, rest].into_iter().filter(|word| !word.is_empty());
    words.map(|word| OsString::from_vec(word.to_vec())).collect()
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    #[test]
    fn scripts_run_by_mode_then_shebang_then_name() {
        let dir = tempfile::tempdir().unwrap();
        let files = [
            ("tool", "#!/bin/sh\n", 0o755),
            ("plain.sh", "echo\n", 0o644),
            ("model.py", "print()\n", 0o644),
            ("node.js", "#!/usr/bin/env node --x\nfoo", 0o644),
            ("data.csv", "1,2\n", 0o644),
        ];
        for (name, text, mode) in files {
            fs::write(dir.path().join(name), text).unwrap();
            fs::set_permissions(dir.path().join(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        let sources = [dir.path().to_path_buf()];
        let run = |words: &[&str]| {
            let argv: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
            script(&argv, &sources, Path::new("/cwd"), Path::new("/py")).map(|argv| {
                argv.into_iter().map(|word| word.into_string().unwrap()).collect::<Vec<_>>()
            })
        };

        assert_eq!(run(&["tool", "a"]).unwrap(), ["/cwd/tool", "a"]);
        assert_eq!(run(&["plain.sh"]).unwrap(), ["sh", "/cwd/plain.sh"]);
        assert_eq!(run(&["model.py", "--x"]).unwrap(), ["/py", "/cwd/model.py", "--x"]);
        assert_eq!(run(&["node.js"]).unwrap(), ["/usr/bin/env", "node --x", "/cwd/node.js"]);
        for (words, why) in [
            (&["data.csv"][..], "chmod +x data.csv"),
            (&["none"], "no such file"),
            (&["../x"], "not a path inside"),
            (&["/bin/sh"], "not a path inside"),
            (&[], "no script"),
        ] {
            let message = run(words).unwrap_err().message;
            assert!(message.contains(why), "{message}");
        }
        assert!(is_python(&sources, "model.py") && !is_python(&sources, "tool"));
    }
}
