use windlass_core::{Event, RunId, RunRecordState, RunState, StepIndex};

use super::{Cancel, Created, EngineError, NewRun, live::LiveRun, thread::Engine};
use crate::store::{self, requests, runs::RunRow, steps};

/// Most names tried before one gets a number.
const NAMES_TRIED: usize = 16;

/// Words in a readable name.
const NAME_WORDS: u8 = 2;

impl Engine {
    /// Creates a run, or finds the one that the same request made.
    pub(super) fn create(&mut self, new: NewRun) -> Result<Created, EngineError> {
        let now = self.clock.now();
        if let Some(run) = requests::find(self.writer.read(), new.request, now)? {
            return Ok(Created { run, row: None });
        }
        self.refuse_misfits(&new.shared, &new.graph)?;
        let run = new.shared.run;
        let name = match new.name {
            Some(name) => name,
            None => self.readable_name(run)?,
        };
        let state = RunState::Queued;
        let mut row = RunRow {
            run,
            name,
            pipeline: new.pipeline,
            machine: RunRecordState {
                state,
                cancel: None,
                timed_out: false,
                start: None,
                end: None,
            },
            sequence: 1,
            create: now,
            reason: String::new(),
            flow: new.flow,
        };
        let held = self.must_wait(&row, &new.shared.plan)?;
        if held {
            row.flow.held = true;
            row.reason = self.why_held(&row);
        }
        self.gates.enter(&row);
        self.runs.insert(run, LiveRun::new(new.shared, new.graph, row));
        self.batch.touch(run);
        if !held {
            self.apply(run, Event::Begin, now);
        }
        let Some(live) = self.runs.get_mut(&run) else { return Err(EngineError::NoSuchRun(run)) };
        live.refresh_row();
        let tx = self.writer.tx()?;
        store::runs::insert(tx, &live.row, &new.record, &new.plan)?;
        store::runs::insert_labels(tx, run, &new.labels)?;
        let planned = live.machine.cells().get(..live.stored).unwrap_or_default();
        steps::insert_all(tx, run, planned, live.sequence)?;
        // Ready and skipped steps are written; of containers and mocks there is more to say.
        let more = |step: &StepIndex| {
            let cell = live.cell(*step);
            live.is_new(*step) || cell.start.is_some() || live.reasons.contains_key(step)
        };
        live.dirty = live.dirty.iter().copied().filter(more).collect();
        live.run_dirty = false;
        requests::insert(tx, new.request, run, now)?;
        Ok(Created { run, row: Some(live.row.clone()) })
    }

    /// A name that no run has.
    fn readable_name(&self, run: RunId) -> Result<String, EngineError> {
        let mut name = String::new();
        for _ in 0..NAMES_TRIED {
            name = petname::petname(NAME_WORDS, "-").unwrap_or_else(|| "run".to_owned());
            if !store::runs::name_taken(self.writer.read(), &name)? {
                return Ok(name);
            }
        }
        let (_, random) = run.0.as_u64_pair();
        Ok(format!("{name}-{:x}", random & 0xff_ffff))
    }

    /// Cancels a run. One that has ended, or is being cancelled so already, stays as it is.
    pub(super) fn cancel(&mut self, cancel: Cancel) -> Result<(), EngineError> {
        let Cancel { run, reason, how } = cancel;
        let Some(live) = self.runs.get_mut(&run) else {
            let known = store::runs::get(self.writer.read(), run)?.is_some();
            return if known { Ok(()) } else { Err(EngineError::NoSuchRun(run)) };
        };
        if live.machine.run().cancel.is_none() {
            live.row.reason = reason;
        }
        let now = self.clock.now();
        self.apply(run, Event::CancelRequested { how }, now);
        Ok(())
    }

    /// What follows from a change of a run itself.
    pub(super) fn run_changed(&mut self, run: RunId) {
        let Some(live) = self.runs.get(&run) else { return };
        let state = live.machine.run();
        if state.cancel.is_some() {
            self.queue.remove(run);
        }
        if state.state.is_terminal() {
            self.left_gate(run);
        } else {
            self.limit_time(run);
        }
    }

    /// Deletes an ended run. Its rows go bit by bit later.
    pub(super) fn delete(&mut self, run: RunId) -> Result<(), EngineError> {
        if self.runs.contains_key(&run) {
            return Err(EngineError::RunNotEnded(run));
        }
        if store::runs::get(self.writer.read(), run)?.is_some() {
            store::trash::delete_run(self.writer.tx()?, run)?;
            self.trash = true;
        }
        Ok(())
    }
}
