use std::{
    collections::HashMap,
    env, fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use super::{CallerEnv, EnvError, Found, child, variable};

/// Searched where the caller has no PATH.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";
/// Longest that a shim may take to tell its interpreter.
const SHIM_LIMIT: Duration = Duration::from_secs(30);
/// Files by which version tools choose an interpreter, in a directory or in one above.
const VERSION_FILES: &[&str] = &[".python-version", ".tool-versions", "mise.toml", ".mise.toml"];
/// Variables by which they do.
const VERSION_VARIABLES: &[&str] =
    &["PYENV_VERSION", "PYENV_ROOT", "ASDF_PYTHON_VERSION", "MISE_PYTHON_VERSION", "HOME"];
/// Most directories that are looked at on the way up.
const MAX_PARENTS: usize = 64;
/// Most shims that are remembered.
const MAX_SHIMS: usize = 256;

/// The interpreter that `python3` means to the caller: the active virtualenv's or conda
/// environment's, else the first of `python3` and `python` on the PATH.
pub(super) fn of_caller(caller: &CallerEnv) -> Result<PathBuf, EnvError> {
    let active = ["VIRTUAL_ENV", "CONDA_PREFIX"].into_iter().filter_map(|name| {
        Some(Path::new(variable(caller, name)?).join("bin/python")).filter(|path| is_program(path))
    });
    let on_path = ["python3", "python"].into_iter().filter_map(|name| on_path(caller, name));
    active.chain(on_path).next().ok_or_else(|| EnvError::NoInterpreter {
        looked: "there is no python3 and no python on the PATH".into(),
    })
}

/// The program `name` on the caller's PATH.
pub(super) fn on_path(caller: &CallerEnv, name: &str) -> Option<PathBuf> {
    let path = variable(caller, "PATH").unwrap_or(DEFAULT_PATH.as_ref());
    env::split_paths(path)
        .filter(|dir| dir.is_absolute())
        .map(|dir| dir.join(name))
        .find(|p| is_program(p))
}

fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// The interpreter at `path`: a program, or the directory of an environment. A relative path is
/// looked up in the project, then, since such directories are seldom part of a snapshot, from the
/// caller's directory upwards.
pub(super) fn named(path: &str, caller: &CallerEnv, project: &Path) -> Result<Found, EnvError> {
    let home = variable(caller, "HOME").map(Path::new);
    let path = match (path.strip_prefix("~/"), home) {
        (Some(rest), Some(home)) => home.join(rest),
        (Some(_), None) | (None, _) => PathBuf::from(path),
    };
    let parents = caller_dir(caller).into_iter().flat_map(Path::ancestors).take(MAX_PARENTS);
    let program = |dir: &Path| {
        let place = dir.join(&path);
        [place.join("bin/python"), place].into_iter().find(|place| is_program(place))
    };
    let executable = [project].into_iter().chain(parents).find_map(program).ok_or_else(|| {
        let shown = path.display();
        EnvError::Spec(format!(
            "python: {shown} is no interpreter, nor the directory of an environment"
        ))
    })?;
    let env = inside(&executable, caller);
    Ok(Found { executable, env, kind: "python", lock: String::new() })
}

fn caller_dir(caller: &CallerEnv) -> Option<&Path> {
    variable(caller, "PWD").map(Path::new).filter(|dir| dir.is_absolute())
}

/// Variables with which the tools beside `executable` come first.
pub(super) fn inside(executable: &Path, caller: &CallerEnv) -> Vec<(String, std::ffi::OsString)> {
    let Some(bin) = executable.parent() else { return Vec::new() };
    let mut path = bin.as_os_str().to_owned();
    path.push(":");
    path.push(variable(caller, "PATH").unwrap_or(DEFAULT_PATH.as_ref()));
    let mut env = vec![("PATH".to_owned(), path)];
    if let Some(root) = bin.parent().filter(|root| root.join("pyvenv.cfg").is_file()) {
        env.push(("VIRTUAL_ENV".to_owned(), root.as_os_str().to_owned()));
    }
    env
}

/// What stands behind the shims of pyenv, asdf and mise: small programs that look for the
/// interpreter anew at each start, which takes longer than most steps.
pub(super) struct Shims {
    known: Mutex<HashMap<Vec<u8>, PathBuf>>,
    cache: PathBuf,
}

impl Shims {
    pub(super) fn new(cache: &Path) -> Self {
        Self { known: Mutex::default(), cache: cache.join("shims") }
    }

    /// `program` itself, or the interpreter behind it if it is a shim.
    pub(super) async fn real(
        &self,
        program: PathBuf,
        caller: &CallerEnv,
        project: &Path,
    ) -> Result<PathBuf, EnvError> {
        if !program.components().any(|part| part.as_os_str() == "shims") {
            return Ok(program);
        }
        // Version files are looked for from the caller's own directory on, as its shell does.
        let dir = caller_dir(caller).filter(|dir| dir.is_dir()).unwrap_or(project);
        let key = choice(&program, caller, dir);
        let kept = self.cache.join(&blake3::hash(&key).to_hex()[..32]);
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        let known = known.or_else(|| fs::read_to_string(&kept).ok().map(PathBuf::from));
        let real = match known.filter(|real| is_program(real)) {
            Some(real) => real,
            None => ask(&program, caller, dir).await?,
        };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_SHIMS {
            known.clear();
        }
        if known.insert(key, real.clone()).is_none() {
            keep(&kept, real.as_os_str().as_encoded_bytes());
        }
        Ok(real)
    }
}

/// Writes a file of the cache, whole or not at all. Without it, the fact is found again.
pub(super) fn keep(path: &Path, bytes: &[u8]) {
    let written = path.parent().map(|dir| {
        fs::create_dir_all(dir)?;
        let mut part = tempfile::NamedTempFile::new_in(dir)?;
        std::io::Write::write_all(&mut part, bytes)?;
        part.persist(path).map_err(|error| error.error)
    });
    if let Some(Err(error)) = written {
        tracing::debug!(path = %path.display(), %error, "cannot keep a fact");
    }
}

/// Everything by which a shim chooses.
fn choice(program: &Path, caller: &CallerEnv, dir: &Path) -> Vec<u8> {
    let mut key = program.as_os_str().as_encoded_bytes().to_vec();
    if let Ok(meta) = fs::metadata(program) {
        key.extend(format!("\0{} {} {}", meta.ino(), meta.mtime(), meta.mtime_nsec()).bytes());
    }
    for name in VERSION_VARIABLES {
        key.push(0);
        key.extend(variable(caller, name).unwrap_or_default().as_encoded_bytes());
    }
    let home = variable(caller, "HOME").map(Path::new);
    let pyenv = variable(caller, "PYENV_ROOT").map(PathBuf::from);
    let pyenv = pyenv.or_else(|| home.map(|home| home.join(".pyenv")));
    let near = dir.ancestors().take(MAX_PARENTS).chain(home);
    let files = near.flat_map(|dir| VERSION_FILES.iter().map(move |name| dir.join(name)));
    let global = pyenv.map(|root| root.join("version"));
    for path in files.chain(global) {
        if let Ok(text) = fs::read(&path) {
            key.push(0);
            key.extend(path.as_os_str().as_encoded_bytes());
            key.push(0);
            key.extend(text);
        }
    }
    key
}

async fn ask(program: &Path, caller: &CallerEnv, dir: &Path) -> Result<PathBuf, EnvError> {
    let mut command = child::command(program, caller, dir);
    command.arg("-c").arg("import sys; print('windlass: ' + sys.executable)");
    let said = Mutex::new(None);
    let line = |line: &str| {
        if let Some(path) = line.strip_prefix("windlass: ") {
            *said.lock().unwrap_or_else(PoisonError::into_inner) = Some(PathBuf::from(path));
        }
    };
    let ended = child::run(command, SHIM_LIMIT, line).await.map_err(EnvError::io(program))?;
    let real = said.into_inner().unwrap_or_else(PoisonError::into_inner);
    real.filter(|real| is_program(real)).ok_or_else(|| EnvError::NoInterpreter {
        looked: format!("{} said: {}", program.display(), ended.tail),
    })
}
