//! One attempt, from lease to report.
//!
//! Everything lies in `work/attempts/LEASE/`, and whatever a crash of the worker leaves there is
//! taken up by the next one (`recover`). In order, with what a later worker makes of a crash just
//! after each step:
//!
//! 1. directory made, or taken of an attempt before: its `lease` is not there in full, or names
//!    another. Nothing ran; removed, not held. The daemon grants the attempt again.
//! 2. files of the contract and the working directory made: as 1.
//! 3. `lease` written: from here on something may have run. Where there is no `exit.json` that
//!    names it, and the keeper named in `lease` still lives but does not know the attempt, nothing
//!    ran, since a keeper takes no order of a worker that another has replaced: as 1. Where that
//!    keeper is gone, it may have started the attempt: held, reported as lost.
//! 4. started by the keeper: held, taken up where it stands.
//! 5. the keeper wrote `exit.json`: held; collected and reported.
//! 6. outputs and changes kept as blobs: as 5, with the same digests.
//! 7. reported, answer lost or not: as 5; the daemon answers a second end like the first, or says
//!    that the attempt is no longer this worker's, and it is discarded.
//! 8. released by the keeper, directory moved to `work/trash/`: removed with the rest there, or
//!    emptied for another attempt. `lease` and `exit.json` stay and tell whose they are.
use std::{
    collections::VecDeque,
    hash::{Hash, Hasher},
    io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::watch;
use windlass_core::LeaseId;
use windlass_proto::{
    common::v1::AttemptState,
    worker::v1::{HeldAttempt, LeaseProof},
};

use crate::{Clock, executor::Executor, session::Daemon, workspace::Workspaces};

mod blobs;
mod collect;
mod command;
mod contract;
mod files;
mod hint;
mod local_python;
mod metrics;
mod out_lines;
mod outcome;
mod prepare;
mod python;
mod recover;
mod run;
mod system_log;

pub(crate) use blobs::{BlobAccess, LocalBlobs};
pub(crate) use files::AttemptDir;
pub(crate) use local_python::LocalInterpreters;
pub(crate) use python::{Interpreter, Interpreters, PythonResult};
pub(crate) use recover::{Found, scan};
pub(crate) use run::{From, run};
pub(crate) use system_log::SystemLog;

/// Everything that attempts are run with.
pub(crate) struct Context {
    pub(crate) work: PathBuf,
    pub(crate) clock: Clock,
    pub(crate) executor: Arc<dyn Executor>,
    pub(crate) daemon: Arc<dyn Daemon>,
    pub(crate) blobs: Arc<dyn BlobAccess>,
    pub(crate) workspaces: Arc<Workspaces>,
    pub(crate) interpreters: Arc<dyn Interpreters>,
    pub(crate) seen: Seen,
    pub(crate) tasks: tokio_util::task::TaskTracker,
}

/// Most views of the project that are remembered as seen.
const MAX_SEEN: usize = 32;

/// Views of the project that were laid out lately, for which another attempt costs next to nothing.
#[derive(Default)]
pub(crate) struct Seen(Mutex<VecDeque<u64>>);

impl Seen {
    /// Stands for a snapshot with change sets on top.
    fn view(snapshot: &str, layers: &[String]) -> u64 {
        let mut hasher = std::hash::DefaultHasher::new();
        (snapshot, layers).hash(&mut hasher);
        hasher.finish()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn contains(&self, view: u64) -> bool {
        self.lock().contains(&view)
    }

    fn note(&self, view: u64) {
        let mut seen = self.lock();
        if !seen.contains(&view) {
            seen.push_back(view);
            if seen.len() > MAX_SEEN {
                seen.pop_front();
            }
        }
    }
}

/// What an attempt is to do; it only ever gets stricter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Control {
    Continue,
    /// Ask politely, wait the grace period, kill; then report.
    Stop,
    /// Kill; then report.
    Kill,
    /// Kill, discard, report nothing.
    Abandon,
}

/// An attempt as the session sees it.
pub(crate) struct Held {
    pub(crate) proof: LeaseProof,
    pub(crate) lease: LeaseId,
    control: watch::Sender<Control>,
    stage: Mutex<Stage>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stage {
    /// Something of it may have run.
    started: bool,
    state: AttemptState,
}

impl Held {
    pub(crate) fn new(proof: LeaseProof, lease: LeaseId) -> Self {
        let stage = Stage { started: false, state: AttemptState::Leased };
        let control = watch::Sender::new(Control::Continue);
        Self { proof, lease, control, stage: Mutex::new(stage) }
    }

    /// Tells the attempt what to do; a laxer word than an earlier one changes nothing.
    pub(crate) fn direct(&self, control: Control) {
        self.control.send_if_modified(|now| {
            let stricter = control > *now;
            *now = control.max(*now);
            stricter
        });
    }

    fn control(&self) -> watch::Receiver<Control> {
        self.control.subscribe()
    }

    fn stage(&self) -> std::sync::MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True where something of it may have run.
    pub(crate) fn is_started(&self) -> bool {
        self.stage().started
    }

    pub(crate) fn set_started(&self) {
        self.stage().started = true;
    }

    pub(crate) fn set_state(&self, state: AttemptState) {
        self.stage().state = state;
    }

    /// How it is named when a session is opened, and in heartbeats.
    pub(crate) fn as_message(&self) -> HeldAttempt {
        let state = self.stage().state.into();
        HeldAttempt { lease: Some(self.proof.clone()), state, usage: None }
    }
}

/// An attempt that cannot be started; the message is for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StartFailure {
    pub(crate) message: String,
    pub(crate) no_space: bool,
}

impl StartFailure {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), no_space: false }
    }

    /// What should not happen, whoever's fault it is.
    fn internal(message: String) -> Self {
        Self::new(message)
    }

    fn io(what: &str, error: io::Error) -> Self {
        let no_space = error.kind() == io::ErrorKind::StorageFull;
        Self { message: format!("failed to {what}: {error}"), no_space }
    }

    /// An error with all its causes.
    fn caused(error: &dyn std::error::Error) -> Self {
        let mut message = error.to_string();
        let mut no_space = false;
        let mut next = error.source();
        while let Some(cause) = next {
            message.push_str(": ");
            message.push_str(&cause.to_string());
            let io = cause.downcast_ref::<io::Error>();
            no_space |= io.is_some_and(|e| e.kind() == io::ErrorKind::StorageFull);
            next = cause.source();
        }
        Self { message, no_space }
    }
}
