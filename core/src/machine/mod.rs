//! The machine of one run: what follows from each thing that happens to its steps.

mod event;
mod flow;
mod graph;
mod nodes;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use event::{Cell, Effect, Entry, Event, Join, Outcome, RunRecordState, Stop};
pub use flow::MAX_NODES;
pub use graph::{BadGraph, Mock, RunGraph, Spread, StepRules, Work};
pub use nodes::NodeKey;

use self::{
    flow::{Todo, later},
    graph::at,
    nodes::{Nodes, Role},
};
use crate::{AttemptNumber, Failure, RunState, StepIndex, StepState, Timestamp};

/// Decides what follows from each event of one run. Events that are late, repeated or about an
/// older attempt change nothing and have no effects.
#[derive(Debug)]
pub struct Machine {
    graph: Arc<RunGraph>,
    run: RunRecordState,
    nodes: Nodes,
    cells: Vec<Cell>,
    /// Top-level steps that have not ended.
    open: usize,
    /// Empty between events.
    todo: Vec<Todo>,
}

/// When an event happens, and where its effects go.
struct Now<'a> {
    time: Timestamp,
    effects: &'a mut Vec<Effect>,
}

impl Machine {
    /// A run of which nothing happened yet.
    pub fn new(graph: Arc<RunGraph>) -> Self {
        let run = RunRecordState {
            state: RunState::Queued,
            cancel: None,
            timed_out: false,
            start: None,
            end: None,
        };
        Self::restore(graph, run, Vec::new())
    }

    /// The machine whose state was stored: the nodes in their order, of which the first are the
    /// plan's own. Cells of those that are missing are new.
    pub fn restore(
        graph: Arc<RunGraph>,
        run: RunRecordState,
        stored: Vec<(NodeKey, Cell)>,
    ) -> Self {
        let mut nodes = Nodes::new(&graph);
        let mut cells = vec![Cell::NEW; nodes.len()];
        for (index, (key, cell)) in stored.into_iter().enumerate() {
            if index < cells.len() {
                cells[index] = cell;
            } else {
                nodes.push(&graph, key);
                cells.push(cell);
            }
        }
        let mut machine = Self { graph, run, nodes, cells, open: 0, todo: Vec::new() };
        machine.recount();
        machine
    }

