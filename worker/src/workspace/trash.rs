use std::{
    ffi::OsStr,
    fs, io,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
};

use rustix::fs::FileType;

use super::{WorkspaceError, discard::remove, listing::Listing};

/// Most directories that wait for their removal; whoever throws away more removes them at once.
const QUEUE_LEN: usize = 256;

/// Most attempt directories kept for later attempts.
const MAX_IDLE: usize = 16;

/// What the owner must still be allowed in a directory that serves again.
const OWNER_ALL: u32 = 0o700;

/// What the owner must still be allowed in a record there.
const OWNER_WRITES: u32 = 0o600;

/// Files that every attempt writes anew, and that say whose they are where that matters. They are
/// not removed: ext4 looks long for an inode where many were freed within the last seconds.
const RECORDS: [&str; 5] = ["lease", "exit.json", "io/params.json", "io/request", "io/results"];

/// Most files beside those that are removed one by one so that a directory may serve again.
const MAX_LEFT: usize = 16;

/// What the directory of an attempt without files of outputs, inputs and logs holds.
const BARE: [(&str, &[&str]); 4] = [
    ("", &["io", "lease", "exit.json"]),
    ("io", &["inputs", "outputs", "params.json", "request", "results"]),
    ("io/inputs", &[]),
    ("io/outputs", &[]),
];

/// Where directories go that nobody needs any more. They are renamed at once and removed by a
/// thread: removing a dozen directories can wait for a journal, and no step should.
#[derive(Debug)]
pub(super) struct Trash {
    dir: PathBuf,
    next: AtomicU64,
    idle: Idle,
    /// Until this is dropped.
    work: Option<(SyncSender<PathBuf>, JoinHandle<()>)>,
}

/// Emptied directories of attempts: making and removing five directories costs more than the
/// rest of a small step.
type Idle = Arc<Mutex<Vec<PathBuf>>>;

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
        let idle = Idle::default();
        let emptied = Arc::clone(&idle);
        let thread = thread.spawn(move || work(left, &receive, &emptied)).map_err(at())?;
        Ok(Self { dir, next: AtomicU64::new(0), idle, work: Some((send, thread)) })
    }

    /// Puts the emptied directory of an earlier attempt at `to`; false where there is none.
    pub(super) fn recycle(&self, to: &Path) -> bool {
        let taken = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        taken.is_some_and(|idle| fs::rename(idle, to).is_ok())
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

fn work(left: Vec<PathBuf>, queue: &Receiver<PathBuf>, idle: &Idle) {
    for path in left {
        remove_or_warn(&path);
    }
    for path in queue {
        let room = || idle.lock().map_or(0, |idle| MAX_IDLE.saturating_sub(idle.len()));
        if room() > 0 && empty(&path).unwrap_or(false) {
            idle.lock().unwrap_or_else(PoisonError::into_inner).push(path);
        } else {
            remove_or_warn(&path);
        }
    }
    for path in idle.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
        remove_or_warn(&path);
    }
}

fn remove_or_warn(path: &Path) {
    if let Err(error) = remove(path) {
        tracing::warn!(path = %path.display(), %error, "a directory stays until the next start");
    }
}

/// Empties the directory of an attempt of all but its records; false where its step left more than
/// a few files in it.
fn empty(path: &Path) -> io::Result<bool> {
    let mut left = Vec::new();
    for (dir, may_hold) in BARE {
        let dir = path.join(dir);
        let listing = Listing::open(&dir)?;
        if listing.mode()? & OWNER_ALL != OWNER_ALL {
            return Ok(false);
        }
        let served = listing.all(|name, kind| {
            if may_hold.iter().any(|may| name == may.as_bytes()) {
                return true;
            }
            left.push(dir.join(OsStr::from_bytes(name)));
            left.len() <= MAX_LEFT && kind == FileType::RegularFile
        })?;
        if !served {
            return Ok(false);
        }
    }
    for file in left {
        fs::remove_file(file)?;
    }
    for record in RECORDS {
        let file = path.join(record);
        match fs::symlink_metadata(&file) {
            // A step may have put a link of any kind in its place.
            Ok(meta) if !meta.is_file() || meta.nlink() != 1 => return Ok(false),
            Ok(meta) if meta.mode() & OWNER_WRITES != OWNER_WRITES => return Ok(false),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}
