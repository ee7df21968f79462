use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::broadcast;
use windlass_core::{RunId, StepIndex};

/// Changes kept for a watcher that is behind; one that misses some asks the record.
const KEPT_CHANGES: usize = 256;

/// What one commit changed of one run.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) sequence: i64,
    /// The run itself changed, not only steps.
    pub(crate) run: bool,
    pub(crate) steps: Arc<[StepIndex]>,
}

/// Tells watchers which parts of a run changed; what they are now stands in the record. Cheap to
/// clone.
#[derive(Clone, Default)]
pub(crate) struct Watchers {
    runs: Arc<Mutex<HashMap<RunId, broadcast::Sender<Change>>>>,
}

impl Watchers {
    /// Changes of `run` from now on. The stream ends with the run; for one that has ended already
    /// the caller must look at the record after subscribing and leave.
    pub(crate) fn subscribe(&self, run: RunId) -> broadcast::Receiver<Change> {
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        runs.entry(run).or_insert_with(|| broadcast::channel(KEPT_CHANGES).0).subscribe()
    }

    /// True where somebody watches `run`.
    pub(super) fn any(&self, run: RunId) -> bool {
        let runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        runs.contains_key(&run)
    }

    /// Tells of a change, and after the last one ends the streams.
    pub(super) fn publish(&self, run: RunId, change: Change, last: bool) {
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(sender) = runs.get(&run) else { return };
        if sender.send(change).is_err() || last {
            runs.remove(&run);
        }
    }

    /// Forgets a run that nobody watches any more.
    pub(crate) fn forget_unwatched(&self, run: RunId) {
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        if runs.get(&run).is_some_and(|sender| sender.receiver_count() == 0) {
            runs.remove(&run);
        }
    }
}
