//! What of the user's files a run is made of: the target, the project's root, and what its
//! snapshot must not leave out.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use windlass_blobs::snapshot::is_pattern;
use windlass_proto::{
    MAX_SPEC_BYTES,
    api::v1::run_source::Target,
    common::v1::{CommandAction, NotebookAction, PipelineSpec, StepSpec, step_spec::Action},
};

use crate::{config::Config, error::CliError, interpreter::Wanted, settings::PROJECT_FILE};

/// A project and what to run of it.
#[derive(Clone, Debug)]
pub(crate) struct Project {
    /// Nearest directory at or above that holds `windlass.toml`, else the directory itself.
    pub(crate) root: PathBuf,
    pub(crate) target: Target,
    /// Globs of files that the snapshot takes although `.gitignore` hides them.
    pub(crate) files: Vec<String>,
    /// The interpreter that its steps want.
    pub(crate) python: Wanted,
}

/// Longest name of a step, less the letter that one may need before it.
const MAX_STEP_NAME: usize = 63;

/// What the command line may name as a thing to run.
#[derive(Debug, PartialEq, Eq)]
enum Named<'a> {
    Pipeline(&'a str),
    Notebook(&'a str),
    Function { place: &'a str, function: &'a str },
}

impl Project {
    /// Reads a target of `run`: a pipeline file, or a function of a module or file.
    pub(crate) fn of_target(config: &Config, target: &str) -> Result<Self, CliError> {
        match named(target)? {
            Named::Pipeline(path) => Self::of_pipeline(config, path),
            Named::Notebook(path) => Self::of_notebook(config, path),
            Named::Function { place, function } => Self::of_function(config, place, function),
        }
    }

    /// The project around the current directory, and a command to run in it.
    pub(crate) fn of_command(config: &Config, argv: Vec<String>) -> Result<Self, CliError> {
        let root = root_above(&real(&config.cwd)?).to_owned();
        let target = Target::Command(CommandAction { argv });
        Ok(Self { root, target, files: Vec::new(), python: Wanted::None })
    }

    fn of_pipeline(config: &Config, path: &str) -> Result<Self, CliError> {
        let (root, inside) = place_in_project(config, Path::new(path))?;
        let file = root.join(&inside);
        let size = fs::metadata(&file).map_or(0, |found| found.len());
        if size > MAX_SPEC_BYTES {
            return Err(CliError::refused_with(
                format!("{path} has {size} bytes; a pipeline file has at most {MAX_SPEC_BYTES}"),
                "put large data into files of their own that the steps read",
            ));
        }
        let text = fs::read_to_string(file).map_err(|error| unreadable(path, &error))?;
        let (files, python) = declared(&text);
        Ok(Self { root, target: Target::PipelineFile(inside), files, python })
    }

    /// A pipeline of one step, named after the notebook.
    fn of_notebook(config: &Config, path: &str) -> Result<Self, CliError> {
        let (root, inside) = place_in_project(config, Path::new(path))?;
        let stem = Path::new(&inside).file_stem().unwrap_or_default().to_string_lossy();
        let clean = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
        let mut name: String = stem.chars().map(clean).take(MAX_STEP_NAME).collect();
        if !name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
            name.insert(0, '_');
        }
        let action = Some(Action::Notebook(NotebookAction { path: inside }));
        let step = StepSpec { name: name.clone(), action, ..StepSpec::default() };
        let spec = PipelineSpec { name, steps: vec![step], ..PipelineSpec::default() };
        Ok(Self { root, target: Target::Spec(spec), files: Vec::new(), python: Wanted::OfCaller })
    }

    fn of_function(config: &Config, place: &str, function: &str) -> Result<Self, CliError> {
        let (root, place) = if is_python(place) {
            place_in_project(config, Path::new(place))?
        } else {
            (root_above(&real(&config.cwd)?).to_owned(), place.to_owned())
        };
        let target = Target::Function(format!("{place}:{function}"));
        Ok(Self { root, target, files: Vec::new(), python: Wanted::OfCaller })
    }
}

