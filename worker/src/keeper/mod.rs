//! The small process that owns the processes of steps: it starts them, reads their output into
//! spool files, is the subreaper of whatever they leave behind, and writes down how they ended.
//!
//! It has a single thread and outlives its worker, the daemon and the terminal. Its worker starts
//! it with a listening socket as standard input and speaks the protocol in `protocol`; a later
//! worker connects to the same socket and goes on. It leaves by itself once it holds nothing that
//! runs and no worker has been connected for five seconds.
use std::{
    ffi::OsString,
    io,
    os::{fd::AsFd, unix::net::UnixListener},
    path::PathBuf,
    time::Duration,
};

use rustix::process::{getpid, set_child_subreaper, setsid};

use crate::{Clock, workspace};

mod attempt;
mod connection;
mod exit_record;
mod forest;
mod mount;
mod orders;
pub(crate) mod procfs;
pub(crate) mod protocol;
mod serve;
mod spawn;
mod spool;
mod watched;

pub(crate) use exit_record::{ExitRecord, Outcome, StopCause};
pub(crate) use forest::marker;

/// How long a keeper without a worker and without running attempts stays.
const IDLE: Duration = Duration::from_secs(5);

/// What a keeper is told by its command line.
#[derive(Clone, Debug)]
pub struct KeeperConfig {
    /// The directory that holds `attempts/`; when it vanishes, the keeper kills all and leaves.
    pub work: PathBuf,
    pub task: KeeperTask,
    pub clock: Clock,
}

/// What a keeper's process is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeeperTask {
    /// Own the processes of steps.
    Keep,
    /// The same, mounting in a user namespace of its own.
    KeepInUserNamespace,
    /// Only find out whether that works.
    Probe,
}

impl KeeperConfig {
    /// Reads a keeper's command line: `--dir WORK`, then `--user-namespace` or `--probe` or
    /// neither. `None` for anything else.
    pub fn parse(args: impl IntoIterator<Item = OsString>, clock: Clock) -> Option<Self> {
        let mut task = KeeperTask::Keep;
        let mut work = None;
        let mut args = args.into_iter();
        while let Some(arg) = args.next() {
            match arg.to_str()? {
                "--dir" => work = Some(PathBuf::from(args.next()?)),
                "--user-namespace" => task = KeeperTask::KeepInUserNamespace,
                "--probe" => task = KeeperTask::Probe,
                _ => return None,
            }
        }
        Some(Self { work: work?, task, clock })
    }
}

/// Why a keeper could not go on.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    #[error("standard input is no listening socket")]
    NoSocket(#[source] io::Error),
    #[error("failed to become the owner of steps' processes")]
    Setup(#[source] io::Error),
    #[error("failed to wait for events")]
    Events(#[source] io::Error),
}

/// Runs a keeper until it has nothing to do or is asked to leave. Blocks; the process must have a
/// single thread.
pub fn run(config: KeeperConfig) -> Result<(), KeeperError> {
    match config.task {
        KeeperTask::Probe => {
            return workspace::probe_child(&config.work).map_err(KeeperError::Setup);
        }
        KeeperTask::KeepInUserNamespace => {
            workspace::enter_user_namespace().map_err(KeeperError::Setup)?;
        }
        KeeperTask::Keep => {}
    }
    let listener = io::stdin().as_fd().try_clone_to_owned().map_err(KeeperError::NoSocket)?;
    let listener = UnixListener::from(listener);
    listener.set_nonblocking(true).map_err(KeeperError::NoSocket)?;
    // Refused to the leader of a group: then it was started with a session or group of its own.
    setsid().ok();
    set_child_subreaper(Some(getpid())).map_err(|errno| KeeperError::Setup(errno.into()))?;
    serve::Keeper::new(config, listener)?.run()
}
