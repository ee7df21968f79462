//! Environments: finds the interpreter of a step, builds the ones that pipelines ask for, and
//! describes what a step ran in.
//!
//! A step of a known environment costs a few `stat` calls: descriptions are kept in memory and on
//! disk, and are checked by the times of the files and directories that they came from.

mod build;
mod child;
mod describe;
mod find;
mod host;
mod requirements;

use std::{
    collections::HashMap,
    ffi::{OsStr, OsString},
    io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use prost::bytes::Bytes;
use windlass_core::Digest;
use windlass_proto::common::v1::{Environment, EnvironmentSpec, environment_spec::Kind};

use build::Builds;
use describe::Descriptions;
use find::Shims;

/// The caller's variables, as a task carries them.
pub type CallerEnv = HashMap<String, Bytes>;

/// Stores bytes as a blob.
pub type PutBlob = Arc<dyn Fn(&[u8]) -> io::Result<Digest> + Send + Sync>;

/// Oldest Python that runs steps.
const OLDEST_PYTHON: (u32, u32) = (3, 8);

/// Why there is no environment for a step. `Display` says what a person should do.
#[derive(Debug, thiserror::Error)]
pub enum EnvError {
    #[error(
        "no Python found: {looked}; install Python 3.8 or later, or name one with `env: {{python: PATH}}`"
    )]
    NoInterpreter { looked: String },
    #[error("Python {version} at {} is too old: 3.8 or later", executable.display())]
    TooOld { version: String, executable: PathBuf },
    /// The pipeline's `env:` cannot be followed.
    #[error("env: {0}")]
    Spec(String),
    #[error(
        "env: uv is asked for, but there is no uv on the PATH; install it, for instance with `pip install uv`"
    )]
    NoUv,
    /// A tool failed; its last lines are `tail`.
    #[error("failed to build the environment: {command} ended with {status}\n{tail}")]
    Build { command: String, status: String, tail: String },
    #[error("failed to describe {}: {reason}", executable.display())]
    Describe { executable: PathBuf, reason: String },
    #[error("failed to read or write {}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

impl EnvError {
    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}

/// A description, and the digest of the blob that holds it.
#[derive(Clone, Debug)]
pub struct Described {
    pub message: Arc<Environment>,
    pub digest: Digest,
}

/// An interpreter that is there and works.
#[derive(Clone, Debug)]
pub struct Interpreter {
    pub executable: PathBuf,
    /// Variables to set over those of the caller, so that its tools come first.
    pub env: Vec<(String, OsString)>,
    pub described: Described,
}

impl Interpreter {
    /// An error where it cannot run Python steps. Shell steps may use any.
    pub fn check_version(&self) -> Result<(), EnvError> {
        let version = &self.described.message.python;
        let mut numbers = version.split('.').map(|n| n.parse().unwrap_or_default());
        let found = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
        if found >= OLDEST_PYTHON {
            return Ok(());
        }
        Err(EnvError::TooOld { version: version.clone(), executable: self.executable.clone() })
    }
}

/// Every environment of one worker.
pub struct Environments {
    shims: Shims,
    builds: Builds,
    descriptions: Descriptions,
}

/// Where an interpreter is, before anybody looked into it.
#[derive(Clone, Debug)]
struct Found {
    executable: PathBuf,
    env: Vec<(String, OsString)>,
    /// As in `Environment.kind`.
    kind: &'static str,
    lock: String,
}

impl Environments {
    /// Builds environments below `envs`, remembers facts below `cache`, stores descriptions with `put`.
    pub fn new(envs: PathBuf, cache: &Path, put: PutBlob) -> Self {
        Self {
            shims: Shims::new(cache),
            builds: Builds::new(envs, cache.join("locks")),
            descriptions: Descriptions::new(cache, put),
        }
    }

    /// The interpreter of a step: found, or built first, which may take minutes. `progress` gets
    /// lines for the step's system log. Dropping the future ends a build and leaves nothing.
    pub async fn resolve(
        &self,
        spec: Option<&EnvironmentSpec>,
        caller: &CallerEnv,
        project: &Path,
        progress: impl Fn(&str) + Send + Sync,
    ) -> Result<Interpreter, EnvError> {
        let found = match spec.and_then(|spec| spec.kind.as_ref()) {
            None => self.callers(caller, project).await?,
            Some(Kind::Python(path)) => find::named(path, caller, project)?,
            Some(Kind::Requirements(file)) => {
                let base = self.callers(caller, project).await?;
                let base = self.descriptions.facts(&base.executable, caller).await?;
                let plan = build::from_requirements(&base.facts, file, caller, project)?;
                self.builds.get(plan, &progress).await?
            }
            Some(Kind::Uv(dir)) => {
                let plan = build::from_uv(dir, caller, project)?;
                self.builds.get(plan, &progress).await?
            }
        };
        let described = self.descriptions.describe(&found, caller).await?;
        Ok(Interpreter { executable: found.executable, env: found.env, described })
    }

    /// What a step without an interpreter runs in.
    pub fn host(&self) -> Result<Described, EnvError> {
        self.descriptions.host()
    }

    async fn callers(&self, caller: &CallerEnv, project: &Path) -> Result<Found, EnvError> {
        let executable = find::of_caller(caller)?;
        let executable = self.shims.real(executable, caller, project).await?;
        Ok(Found { executable, env: Vec::new(), kind: "caller", lock: String::new() })
    }
}

/// True where a command may well start Python, so that the record should say which.
pub fn mentions_python(command: &str) -> bool {
    command.contains("python")
}

/// A variable of the caller that is set and not empty.
fn variable<'a>(caller: &'a CallerEnv, name: &str) -> Option<&'a OsStr> {
    caller.get(name).map(|value| OsStr::from_bytes(value)).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests;