fn named(target: &str) -> Result<Named<'_>, CliError> {
    let extension = |path: &str, known: &[&str]| {
        let found = Path::new(path).extension().map(|ext| ext.to_string_lossy().to_lowercase());
        found.is_some_and(|found| known.contains(&found.as_str()))
    };
    if target.contains('\0') {
        return Err(CliError::refused("the target holds a NUL"));
    }
    if extension(target, &["ipynb"]) {
        return Ok(Named::Notebook(target));
    }
    if extension(target, &["yaml", "yml"]) {
        return Ok(Named::Pipeline(target));
    }
    match target.rsplit_once(':') {
        Some((place, function)) if !place.is_empty() && !function.is_empty() => {
            Ok(Named::Function { place, function })
        }
        _ if is_python(target) => Err(CliError::refused_with(
            format!("{target} names no function"),
            format!(
                "name one: `{target}:FUNCTION`; to run the file itself: `windlass exec -- python {target}`"
            ),
        )),
        _ => Err(CliError::refused_with(
            format!("`{target}` is neither a pipeline file nor a function"),
            "write FILE.yaml, FILE.ipynb, MODULE:FUNCTION or FILE.py:FUNCTION; any command runs with `windlass exec -- COMMAND`",
        )),
    }
}

fn is_python(place: &str) -> bool {
    Path::new(place).extension().is_some_and(|ext| ext == "py")
}

/// The root of the project that a file belongs to, and the file's path within it.
fn place_in_project(config: &Config, path: &Path) -> Result<(PathBuf, String), CliError> {
    let shown = path.display().to_string();
    let full = config.cwd.join(path);
    let name = full.file_name().map(ToOwned::to_owned);
    let (Some(parent), Some(name)) = (full.parent(), name) else {
        return Err(CliError::refused(format!("{shown} is not a file")));
    };
    let dir = real(parent).map_err(|_| no_file(&shown))?;
    let full = dir.join(name);
    match fs::metadata(&full) {
        Ok(found) if found.is_file() => {}
        Ok(_) => return Err(CliError::refused(format!("{shown} is not a file"))),
        Err(error) => return Err(unreadable(&shown, &error)),
    }
    // A function's file belongs to the project that the user stands in, where it lies below it.
    let here = real(&config.cwd)?;
    let here = root_above(&here);
    let root = if is_python(&shown) && full.starts_with(here) { here } else { root_above(&dir) };
    let inside = full.strip_prefix(root).unwrap_or(&full);
    let inside = inside
        .to_str()
        .ok_or_else(|| CliError::refused(format!("{shown}: the path is not valid UTF-8")))?;
    Ok((root.to_owned(), inside.to_owned()))
}

fn unreadable(shown: &str, error: &io::Error) -> CliError {
    match error.kind() {
        io::ErrorKind::NotFound => no_file(shown),
        io::ErrorKind::InvalidData => CliError::refused(format!("{shown} is not UTF-8 text")),
        _ => CliError::refused(format!("cannot read {shown}: {error}")),
    }
}

fn no_file(shown: &str) -> CliError {
    CliError::refused(format!("no file {shown}"))
}

fn real(dir: &Path) -> Result<PathBuf, CliError> {
    fs::canonicalize(dir).map_err(CliError::io(format!("cannot enter {}", dir.display())))
}

/// The root of the project that a directory belongs to.
pub(crate) fn root_above(dir: &Path) -> &Path {
    let marked = |dir: &&Path| dir.join(PROJECT_FILE).is_file();
    dir.ancestors().find(marked).unwrap_or(dir)
}

/// The two keys of a pipeline file that matter before the daemon reads it.
#[derive(Default, Deserialize)]
struct Declared {
    #[serde(default)]
    files: Vec<String>,
    env: Option<DeclaredEnv>,
}

#[derive(Deserialize)]
struct DeclaredEnv {
    requirements: Option<String>,
    uv: Option<String>,
    python: Option<String>,
}

