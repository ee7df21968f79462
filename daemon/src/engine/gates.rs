//! Which runs of one pipeline and concurrency key go on, and which wait for them.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, HashMap},
};

use windlass_core::RunId;

use crate::store::runs::RunRow;

/// What runs share a limit by: the pipeline and the text of its key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct GateKey {
    pub(super) pipeline: String,
    pub(super) text: String,
}

impl GateKey {
    /// The key of a run whose pipeline has a limit.
    pub(super) fn of(row: &RunRow) -> Option<Self> {
        let text = row.flow.concurrency.clone()?;
        Some(Self { pipeline: row.pipeline.clone(), text })
    }
}

/// The runs of one key that have not ended.
#[derive(Debug, Default)]
pub(super) struct Gate {
    /// The oldest first.
    pub(super) begun: BTreeSet<RunId>,
    /// The higher priority first, then the oldest.
    pub(super) held: BTreeSet<(Reverse<i32>, RunId)>,
}

/// Every key of which a run has not ended; follows from the rows of these runs.
#[derive(Debug, Default)]
pub(super) struct Gates {
    gates: HashMap<GateKey, Gate>,
    /// Keys of which something changed, so that a held run may begin.
    pub(super) due: BTreeSet<GateKey>,
}

impl Gates {
    /// The runs of a key.
    pub(super) fn get(&self, key: &GateKey) -> Option<&Gate> {
        self.gates.get(key)
    }

    /// Takes in a run as its row says.
    pub(super) fn enter(&mut self, row: &RunRow) {
        let Some(key) = GateKey::of(row) else { return };
        let gate = self.gates.entry(key.clone()).or_default();
        let held = (Reverse(row.flow.priority), row.run);
        if row.flow.held {
            gate.begun.remove(&row.run);
            gate.held.insert(held);
        } else {
            gate.held.remove(&held);
            gate.begun.insert(row.run);
        }
        self.due.insert(key);
    }

    /// Forgets a run.
    pub(super) fn leave(&mut self, row: &RunRow) {
        let Some(key) = GateKey::of(row) else { return };
        let Some(gate) = self.gates.get_mut(&key) else { return };
        gate.begun.remove(&row.run);
        gate.held.remove(&(Reverse(row.flow.priority), row.run));
        if gate.begun.is_empty() && gate.held.is_empty() {
            self.gates.remove(&key);
        } else {
            self.due.insert(key);
        }
    }
}
