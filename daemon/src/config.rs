//! What a daemon is told at its start.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use windlass_core::Home;
use windlass_proto::MAX_SPEC_BYTES;

use crate::compile::MAX_STEPS;

/// How long a daemon that started by itself stays with nothing to do.
pub const DEFAULT_IDLE: Duration = Duration::from_secs(3 * 60 * 60);

/// Everything a daemon needs to know; it reads no environment variable.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where everything lies.
    pub home: Home,
    /// It was started by a command and not by a person: detached, quiet, leaving when idle.
    pub background: bool,
    /// Leaves after so long without live runs and calls; `None` never.
    pub idle: Option<Duration>,
    /// The local worker to keep alive; `None` where workers come from elsewhere.
    pub worker: Option<WorkerCommand>,
    /// What callers may ask for.
    pub limits: Limits,
}

/// How the local worker is started; `--home DIR` is appended.
#[derive(Clone, Debug)]
pub struct WorkerCommand {
    pub program: PathBuf,
    pub args: Vec<OsString>,
}

/// Bounds that callers are told by `GetServerInfo`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest pipeline file or spec, in bytes.
    pub max_spec_bytes: u64,
    /// Most steps that the plan of a run writes down.
    pub max_steps: u32,
    /// Most items of one page of a listing.
    pub max_page_size: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_spec_bytes: MAX_SPEC_BYTES,
            max_steps: u32::try_from(MAX_STEPS).unwrap_or(u32::MAX),
            max_page_size: 1_000,
        }
    }
}

impl Config {
    /// A daemon in the foreground without a worker.
    pub fn new(home: Home) -> Self {
        Self { home, background: false, idle: None, worker: None, limits: Limits::default() }
    }
}
