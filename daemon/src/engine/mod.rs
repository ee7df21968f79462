//! The one thread that decides and writes. It drains its queue into one transaction, commits, and
//! only then answers, notifies and grants; what is lost in a crash is derived again from the
//! stored states.

mod answers;
mod args;
mod batch;
mod command;
mod concurrency;
mod gates;
mod grants;
mod handle;
mod inputs;
mod live;
mod metrics;
mod paths;
mod questions;
mod recovery;
mod reports;
mod rules;
mod runs;
mod sessions;
#[cfg(test)]
mod tests;
mod thread;
mod timers;
mod times;
mod waits;
mod watchers;
mod workers;

use std::sync::Arc;

use windlass_core::RunId;

pub(crate) use self::args::Found;
pub(crate) use self::command::{
    Cancel, Created, Heartbeat, Held, NewRun, OpenSession, Opened, Ordered, Poll, Proof, Reply,
    Report, Reported, WorkerView,
};
pub(crate) use self::handle::{EngineHandle, EngineThread, Options, start};
pub(crate) use self::live::{CallerVariables, Grant, RunShared};
pub(crate) use self::questions::{Answer, Given, Question, Verdict};
pub(crate) use self::waits::Waits;
pub(crate) use self::watchers::{Change, Watchers};
use crate::store::{StoreError, attempts::AttemptKey};

/// Why the engine did not do what it was asked. Nothing was changed then.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum EngineError {
    #[error("no run {0}")]
    NoSuchRun(RunId),
    #[error("run {0} has not ended; cancel it first")]
    RunNotEnded(RunId),
    #[error("no worker `{0}`")]
    NoSuchWorker(String),
    #[error("the lease is not held any more; stop and discard")]
    LeaseFenced,
    #[error("the session is over; open a new one")]
    SessionFenced,
    #[error("concurrency `{key}` is full: {going} goes on")]
    ConcurrencyFull { key: String, going: String },
    #[error("step `{step}` needs {needed}; {most}")]
    NoWorkerFits { step: String, needed: String, most: String },
    #[error("{what}: at most {limit}")]
    Limit { what: &'static str, limit: usize },
    /// The queue stayed full; the same request may succeed later.
    #[error("the daemon has too much to do; try again")]
    Busy,
    #[error("the daemon is stopping")]
    Closed,
    #[error("failed to read or write the record of runs")]
    Store(#[source] Arc<StoreError>),
}

impl EngineError {
    /// True where the disk had no space for it.
    pub(crate) fn is_disk_full(&self) -> bool {
        let Self::Store(error) = self else { return false };
        let StoreError::Sqlite(error) = &**error else { return false };
        error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull)
    }
}

impl From<StoreError> for EngineError {
    fn from(error: StoreError) -> Self {
        Self::Store(Arc::new(error))
    }
}

impl From<rusqlite::Error> for EngineError {
    fn from(error: rusqlite::Error) -> Self {
        StoreError::from(error).into()
    }
}

/// An attempt has ended; its logs get no more bytes than `log_sizes`, where these are known.
#[derive(Clone, Debug)]
pub(crate) struct AttemptEnded {
    pub(crate) key: AttemptKey,
    /// Of stdout, stderr and the system's log; unknown where the worker was lost.
    pub(crate) log_sizes: Option<[i64; 3]>,
}

/// Is told of every attempt that ended, after the commit, on the engine's thread; must not block.
pub(crate) trait EndSink: Send + 'static {
    fn ended(&mut self, ended: AttemptEnded);
}
