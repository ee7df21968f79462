//! Looks whether the caller's machine has the interpreter that a run will want, before there is a
//! run that would fail for want of it. The worker finds it by the same rules.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{config::Config, error::CliError, project::Project};

/// Searched where the caller has no PATH.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Oldest minor version of Python 3 that steps run on.
const OLDEST: u32 = 8;

const MEND: &str = "install Python 3.8 or later, or name one with `env: {python: PATH}`";

/// Which interpreter a project's steps want.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Wanted {
    #[default]
    None,
    /// The one that `python3` means to the caller.
    OfCaller,
    /// The one that the pipeline names.
    Named(String),
}

/// Refuses a project whose interpreter is not there or too old. Blocks.
pub(crate) fn check(config: &Config, project: &Project) -> Result<(), CliError> {
    let program = match &project.python {
        Wanted::None => return Ok(()),
        Wanted::OfCaller => of_caller(config).ok_or_else(|| {
            CliError::refused_with("there is no python3 and no python on the PATH", MEND)
        })?,
        Wanted::Named(path) => named(config, &project.root, path).ok_or_else(|| {
            let told =
                format!("python: {path} is no interpreter, nor the directory of an environment");
            CliError::refused_with(told, "name one with `env: {python: PATH}`, or leave `env` out")
        })?,
    };
    match version(config, &program) {
        Some((major, minor)) if (major, minor) < (3, OLDEST) => {
            let shown = program.display();
            let told = format!("{shown} is Python {major}.{minor}; steps need 3.{OLDEST} or later");
            Err(CliError::refused_with(told, MEND))
        }
        // What cannot be told here the worker will tell.
        Some(_) | None => Ok(()),
    }
}

fn of_caller(config: &Config) -> Option<PathBuf> {
    let active = ["VIRTUAL_ENV", "CONDA_PREFIX"].into_iter().filter_map(|name| {
        Some(Path::new(config.var(name)?).join("bin/python")).filter(|path| is_program(path))
    });
    let path = config.var("PATH").unwrap_or(DEFAULT_PATH.as_ref());
    let on_path = ["python3", "python"].into_iter().flat_map(|name| {
        let dirs = std::env::split_paths(path).filter(|dir| dir.is_absolute());
        dirs.map(move |dir| dir.join(name)).filter(|path| is_program(path))
    });
    active.chain(on_path).next()
}

/// Looked up in the project, then from the caller's directory upwards.
fn named(config: &Config, root: &Path, path: &str) -> Option<PathBuf> {
    let home = config.var("HOME").map(Path::new);
    let path = match (path.strip_prefix("~/"), home) {
        (Some(rest), Some(home)) => home.join(rest),
        (Some(_), None) | (None, _) => PathBuf::from(path),
    };
    let program = |dir: &Path| {
        let place = dir.join(&path);
        [place.join("bin/python"), place].into_iter().find(|place| is_program(place))
    };
    [root].into_iter().chain(config.cwd.ancestors()).find_map(program)
}

fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// Major and minor version: by the environment's own file or the program's name where these say it,
/// for starting it costs milliseconds.
fn version(config: &Config, program: &Path) -> Option<(u32, u32)> {
    // A shim looks for the interpreter anew, which takes longer than most steps.
    if program.components().any(|part| part.as_os_str() == "shims") {
        return None;
    }
    let of_environment = || {
        let root = program.parent()?.parent()?;
        let text = fs::read_to_string(root.join("pyvenv.cfg")).ok()?;
        let value =
            text.lines().filter_map(|line| line.split_once('=')).find_map(|(key, value)| {
                matches!(key.trim(), "version" | "version_info").then(|| value.trim().to_owned())
            });
        numbers(&value?)
    };
    let of_name = || {
        let real = fs::canonicalize(program).ok()?;
        numbers(real.file_name()?.to_str()?.strip_prefix("python")?)
    };
    let of_itself = || {
        let done = Command::new(program)
            .arg("--version")
            .env_clear()
            .envs(&config.env)
            .output()
            .ok()
            .filter(|done| done.status.success())?;
        // Python 2 says it on stderr.
        let text = if done.stdout.is_empty() { done.stderr } else { done.stdout };
        numbers(String::from_utf8_lossy(&text).trim().strip_prefix("Python ")?)
    };
    of_environment().or_else(of_name).or_else(of_itself)
}

/// The first two numbers of `3.11.7`.
fn numbers(text: &str) -> Option<(u32, u32)> {
    let (major, rest) = text.split_once('.')?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    Some((major.parse().ok()?, rest[..end].parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::numbers;

    #[test]
    fn versions_are_read() {
        assert_eq!(numbers("3.11.7"), Some((3, 11)));
        assert_eq!(numbers("3.8"), Some((3, 8)));
        assert_eq!(numbers("3.11.2.final.0"), Some((3, 11)));
        assert_eq!(numbers("3.13rc1"), Some((3, 13)));
        assert_eq!((numbers("3"), numbers("x.y"), numbers("")), (None, None, None));
    }
}