    /// Derives from the states what is counted.
    fn recount(&mut self) {
        self.open = 0;
        for index in (0u32..).take(self.cells.len()) {
            let step = StepIndex(index);
            let ended = |step: &StepIndex| self.cells[at(step.0)].state.is_terminal();
            let waiting = self.needs(step).filter(|need| !ended(need)).count();
            let Some(node) = self.nodes.get(step) else { continue };
            let open = node.children.iter().filter(|child| !ended(child)).count();
            let is_new = |child: &StepIndex| self.cells[at(child.0)].state == StepState::Pending;
            let begun = match self.nodes.role(&self.graph, step) {
                Some(Role::Each { .. } | Role::Loop { .. }) => {
                    node.children.iter().take_while(|child| !is_new(child)).count()
                }
                Some(Role::Pipeline { .. } | Role::Attempts | Role::Stub | Role::Mock(_)) => 0,
                None => 0,
            };
            if node.key.parent.is_none() && !ended(&step) {
                self.open += 1;
            }
            let number = |count| u32::try_from(count).unwrap_or(u32::MAX);
            if let Some(node) = self.nodes.get_mut(step) {
                (node.waiting, node.open) = (number(waiting), number(open));
                node.begun = number(begun);
            }
        }
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
                (StepState::Running, None) if cell.attempt == 0 => {
                    if let Some(until) = cell.not_before {
                        effects.push(Effect::Wait { step, attempt, until });
                    } else if self.nodes.get(step).is_some_and(|node| node.open == 0) {
                        effects.push(Effect::Evaluate { step, join: true });
                    }
                }
                (StepState::Running, Some(how)) if cell.attempt > 0 => {
                    effects.push(Effect::Stop { step, attempt, how });
                }
                (StepState::Pending, None) if self.may_enter(step) => {
                    effects.push(Effect::Evaluate { step, join: false });
                }
                (_, _) => {}
            }
        }
    }

    /// True where an evaluation is all that a pending step waits for.
    fn may_enter(&self, step: StepIndex) -> bool {
        let alone = |node: &nodes::Node| node.key.ordinal.is_none() && node.waiting == 0;
        self.cells[at(step.0)].state == StepState::Pending
            && self.nodes.get(step).is_some_and(alone)
            && self.nodes.rules(&self.graph, step).is_some_and(|rules| rules.asks)
    }

    /// Takes in `event` at `now` and appends what follows.
    pub fn apply(&mut self, event: Event, now: Timestamp, effects: &mut Vec<Effect>) {
        if self.run.state.is_terminal() {
            return;
        }
        match event {
            Event::Begin => self.begin(now),
            Event::Entered { step, entry } => self.entered(step, entry, now, effects),
            Event::Joined { step, made, join } => self.joined(step, (made, join), now, effects),
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
            Event::GivenBack { step, attempt } => self.given_back(step, attempt, now, effects),
            Event::WaitOver { step, attempt } => self.wait_over(step, attempt, now, effects),
            Event::RunTimeUp => {
                self.run.timed_out |= self.run.cancel.is_none();
                self.cancel(Stop::Politely, now, effects);
            }
            Event::CancelRequested { how } => self.cancel(how, now, effects),
        }
        self.work_off(Now { time: now, effects });
        self.settle(now, effects);
    }

    fn begin(&mut self, now: Timestamp) {
        if self.open == 0 {
            self.run.start.get_or_insert(now);
        }
        let free = |step: &u32| {
            self.cells[at(*step)].state == StepState::Pending
                && self.nodes.get(StepIndex(*step)).is_some_and(|node| node.waiting == 0)
        };
        let free: Vec<u32> = (0..self.graph.top()).filter(free).collect();
        self.todo.extend(free.into_iter().rev().map(|step| Todo::Enter(StepIndex(step))));
    }

    fn entered(
        &mut self,
        step: StepIndex,
        entry: Entry,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        if step.0 >= u32::try_from(self.cells.len()).unwrap_or(u32::MAX) || !self.may_enter(step) {
            return;
        }
        match entry {
            Entry::Skip => self.end_step(step, StepState::Skipped, now, effects),
            Entry::Fail => self.fail(step, now, effects),
            Entry::Go => self.todo.push(Todo::Start(step)),
            Entry::Spread(count) => self.spread(step, count, now, effects),
        }
    }

    fn joined(
        &mut self,
        step: StepIndex,
        (made, join): (usize, Join),
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let role = self.nodes.role(&self.graph, step);
        let waits = role.is_some_and(Role::is_container)
            && self
                .nodes
                .get(step)
                .is_some_and(|node| node.open == 0 && node.children.len() == made)
            && self.cells[at(step.0)].state == StepState::Running
            && self.cells[at(step.0)].attempt == 0;
        if !waits {
            return;
        }
        match (join, role) {
            (Join::Fail, _) => self.fail(step, now, effects),
            (Join::Reduce, _) => self.make_ready(step, effects),
            (Join::Until(false), Some(Role::Loop { max, .. })) if made < at(max) => {
                self.iterate(step, now, effects);
            }
            (Join::Until(false), Some(Role::Loop { succeed_at_max: false, .. })) => {
                self.fail(step, now, effects);
            }
            (Join::Done | Join::Until(_), _) => {
                self.end_step(step, StepState::Succeeded, now, effects);
            }
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
        self.begin_run(now, effects);
    }

    fn given_back(
        &mut self,
        step: StepIndex,
        attempt: AttemptNumber,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let cancelled = self.run.cancel.is_some();
        let Some(cell) = self.running(step, attempt) else { return };
        if cell.started {
            return;
        }
        cell.attempt -= 1;
        if cancelled {
            self.end_step(step, StepState::Cancelled, now, effects);
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
            Outcome::Succeeded => self.end_step(step, StepState::Succeeded, now, effects),
            Outcome::Cancelled | Outcome::Failed(Failure::Lost) if cancelled => {
                self.end_step(step, StepState::Cancelled, now, effects);
            }
            Outcome::Failed(_) if cancelled => self.fail(step, now, effects),
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
        let rules = self.nodes.rules(&self.graph, step);
        let (Some(cell), Some(rules)) = (self.cells.get_mut(at(step.0)), rules) else { return };
        let used = if failure == Failure::Lost { &mut cell.losses } else { &mut cell.retries };
        let Some(wait) = rules.retry.delay(failure, *used, jitter) else {
            return self.fail(step, now, effects);
        };
        *used += 1;
        if wait.is_zero() {
            return self.make_ready(step, effects);
        }
        let until = later(now, wait);
        cell.state = StepState::BackingOff;
        cell.not_before = Some(until);
        let attempt = AttemptNumber(cell.attempt);
        effects.push(Effect::StepChanged(step));
        effects.push(Effect::Wait { step, attempt, until });
    }

    fn wait_over(
        &mut self,
        step: StepIndex,
        attempt: AttemptNumber,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let Some(cell) = self.cells.get(at(step.0)).filter(|cell| cell.attempt == attempt.0) else {
            return;
        };
        match (cell.state, self.nodes.role(&self.graph, step)) {
            (StepState::BackingOff, _) => self.make_ready(step, effects),
            (StepState::Running, Some(Role::Mock(mock))) => self.end_mock(step, mock, now, effects),
            (_, _) => {}
        }
    }

    fn make_ready(&mut self, step: StepIndex, effects: &mut Vec<Effect>) {
        self.set(step, StepState::Ready, effects);
        effects.push(Effect::Enqueue(step));
    }

    fn fail(&mut self, step: StepIndex, now: Timestamp, effects: &mut Vec<Effect>) {
        self.end_step(step, StepState::Failed, now, effects);
    }

    fn cancel(&mut self, how: Stop, now: Timestamp, effects: &mut Vec<Effect>) {
        if self.run.cancel >= Some(how) {
            return;
        }
        self.run.cancel = Some(how);
        self.run.state = RunState::Cancelling;
        effects.push(Effect::RunChanged);
        for index in 0..self.cells.len() {
            let step = StepIndex(u32::try_from(index).unwrap_or(u32::MAX));
            let cell = self.cells[index];
            let open = self.nodes.get(step).is_some_and(|node| node.open > 0);
            if cell.state == StepState::Running && cell.attempt > 0 {
                effects.push(Effect::Stop { step, attempt: AttemptNumber(cell.attempt), how });
            } else if !cell.state.is_terminal() && !open {
                // A container ends with the last of its children.
                self.end_step(step, StepState::Cancelled, now, effects);
            }
        }
    }

    /// Ends the run where no step is left.
    fn settle(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        if self.open > 0 {
            return;
        }
        let all_good = (0..self.graph.top()).all(|step| self.is_good(StepIndex(step)));
        self.run.state = if all_good {
            RunState::Succeeded
        } else if self.run.cancel.is_some() && !self.run.timed_out {
            RunState::Cancelled
        } else {
            RunState::Failed
        };
        self.run.start.get_or_insert(now);
        self.run.end = Some(now);
        effects.push(Effect::RunChanged);
    }

    fn end_step(
        &mut self,
        step: StepIndex,
        state: StepState,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        self.set(step, state, effects);
        self.todo.push(Todo::Ended(step));
        let cell = &mut self.cells[at(step.0)];
        if cell.attempt == 0 {
            cell.end = Some(now);
        }
    }

    fn set(&mut self, step: StepIndex, state: StepState, effects: &mut Vec<Effect>) {
        let cell = &mut self.cells[at(step.0)];
        cell.state = state;
        cell.not_before = None;
        effects.push(Effect::StepChanged(step));
    }

    fn running(&mut self, step: StepIndex, attempt: AttemptNumber) -> Option<&mut Cell> {
        let cell = self.cells.get_mut(at(step.0))?;
        let same = cell.state == StepState::Running && cell.attempt == attempt.0 && attempt.0 > 0;
        same.then_some(cell)
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

    /// What `step` was made of; `None` where there is no such step yet.
    pub fn key(&self, step: StepIndex) -> Option<NodeKey> {
        self.nodes.get(step).map(|node| node.key)
    }

    /// The steps that were made of `step`, in order.
    pub fn children(&self, step: StepIndex) -> &[StepIndex] {
        self.nodes.get(step).map_or(&[], |node| &node.children)
    }

    /// The steps beside `step` that it follows. Instances and iterations follow none themselves.
    pub fn needs(&self, step: StepIndex) -> impl Iterator<Item = StepIndex> + '_ {
        let node = self.nodes.get(step).filter(|node| node.key.ordinal.is_none());
        let needs = node.map_or(&[][..], |node| self.graph.needs(node.key.template));
        needs.iter().filter_map(move |need| self.nodes.beside(&self.graph, step, *need))
    }

    /// The step beside `step` that was made of `template`.
    pub fn beside(&self, step: StepIndex, template: StepIndex) -> Option<StepIndex> {
        self.nodes.beside(&self.graph, step, template)
    }

    /// The plan's edges.
    pub fn graph(&self) -> &Arc<RunGraph> {
        &self.graph
    }
}
