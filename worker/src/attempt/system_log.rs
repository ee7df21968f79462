use std::{
    fs::{File, OpenOptions},
    io::Write,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use windlass_core::LeaseId;
use windlass_proto::common::v1::LogStream;

use crate::session::Daemon;

/// What Windlass itself says about an attempt, for people: a log like stdout and stderr.
#[derive(Clone)]
pub(crate) struct SystemLog {
    shared: Arc<Shared>,
}

struct Shared {
    path: PathBuf,
    lease: LeaseId,
    daemon: Arc<dyn Daemon>,
    /// Opened with the first line, behind what an earlier worker said.
    file: Mutex<Option<File>>,
}

impl SystemLog {
    pub(super) fn new(path: PathBuf, lease: LeaseId, daemon: Arc<dyn Daemon>) -> Self {
        Self { shared: Arc::new(Shared { path, lease, daemon, file: Mutex::default() }) }
    }

    /// Adds a line.
    pub(crate) fn say(&self, line: &str) {
        let Shared { path, lease, daemon, file } = &*self.shared;
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        let result = (|| {
            let file = match &mut *file {
                Some(file) => file,
                None => file.insert(OpenOptions::new().create(true).append(true).open(path)?),
            };
            file.write_all(format!("{}\n", line.trim_end()).as_bytes())?;
            Ok::<_, std::io::Error>(file.metadata()?.len())
        })();
        match result {
            Ok(size) => daemon.log_grew(*lease, LogStream::System, size),
            Err(error) => tracing::warn!(%error, line, "failed to keep a line of the system log"),
        }
    }

    /// Bytes said so far, by whichever worker.
    pub(super) fn size(&self) -> u64 {
        std::fs::metadata(&self.shared.path).map_or(0, |meta| meta.len())
    }
}
