//! The machine of one run: what follows from each thing that happens to its steps.

mod event;
mod graph;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use event::{Cell, Effect, Event, Outcome, RunRecordState, Stop};
pub use graph::{BadGraph, RunGraph, StepRules};

use self::graph::at;
use crate::{AttemptNumber, Failure, RunState, StepIndex, StepState, Timestamp};

/// Decides what follows from each event of one run. Events that are late, repeated or about an
/// older attempt change nothing and have no effects.
#[derive(Debug)]
pub struct Machine {
    graph: Arc<RunGraph>,
    run: RunRecordState,
    cells: Vec<Cell>,
    /// Needs of each step that have not succeeded yet.
    waiting: Vec<usize>,
    /// Steps that have not ended.
    open: usize,
}

impl Machine {
    /// A run of which nothing happened yet.
    pub fn new(graph: Arc<RunGraph>) -> Self {
        let run = RunRecordState { state: RunState::Queued, cancel: None, start: None, end: None };
        let cells = vec![Cell::NEW; graph.len()];
        Self::restore(graph, run, cells)
    }

    /// The machine whose state was stored. Cells that are missing are new.
    pub fn restore(graph: Arc<RunGraph>, run: RunRecordState, mut cells: Vec<Cell>) -> Self {
        cells.resize(graph.len(), Cell::NEW);
        let done = |step: &&StepIndex| {
            matches!(cells[at(step.0)].state, StepState::Succeeded | StepState::Reused)
        };
        let waiting = (0u32..)
            .take(cells.len())
            .map(|step| {
                let needs = graph.needs(StepIndex(step));
                needs.len() - needs.iter().filter(done).count()
            })
            .collect();
        let open = cells.iter().filter(|cell| !cell.state.is_terminal()).count();
        Self { graph, run, cells, waiting, open }
    }

    /// The effects that stand out, from the states alone.
    pub fn derive(&self, effects: &mut Vec<Effect>) {
        for (index, cell) in (0u32..).zip(&self.cells) {
            let step = StepIndex(index);
            let attempt = AttemptNumber(cell.attempt);
            match (cell.state, self.run.cancel) {
                (StepState::Ready, _) => effects.push(Effect::Enqueue(step)),
                (StepState::BackingOff, _) => {
                    let until = cell.not_before.unwrap_or(Timestamp(0));
                    effects.push(Effect::Wait { step, attempt, until });
                }
                (StepState::Running, Some(how)) => {
                    effects.push(Effect::Stop { step, attempt, how });
                }
                (_, _) => {}
            }
        }
    }

    /// Takes in `event` at `now` and appends what follows.
    pub fn apply(&mut self, event: Event, now: Timestamp, effects: &mut Vec<Effect>) {
        if self.run.state.is_terminal() {
            return;
        }
        match event {
            Event::Begin => self.begin(now, effects),
            Event::Granted { step } => self.granted(step, now, effects),
            Event::Started { step, attempt } => {
                if let Some(cell) = self.running(step, attempt)
                    && !cell.started
                {
                    cell.started = true;
                    effects.push(Effect::StepChanged(step));
                }
            }
            Event::Ended { step, attempt, outcome, jitter } => {
                if self.running(step, attempt).is_some() {
                    self.ended(step, outcome, (now, jitter), effects);
                }
            }
            Event::GivenBack { step, attempt } => self.given_back(step, attempt, effects),
            Event::BackoffOver { step, attempt } => {
                if let Some(cell) = self.cells.get_mut(at(step.0))
                    && cell.state == StepState::BackingOff
                    && cell.attempt == attempt.0
                {
                    cell.not_before = None;
                    self.make_ready(step, effects);
                }
            }
            Event::CancelRequested { how } => self.cancel(how, effects),
        }
        self.settle(now, effects);
    }

    fn begin(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let free: Vec<StepIndex> = (0u32..)
            .zip(&self.cells)
            .filter(|(step, cell)| cell.state == StepState::Pending && self.waiting[at(*step)] == 0)
            .map(|(step, _)| StepIndex(step))
            .collect();
        for step in free {
            self.make_ready(step, effects);
        }
        if self.open == 0 {
            self.run.start.get_or_insert(now);
        }
    }

    fn granted(&mut self, step: StepIndex, now: Timestamp, effects: &mut Vec<Effect>) {
        let Some(cell) = self.cells.get_mut(at(step.0)) else { return };
        if cell.state != StepState::Ready {
            return;
        }
        cell.state = StepState::Running;
        cell.attempt += 1;
        cell.started = false;
        effects.push(Effect::StepChanged(step));
        if self.run.state == RunState::Queued {
            self.run.state = RunState::Running;
            self.run.start.get_or_insert(now);
            effects.push(Effect::RunChanged);
        }
    }

    fn given_back(&mut self, step: StepIndex, attempt: AttemptNumber, effects: &mut Vec<Effect>) {
        let cancelled = self.run.cancel.is_some();
        let Some(cell) = self.running(step, attempt) else { return };
        if cell.started {
            return;
        }
        cell.attempt -= 1;
        if cancelled {
            self.end_step(step, StepState::Cancelled, effects);
        } else {
            self.make_ready(step, effects);
        }
    }

    fn ended(
        &mut self,
        step: StepIndex,
        outcome: Outcome,
        (now, jitter): (Timestamp, f64),
        effects: &mut Vec<Effect>,
    ) {
        let cancelled = self.run.cancel.is_some();
        match outcome {
            Outcome::Succeeded => self.succeed(step, effects),
            Outcome::Cancelled | Outcome::Failed(Failure::Lost) if cancelled => {
                self.end_step(step, StepState::Cancelled, effects);
            }
            Outcome::Failed(_) if cancelled => self.fail(step, effects),
            Outcome::Failed(failure) => self.retry_or_fail(step, failure, (now, jitter), effects),
            Outcome::Cancelled => self.retry_or_fail(step, Failure::Lost, (now, jitter), effects),
        }
    }

