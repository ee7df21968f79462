use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
};

use prost::Message;
use serde::{Deserialize, Serialize};
use windlass_core::LeaseId;
use windlass_proto::{
    parse_lease,
    worker::v1::{AttemptLease, LeaseProof, Task, TaskArg},
};

use crate::record;

/// The directory of one attempt: `work/attempts/LEASE/`.
#[derive(Clone, Debug)]
pub(crate) struct AttemptDir {
    root: PathBuf,
}

/// What a later worker must know of an attempt that was started, beside its lease.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Prepared {
    pub(crate) argv: Vec<String>,
    pub(crate) environment_digest: String,
    /// The keeper that the order to start it was meant for.
    #[serde(default)]
    pub(crate) keeper: String,
    /// Where its working directory hangs; none for copies.
    pub(crate) space: Option<PathBuf>,
    /// Something is to be masked in all that is kept of it.
    #[serde(default)]
    pub(crate) masked: bool,
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

    /// Makes the directory, with those of the step contract.
    pub(crate) fn create(&self) -> io::Result<()> {
        match fs::create_dir(&self.root) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(&self.root)?;
            }
            result => result?,
        }
        [self.io(), self.inputs(), self.outputs()].into_iter().try_for_each(fs::create_dir)
    }

    /// Notes down what is about to be started, in the file `lease`: proof and task, without the
    /// caller's variables, and what else a later worker must know. Without it in full nothing of
    /// the attempt can have run.
    pub(crate) fn keep(
        &self,
        proof: Option<&LeaseProof>,
        task: &Task,
        prepared: &Prepared,
    ) -> io::Result<()> {
        let task = Task {
            caller_env: HashMap::new(),
            secrets: HashMap::new(),
            masks: Vec::new(),
            args: without(&task.args, &task.secret_args),
            ..task.clone()
        };
        let kept = AttemptLease { lease: proof.cloned(), task: Some(task) };
        // Its length stands before it, for half a message might pass for one; half of the JSON
        // behind it does not.
        let mut bytes = Vec::with_capacity(kept.encoded_len() + 512);
        bytes.extend_from_slice(&u32::try_from(kept.encoded_len()).unwrap_or(0).to_le_bytes());
        kept.encode(&mut bytes)?;
        serde_json::to_writer(&mut bytes, prepared)?;
        record::write(&self.root.join("lease"), &bytes)
    }

    /// Reads what an earlier worker noted down; `None` where it is not there in full, or of an
    /// attempt that the directory served before.
    pub(crate) fn kept(&self) -> Option<(AttemptLease, Prepared)> {
        let bytes = fs::read(self.root.join("lease")).ok()?;
        let (len, rest) = bytes.split_first_chunk::<4>()?;
        let (message, json) = rest.split_at_checked(u32::from_le_bytes(*len).try_into().ok()?)?;
        let lease = AttemptLease::decode(message).ok()?;
        let (_, _, _, id) = parse_lease(lease.lease.as_ref()).ok()?;
        let same = self.root.file_name().is_some_and(|name| *name == *id.to_string());
        let prepared = serde_json::from_slice(json).ok()?;
        (same && lease.task.is_some()).then_some((lease, prepared))
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

/// The arguments but those of these names.
fn without(args: &[TaskArg], secret: &[String]) -> Vec<TaskArg> {
    args.iter().filter(|arg| !secret.contains(&arg.name)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use windlass_core::{AttemptNumber, RunId};

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
        let prepared = Prepared { argv: vec!["x".into()], ..Prepared::default() };

        dir.create().unwrap();
        assert_eq!(dir.kept(), None);
        dir.keep(Some(&proof), &secret, &prepared).unwrap();

        let kept = AttemptLease { lease: Some(proof), task: Some(task) };
        assert_eq!(dir.kept(), Some((kept, prepared)));
        let next = AttemptDir::new(work.path(), LeaseId([8; 16]));
        fs::rename(dir.root(), next.root()).unwrap();
        assert_eq!(next.kept(), None, "it names the attempt before");
    }

    #[test]
    fn torn_or_foreign_lease_is_none() {
        let work = tempfile::tempdir().unwrap();
        let dir = AttemptDir::new(work.path(), LeaseId([7; 16]));
        fs::create_dir_all(dir.root()).unwrap();
        assert_eq!(dir.kept(), None);
        for torn in [&b"\xff\xff"[..], b"\0\0\0\0", b"\x05\0\0\0\x0a\0"] {
            fs::write(dir.root().join("lease"), torn).unwrap();
            assert_eq!(dir.kept(), None);
        }
    }
}
