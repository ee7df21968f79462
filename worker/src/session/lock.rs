use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::fs::{FlockOperation, flock};
use tokio::time::{Instant, sleep};

/// How long to wait for another worker that may be about to leave.
const PATIENCE: Duration = Duration::from_secs(3);

/// Pause between two tries.
const PAUSE: Duration = Duration::from_millis(25);

/// How often the holder looks whether its file is still the one that others would lock.
const LOOK: Duration = Duration::from_secs(1);

/// The hold of one worker on its home; let go when dropped, or when the process dies.
#[derive(Debug)]
pub(crate) struct WorkerLock {
    /// Open, and thereby locked; while it is, nothing else has its inode.
    file: File,
    path: PathBuf,
}

impl WorkerLock {
    /// False where the home was removed, or made anew: then another worker can have its lock.
    pub(crate) fn is_ours(&self) -> bool {
        let Ok(ours) = self.file.metadata() else { return true };
        match std::fs::metadata(&self.path) {
            Ok(there) => (there.dev(), there.ino()) == (ours.dev(), ours.ino()),
            Err(error) => {
                !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
            }
        }
    }

    /// Waits until the lock is worth nothing any more.
    pub(crate) async fn lost(&self) {
        while self.is_ours() {
            sleep(LOOK).await;
        }
    }
}

/// Takes the lock of the home's one worker and writes this process's id into it; `None` where another
/// keeps it.
pub(crate) async fn take_lock(path: &Path) -> io::Result<Option<WorkerLock>> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir)?;
    }
    let mut file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {
                file.set_len(0)?;
                write!(file, "{}", std::process::id())?;
                return Ok(Some(WorkerLock { file, path: path.to_owned() }));
            }
            Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < deadline => sleep(PAUSE).await,
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_lock_in_a_home_made_anew_is_another() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/worker.lock");
        let old = take_lock(&path).await.unwrap().unwrap();
        assert!(old.is_ours());

        std::fs::remove_dir_all(dir.path().join("run")).unwrap();
        assert!(!old.is_ours(), "removed");
        let new = take_lock(&path).await.unwrap().unwrap();
        assert!(!old.is_ours() && new.is_ours(), "made anew");

        old.lost().await;
    }
}
