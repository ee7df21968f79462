//! How attempts are executed: as processes under the keeper, or by a script in tests.
use std::{ffi::OsString, path::PathBuf, sync::Arc, time::Duration};

use tokio::sync::watch;
use windlass_core::LeaseId;

use crate::keeper::ExitRecord;

mod orphans;
mod process;
mod reach;

pub(crate) use process::ProcessExecutor;
pub use reach::KeeperCommand;

/// One thing to execute.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) lease: LeaseId,
    /// The attempt's directory.
    pub(crate) dir: PathBuf,
    /// A program with a `/` is relative to `cwd`; else it is looked for in the PATH of `env`.
    pub(crate) argv: Vec<OsString>,
    pub(crate) env: Vec<(OsString, OsString)>,
    pub(crate) cwd: PathBuf,
    /// JSON of the overlay to mount for it; empty for none.
    pub(crate) overlay: Vec<u8>,
    pub(crate) timeout: Option<Duration>,
    /// Between TERM and KILL when the time is over.
    pub(crate) grace: Duration,
    /// Texts that must be masked in its output.
    pub(crate) masks: Vec<Vec<u8>>,
    /// Most bytes of memory of its whole tree.
    pub(crate) memory: Option<u64>,
}

/// Where an execution stands; the newest state is all that counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress {
    /// Microseconds since the Unix epoch; set once there is a process.
    pub(crate) start_micros: Option<i64>,
    pub(crate) pid: u32,
    /// Sizes of stdout and stderr in the spool.
    pub(crate) sizes: [u64; 2],
    pub(crate) end: Option<End>,
    /// Of an attempt that was adopted: what is masked in its output.
    pub(crate) masks: Vec<Vec<u8>>,
}

/// How an execution ended.
#[derive(Clone, Debug)]
pub(crate) enum End {
    Ended(Arc<ExitRecord>),
    /// Whoever owned the processes is gone, and they are dead.
    Lost,
}

/// Runs jobs. Its jobs outlive it: dropping a receiver stops nothing.
#[tonic::async_trait]
pub(crate) trait Executor: Send + Sync + 'static {
    /// What `show` calls it.
    fn name(&self) -> &'static str;

    /// Starts `job`; how it goes on is told by the receiver.
    async fn start(&self, job: Job) -> watch::Receiver<Progress>;

    /// Who owns the processes of jobs that are started now, and knows of each that it ever started;
    /// waits until that is known. Empty where it never will be.
    async fn keeper(&self) -> String;

    /// Takes up a job that an earlier worker started, if it is still known.
    async fn adopt(&self, lease: LeaseId) -> Option<watch::Receiver<Progress>>;

    /// Asks the whole tree to end and kills it after `grace`; at once where that is zero.
    async fn stop(&self, lease: LeaseId, grace: Duration);

    /// Frees the spool of a log (0 stdout, 1 stderr) below `offset`.
    fn log_durable(&self, lease: LeaseId, stream: usize, offset: u64);

    /// Forgets a job that has ended; then nobody uses its directory any more.
    async fn release(&self, lease: LeaseId);
}
