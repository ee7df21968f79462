//! Runs that wait for others of their concurrency key, and what begins when one of these ends.

use std::time::Duration;

use windlass_core::{Event, RunId, Stop};
use windlass_proto::common::v1::{ConcurrencySpec, Plan, concurrency_spec::WhenFull};

use super::{Cancel, EngineError, gates::GateKey, live::LiveRun, thread::Engine};
use crate::store::{concurrency, runs::RunRow};

/// How long the engine waits after a failed transaction before it lets held runs begin.
const PAUSE: Duration = Duration::from_secs(1);

/// How many runs may go on at once, and what one does that finds as many.
fn rule(plan: &Plan) -> (usize, WhenFull) {
    let spec = plan.spec.as_ref().and_then(|spec| spec.concurrency.as_ref());
    let limit = spec.map_or(1, |spec| spec.limit.max(1));
    let when_full = spec.map_or(WhenFull::Unspecified, ConcurrencySpec::when_full);
    (usize::try_from(limit).unwrap_or(usize::MAX), when_full)
}

impl Engine {
    /// True where a new run has to wait for others of its key; an error where it is not to.
    pub(super) fn must_wait(&self, row: &RunRow, plan: &Plan) -> Result<bool, EngineError> {
        let Some(key) = GateKey::of(row) else { return Ok(false) };
        let Some(gate) = self.gates.get(&key) else { return Ok(false) };
        let (limit, when_full) = rule(plan);
        let full = gate.begun.len() >= limit;
        if when_full != WhenFull::Refuse {
            return Ok(full || !gate.held.is_empty());
        }
        if full {
            let going = gate.begun.first().map(|run| self.name(*run)).unwrap_or_default();
            return Err(EngineError::ConcurrencyFull { key: key.text, going });
        }
        Ok(false)
    }

    fn name(&self, run: RunId) -> String {
        self.runs.get(&run).map(|live| live.row.name.clone()).unwrap_or_default()
    }

    /// Says why the run waits, as of now.
    pub(super) fn why_held(&self, row: &RunRow) -> String {
        let key = GateKey::of(row);
        let going = key.as_ref().and_then(|key| self.gates.get(key)?.begun.first().copied());
        let key = key.map(|key| key.text).unwrap_or_default();
        concurrency::reason(&key, going.map(|run| self.name(run)).as_deref())
    }

    /// When held runs are to be looked at.
    pub(super) fn gates_due(&self, now: Duration) -> Option<Duration> {
        (!self.gates.due.is_empty()).then(|| self.gates_pause.max(now))
    }

    /// Leaves held runs alone for a moment: the last transaction failed.
    pub(super) fn pause_gates(&mut self) {
        self.gates_pause = self.clock.monotonic() + PAUSE;
    }

    /// Lets held runs begin where others have ended.
    pub(super) fn open_gates(&mut self) -> Result<(), EngineError> {
        if self.gates_pause > self.clock.monotonic() {
            return Ok(());
        }
        while let Some(key) = self.gates.due.pop_first() {
            while self.open_gate(&key)? {}
        }
        Ok(())
    }

    /// Lets the first held run of a key begin, or makes way for it; false where nothing more is to
    /// be done now.
    fn open_gate(&mut self, key: &GateKey) -> Result<bool, EngineError> {
        let Some(gate) = self.gates.get(key) else { return Ok(false) };
        let Some(&(_, first)) = gate.held.first() else { return Ok(false) };
        let Some(live) = self.runs.get(&first) else { return Ok(false) };
        let (limit, when_full) = rule(&live.shared.plan);
        if gate.begun.len() < limit {
            self.begin(first);
            return Ok(true);
        }
        if when_full != WhenFull::CancelOldest {
            return Ok(false);
        }
        let stays = |run: &&RunId| {
            self.runs.get(run).is_some_and(|live| live.machine.run().cancel.is_none())
        };
        let going: Vec<RunId> = gate.begun.iter().filter(stays).copied().collect();
        let Some(oldest) = going.first().filter(|_| going.len() >= limit) else {
            return Ok(false);
        };
        let reason = format!("makes way for {} (concurrency `{}`)", live.row.name, key.text);
        self.cancel(Cancel { run: *oldest, reason, how: Stop::Politely })?;
        Ok(true)
    }

    fn begin(&mut self, run: RunId) {
        let Some(live) = self.runs.get_mut(&run) else { return };
        live.row.flow.held = false;
        live.row.reason.clear();
        live.run_dirty = true;
        self.gates.enter(&live.row);
        self.batch.touch(run);
        let now = self.clock.now();
        self.apply(run, Event::Begin, now);
    }

    /// Notes that a run has ended.
    pub(super) fn left_gate(&mut self, run: RunId) {
        let Some(live) = self.runs.get_mut(&run) else { return };
        let LiveRun { row, .. } = live;
        self.gates.leave(row);
        row.flow.held = false;
    }
}
