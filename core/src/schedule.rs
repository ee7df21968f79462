use std::collections::{BTreeMap, HashMap, VecDeque};

use crate::{RunId, StepIndex};

/// How often the head of a run may be passed over because it needs more slots than are free;
/// after that the slots are kept for it, so that a big step is never starved by small ones.
const MAX_PASSED_OVER: u32 = 16;

/// Most runs looked at for one grant.
const MAX_LOOKED_AT: usize = 64;

/// A step that waits for slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadyStep {
    pub step: StepIndex,
    /// Slots it takes; on a smaller worker it takes all.
    pub slots: u32,
}

#[derive(Debug)]
struct RunQueue {
    ticket: u64,
    steps: VecDeque<ReadyStep>,
    passed_over: u32,
}

/// What is ready in all live runs: the runs take turns, and within a run the first that became
/// ready is the first to go. Everything costs O(log runs), however much waits.
#[derive(Debug, Default)]
pub struct ReadyQueue {
    runs: HashMap<RunId, RunQueue>,
    turns: BTreeMap<u64, RunId>,
    next_ticket: u64,
    len: usize,
}

impl ReadyQueue {
    /// Puts a step at the end of its run's queue.
    pub fn push(&mut self, run: RunId, step: ReadyStep) {
        let ticket = self.next_ticket;
        let queue = self.runs.entry(run).or_insert_with(|| {
            self.turns.insert(ticket, run);
            self.next_ticket += 1;
            RunQueue { ticket, steps: VecDeque::new(), passed_over: 0 }
        });
        queue.steps.push_back(step);
        self.len += 1;
    }

    /// Takes out the next step that fits `free` slots on a worker with `capacity` in all.
    pub fn take(&mut self, free: u32, capacity: u32) -> Option<(RunId, ReadyStep)> {
        if free == 0 {
            return None;
        }
        let mut found = None;
        for &run in self.turns.values().take(MAX_LOOKED_AT) {
            let queue = self.runs.get_mut(&run)?;
            let head = *queue.steps.front()?;
            if head.slots.clamp(1, capacity.max(1)) <= free {
                found = Some((run, head));
                break;
            }
            queue.passed_over += 1;
            if queue.passed_over > MAX_PASSED_OVER {
                return None;
            }
        }
        let (run, step) = found?;
        self.advance(run);
        Some((run, step))
    }

    /// Takes the head of `run` out and sends the run to the end of the turns.
    fn advance(&mut self, run: RunId) {
        let Some(queue) = self.runs.get_mut(&run) else { return };
        queue.steps.pop_front();
        queue.passed_over = 0;
        self.len -= 1;
        self.turns.remove(&queue.ticket);
        if queue.steps.is_empty() {
            self.runs.remove(&run);
        } else {
            queue.ticket = self.next_ticket;
            self.turns.insert(self.next_ticket, run);
            self.next_ticket += 1;
        }
    }

    /// Forgets all that waits of a run.
    pub fn remove(&mut self, run: RunId) {
        if let Some(queue) = self.runs.remove(&run) {
            self.turns.remove(&queue.ticket);
            self.len -= queue.steps.len();
        }
    }

    /// How many steps wait.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True where nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn run(n: u128) -> RunId {
        RunId(Uuid::from_u128(n))
    }

    fn small(step: u32) -> ReadyStep {
        ReadyStep { step: StepIndex(step), slots: 1 }
    }

    fn taken(queue: &mut ReadyQueue, free: u32, capacity: u32) -> Vec<(u128, u32)> {
        std::iter::from_fn(|| queue.take(free, capacity))
            .map(|(run, ready)| (run.0.as_u128(), ready.step.0))
            .collect()
    }

    #[test]
    fn runs_take_turns_and_steps_keep_their_order() {
        let mut queue = ReadyQueue::default();
        (0..3).for_each(|step| queue.push(run(1), small(step)));
        (0..2).for_each(|step| queue.push(run(2), small(step)));
        assert_eq!(queue.len(), 5);
        assert_eq!(taken(&mut queue, 1, 1), [(1, 0), (2, 0), (1, 1), (2, 1), (1, 2)]);
        assert!(queue.is_empty());
    }

    #[test]
    fn a_step_larger_than_the_worker_runs_alone() {
        let mut queue = ReadyQueue::default();
        queue.push(run(1), ReadyStep { step: StepIndex(0), slots: 8 });
        assert_eq!(queue.take(1, 2), None);
        assert_eq!(taken(&mut queue, 2, 2), [(1, 0)]);
    }

    #[test]
    fn a_big_step_is_passed_over_for_a_while_only() {
        let mut queue = ReadyQueue::default();
        queue.push(run(1), ReadyStep { step: StepIndex(0), slots: 2 });
        (0..100).for_each(|step| queue.push(run(2), small(step)));
        let passed = taken(&mut queue, 1, 2).len();
        assert_eq!(passed, usize::try_from(MAX_PASSED_OVER).unwrap());
        assert_eq!(taken(&mut queue, 2, 2)[0], (1, 0));
    }

    #[test]
    fn a_removed_run_leaves_no_trace() {
        let mut queue = ReadyQueue::default();
        queue.push(run(1), small(0));
        queue.push(run(2), small(0));
        queue.remove(run(1));
        queue.remove(run(3));
        queue.push(run(1), small(7));
        assert_eq!(taken(&mut queue, 1, 1), [(2, 0), (1, 7)]);
        assert!(queue.turns.is_empty() && queue.runs.is_empty());
    }
}