    fn retry_or_fail(
        &mut self,
        step: StepIndex,
        failure: Failure,
        (now, jitter): (Timestamp, f64),
        effects: &mut Vec<Effect>,
    ) {
        let (Some(cell), Some(rules)) = (self.cells.get_mut(at(step.0)), self.graph.rules(step))
        else {
            return;
        };
        let used = if failure == Failure::Lost { &mut cell.losses } else { &mut cell.retries };
        let Some(wait) = rules.retry.delay(failure, *used, jitter) else {
            return self.fail(step, effects);
        };
        *used += 1;
        if wait.is_zero() {
            return self.make_ready(step, effects);
        }
        let micros = i64::try_from(wait.as_micros()).unwrap_or(i64::MAX);
        let until = Timestamp(now.0.saturating_add(micros));
        cell.state = StepState::BackingOff;
        cell.not_before = Some(until);
        let attempt = AttemptNumber(cell.attempt);
        effects.push(Effect::StepChanged(step));
        effects.push(Effect::Wait { step, attempt, until });
    }

    /// Makes `step` ready; stubs succeed, and what they alone held up is ready in turn.
    fn make_ready(&mut self, step: StepIndex, effects: &mut Vec<Effect>) {
        if self.graph.rules(step).is_some_and(|rules| rules.stub) {
            self.succeed(step, effects);
        } else {
            self.set(step, StepState::Ready, effects);
            effects.push(Effect::Enqueue(step));
        }
    }

    /// Ends `step` well; in a run that is being cancelled nothing follows from it.
    fn succeed(&mut self, step: StepIndex, effects: &mut Vec<Effect>) {
        let graph = Arc::clone(&self.graph);
        let mut done = vec![step];
        while let Some(step) = done.pop() {
            self.end_step(step, StepState::Succeeded, effects);
            for &next in graph.dependents(step) {
                let left = &mut self.waiting[at(next.0)];
                *left -= 1;
                if *left > 0 || self.cells[at(next.0)].state != StepState::Pending {
                    continue;
                }
                if graph.rules(next).is_some_and(|rules| rules.stub) {
                    done.push(next);
                } else {
                    self.set(next, StepState::Ready, effects);
                    effects.push(Effect::Enqueue(next));
                }
            }
        }
    }

    /// Ends `step` badly, and with it all that follow it.
    fn fail(&mut self, step: StepIndex, effects: &mut Vec<Effect>) {
        self.end_step(step, StepState::Failed, effects);
        let graph = Arc::clone(&self.graph);
        let mut failed = vec![step];
        while let Some(step) = failed.pop() {
            for &next in graph.dependents(step) {
                if self.cells[at(next.0)].state == StepState::Pending {
                    self.end_step(next, StepState::UpstreamFailed, effects);
                    failed.push(next);
                }
            }
        }
    }

    fn cancel(&mut self, how: Stop, effects: &mut Vec<Effect>) {
        if self.run.cancel >= Some(how) {
            return;
        }
        self.run.cancel = Some(how);
        self.run.state = RunState::Cancelling;
        effects.push(Effect::RunChanged);
        for index in 0..self.cells.len() {
            let step = StepIndex(u32::try_from(index).unwrap_or(u32::MAX));
            let cell = self.cells[index];
            if cell.state == StepState::Running {
                effects.push(Effect::Stop { step, attempt: AttemptNumber(cell.attempt), how });
            } else if !cell.state.is_terminal() {
                self.end_step(step, StepState::Cancelled, effects);
            }
        }
    }

    /// Ends the run where no step is left.
    fn settle(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        if self.open > 0 {
            return;
        }
        let good = |cell: &Cell| {
            matches!(cell.state, StepState::Succeeded | StepState::Reused | StepState::Skipped)
        };
        self.run.state = if self.cells.iter().all(good) {
            RunState::Succeeded
        } else if self.run.cancel.is_some() {
            RunState::Cancelled
        } else {
            RunState::Failed
        };
        self.run.end = Some(now);
        effects.push(Effect::RunChanged);
    }

    fn end_step(&mut self, step: StepIndex, state: StepState, effects: &mut Vec<Effect>) {
        self.open -= 1;
        self.set(step, state, effects);
    }

    fn set(&mut self, step: StepIndex, state: StepState, effects: &mut Vec<Effect>) {
        let cell = &mut self.cells[at(step.0)];
        cell.state = state;
        cell.not_before = None;
        effects.push(Effect::StepChanged(step));
    }

    fn running(&mut self, step: StepIndex, attempt: AttemptNumber) -> Option<&mut Cell> {
        let cell = self.cells.get_mut(at(step.0))?;
        (cell.state == StepState::Running && cell.attempt == attempt.0).then_some(cell)
    }

    /// Where the run stands.
    pub fn run(&self) -> RunRecordState {
        self.run
    }

    /// Where `step` stands.
    pub fn cell(&self, step: StepIndex) -> Option<&Cell> {
        self.cells.get(at(step.0))
    }

    /// Where every step stands.
    pub fn cells(&self) -> &[Cell] {
        &self.cells
    }

    /// The plan's edges.
    pub fn graph(&self) -> &Arc<RunGraph> {
        &self.graph
    }
}
