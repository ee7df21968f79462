use std::{
    fs::{File, OpenOptions},
    io::Write,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use windlass_core::LeaseId;
use windlass_proto::common::v1::LogStream;

use crate::{mask::Masks, session::Daemon};

/// What Windlass itself says about an attempt, for people: a log like stdout and stderr.
#[derive(Clone)]
pub(crate) struct SystemLog {
    shared: Arc<Shared>,
}

struct Shared {
    path: PathBuf,
    lease: LeaseId,
    daemon: Arc<dyn Daemon>,
    masks: Option<Arc<Masks>>,
    /// Opened with the first line, behind what an earlier worker said.
    file: Mutex<Option<File>>,
}

impl SystemLog {
    /// A log at `path`; what `masks` know does not come into it.
    pub(super) fn new(
        path: PathBuf,
        lease: LeaseId,
        daemon: Arc<dyn Daemon>,
        masks: Option<Arc<Masks>>,
    ) -> Self {
        Self { shared: Arc::new(Shared { path, lease, daemon, masks, file: Mutex::default() }) }
    }

    /// Adds a line.
    pub(crate) fn say(&self, line: &str) {
        let Shared { path, lease, daemon, masks, file } = &*self.shared;
        let line = &super::prepare::masked(masks.as_ref(), line);
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
