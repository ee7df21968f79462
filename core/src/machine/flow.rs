//! How steps start, spread and end, and what that means for the steps around them.

use std::{sync::Arc, time::Duration};

use super::{
    Cell, Effect, Machine, Mock, Now,
    graph::at,
    nodes::{NodeKey, Role},
};
use crate::{AttemptNumber, RunState, StepIndex, StepState, Timestamp};

/// Most steps, instances and iterations that a run may come to have beyond those of its plan.
pub const MAX_NODES: usize = 100_000;

/// What is still to be done about a step within one event.
#[derive(Clone, Copy, Debug)]
pub(super) enum Todo {
    /// Its needs are met.
    Enter(StepIndex),
    Start(StepIndex),
    Ended(StepIndex),
}

/// What the end of a need means for a step.
enum Consequence {
    Nothing,
    Skip,
    Fail,
}

impl Machine {
    /// Does everything that follows, one step after the other: chains of steps that need no worker
    /// may be long.
    pub(super) fn work_off(&mut self, now: Now<'_>) {
        while let Some(todo) = self.todo.pop() {
            match todo {
                Todo::Enter(step) => self.enter(step, now.effects),
                Todo::Start(step) => self.start(step, now.time, now.effects),
                Todo::Ended(step) => self.after(step, now.time, now.effects),
            }
        }
    }

    /// Starts a step, or asks first.
    fn enter(&mut self, step: StepIndex, effects: &mut Vec<Effect>) {
        match self.nodes.rules(&self.graph, step) {
            Some(rules) if rules.asks && self.run.cancel.is_none() => {
                effects.push(Effect::Evaluate { step, join: false });
            }
            Some(_) | None => self.todo.push(Todo::Start(step)),
        }
    }

    fn start(&mut self, step: StepIndex, now: Timestamp, effects: &mut Vec<Effect>) {
        if self.run.cancel.is_some() {
            return self.end_step(step, StepState::Cancelled, now, effects);
        }
        match self.nodes.role(&self.graph, step) {
            Some(Role::Attempts) => self.make_ready(step, effects),
            Some(Role::Stub) => self.end_step(step, StepState::Succeeded, now, effects),
            Some(Role::Mock(mock)) => self.start_mock(step, mock, now, effects),
            Some(Role::Pipeline { first, count }) => {
                let inner = (first..first + count)
                    .map(|template| (StepIndex(template), None))
                    .collect::<Vec<_>>();
                self.open(step, &inner, now, effects);
            }
            Some(Role::Loop { .. }) => self.iterate(step, now, effects),
            // Items come with the answer to what it asked.
            Some(Role::Each { .. }) | None => {}
        }
    }

    fn start_mock(
        &mut self,
        step: StepIndex,
        mock: Mock,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        self.cells[at(step.0)].start = Some(now);
        if mock.sleep.is_zero() {
            return self.end_mock(step, mock, now, effects);
        }
        let until = later(now, mock.sleep);
        self.set(step, StepState::Running, effects);
        self.cells[at(step.0)].not_before = Some(until);
        self.begin_run(now, effects);
        effects.push(Effect::Wait { step, attempt: AttemptNumber(0), until });
    }

    pub(super) fn end_mock(
        &mut self,
        step: StepIndex,
        mock: Mock,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let state = if mock.fails { StepState::Failed } else { StepState::Succeeded };
        self.end_step(step, state, now, effects);
    }

    /// Makes `count` instances of a step and starts as many as may go on at once.
    pub(super) fn spread(
        &mut self,
        step: StepIndex,
        count: u32,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let Some(template) = self.nodes.get(step).map(|node| node.key.template) else { return };
        let instances: Vec<_> = (0..count).map(|ordinal| (template, Some(ordinal))).collect();
        self.open(step, &instances, now, effects);
    }

