use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
};

use super::{WorkspaceError, discard::remove};

/// Most directories that wait for their removal; whoever throws away more removes them at once.
const QUEUE_LEN: usize = 256;

/// Where directories go that nobody needs any more. They are renamed at once and removed by a
/// thread: removing a dozen directories can wait for a journal, and no step should.
#[derive(Debug)]
pub(super) struct Trash {
    dir: PathBuf,
    next: AtomicU64,
    /// Until this is dropped.
    work: Option<(SyncSender<PathBuf>, JoinHandle<()>)>,
}

impl Trash {
    /// The trash in `dir`, with whatever a process before this one could not remove.
    pub(super) fn open(dir: PathBuf) -> Result<Self, WorkspaceError> {
        let at = || WorkspaceError::at(&dir);
        fs::create_dir_all(&dir).map_err(at())?;
        let left: io::Result<Vec<_>> =
            fs::read_dir(&dir).map_err(at())?.map(|entry| Ok(entry?.path())).collect();
        let left = left.map_err(at())?;
        let (send, receive) = sync_channel(QUEUE_LEN);
        let thread = thread::Builder::new().name("trash".into());
        let thread = thread.spawn(move || work(left, &receive)).map_err(at())?;
        Ok(Self { dir, next: AtomicU64::new(0), work: Some((send, thread)) })
    }

    /// Takes `path` away, together with what is mounted below. One that is gone is no error.
    pub(super) fn throw(&self, path: &Path) -> Result<(), WorkspaceError> {
        let Some((queue, _)) = &self.work else { return remove(path) };
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let to = self.dir.join(format!("{}-{number}", rustix::process::getpid().as_raw_nonzero()));
        match fs::rename(path, &to) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(_) => return remove(path),
        }
        queue.try_send(to).or_else(|full| match full {
            std::sync::mpsc::TrySendError::Full(to)
            | std::sync::mpsc::TrySendError::Disconnected(to) => remove(&to),
        })
    }
}

impl Drop for Trash {
    /// Waits until everything is gone.
    fn drop(&mut self) {
        let Some((queue, thread)) = self.work.take() else { return };
        drop(queue);
        if thread.join().is_err() {
            tracing::error!("the thread that removes directories panicked");
        }
    }
}

fn work(left: Vec<PathBuf>, queue: &Receiver<PathBuf>) {
    for path in left.into_iter().chain(queue) {
        if let Err(error) = remove(&path) {
            tracing::warn!(path = %path.display(), %error, "a directory stays until the next start");
        }
    }
}
