use std::{
    collections::HashMap,
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use prost::bytes::Bytes;
use rustix::fs::{FlockOperation, flock};
use tempfile::TempDir;
use tokio::time::sleep;

use super::{CallerEnv, EnvError, Found, child, describe::Facts, find, requirements};

/// Longest that one tool may work on an environment.
const TOOL_LIMIT: Duration = Duration::from_secs(3600);
/// Wait between two looks at the lock of another process's build.
const LOCK_POLL: Duration = Duration::from_millis(100);
/// Most builds that are remembered as going on or done.
const MAX_GATES: usize = 256;
/// Digits of a digest that name an environment: scripts in it start with their interpreter's path,
/// which the kernel takes up to 127 bytes.
const NAME_DIGITS: usize = 24;
/// Written last; its text is the lock. A directory without it is a ruin.
const READY: &str = "windlass-ready";
/// Variables that would send packages elsewhere, or find some that are not in the environment.
const HARMFUL: &[&str] = &[
    "PYTHONPATH",
    "PYTHONHOME",
    "PIP_TARGET",
    "PIP_PREFIX",
    "PIP_ROOT",
    "PIP_USER",
    "VIRTUAL_ENV",
    "CONDA_PREFIX",
    "__PYVENV_LAUNCHER__",
];

/// What to build, and how.
pub(super) struct Plan {
    name: String,
    kind: &'static str,
    caller: CallerEnv,
    project: PathBuf,
    tool: Tool,
}

enum Tool {
    /// `venv` and `pip` of the interpreter; file of requirements.
    Pip { python: PathBuf, file: String },
    /// As `Pip`, but with a `pip` put into the environment: slower by seconds.
    InnerPip { python: PathBuf, file: String },
    /// The same two steps by uv.
    UvPip { uv: PathBuf, python: PathBuf, file: String },
    /// `uv sync` of the project in that directory, which is never written to.
    UvSync { uv: PathBuf, dir: PathBuf },
}

/// Plans the environment of a file of requirements over the interpreter of `base`.
pub(super) fn from_requirements(
    base: &Facts,
    file: &str,
    caller: &CallerEnv,
    project: &Path,
) -> Result<Plan, EnvError> {
    let mut hash = blake3::Hasher::new();
    let machine = rustix::system::uname();
    hash.update(b"requirements\0").update(base.version.as_bytes()).update(b"\0");
    hash.update(base.implementation.as_bytes()).update(b"\0");
    hash.update(machine.machine().to_bytes()).update(b"\0");
    requirements::digest(&mut hash, file, project)?;
    let (python, file) = (base.executable.clone(), file.to_owned());
    let tool = match find::on_path(caller, "uv") {
        Some(uv) => Tool::UvPip { uv, python, file },
        None if base.package("pip").is_some_and(serves_others) => Tool::Pip { python, file },
        None => Tool::InnerPip { python, file },
    };
    Ok(Plan::new(&hash, "requirements", (caller, project), tool))
}

/// Plans the environment of a uv project; `dir` is relative to `project`.
pub(super) fn from_uv(dir: &str, caller: &CallerEnv, project: &Path) -> Result<Plan, EnvError> {
    let uv = find::on_path(caller, "uv").ok_or(EnvError::NoUv)?;
    let place = project.join(dir);
    let mut hash = blake3::Hasher::new();
    let machine = rustix::system::uname();
    hash.update(b"uv\0").update(machine.machine().to_bytes()).update(b"\0");
    hash.update(&caller.get("UV_PYTHON").cloned().unwrap_or_default());
    for name in ["pyproject.toml", "uv.lock", ".python-version"] {
        let path = place.join(name);
        match fs::read(&path) {
            Ok(text) => {
                hash.update(name.as_bytes()).update(b"\0").update(&text).update(b"\0");
            }
            Err(_) if name == "pyproject.toml" => {
                let message = format!("uv: {dir} has no pyproject.toml among the project's files");
                return Err(EnvError::Spec(message));
            }
            Err(_) => {}
        }
    }
    Ok(Plan::new(&hash, "uv", (caller, project), Tool::UvSync { uv, dir: place }))
}

/// True for a `pip` that can install into another environment than its own.
fn serves_others(version: &str) -> bool {
    let mut numbers = version.split('.').map(|n| n.parse::<u32>().unwrap_or_default());
    (numbers.next(), numbers.next()) >= (Some(22), Some(3))
}

impl Plan {
    fn new(
        hash: &blake3::Hasher,
        kind: &'static str,
        (caller, project): (&CallerEnv, &Path),
        tool: Tool,
    ) -> Self {
        let name = hash.finalize().to_hex()[..NAME_DIGITS].to_owned();
        let mut caller = caller.clone();
        caller.retain(|name, _| !HARMFUL.contains(&name.as_str()));
        let quiet = [
            ("PIP_DISABLE_PIP_VERSION_CHECK", "1"),
            ("PIP_NO_INPUT", "1"),
            ("PIP_PROGRESS_BAR", "off"),
            ("PYTHONNOUSERSITE", "1"),
            ("PYTHONUNBUFFERED", "1"),
            ("UV_NO_PROGRESS", "1"),
        ];
        let quiet =
            quiet.map(|(name, value)| (name.to_owned(), Bytes::from_static(value.as_bytes())));
        caller.extend(quiet);
        Self { name, kind, caller, project: project.to_owned(), tool }
    }

    fn command(&self, program: &Path, args: &[&str]) -> Command {
        let mut command = child::command(program, &self.caller, &self.project);
        command.args(args);
        command
    }

    /// A copy of a uv project without a lock, where uv may write one.
    fn scratch(&self) -> std::io::Result<Option<TempDir>> {
        let Tool::UvSync { dir, .. } = &self.tool else { return Ok(None) };
        if dir.join("uv.lock").exists() {
            return Ok(None);
        }
        let scratch = tempfile::tempdir()?;
        for name in ["pyproject.toml", ".python-version"] {
            if dir.join(name).exists() {
                fs::copy(dir.join(name), scratch.path().join(name))?;
            }
        }
        Ok(Some(scratch))
    }

    /// The commands that fill `env`, in order.
    fn commands(&self, env: &Path, scratch: Option<&Path>) -> Vec<Command> {
        let inner = env.join("bin/python");
        match &self.tool {
            Tool::Pip { python, file } => {
                let mut venv = self.command(python, &["-m", "venv", "--without-pip"]);
                venv.arg(env);
                let mut install = self.command(python, &["-m", "pip", "--python"]);
                install.arg(&inner).args(["install", "-r", file]);
                vec![venv, install]
            }
            Tool::InnerPip { python, file } => {
                let mut venv = self.command(python, &["-m", "venv"]);
                venv.arg(env);
                vec![venv, self.command(&inner, &["-m", "pip", "install", "-r", file])]
            }
            Tool::UvPip { uv, python, file } => {
                let mut venv = self.command(uv, &["venv", "--no-project", "--python"]);
                venv.arg(python).arg(env);
                let mut install = self.command(uv, &["pip", "install", "--python"]);
                install.arg(&inner).args(["-r", file]);
                vec![venv, install]
            }
            Tool::UvSync { uv, dir } => {
                let mut sync = self.command(uv, &["sync", "--no-install-workspace", "--project"]);
                sync.arg(scratch.unwrap_or(dir)).env("UV_PROJECT_ENVIRONMENT", env);
                if scratch.is_none() {
                    sync.arg("--frozen");
                }
                vec![sync]
            }
        }
    }

    fn freeze(&self, env: &Path) -> Command {
        let inner = env.join("bin/python");
        match &self.tool {
            Tool::Pip { python, .. } => {
                let mut freeze = self.command(python, &["-m", "pip", "--python"]);
                freeze.arg(inner).args(["freeze", "--all"]);
                freeze
            }
            Tool::InnerPip { .. } => self.command(&inner, &["-m", "pip", "freeze", "--all"]),
            Tool::UvPip { uv, .. } | Tool::UvSync { uv, .. } => {
                let mut freeze = self.command(uv, &["pip", "freeze", "--quiet", "--python"]);
                freeze.arg(inner);
                freeze
            }
        }
    }

    fn found(&self, env: &Path, lock: String) -> Found {
        let executable = env.join("bin/python");
        let variables = find::inside(&executable, &self.caller);
        Found { executable, env: variables, kind: self.kind, lock }
    }
}

/// The environments that are built, each once.
pub(super) struct Builds {
    envs: PathBuf,
    locks: PathBuf,
    /// One gate an environment: builds of this process queue here, those of others at the file lock.
    gates: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

impl Builds {
    pub(super) fn new(envs: PathBuf, locks: PathBuf) -> Self {
        Self { envs, locks, gates: Mutex::default() }
    }

    /// The environment of `plan`, built now if it is not there.
    pub(super) async fn get(
        &self,
        plan: Plan,
        progress: &(impl Fn(&str) + Sync),
    ) -> Result<Found, EnvError> {
        let env = self.envs.join(&plan.name);
        if let Ok(lock) = fs::read_to_string(env.join(READY)) {
            return Ok(plan.found(&env, lock));
        }
        let gate = {
            let mut gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
            if gates.len() >= MAX_GATES {
                gates.retain(|_, gate| Arc::strong_count(gate) > 1);
            }
            gates.entry(plan.name.clone()).or_default().clone()
        };
        let _turn = gate.lock().await;
        let held = self.lock(&plan.name, progress).await?;
        if let Ok(lock) = fs::read_to_string(env.join(READY)) {
            return Ok(plan.found(&env, lock));
        }
        let site = Site { env: env.clone(), held: Some(held) };
        let built = build(&plan, &env, progress).await;
        if built.is_err() {
            let ruin = env.clone();
            let cleared = tokio::task::spawn_blocking(move || clear(&ruin)).await;
            cleared.map_err(std::io::Error::other).flatten().map_err(EnvError::io(&env))?;
        }
        site.done();
        Ok(plan.found(&env, built?))
    }

    async fn lock(&self, name: &str, progress: &impl Fn(&str)) -> Result<File, EnvError> {
        let path = self.locks.join(name);
        fs::create_dir_all(&self.locks).map_err(EnvError::io(&self.locks))?;
        let file = File::options().create(true).append(true).open(&path);
        let file = file.map_err(EnvError::io(&path))?;
        let mut told = false;
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(file),
                Err(rustix::io::Errno::WOULDBLOCK) if !told => {
                    progress("waiting for another worker that builds this environment");
                    told = true;
                }
                Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) => {
                    sleep(LOCK_POLL).await;
                }
                Err(error) => return Err(EnvError::io(&path)(error.into())),
            }
        }
    }
}