/// What a pipeline file says that the snapshot must hold, and which interpreter its steps want. A
/// file that cannot be read so declares nothing, and what is no pattern is left out: the daemon
/// will say what is wrong with it, and where.
fn declared(text: &str) -> (Vec<String>, Wanted) {
    let has_python = ["python:", "python\":", "notebook:", "notebook\":"];
    let mut python = Wanted::None;
    if has_python.iter().any(|key| text.contains(key)) {
        python = Wanted::OfCaller;
    }
    let at_top =
        |key: &str| text.lines().any(|line| line.trim_start_matches(['"', '\'']).starts_with(key));
    if !(at_top("files") || at_top("env") || text.trim_start().starts_with('{')) {
        return (Vec::new(), python);
    }
    let declared: Declared = serde_saphyr::from_str(text).unwrap_or_default();
    let mut files = declared.files;
    if let Some(env) = declared.env {
        // uv finds, or fetches, the interpreter that its project wants.
        if env.uv.is_some() {
            python = Wanted::None;
        }
        if let Some(path) = env.python {
            python = Wanted::Named(path);
        }
        files.extend(env.requirements);
        let uv = env.uv.iter().flat_map(|dir| {
            let dir = dir.trim_end_matches('/').trim_start_matches("./");
            let dir = if dir == "." { "" } else { dir };
            ["pyproject.toml", "uv.lock"].map(|file| format!("{dir}/{file}"))
        });
        files.extend(uv);
    }
    files.retain(|glob| is_pattern(glob));
    (files, python)
}

#[cfg(test)]
mod tests {
    use super::{Named, Wanted, declared, named, root_above};

    #[test]
    fn targets_are_told_apart() {
        assert_eq!(named("a/b.yaml").unwrap(), Named::Pipeline("a/b.yaml"));
        assert_eq!(named("x.YML").unwrap(), Named::Pipeline("x.YML"));
        assert_eq!(named("a b.ipynb").unwrap(), Named::Notebook("a b.ipynb"));
        let function = |place, function| Named::Function { place, function };
        assert_eq!(named("mod.sub:f").unwrap(), function("mod.sub", "f"));
        assert_eq!(named("src/a:b.py:f").unwrap(), function("src/a:b.py", "f"));
        for bad in ["train", "train.py", ":f", "m:", "", "a\0:b"] {
            assert!(named(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_nearest_marked_directory_is_the_root() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a/b");
        std::fs::create_dir_all(&deep).unwrap();
        assert_eq!(root_above(&deep), deep);
        std::fs::write(dir.path().join("windlass.toml"), "").unwrap();
        assert_eq!(root_above(&deep), dir.path());
    }

    #[test]
    fn declared_files_are_read_leniently() {
        let declared_files = |text: &str| declared(text).0;
        let text =
            "version: 1\nfiles: [data/*.csv]\nenv: {requirements: req.txt}\nsteps:\n  a: {x: 1}\n";
        assert_eq!(declared_files(text), ["data/*.csv", "req.txt"]);
        assert_eq!(declared_files("env: {uv: .}\n"), ["/pyproject.toml", "/uv.lock"]);
        assert_eq!(declared_files("{files: [a]}"), ["a"]);
        for odd in ["files: 3\n", "\tfiles: [", "files: [a]\nfiles: [b]\n", "", "steps: {}\n"] {
            assert_eq!(declared_files(odd), Vec::<String>::new(), "{odd:?}");
        }
        // The daemon names their places; they must not hide its words.
        assert_eq!(declared_files("files: [a, ../up, '[', b]\n"), ["a", "b"]);
        assert_eq!(declared_files("env: {requirements: ../r.txt}\n"), Vec::<String>::new());
    }

    #[test]
    fn the_interpreter_is_the_one_that_steps_want() {
        let step = "steps: {a: {python: 'f:g'}}\n";
        assert_eq!(declared("steps: {a: {run: 'true'}}\n").1, Wanted::None);
        assert_eq!(declared(step).1, Wanted::OfCaller);
        assert_eq!(declared(&format!("env: {{uv: .}}\n{step}")).1, Wanted::None);
        let named = declared(&format!("env: {{python: /nowhere}}\n{step}"));
        assert_eq!(named.1, Wanted::Named("/nowhere".into()));
    }
}
