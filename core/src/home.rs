use std::path::{Path, PathBuf};

/// Longest path of a Unix socket that every system takes, in bytes.
const MAX_SOCKET_PATH: usize = 107;

/// Where everything of one daemon lies. Names only: nothing is touched.
#[derive(Clone, Debug)]
pub struct Home {
    root: PathBuf,
    sockets: PathBuf,
}

impl Home {
    /// The home at `root`, an absolute path. Where its sockets' paths would be too long for the
    /// system, they lie in `short/windlass-KEY` instead, where `key` comes from `root`.
    pub fn new(root: PathBuf, short: &Path, key: &str) -> Self {
        let run = root.join("run");
        let long = run.join("daemon.sock").as_os_str().len() > MAX_SOCKET_PATH;
        let sockets = if long { short.join(format!("windlass-{key}")) } else { run };
        Self { root, sockets }
    }

    /// The home itself, mode 0700.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The database of runs.
    pub fn database(&self) -> PathBuf {
        self.root.join("windlass.db")
    }

    /// Content-addressed files.
    pub fn blobs(&self) -> PathBuf {
        self.root.join("blobs")
    }

    /// Log segments, one directory a run, and what the services themselves log.
    pub fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    /// Working directories of attempts.
    pub fn work(&self) -> PathBuf {
        self.root.join("work")
    }

    /// Built environments.
    pub fn envs(&self) -> PathBuf {
        self.root.join("envs")
    }

    /// Facts that can be found again: file digests by size and time, descriptions of interpreters.
    pub fn cache(&self) -> PathBuf {
        self.root.join("cache")
    }

    /// Locks, and private files of live runs, mode 0700.
    pub fn run(&self) -> PathBuf {
        self.root.join("run")
    }

    /// Directory of the sockets: `run`, or a shorter place.
    pub fn sockets(&self) -> &Path {
        &self.sockets
    }

    /// The daemon's socket, mode 0600.
    pub fn daemon_socket(&self) -> PathBuf {
        self.sockets.join("daemon.sock")
    }

    /// The keeper's socket of the worker of that name.
    pub fn keeper_socket(&self) -> PathBuf {
        self.sockets.join("keeper.sock")
    }

    /// Held by the one daemon of this home.
    pub fn daemon_lock(&self) -> PathBuf {
        self.run().join("daemon.lock")
    }

    /// Held by the one local worker of this home.
    pub fn worker_lock(&self) -> PathBuf {
        self.run().join("worker.lock")
    }

    /// Environment variables of the callers of live runs, a private file each.
    pub fn caller_environments(&self) -> PathBuf {
        self.run().join("env")
    }
}
