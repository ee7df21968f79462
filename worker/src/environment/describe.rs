use std::{
    collections::HashMap,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use prost::Message;
use serde::{Deserialize, Serialize};
use windlass_proto::common::v1::{Environment, Package};

use super::{CallerEnv, Described, EnvError, Found, PutBlob, child, find, host, variable};

const PROGRAM: &str = include_str!("../../runners/describe.py");

/// Longest that an interpreter may take to describe itself.
const DESCRIBE_LIMIT: Duration = Duration::from_secs(60);
/// Most interpreters that are remembered in memory.
const MAX_KNOWN: usize = 256;
/// Variables that change what an interpreter finds.
const VARIABLES: &[&str] =
    &["PYTHONPATH", "PYTHONHOME", "PYTHONNOUSERSITE", "PYTHONUSERBASE", "HOME"];

/// What an interpreter says about itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Facts {
    pub(super) version: String,
    pub(super) implementation: String,
    pub(super) executable: PathBuf,
    directories: Vec<PathBuf>,
    packages: Vec<(String, String)>,
    /// Time of last change of each of `directories` in nanoseconds, as far as they were there.
    #[serde(default)]
    changed: Vec<Option<i128>>,
}

impl Facts {
    /// Version of the distribution of that exact name.
    pub(super) fn package(&self, name: &str) -> Option<&str> {
        self.packages.iter().find(|(found, _)| found == name).map(|(_, version)| version.as_str())
    }

    fn still_hold(&self) -> bool {
        changed(&self.directories) == self.changed
    }
}

fn changed(directories: &[PathBuf]) -> Vec<Option<i128>> {
    let time = |dir: &PathBuf| {
        let meta = fs::metadata(dir).ok()?;
        Some(i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec()))
    };
    directories.iter().map(time).collect()
}

/// An interpreter that was asked, and what its description was stored as, by kind and lock.
pub(super) struct Known {
    pub(super) facts: Facts,
    stored: Mutex<HashMap<(&'static str, String), Described>>,
}

/// Descriptions of interpreters, found once.
pub(super) struct Descriptions {
    host: Environment,
    cache: PathBuf,
    put: PutBlob,
    known: Mutex<HashMap<blake3::Hash, Arc<Known>>>,
    described: Mutex<HashMap<blake3::Hash, Described>>,
}

impl Descriptions {
    pub(super) fn new(cache: &Path, put: PutBlob) -> Self {
        Self {
            host: host::describe(),
            cache: cache.join("interpreters"),
            put,
            known: Mutex::default(),
            described: Mutex::default(),
        }
    }

    /// What `executable` says about itself under the caller's variables.
    pub(super) async fn facts(
        &self,
        executable: &Path,
        caller: &CallerEnv,
    ) -> Result<Arc<Known>, EnvError> {
        let key = identity(executable, caller);
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if let Some(known) = known.filter(|known| known.facts.still_hold()) {
            return Ok(known);
        }
        let kept = self.cache.join(&key.to_hex()[..32]);
        let read = fs::read(&kept).ok().and_then(|text| serde_json::from_slice(&text).ok());
        let facts = match read.filter(Facts::still_hold) {
            Some(facts) => facts,
            None => {
                let facts = ask(executable, caller).await?;
                if let Ok(text) = serde_json::to_vec(&facts) {
                    find::keep(&kept, &text);
                }
                facts
            }
        };
        let found = Arc::new(Known { facts, stored: Mutex::default() });
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_KNOWN {
            known.clear();
        }
        known.insert(key, Arc::clone(&found));
        Ok(found)
    }

    /// The description of `found`, stored as a blob.
    pub(super) async fn describe(
        &self,
        found: &Found,
        caller: &CallerEnv,
    ) -> Result<Described, EnvError> {
        let known = self.facts(&found.executable, caller).await?;
        let key = (found.kind, found.lock.clone());
        // Thousands of packages are not gone through for every step.
        let mut stored = known.stored.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(described) = stored.get(&key) {
            return Ok(described.clone());
        }
        let facts = known.facts.clone();
        let package = |(name, version): (String, String)| Package { name, version };
        let described = self.store(Environment {
            python: facts.version,
            python_implementation: facts.implementation,
            python_executable: found.executable.to_string_lossy().into_owned(),
            packages: facts.packages.into_iter().map(package).collect(),
            kind: found.kind.to_owned(),
            lock: found.lock.clone(),
            ..self.host.clone()
        })?;
        if stored.len() >= MAX_KNOWN {
            stored.clear();
        }
        stored.insert(key, described.clone());
        Ok(described)
    }

    /// The description of this machine, stored as a blob.
    pub(super) fn host(&self) -> Result<Described, EnvError> {
        self.store(self.host.clone())
    }

    fn store(&self, message: Environment) -> Result<Described, EnvError> {
        let bytes = message.encode_to_vec();
        let key = blake3::hash(&bytes);
        let known = |known: &HashMap<_, Described>| known.get(&key).cloned();
        if let Some(found) = known(&self.described.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(found);
        }
        let digest = (self.put)(&bytes).map_err(EnvError::io(&self.cache))?;
        let described = Described { message: message.into(), digest };
        let mut known = self.described.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_KNOWN {
            known.clear();
        }
        known.insert(key, described.clone());
        Ok(described)
    }
}

/// Changes whenever another interpreter may be meant.
fn identity(executable: &Path, caller: &CallerEnv) -> blake3::Hash {
    let mut hash = blake3::Hasher::new();
    hash.update(PROGRAM.as_bytes()).update(executable.as_os_str().as_encoded_bytes());
    let config = executable.parent().and_then(Path::parent).map(|root| root.join("pyvenv.cfg"));
    for path in [Some(executable.to_owned()), config].into_iter().flatten() {
        let meta = fs::metadata(path);
        let stamp = meta.map(|m| (m.dev(), m.ino(), m.size(), m.mtime(), m.mtime_nsec()));
        hash.update(format!("\0{:?}", stamp.ok()).as_bytes());
    }
    for name in VARIABLES {
        hash.update(b"\0").update(variable(caller, name).unwrap_or_default().as_encoded_bytes());
    }
    hash.finalize()
}

async fn ask(executable: &Path, caller: &CallerEnv) -> Result<Facts, EnvError> {
    let mut command = child::command(executable, caller, Path::new("/"));
    command.arg("-c").arg(PROGRAM).env("PYTHONIOENCODING", "utf-8");
    let said = Mutex::new(None);
    let line = |line: &str| {
        if let Some(text) = line.strip_prefix("windlass: ") {
            *said.lock().unwrap_or_else(PoisonError::into_inner) = Some(text.to_owned());
        }
    };
    let fail = |reason: String| EnvError::Describe { executable: executable.to_owned(), reason };
    let ended = child::run(command, DESCRIBE_LIMIT, line).await;
    let ended = ended.map_err(|error| fail(error.to_string()))?;
    let said = said.into_inner().unwrap_or_else(PoisonError::into_inner);
    let said = said.ok_or_else(|| fail(format!("{}: {}", ended.status, ended.tail)))?;
    let mut facts: Facts = serde_json::from_str(&said).map_err(|error| fail(error.to_string()))?;
    facts.changed = changed(&facts.directories);
    Ok(facts)
}
