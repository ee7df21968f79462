use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use tokio::sync::watch;

use crate::store::attempts::AttemptKey;

/// Entries below which the registry is not swept.
const SWEEP_FROM: usize = 256;

/// What followers of an attempt wait for.
#[derive(Debug)]
pub(super) struct Live {
    progress: watch::Sender<Progress>,
}

/// Grows with every block that is kept.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Progress {
    version: u64,
    /// Nothing will follow what is kept.
    pub(super) sealed: bool,
}

impl Live {
    pub(super) fn grew(&self) {
        self.progress.send_modify(|progress| progress.version += 1);
    }

    pub(super) fn seal(&self) {
        self.progress.send_modify(|progress| progress.sealed = true);
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }
}

/// The attempts that somebody writes or follows now.
#[derive(Default)]
pub(super) struct Registry {
    entries: Mutex<Entries>,
}

#[derive(Default)]
struct Entries {
    by_key: HashMap<AttemptKey, Weak<Live>>,
    /// Size at which entries that nobody holds are thrown out.
    sweep_at: usize,
}

impl Registry {
    /// The attempt's entry, made if there is none.
    pub(super) fn get(&self, key: AttemptKey) -> Arc<Live> {
        let mut entries = self.lock();
        if let Some(live) = entries.by_key.get(&key).and_then(Weak::upgrade) {
            return live;
        }
        if entries.by_key.len() >= entries.sweep_at {
            entries.by_key.retain(|_, live| live.strong_count() > 0);
            entries.sweep_at = (entries.by_key.len() * 2).max(SWEEP_FROM);
        }
        let live = Arc::new(Live { progress: watch::Sender::default() });
        entries.by_key.insert(key, Arc::downgrade(&live));
        live
    }

    /// The attempt's entry, where somebody writes or follows it.
    pub(super) fn find(&self, key: AttemptKey) -> Option<Arc<Live>> {
        self.lock().by_key.get(&key).and_then(Weak::upgrade)
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
