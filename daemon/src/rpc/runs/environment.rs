//! What is kept of a caller's environment: values in a private file while the run lasts, names
//! with keyed digests for ever.

use std::{
    collections::HashMap,
    fs,
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use prost::{Message, bytes::Bytes};
use windlass_core::RunId;

use crate::{
    engine::{CallerVariables, RunShared},
    store::{keys::random_key, records::CallerEnvironment},
};

/// Bytes of a keyed digest that are recorded.
const DIGEST_BYTES: usize = 16;

/// Keeps callers' environments. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Environments {
    dir: Arc<Path>,
    key: [u8; 32],
}

impl Environments {
    /// The private files in `dir`, mode 0700; the key of the digests lies beside it, made once.
    pub(crate) fn open(dir: &Path, key_file: &Path) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let key = match fs::read(key_file) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                write_private(key_file, &random_key())?;
                fs::read(key_file)?
            }
            Err(error) => return Err(error),
        };
        let bad = |_| io::Error::new(io::ErrorKind::InvalidData, "the key has not 32 bytes");
        Ok(Self { dir: dir.into(), key: key.as_slice().try_into().map_err(bad)? })
    }

    /// Name and keyed digest of each variable.
    pub(super) fn digests(&self, variables: &HashMap<String, Bytes>) -> HashMap<String, String> {
        let digest = |name: &str, value: &[u8]| {
            let mut hasher = blake3::Hasher::new_keyed(&self.key);
            hasher.update(name.as_bytes()).update(b"=").update(value);
            hasher.finalize().as_bytes()[..DIGEST_BYTES]
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect()
        };
        variables.iter().map(|(name, value)| (name.clone(), digest(name, value))).collect()
    }

    /// Writes the private file of a run, before the run is created. Blocks.
    pub(super) fn save(&self, run: RunId, variables: &CallerVariables) -> io::Result<()> {
        let whole = CallerEnvironment { whole: true, ..variables.as_ref().clone() };
        write_private(&self.file(run), &whole.encode_to_vec())
    }

    /// Removes the private file of a run that was not created after all. Blocks.
    pub(super) fn discard(&self, run: RunId) {
        if let Err(error) = fs::remove_file(self.file(run)) {
            tracing::debug!(%run, %error, "no private file to remove");
        }
    }

    /// The variables of a run: at hand, or out of its private file.
    pub(crate) async fn of(&self, run: &RunShared) -> io::Result<CallerVariables> {
        if let Some(variables) = run.environment.get() {
            return Ok(Arc::clone(variables));
        }
        if !run.has_environment {
            return Ok(CallerVariables::default());
        }
        let file = self.file(run.run);
        let read = tokio::task::spawn_blocking(move || {
            let bytes = fs::read(file)?;
            let message = CallerEnvironment::decode(bytes.as_slice())?;
            let bad = || io::Error::new(io::ErrorKind::UnexpectedEof, "the file is not whole");
            if message.whole { Ok(Arc::new(message)) } else { Err(bad()) }
        });
        let variables = read.await??;
        Ok(Arc::clone(run.environment.get_or_init(|| variables)))
    }

    fn file(&self, run: RunId) -> PathBuf {
        self.dir.join(run.to_string())
    }
}

/// Writes a file of mode 0600 that appears whole.
fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let tmp = path.with_extension("tmp");
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&tmp)?;
    file.write_all(bytes)?;
    drop(file);
    fs::rename(&tmp, path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn digests_depend_on_the_home_and_the_file_is_private() {
        let home = tempfile::tempdir().unwrap();
        let open = |name: &str| {
            let dir = home.path().join(name);
            fs::create_dir_all(&dir).unwrap();
            Environments::open(&dir.join("env"), &dir.join("key")).unwrap()
        };
        let variables = HashMap::from([("A".to_owned(), Bytes::from_static(b"secret"))]);
        let (one, again, other) = (open("one"), open("one"), open("other"));
        assert_eq!(one.digests(&variables), again.digests(&variables));
        assert_ne!(one.digests(&variables), other.digests(&variables));
        let run = RunId(uuid::Uuid::from_u128(7));
        let secrets = HashMap::new();
        one.save(run, &Arc::new(CallerEnvironment { variables, secrets, whole: false })).unwrap();
        let mode = fs::metadata(one.file(run)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        one.discard(run);
        assert!(!one.file(run).exists());
    }
}
