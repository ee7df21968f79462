use std::{
    fs,
    os::unix::{ffi::OsStrExt, fs::PermissionsExt},
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use prost::{Message, bytes::Bytes};
use tempfile::TempDir;
use windlass_core::Digest;
use windlass_proto::common::v1::{Environment, EnvironmentSpec, environment_spec::Kind};

use super::{CallerEnv, EnvError, Environments, Interpreter};

/// Bound of every wait in these tests.
const LIMIT: Duration = Duration::from_secs(120);

/// A worker's directories, a project, and the blobs that were put.
struct Place {
    dir: TempDir,
    puts: Arc<AtomicUsize>,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("project")).unwrap();
        Self { dir, puts: Arc::default() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn environments(&self) -> Environments {
        let puts = Arc::clone(&self.puts);
        let put = move |bytes: &[u8]| {
            Environment::decode(bytes).unwrap();
            puts.fetch_add(1, Ordering::Relaxed);
            Ok(Digest(*blake3::hash(bytes).as_bytes()))
        };
        Environments::new(self.path("envs"), &self.path("cache"), Arc::new(put))
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    fn program(&self, name: &str, text: &str) -> PathBuf {
        let path = self.write(name, &format!("#!/bin/sh\n{text}\n"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    async fn resolve(
        &self,
        environments: &Environments,
        kind: Option<Kind>,
        caller: &CallerEnv,
    ) -> Result<Interpreter, EnvError> {
        let spec = EnvironmentSpec { kind };
        environments.resolve(Some(&spec), caller, &self.path("project"), |_| {}).await
    }
}

/// A real interpreter: pyenv's own file rather than its shim.
fn python() -> PathBuf {
    let asked = Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output();
    PathBuf::from(String::from_utf8(asked.unwrap().stdout).unwrap().trim())
}

fn caller(variables: &[(&str, &Path)]) -> CallerEnv {
    let bytes = |path: &Path| Bytes::copy_from_slice(path.as_os_str().as_bytes());
    variables.iter().map(|(name, value)| ((*name).to_owned(), bytes(value))).collect()
}

/// The variables of this process, as a caller has them, but with a real interpreter first.
fn whole_caller() -> CallerEnv {
    let mut all: CallerEnv = std::env::vars_os()
        .map(|(name, value)| {
            (name.to_string_lossy().into_owned(), Bytes::copy_from_slice(value.as_bytes()))
        })
        .collect();
    for name in ["VIRTUAL_ENV", "CONDA_PREFIX"] {
        all.remove(name);
    }
    let path = format!("{}:/usr/bin:/bin", python().parent().unwrap().display());
    all.insert("PATH".into(), Bytes::from(path));
    all
}

fn lines(path: &Path) -> usize {
    fs::read_to_string(path).unwrap_or_default().lines().count()
}

#[tokio::test]
async fn an_interpreter_is_described_once_and_again_when_packages_change() {
    let place = Place::new();
    let log = place.path("log");
    let text = format!("echo x >> {}; exec {} \"$@\"", log.display(), python().display());
    let program = place.program("bin/python3", &text);
    let one = "lib/One_Thing-1.5.dist-info/METADATA";
    place.write(one, "Metadata-Version: 2.1\nName: One.Thing\nVersion: 1.5\n\nName: no\n");
    let caller = caller(&[("PATH", &place.path("bin")), ("PYTHONPATH", &place.path("lib"))]);
    let version = |interpreter: &Interpreter, name: &str| {
        let packages = &interpreter.described.message.packages;
        packages.iter().find(|p| p.name == name).map(|p| p.version.clone())
    };

    let first = place.environments();
    let found = place.resolve(&first, None, &caller).await.unwrap();
    assert_eq!(found.executable, program);
    assert_eq!(found.described.message.python.split('.').count(), 3);
    assert_eq!(found.described.message.kind, "caller");
    assert!(found.described.message.cpu_count > 0 && found.env.is_empty());
    assert_eq!(version(&found, "One.Thing").as_deref(), Some("1.5"));
    found.check_version().unwrap();
    let again = place.resolve(&first, None, &caller).await.unwrap();
    let restarted = place.resolve(&place.environments(), None, &caller).await.unwrap();
    assert_eq!(again.described.digest, found.described.digest);
    assert_eq!(restarted.described.digest, found.described.digest);
    assert_eq!(lines(&log), 1, "asked more than once");

    place.write("lib/two-2.dist-info/METADATA", "Name: two\nVersion: 2\n");
    let changed = place.resolve(&first, None, &caller).await.unwrap();
    assert_eq!(version(&changed, "two").as_deref(), Some("2"));
    assert_ne!(changed.described.digest, found.described.digest);
    assert_eq!((lines(&log), place.puts.load(Ordering::Relaxed)), (2, 3));
}

#[tokio::test]
async fn the_callers_active_environment_comes_first() {
    let place = Place::new();
    let real = python();
    for dir in ["venv/bin", "conda/bin", "path"] {
        fs::create_dir_all(place.path(dir)).unwrap();
    }
    std::os::unix::fs::symlink(&real, place.path("venv/bin/python")).unwrap();
    std::os::unix::fs::symlink(&real, place.path("conda/bin/python")).unwrap();
    std::os::unix::fs::symlink(&real, place.path("path/python")).unwrap();
    let environments = place.environments();
    let venv = ("VIRTUAL_ENV", &*place.path("venv"));
    let conda = ("CONDA_PREFIX", &*place.path("conda"));
    let path = ("PATH", &*place.path("path"));
    let gone = ("VIRTUAL_ENV", &*place.path("gone"));
    for (variables, expected) in [
        (&[venv, conda, path][..], "venv/bin/python"),
        (&[conda, path], "conda/bin/python"),
        (&[gone, path], "path/python"),
    ] {
        let found = place.resolve(&environments, None, &caller(variables)).await.unwrap();
        assert_eq!(found.executable, place.path(expected));
    }
    let none = place.resolve(&environments, None, &caller(&[("PATH", &place.path("venv"))])).await;
    assert!(matches!(none, Err(EnvError::NoInterpreter { .. })), "{none:?}");
}

#[tokio::test]
async fn a_shim_is_asked_once_for_each_choice() {
    let place = Place::new();
    let log = place.path("log");
    let (real, log_path) = (python(), log.display());
    // Stands for pyenv: knows one version, by the file in the caller's directory.
    let text = format!(
        "echo x >> {log_path}; [ \"$(cat .python-version)\" = good ] || {{ echo no such version; exit 1; }}
         exec {} \"$@\"",
        real.display()
    );
    place.program("shims/python3", &text);
    place.write("home/sub/.keep", "");
    place.write("home/.python-version", "good");
    let shims = place.path("shims").into_os_string();
    let path = [shims.as_os_str(), "/usr/bin:/bin".as_ref()].join(":".as_ref());
    let caller = caller(&[("PATH", Path::new(&path)), ("PWD", &place.path("home"))]);

    let environments = place.environments();
    for _ in 0..3 {
        let found = place.resolve(&environments, None, &caller).await.unwrap();
        assert_eq!(found.executable, real);
    }
    assert_eq!(place.resolve(&place.environments(), None, &caller).await.unwrap().executable, real);
    assert_eq!(lines(&log), 1);
    place.write("home/.python-version", "bad");
    let error = place.resolve(&environments, None, &caller).await.unwrap_err();
    assert!(error.to_string().contains("no such version"), "{error}");
}

#[tokio::test]
async fn an_old_interpreter_is_refused_for_python_steps() {
    let place = Place::new();
    let environments = place.environments();
    let versions = std::env::home_dir().unwrap().join(".pyenv/versions");
    for old in ["2.7.18", "3.6.15", "3.7.16"] {
        let bin = versions.join(old).join("bin");
        if !bin.exists() {
            continue;
        }
        let kind = Kind::Python(bin.join("python").to_str().unwrap().into());
        let found = place.resolve(&environments, Some(kind), &CallerEnv::new()).await.unwrap();
        assert_eq!(found.described.message.python, old);
        let said = found.check_version().unwrap_err().to_string();
        assert!(said.starts_with(&format!("Python {old} at /")) && said.ends_with("3.8 or later"));
    }
}

#[tokio::test]
async fn a_named_interpreter_is_found_in_the_project_or_beside_the_caller() {
    let place = Place::new();
    let environments = place.environments();
    fs::create_dir_all(place.path("work/.venv/bin")).unwrap();
    fs::create_dir_all(place.path("work/deep")).unwrap();
    place.write(
        "work/.venv/pyvenv.cfg",
        &format!("home = {}", python().parent().unwrap().display()),
    );
    std::os::unix::fs::symlink(python(), place.path("work/.venv/bin/python")).unwrap();
    let caller = caller(&[("PWD", &place.path("work/deep")), ("PATH", Path::new("/bin"))]);
    for name in [".venv", ".venv/bin/python"] {
        let kind = Some(Kind::Python(name.into()));
        let found = place.resolve(&environments, kind, &caller).await.unwrap();
        assert_eq!(found.executable, place.path("work/.venv/bin/python"));
        let variable = |name| found.env.iter().find(|(n, _)| n == name).unwrap().1.clone();
        assert_eq!(variable("VIRTUAL_ENV"), place.path("work/.venv"));
        let path = format!("{}:/bin", place.path("work/.venv/bin").display());
        assert_eq!(variable("PATH").to_str(), Some(path.as_str()));
    }
    let kind = Some(Kind::Python("nowhere".into()));
    let error = place.resolve(&environments, kind, &caller).await.unwrap_err();
    assert!(error.to_string().contains("nowhere is no interpreter"), "{error}");
}

#[tokio::test]
async fn requirements_are_built_once_and_recorded_in_full() {
    let place = Place::new();
    place.write("project/requirements.txt", "attrs\n");
    let (environments, caller) = (place.environments(), whole_caller());
    let spec = EnvironmentSpec { kind: Some(Kind::Requirements("requirements.txt".into())) };
    let said = Mutex::new(Vec::new());
    let project = place.path("project");
    let resolve = || {
        let progress = |line: &str| said.lock().unwrap().push(line.to_owned());
        environments.resolve(Some(&spec), &caller, &project, progress)
    };

    let (one, two, three) = tokio::join!(resolve(), resolve(), resolve());
    let (one, two, three) = (one.unwrap(), two.unwrap(), three.unwrap());
    let other = place.environments(); // as another worker
    let later = place.resolve(&other, spec.kind.clone(), &caller).await.unwrap();

    for found in [&two, &three, &later] {
        assert_eq!(found.executable, one.executable);
        assert_eq!(found.described.digest, one.described.digest);
    }
    let said = said.into_inner().unwrap();
    let venvs = said.iter().filter(|line| line.starts_with("$ ") && line.contains("venv "));
    assert_eq!(venvs.count(), 1, "{said:?}");
    assert!(said.iter().any(|line| !line.starts_with("$ ") && line.contains("attrs")), "{said:?}");
    let message = &one.described.message;
    assert_eq!(message.kind, "requirements");
    assert!(message.packages.iter().any(|p| p.name == "attrs"), "{message:?}");
    assert!(message.lock.contains("attrs=="), "{}", message.lock);
    let mut python = Command::new(&one.executable);
    python.args(["-c", "import attrs"]).env_clear().envs(one.env);
    assert!(python.status().unwrap().success());
    assert!(one.executable.starts_with(place.path("envs")));
}

#[tokio::test]
async fn a_failed_build_explains_itself_and_leaves_nothing() {
    let place = Place::new();
    place.write("project/r.txt", "attrs==0.0.0.1\n");
    let kind = Some(Kind::Requirements("r.txt".into()));
    let error = place.resolve(&place.environments(), kind, &whole_caller()).await.unwrap_err();
    let said = error.to_string();
    assert!(matches!(error, EnvError::Build { .. }), "{said}");
    assert!(said.contains("pip") && said.contains("attrs==0.0.0.1"), "{said}");
    assert_eq!(fs::read_dir(place.path("envs")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_build_that_is_given_up_is_killed_and_leaves_nothing() {
    let place = Place::new();
    place.write("project/r.txt", "attrs\n");
    // A stand-in for uv that never ends, with a child that would outlive it.
    let marks = place.path("marks");
    let text =
        format!("mkdir -p $4; sleep 600 & echo $! >> {0}; echo $$ >> {0}; wait", marks.display());
    place.program("bin/uv", &format!("PATH=/usr/bin:/bin\n{text}"));
    let mut caller = whole_caller();
    let path = [place.path("bin").as_os_str().as_bytes(), b":", &caller["PATH"]].concat();
    caller.insert("PATH".into(), path.into());
    let environments = place.environments();
    let build = place.resolve(&environments, Some(Kind::Requirements("r.txt".into())), &caller);
    let started = async {
        while lines(&marks) < 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        ended = build => panic!("{ended:?}"),
        done = tokio::time::timeout(LIMIT, started) => done.unwrap(),
    }
    let alive = |pid: &str| {
        let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        state.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
    };
    let gone = async {
        let pids = fs::read_to_string(&marks).unwrap();
        let left = || fs::read_dir(place.path("envs")).unwrap().count();
        while pids.lines().any(alive) || left() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, gone).await.unwrap();
}

#[tokio::test]
async fn what_uv_needs_is_named() {
    let place = Place::new();
    let environments = place.environments();
    let bare = caller(&[("PATH", Path::new("/nowhere"))]);
    let uv = || Some(Kind::Uv(".".into()));
    let error = place.resolve(&environments, uv(), &bare).await.unwrap_err();
    assert!(matches!(error, EnvError::NoUv), "{error}");
    place.program("bin/uv", "exit 1");
    let with_uv = caller(&[("PATH", &place.path("bin"))]);
    let error = place.resolve(&environments, uv(), &with_uv).await.unwrap_err();
    assert!(error.to_string().contains("no pyproject.toml"), "{error}");
}

/// Needs uv on the PATH; without it only the refusal above can be tested.
#[tokio::test]
async fn uv_builds_projects_and_requirements_without_touching_the_project() {
    let own: CallerEnv = whole_caller();
    let path = std::env::vars_os().find(|(name, _)| name == "PATH").unwrap().1;
    let Some(uv) = std::env::split_paths(&path).map(|d| d.join("uv")).find(|p| p.exists()) else {
        return;
    };
    let place = Place::new();
    let project = "[project]\nname = \"x\"\nversion = \"0\"\ndependencies = [\"attrs\"]\n";
    place.write("project/pyproject.toml", project);
    place.write("project/r.txt", "attrs\n");
    let mut caller = own.clone();
    let bin = uv.parent().unwrap().as_os_str().as_bytes();
    caller.insert("PATH".into(), [bin, b":", &own["PATH"]].concat().into());
    let environments = place.environments();
    for kind in [Kind::Uv(".".into()), Kind::Requirements("r.txt".into())] {
        let found = place.resolve(&environments, Some(kind), &caller).await.unwrap();
        assert!(found.described.message.lock.contains("attrs=="), "{found:?}");
        let mut python = Command::new(&found.executable);
        assert!(python.args(["-c", "import attrs"]).env_clear().status().unwrap().success());
    }
    assert_eq!(fs::read_dir(place.path("project")).unwrap().count(), 2);
}