/// A directory that is being filled. Unless `done`, it goes away, and only then the lock.
struct Site {
    env: PathBuf,
    held: Option<File>,
}

impl Site {
    fn done(mut self) {
        self.held = None;
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let Some(held) = self.held.take() else { return };
        let env = std::mem::take(&mut self.env);
        // Thousands of files: not on a thread that serves others.
        thread::spawn(move || {
            if let Err(error) = clear(&env) {
                tracing::warn!(env = %env.display(), %error, "cannot remove an unfinished environment");
            }
            drop(held);
        });
    }
}

fn clear(env: &Path) -> std::io::Result<()> {
    match fs::remove_dir_all(env) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Fills `env` and returns its lock.
async fn build(
    plan: &Plan,
    env: &Path,
    progress: &(impl Fn(&str) + Sync),
) -> Result<String, EnvError> {
    clear(env).map_err(EnvError::io(env))?;
    if let Some(parent) = env.parent() {
        fs::create_dir_all(parent).map_err(EnvError::io(parent))?;
    }
    let scratch = plan.scratch().map_err(EnvError::io(env))?;
    for command in plan.commands(env, scratch.as_ref().map(TempDir::path)) {
        run(command, progress).await?;
    }
    let lines = Mutex::new(String::new());
    let keep = |line: &str| {
        let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.push_str(line);
        lines.push('\n');
    };
    run(plan.freeze(env), &keep).await?;
    let lock = lines.into_inner().unwrap_or_else(PoisonError::into_inner);
    // `find::keep` would hide an error here.
    let part = env.join("windlass-part");
    fs::write(&part, &lock).map_err(EnvError::io(&part))?;
    fs::rename(&part, env.join(READY)).map_err(EnvError::io(env))?;
    progress("the environment is ready");
    Ok(lock)
}

async fn run(command: Command, progress: &(impl Fn(&str) + Sync)) -> Result<(), EnvError> {
    let program = PathBuf::from(command.get_program());
    let words = command.get_args().map(|arg| arg.to_string_lossy());
    let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let shown = [name.into()].into_iter().chain(words).collect::<Vec<_>>().join(" ");
    progress(&format!("$ {shown}"));
    let ended = child::run(command, TOOL_LIMIT, progress).await.map_err(EnvError::io(&program))?;
    if ended.status.success() {
        return Ok(());
    }
    let (status, tail) = (ended.status.to_string(), ended.tail);
    Err(EnvError::Build { command: shown, status, tail })
}
