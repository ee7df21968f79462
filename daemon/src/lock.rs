//! Makes sure that a home has one daemon.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::fs::FlockOperation;
use tokio::{net::UnixListener, time::sleep};
use windlass_core::Home;

use crate::home::{HomeError, discard_sockets, prepare_sockets};

/// How often the holder looks whether its file is still the one that others would lock.
const LOOK: Duration = Duration::from_secs(1);

/// Longest content of a lock file that is read back.
const MAX_LOCK_BYTES: u64 = 256;

/// The one daemon's hold on its home; let go when dropped, or when the process dies.
#[derive(Debug)]
pub struct HomeLock {
    /// Open, and thereby locked.
    file: File,
    home: Home,
}

/// True where `file` is what lies at `path`. While it is open, nothing else has its inode.
pub(crate) fn is_at(file: &File, path: &Path) -> bool {
    let Ok(ours) = file.metadata() else { return true };
    match fs::metadata(path) {
        Ok(there) => (there.dev(), there.ino()) == (ours.dev(), ours.ino()),
        Err(error) => {
            !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
        }
    }
}

/// Why the home could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error("a daemon is already running for {home} (pid {pid})")]
    Held { home: PathBuf, pid: String },
    #[error("cannot use {path}")]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Home(#[from] HomeError),
}

impl HomeLock {
    /// Takes the home, without waiting. The home must be prepared.
    pub fn acquire(home: &Home) -> Result<Self, LockError> {
        let path = home.daemon_lock();
        let io = |source: io::Error| LockError::Io { path: path.clone(), source };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = options.open(&path).map_err(io)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut text = String::new();
                (&file).take(MAX_LOCK_BYTES).read_to_string(&mut text).map_err(io)?;
                let pid = text.lines().next().unwrap_or("unknown").to_owned();
                return Err(LockError::Held { home: home.root().to_owned(), pid });
            }
            Err(errno) => return Err(io(errno.into())),
        }
        let text = format!("{}\n{}\n", std::process::id(), env!("CARGO_PKG_VERSION"));
        file.set_len(0).and_then(|()| file.rewind()).map_err(io)?;
        file.write_all(text.as_bytes()).map_err(io)?;
        Ok(Self { file, home: home.clone() })
    }

    /// Listens on the home's socket, in place of whatever a daemon that died left there.
    pub fn listen(&self) -> Result<UnixListener, LockError> {
        // The daemon before us may just have taken it away.
        prepare_sockets(&self.home)?;
        let path = self.home.daemon_socket();
        let io = |source: io::Error| LockError::Io { path: path.clone(), source };
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io(error)),
            _ => {}
        }
        // Nobody else gets past the directory's 0700 before the mode is set.
        let listener = UnixListener::bind(&path).map_err(io)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).map_err(io)?;
        Ok(listener)
    }

    /// False where the home was removed, or made anew: then another daemon can have its lock.
    pub fn is_ours(&self) -> bool {
        is_at(&self.file, &self.home.daemon_lock())
    }

    /// Waits until the lock is worth nothing any more.
    pub async fn lost(&self) {
        while self.is_ours() {
            sleep(LOOK).await;
        }
    }

    /// Takes the socket away, unless it is another daemon's by now, and lets go of the home.
    pub fn release(self) {
        let path = self.home.daemon_socket();
        if self.is_ours() {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(%error, "cannot remove {}", path.display());
                }
                _ => discard_sockets(&self.home),
            }
        }
        drop(self.file);
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Barrier, thread};

    use super::*;
    use crate::home::{Places, locate_home, prepare};

    fn home(dir: &tempfile::TempDir) -> Home {
        let home = locate_home(Some(dir.path().join("home")), &Places::default()).unwrap();
        prepare(&home).unwrap();
        home
    }

    #[test]
    fn of_many_starters_one_wins_and_the_rest_learn_its_pid() {
        let dir = tempfile::tempdir().unwrap();
        let (home, barrier) = (home(&dir), Barrier::new(8));
        let results: Vec<_> = thread::scope(|scope| {
            let starters: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        barrier.wait();
                        HomeLock::acquire(&home)
                    })
                })
                .collect();
            starters.into_iter().map(|starter| starter.join().unwrap()).collect()
        });
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
        // The losers of the very first moment may have read the file before the winner wrote.
        let error = HomeLock::acquire(&home).unwrap_err().to_string();
        assert!(error.ends_with(&format!("(pid {})", std::process::id())), "{error}");
        drop(results);
        HomeLock::acquire(&home).unwrap();
    }

    #[test]
    fn another_process_holds_the_lock_until_it_dies() {
        let dir = tempfile::tempdir().unwrap();
        let home = home(&dir);
        let script = "exec 9>>\"$0\"; flock -x 9; echo 4711 >\"$0\"; echo held; read line";
        let mut holder = std::process::Command::new("sh")
            .args(["-c", script])
            .arg(home.daemon_lock())
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut held = [0; 5];
        holder.stdout.as_mut().unwrap().read_exact(&mut held).unwrap();

        let error = HomeLock::acquire(&home).unwrap_err();
        assert!(matches!(error, LockError::Held { pid, .. } if pid == "4711"));

        holder.kill().unwrap();
        holder.wait().unwrap();
        HomeLock::acquire(&home).unwrap();
    }

    #[tokio::test]
    async fn the_socket_is_private_and_a_stale_one_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let home = home(&dir);
        let lock = HomeLock::acquire(&home).unwrap();
        drop(lock.listen().unwrap());
        assert!(home.daemon_socket().exists(), "a dead daemon leaves its socket");

        let _listener = lock.listen().unwrap();
        let mode = fs::metadata(home.daemon_socket()).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
        lock.release();
        assert!(!home.daemon_socket().exists());
    }

    #[tokio::test]
    async fn a_daemon_of_a_home_made_anew_loses_nothing_to_the_old_one() {
        let dir = tempfile::tempdir().unwrap();
        let home = home(&dir);
        let old = HomeLock::acquire(&home).unwrap();
        assert!(old.is_ours());

        fs::remove_dir_all(home.root()).unwrap();
        old.lost().await;
        prepare(&home).unwrap();
        let new = HomeLock::acquire(&home).unwrap();
        let _listener = new.listen().unwrap();
        old.lost().await;
        old.release();

        assert!(new.is_ours() && home.daemon_socket().exists());
    }

    #[tokio::test]
    async fn a_home_with_a_long_path_has_a_working_socket() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("x".repeat(100)).join("y".repeat(100));
        let runtime = dir.path().join("short");
        fs::create_dir(&runtime).unwrap();
        let places = Places { runtime_dir: Some(runtime.into()), ..Places::default() };
        let home = locate_home(Some(root), &places).unwrap();
        prepare(&home).unwrap();
        let lock = HomeLock::acquire(&home).unwrap();
        let _listener = lock.listen().unwrap();
        tokio::net::UnixStream::connect(home.daemon_socket()).await.unwrap();

        lock.release();
        assert!(!home.sockets().exists(), "nothing of the home stays elsewhere");
        let lock = HomeLock::acquire(&home).unwrap();
        let _listener = lock.listen().unwrap();
        lock.release();
    }
}
