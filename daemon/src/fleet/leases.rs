use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use windlass_core::{AttemptNumber, LeaseId, RunId, StepPath};

use crate::store::attempts::AttemptKey;

/// The attempt that a lease is for.
#[derive(Clone, Debug)]
pub(crate) struct LeaseEntry {
    pub(crate) key: AttemptKey,
    pub(crate) path: Arc<str>,
}

/// Every live lease, as of the last commit. Only the engine writes; readers never wait for it
/// longer than for a change of the map. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Leases {
    entries: Arc<RwLock<HashMap<LeaseId, LeaseEntry>>>,
}

impl Leases {
    /// The attempt of a live lease, where the proof names that very attempt.
    pub(crate) fn check(
        &self,
        (run, step, attempt, lease): &(RunId, StepPath, AttemptNumber, LeaseId),
    ) -> Option<LeaseEntry> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        let entry = entries.get(lease)?;
        let same =
            entry.key.run == *run && entry.key.attempt == *attempt && *entry.path == *step.as_str();
        same.then(|| entry.clone())
    }

    /// Makes leases valid.
    pub(crate) fn add(&self, new: impl IntoIterator<Item = (LeaseId, LeaseEntry)>) {
        self.entries.write().unwrap_or_else(PoisonError::into_inner).extend(new);
    }

    /// Makes leases invalid.
    pub(crate) fn remove(&self, gone: &[LeaseId]) {
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        for lease in gone {
            entries.remove(lease);
        }
    }

    /// Makes every lease of a run invalid.
    pub(crate) fn remove_run(&self, run: RunId) {
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        entries.retain(|_, entry| entry.key.run != run);
    }
}
