use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::record;
use serde::{Deserialize, Serialize};

/// How an attempt's main process ended; kept as `exit.json` in the attempt's directory, so that a
/// later worker finds it without the keeper.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ExitRecord {
    /// Whose end it is: its directory may have served another attempt before.
    pub(crate) lease: String,
    pub(crate) outcome: Outcome,
    /// Set where the keeper ended it.
    pub(crate) stopped: Option<StopCause>,
    /// The kernel killed something for want of memory while it ran, and it died of a KILL.
    pub(crate) out_of_memory: bool,
    /// Microseconds since the Unix epoch.
    pub(crate) start_micros: i64,
    pub(crate) end_micros: i64,
    /// Of the whole tree.
    pub(crate) peak_memory_bytes: u64,
    pub(crate) cpu_micros: u64,
    /// Sizes of the logs, and bytes at their ends that could not be kept.
    pub(crate) stdout_bytes: u64,
    pub(crate) stderr_bytes: u64,
    pub(crate) lost_bytes: [u64; 2],
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    Exited(i32),
    Signalled(i32),
    /// There never was a process; the text is for people.
    NotStarted(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum StopCause {
    /// The worker asked for it.
    Asked,
    /// It ran longer than it may.
    TimedOut,
    /// The keeper left.
    KeeperLeft,
    /// Its tree took more memory than it may.
    OverMemory,
}

impl ExitRecord {
    /// Where the record of the attempt in `dir` lies.
    pub(crate) fn path(dir: &Path) -> PathBuf {
        dir.join("exit.json")
    }

    /// Writes the record.
    pub(crate) fn write(dir: &Path, json: &[u8]) -> io::Result<()> {
        record::write(&Self::path(dir), json)
    }

    /// Reads the record, if the attempt has ended. Half a record is none: its keeper was killed
    /// while it wrote.
    pub(crate) fn read(dir: &Path) -> Option<Self> {
        let record: Self = serde_json::from_slice(&fs::read(Self::path(dir)).ok()?).ok()?;
        dir.file_name().is_some_and(|name| *name == *record.lease).then_some(record)
    }

    /// The record of an attempt that never had a process.
    pub(crate) fn not_started(lease: String, message: String, micros: i64) -> Self {
        Self {
            lease,
            outcome: Outcome::NotStarted(message),
            stopped: None,
            out_of_memory: false,
            start_micros: micros,
            end_micros: micros,
            peak_memory_bytes: 0,
            cpu_micros: 0,
            stdout_bytes: 0,
            stderr_bytes: 0,
            lost_bytes: [0; 2],
        }
    }
}
