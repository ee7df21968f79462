//! Memory from the record: at the start, and for runs whose transaction failed.

use std::{collections::HashSet, sync::Arc};

use windlass_core::{AttemptState, Effect, LeaseId, Machine, RunId, WorkerName};

use super::{
    EngineError,
    live::{LiveAttempt, LiveRun, RunShared, StepResult},
    rules::graph,
    thread::{Engine, describe},
};
use crate::{
    fleet::{LEASE_TTL, LeaseEntry, MAX_WORKERS, Seat},
    store::{
        StoreError,
        live::{StoredRun, load_all, load_one},
        workers,
    },
};

impl Engine {
    /// Brings back everything that has not ended, with all effects derived again.
    pub(super) fn recover(&mut self) -> Result<(), StoreError> {
        for row in workers::list(self.writer.read(), MAX_WORKERS)? {
            let seat = Seat::new(row.record, row.draining, row.seen);
            self.fleet.seats.insert(WorkerName(row.name.into()), seat);
        }
        let mut effects = Vec::new();
        for stored in load_all(self.writer.read())? {
            self.admit(stored, &mut effects)?;
        }
        self.sweep_environments();
        Ok(())
    }

    /// Puts a stored run into memory.
    fn admit(&mut self, stored: StoredRun, effects: &mut Vec<Effect>) -> Result<(), StoreError> {
        let run = stored.row.run;
        let graph = graph(&stored.plan).map_err(|_| StoreError::Corrupt { what: "plan" })?;
        let mut nodes: Vec<_> = stored.steps.iter().map(|row| (row.key, row.cell)).collect();
        let last = stored.steps.iter().map(|row| row.sequence).max().unwrap_or(0);
        for (attempt, _) in &stored.attempts {
            let place = usize::try_from(attempt.key.step.0).unwrap_or(usize::MAX);
            if let Some((_, cell)) = nodes.get_mut(place) {
                cell.started = attempt.state == AttemptState::Running;
            }
        }
        let shared = Arc::new(RunShared::new(run, stored.plan, &stored.record, None));
        let sequence = stored.row.sequence.max(last);
        let state = stored.row.machine;
        let mut live = LiveRun::new(shared, Arc::new(graph), stored.row);
        live.machine = Machine::restore(Arc::clone(live.machine.graph()), state, nodes);
        live.stored = live.machine.cells().len();
        live.sequence = sequence;
        let reasons = stored.steps.into_iter().filter_map(|row| Some((row.step, row.reason?)));
        live.reasons.extend(reasons);
        live.entries.extend(stored.entries.into_iter().map(|(step, e)| (step, Arc::new(e))));
        for (step, outputs) in stored.bare_outputs {
            live.keep_result(step, StepResult { outputs, changes: String::new() });
        }
        let expires = self.clock.monotonic() + LEASE_TTL;
        let mut leases: Vec<(LeaseId, LeaseEntry)> = Vec::new();
        for (row, outputs) in stored.attempts {
            let (key, step) = (row.key, row.key.step);
            if row.state.is_terminal() {
                let changes = row.record.map(|record| record.changes).unwrap_or_default();
                live.keep_result(step, StepResult { outputs, changes });
                continue;
            }
            let worker = WorkerName(row.worker.into());
            if let Some(seat) = self.fleet.seats.get_mut(&worker) {
                seat.hold((run, step), live.need(step));
            }
            let path = live.path(step).as_str().into();
            leases.push((row.lease, LeaseEntry { key, path }));
            let (attempt, lease) = (key.attempt, row.lease);
            let held = LiveAttempt { attempt, lease, worker, expires, acked: false, metrics: None };
            live.live.insert(step, held);
            self.timers.lease(expires);
        }
        self.leases.add(leases);
        self.gates.enter(&live.row);
        // One that is held has not begun: nothing follows from its steps.
        if !live.row.flow.held {
            live.machine.derive(effects);
        }
        self.runs.insert(run, live);
        self.limit_time(run);
        let now = self.clock.now();
        self.enact(run, effects, now);
        effects.clear();
        Ok(())
    }

    /// Makes memory of a run what the record says. Where that fails too the engine ends: a run that
    /// nobody moves on is worse than a daemon that starts again.
    pub(super) fn reload(&mut self, run: RunId) {
        self.queue.remove(run);
        self.fleet.release_run(run);
        let old = self.runs.remove(&run);
        if let Some(old) = &old {
            self.gates.leave(&old.row);
        }
        let environment = old.and_then(|live| live.shared.environment.get().cloned());
        let reloaded = load_one(self.writer.read(), run).and_then(|stored| match stored {
            Some(stored) => self.admit(stored, &mut Vec::new()),
            None => Ok(()),
        });
        if let Err(error) = reloaded {
            let error = EngineError::from(error);
            tracing::error!(%run, error = describe(&error), "failed to load a run");
            self.stopping = true;
        }
        match (self.runs.get(&run), environment) {
            (Some(live), Some(environment)) => {
                live.shared.environment.set(environment).ok();
            }
            (Some(_), None) => {}
            (None, _) => self.leases.remove_run(run),
        }
    }

    /// Makes what operators asked of workers what the record says; sessions are closed, so that
    /// every worker opens a new one.
    pub(super) fn reload_workers(&mut self) {
        let stored = match workers::list(self.writer.read(), MAX_WORKERS) {
            Ok(stored) => stored,
            Err(error) => return tracing::error!(%error, "failed to load the workers"),
        };
        for row in stored {
            if let Some(seat) = self.fleet.seats.get_mut(&WorkerName(row.name.into())) {
                seat.draining = row.draining;
            }
        }
    }

    /// Removes the private files of runs that have ended.
    fn sweep_environments(&self) {
        let Ok(files) = std::fs::read_dir(&self.environments) else { return };
        let live: HashSet<String> = self.runs.keys().map(ToString::to_string).collect();
        for file in files.flatten() {
            if !live.contains(file.file_name().to_string_lossy().as_ref())
                && let Err(error) = std::fs::remove_file(file.path())
            {
                tracing::warn!(%error, "failed to remove an old private file");
            }
        }
    }
}