    /// Adds the next iteration of a loop.
    pub(super) fn iterate(&mut self, step: StepIndex, now: Timestamp, effects: &mut Vec<Effect>) {
        let Some(node) = self.nodes.get(step) else { return };
        let ordinal = u32::try_from(node.children.len()).unwrap_or(u32::MAX);
        let template = node.key.template;
        self.open(step, &[(template, Some(ordinal))], now, effects);
    }

    /// Gives a step children and starts those that may.
    fn open(
        &mut self,
        step: StepIndex,
        children: &[(StepIndex, Option<u32>)],
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        if self.nodes.len() + children.len() > self.graph.len() + MAX_NODES {
            effects.push(Effect::TooManySteps(step));
            return self.end_step(step, StepState::Failed, now, effects);
        }
        self.cells[at(step.0)].start.get_or_insert(now);
        self.set(step, StepState::Running, effects);
        self.begin_run(now, effects);
        let graph = Arc::clone(&self.graph);
        let mut entering = Vec::new();
        for &(template, ordinal) in children {
            let child = self.nodes.push(&graph, NodeKey { template, parent: Some(step), ordinal });
            self.cells.push(Cell::NEW);
            effects.push(Effect::StepChanged(child));
            let free = self.nodes.get(child).is_some_and(|node| node.waiting == 0);
            if ordinal.is_none() && free {
                entering.push(Todo::Enter(child));
            }
        }
        // The last of them is done first.
        self.todo.extend(entering.into_iter().rev());
        self.start_more(step);
        if children.is_empty() {
            self.close(step, now, effects);
        }
    }

    /// Starts instances or iterations up to as many as may go on at once.
    fn start_more(&mut self, step: StepIndex) {
        let role = self.nodes.role(&self.graph, step);
        let Some(node) = self.nodes.get_mut(step) else { return };
        let count = u32::try_from(node.children.len()).unwrap_or(u32::MAX);
        let most = match role {
            Some(Role::Each { max_parallel: 0 } | Role::Loop { .. }) => u32::MAX,
            Some(Role::Each { max_parallel }) => max_parallel,
            Some(Role::Pipeline { .. } | Role::Attempts | Role::Stub | Role::Mock(_)) | None => {
                return;
            }
        };
        let ended = count - node.open;
        let upto = ended.saturating_add(most).min(count);
        let fresh = node.children.get(at(node.begun)..at(upto)).unwrap_or_default();
        self.todo.extend(fresh.iter().rev().map(|child| Todo::Start(*child)));
        node.begun = node.begun.max(upto);
    }

    /// What the end of `step` means for the steps that need it and for the one around it.
    fn after(&mut self, step: StepIndex, now: Timestamp, effects: &mut Vec<Effect>) {
        let Some(node) = self.nodes.get(step) else { return };
        let NodeKey { template, parent, ordinal } = node.key;
        let graph = Arc::clone(&self.graph);
        if ordinal.is_none() {
            for dependent in graph.dependents(template).iter().rev() {
                if let Some(dependent) = self.nodes.beside(&graph, step, *dependent) {
                    self.need_ended(dependent, step, now, effects);
                }
            }
        }
        let Some(parent) = parent else {
            self.open -= 1;
            return;
        };
        let Some(around) = self.nodes.get_mut(parent) else { return };
        around.open -= 1;
        if around.open == 0 {
            self.close(parent, now, effects);
        } else {
            self.start_more(parent);
        }
    }

    /// One of the needs of `step` has ended.
    fn need_ended(
        &mut self,
        step: StepIndex,
        need: StepIndex,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let Some(node) = self.nodes.get_mut(step) else { return };
        node.waiting -= 1;
        let waiting = node.waiting;
        if self.cells[at(step.0)].state != StepState::Pending {
            return;
        }
        let handler = self.nodes.rules(&self.graph, step).is_some_and(|rules| rules.handler);
        if handler {
            if waiting > 0 {
                return;
            }
            if self.any_need_failed(step) {
                self.todo.push(Todo::Enter(step));
            } else {
                self.end_step(step, StepState::Skipped, now, effects);
            }
            return;
        }
        if matches!(self.consequence(step, need), Consequence::Fail) {
            self.end_step(step, StepState::UpstreamFailed, now, effects);
        } else if waiting == 0 {
            let skips = |need| matches!(self.consequence(step, need), Consequence::Skip);
            if self.needs(step).any(skips) {
                self.end_step(step, StepState::Skipped, now, effects);
            } else {
                self.todo.push(Todo::Enter(step));
            }
        }
    }

