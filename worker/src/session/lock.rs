use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    path::Path,
    time::Duration,
};

use rustix::fs::{FlockOperation, flock};
use tokio::time::{Instant, sleep};

/// How long to wait for another worker that may be about to leave.
const PATIENCE: Duration = Duration::from_secs(3);

/// Pause between two tries.
const PAUSE: Duration = Duration::from_millis(25);

/// Takes the lock of the home's one worker and writes this process's id into it; `None` where another
/// keeps it. It is held as long as the file is open.
pub(crate) async fn take_lock(path: &Path) -> io::Result<Option<File>> {
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
                return Ok(Some(file));
            }
            Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < deadline => sleep(PAUSE).await,
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        }
    }
}
