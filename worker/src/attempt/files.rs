use std::{
    fs, io,
    path::{Path, PathBuf},
};

use prost::Message;
use serde::{Deserialize, Serialize};
use windlass_core::LeaseId;
use windlass_proto::{parse_lease, worker::v1::AttemptLease};

use crate::record;

/// The directory of one attempt: `work/attempts/LEASE/`.
#[derive(Clone, Debug)]
pub(crate) struct AttemptDir {
    root: PathBuf,
}

/// What a later worker must know of an attempt that was started; kept as `prepared.json`, which
/// is written before the start, so that without it nothing can have run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Prepared {
    pub(crate) argv: Vec<String>,
    pub(crate) environment_digest: String,
    /// The keeper that the order to start it was meant for.
    #[serde(default)]
    pub(crate) keeper: String,
}

impl AttemptDir {
    /// Directory of all attempts below `work`.
    pub(crate) fn all(work: &Path) -> PathBuf {
        work.join("attempts")
    }

    /// The place of an attempt; nothing is touched.
    pub(crate) fn new(work: &Path, lease: LeaseId) -> Self {
        Self { root: Self::all(work).join(lease.to_string()) }
    }

    /// Makes the directory and keeps the lease in it, without the caller's variables.
    pub(crate) fn create(&self, lease: &AttemptLease) -> io::Result<()> {
        match fs::create_dir(&self.root) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(&self.root)?;
            }
            // It served an attempt before and was emptied.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            result => result?,
        }
        let mut kept = AttemptLease { lease: lease.lease.clone(), task: None };
        kept.task = lease.task.as_ref().map(|task| windlass_proto::worker::v1::Task {
            caller_env: std::collections::HashMap::new(),
            ..task.clone()
        });
        // Its length stands before it: half a message might pass for one.
        let mut bytes = Vec::with_capacity(kept.encoded_len() + 4);
        bytes.extend_from_slice(&u32::try_from(kept.encoded_len()).unwrap_or(0).to_le_bytes());
        bytes.extend_from_slice(&kept.encode_to_vec());
        record::write(&self.root.join("lease"), &bytes)
    }

    /// Reads the lease of an attempt of an earlier worker; `None` where there is none in full.
    pub(crate) fn lease(&self) -> Option<AttemptLease> {
        let bytes = fs::read(self.root.join("lease")).ok()?;
        let (len, message) = bytes.split_first_chunk::<4>()?;
        if usize::try_from(u32::from_le_bytes(*len)).ok()? != message.len() {
            return None;
        }
        let lease = AttemptLease::decode(message).ok()?;
        let (_, _, _, id) = parse_lease(lease.lease.as_ref()).ok()?;
        let same = self.root.file_name().is_some_and(|name| *name == *id.to_string());
        (same && lease.task.is_some()).then_some(lease)
    }

    pub(crate) fn set_prepared(&self, prepared: &Prepared) -> io::Result<()> {
        record::write(&self.root.join("prepared.json"), &serde_json::to_vec(prepared)?)
    }

    /// `None` where it is not there in full: then nothing was started.
    pub(crate) fn prepared(&self) -> Option<Prepared> {
        serde_json::from_slice(&fs::read(self.root.join("prepared.json")).ok()?).ok()
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// What step and worker exchange.
    pub(crate) fn io(&self) -> PathBuf {
        self.root.join("io")
    }

    /// Files of the step contract.
    pub(crate) fn params(&self) -> PathBuf {
        self.root.join("io/params.json")
    }

    pub(crate) fn inputs(&self) -> PathBuf {
        self.root.join("io/inputs")
    }

    pub(crate) fn outputs(&self) -> PathBuf {
        self.root.join("io/outputs")
    }

    pub(crate) fn out(&self) -> PathBuf {
        self.root.join("io/out")
    }

    pub(crate) fn metrics(&self) -> PathBuf {
        self.root.join("io/metrics")
    }

    /// Spool of a log: `stdout`, `stderr` or `system`.
    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }
}

#[cfg(test)]
mod tests {
    use windlass_core::{AttemptNumber, RunId};
    use windlass_proto::worker::v1::{LeaseProof, Task};

    use super::*;

    #[test]
    fn lease_is_kept_without_the_callers_variables() {
        let work = tempfile::tempdir().unwrap();
        let id = LeaseId([7; 16]);
        let dir = AttemptDir::new(work.path(), id);
        let attempt = windlass_proto::attempt_ref(
            RunId(uuid::Uuid::now_v7()),
            &"train".parse().unwrap(),
            AttemptNumber(1),
        );
        let proof = LeaseProof { attempt: Some(attempt), lease_id: id.0.to_vec().into() };
        let task = Task { snapshot: "ab".into(), ..Task::default() };
        let mut secret = task.clone();
        secret.caller_env.insert("TOKEN".into(), b"hunter2".to_vec().into());
        let lease = AttemptLease { lease: Some(proof.clone()), task: Some(secret) };

        dir.create(&lease).unwrap();

        let kept = AttemptLease { lease: Some(proof), task: Some(task) };
        assert_eq!(dir.lease(), Some(kept));
        assert_eq!(dir.prepared(), None);
    }

    #[test]
    fn torn_or_foreign_lease_is_none() {
        let work = tempfile::tempdir().unwrap();
        let dir = AttemptDir::new(work.path(), LeaseId([7; 16]));
        fs::create_dir_all(dir.root()).unwrap();
        assert_eq!(dir.lease(), None);
        for torn in [&b"\xff\xff"[..], b"\0\0\0\0", b"\x05\0\0\0\x0a\0"] {
            fs::write(dir.root().join("lease"), torn).unwrap();
            assert_eq!(dir.lease(), None);
        }
    }
}