    fn consequence(&self, step: StepIndex, need: StepIndex) -> Consequence {
        let key = |node| self.nodes.get(node).map(|node| node.key.template);
        let (Some(own), Some(other)) = (key(step), key(need)) else { return Consequence::Nothing };
        let without_value = if self.graph.needs_value(own, other) {
            Consequence::Skip
        } else {
            Consequence::Nothing
        };
        match self.cells[at(need.0)].state {
            StepState::Skipped => without_value,
            StepState::Failed if self.tolerated(need) => without_value,
            StepState::Failed | StepState::UpstreamFailed => Consequence::Fail,
            StepState::Succeeded | StepState::Reused => Consequence::Nothing,
            // Whatever follows is cancelled by itself.
            StepState::Cancelled
            | StepState::Pending
            | StepState::Ready
            | StepState::Running
            | StepState::BackingOff => Consequence::Nothing,
        }
    }

    /// True where a step that `step` needs has failed for good.
    pub(super) fn any_need_failed(&self, step: StepIndex) -> bool {
        self.needs(step).any(|need| self.cells[at(need.0)].state == StepState::Failed)
    }

    /// True where the failure of a step as a whole fails nothing else; that of one of its instances
    /// fails the step.
    fn tolerated(&self, step: StepIndex) -> bool {
        self.nodes.get(step).is_some_and(|node| node.key.ordinal.is_none())
            && self.nodes.rules(&self.graph, step).is_some_and(|rules| rules.tolerated)
    }

    /// True where the end of `step` fails nothing around it.
    pub(super) fn is_good(&self, step: StepIndex) -> bool {
        match self.cells[at(step.0)].state {
            StepState::Succeeded | StepState::Reused | StepState::Skipped => true,
            StepState::Failed => self.tolerated(step),
            StepState::Pending
            | StepState::Ready
            | StepState::Running
            | StepState::BackingOff
            | StepState::UpstreamFailed
            | StepState::Cancelled => false,
        }
    }

    /// All children of `step` have ended.
    fn close(&mut self, step: StepIndex, now: Timestamp, effects: &mut Vec<Effect>) {
        if self.run.cancel.is_some() {
            return self.end_step(step, StepState::Cancelled, now, effects);
        }
        let Some(node) = self.nodes.get(step) else { return };
        if !node.children.iter().all(|child| self.is_good(*child)) {
            return self.end_step(step, StepState::Failed, now, effects);
        }
        let asks = match self.nodes.role(&self.graph, step) {
            Some(Role::Each { .. } | Role::Loop { .. }) => true,
            Some(Role::Pipeline { .. } | Role::Attempts | Role::Stub | Role::Mock(_)) | None => {
                self.nodes.rules(&self.graph, step).is_some_and(|rules| rules.joins)
            }
        };
        if asks {
            effects.push(Effect::Evaluate { step, join: true });
        } else {
            self.end_step(step, StepState::Succeeded, now, effects);
        }
    }

    /// The run is under way.
    pub(super) fn begin_run(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        if self.run.state == RunState::Queued {
            self.run.state = RunState::Running;
            self.run.start.get_or_insert(now);
            effects.push(Effect::RunChanged);
        }
    }
}

/// `wait` after `now`.
pub(super) fn later(now: Timestamp, wait: Duration) -> Timestamp {
    let micros = i64::try_from(wait.as_micros()).unwrap_or(i64::MAX);
    Timestamp(now.0.saturating_add(micros))
}
