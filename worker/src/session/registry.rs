use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;
use windlass_core::LeaseId;
use windlass_proto::worker::v1::{Directive, HeldAttempt, LeaseProof};

use super::control_of;
use crate::attempt::Held;

/// Every attempt that this worker has, and how many more it takes.
pub(super) struct Registry {
    held: Mutex<HashMap<LeaseId, Arc<Held>>>,
    free: watch::Sender<u32>,
}

impl Registry {
    pub(super) fn new(slots: u32) -> Self {
        Self { held: Mutex::default(), free: watch::Sender::new(slots) }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<LeaseId, Arc<Held>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes an attempt in; `None` where it is there already.
    pub(super) fn add(&self, proof: LeaseProof, lease: LeaseId) -> Option<Arc<Held>> {
        let held = Arc::new(Held::new(proof, lease));
        match self.lock().entry(lease) {
            std::collections::hash_map::Entry::Occupied(_) => None,
            std::collections::hash_map::Entry::Vacant(entry) => {
                Some(Arc::clone(entry.insert(held)))
            }
        }
    }

    pub(super) fn remove(&self, lease: LeaseId) {
        self.lock().remove(&lease);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// As named to the daemon.
    pub(super) fn messages(&self) -> Vec<HeldAttempt> {
        self.lock().values().map(|held| held.as_message()).collect()
    }

    /// Leases of which nothing has run.
    pub(super) fn not_started(&self) -> Vec<Arc<Held>> {
        self.lock().values().filter(|held| !held.is_started()).cloned().collect()
    }

    /// Passes on what the daemon wants. Leases that are gone already are no one's.
    pub(super) fn direct(&self, directives: &[Directive]) {
        let held = self.lock();
        for directive in directives {
            let id = directive.lease.as_ref().and_then(|l| l.lease_id.as_ref().try_into().ok());
            if let Some(held) = id.and_then(|id| held.get(&LeaseId(id))) {
                held.direct(control_of(Some(directive.action())));
            }
        }
    }

    /// Slots that are free now, and news of them.
    pub(super) fn free(&self) -> watch::Receiver<u32> {
        self.free.subscribe()
    }

    /// Takes a slot; adopted attempts may be more than there are.
    pub(super) fn take_slot(self: &Arc<Self>) -> Slot {
        let mut taken = false;
        self.free.send_modify(|free| {
            taken = *free > 0;
            *free = free.saturating_sub(1);
        });
        Slot { registry: Arc::clone(self), taken }
    }
}

/// A slot in use; free again when dropped.
pub(super) struct Slot {
    registry: Arc<Registry>,
    taken: bool,
}

impl Drop for Slot {
    fn drop(&mut self) {
        if self.taken {
            self.registry.free.send_modify(|free| *free += 1);
        }
    }
}
