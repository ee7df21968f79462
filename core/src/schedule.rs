use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, HashMap, VecDeque},
    sync::Arc,
};

use crate::{Resources, RunId, StepIndex};

#[cfg(test)]
mod tests;

/// How often steps of one need may be passed over because a worker that could run them has not
/// enough free; after that their need is set aside, so that a big step is never starved by small
/// ones.
const MAX_PASSED_OVER: u32 = 16;

/// A step that waits for a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadyStep {
    pub step: StepIndex,
    pub need: Arc<Resources>,
}

/// Place in the order of service: the higher priority, then the run whose turn it is.
type Turn = (Reverse<i32>, u64);

/// A run that has ready steps.
#[derive(Debug)]
struct Waiting {
    turn: Turn,
    /// Steps pushed so far: their order within the run.
    pushed: u32,
    /// Where its steps are, by need.
    classes: Vec<usize>,
}

/// The ready steps of one run and one need, with their places in the run's order.
#[derive(Debug)]
struct Lane {
    run: RunId,
    steps: VecDeque<(u32, StepIndex)>,
}

/// All ready steps of one need.
#[derive(Debug)]
struct Class {
    need: Arc<Resources>,
    lanes: BTreeMap<Turn, Lane>,
    passed_over: u32,
}

/// What is ready in all live runs. A higher priority goes first; within one the runs take turns,
/// and within a run the first that became ready is the first to go. A step that a worker could run
/// but has not enough free for is passed over, though only so often.
///
/// A step costs eight bytes. Taking one looks at each different need once and is otherwise
/// O(log runs), however much waits.
#[derive(Debug, Default)]
pub struct ReadyQueue {
    runs: HashMap<RunId, Waiting>,
    known: HashMap<Arc<Resources>, usize>,
    classes: Vec<Class>,
    /// Places of classes without steps, to be used again.
    vacant: Vec<usize>,
    next_ticket: u64,
    len: usize,
    /// Heads of the classes while one is chosen; empty otherwise.
    heads: BinaryHeap<Reverse<(Turn, u32, usize)>>,
}

impl ReadyQueue {
    /// Puts a step at the end of its run's queue. The run's priority is that of its first step.
    pub fn push(&mut self, run: RunId, priority: i32, ready: ReadyStep) {
        let class = self.class(ready.need);
        let ticket = self.next_ticket;
        let waiting = self.runs.entry(run).or_insert_with(|| {
            self.next_ticket += 1;
            Waiting { turn: (Reverse(priority), ticket), pushed: 0, classes: Vec::new() }
        });
        if !waiting.classes.contains(&class) {
            waiting.classes.push(class);
        }
        let lanes = &mut self.classes[class].lanes;
        let lane =
            lanes.entry(waiting.turn).or_insert_with(|| Lane { run, steps: VecDeque::new() });
        lane.steps.push_back((waiting.pushed, ready.step));
        waiting.pushed = waiting.pushed.saturating_add(1);
        self.len += 1;
    }

    /// The place of the steps with that need.
    fn class(&mut self, need: Arc<Resources>) -> usize {
        if let Some(class) = self.known.get(&need) {
            return *class;
        }
        let class = Class { need: Arc::clone(&need), lanes: BTreeMap::new(), passed_over: 0 };
        let place = match self.vacant.pop() {
            Some(place) => {
                self.classes[place] = class;
                place
            }
            None => {
                self.classes.push(class);
                self.classes.len() - 1
            }
        };
        self.known.insert(need, place);
        place
    }

    /// Takes out the next step that a worker with that capacity has enough free for. What the
    /// worker could never run does not count.
    pub fn take(&mut self, free: &Resources, capacity: &Resources) -> Option<(RunId, ReadyStep)> {
        if free.slots == 0 || self.len == 0 {
            return None;
        }
        let mut heads = std::mem::take(&mut self.heads);
        heads.extend(self.known.values().filter_map(|&place| {
            let class = &self.classes[place];
            let (turn, lane) = class.lanes.first_key_value()?;
            let (order, _) = lane.steps.front()?;
            let fits = class.need.on(capacity).fits(capacity);
            fits.then_some(Reverse((*turn, *order, place)))
        }));
        let chosen = self.choose(&mut heads, free, capacity);
        heads.clear();
        self.heads = heads;
        self.advance(chosen?)
    }

    /// The first class whose need is free; those before it are passed over once more.
    fn choose(
        &mut self,
        heads: &mut BinaryHeap<Reverse<(Turn, u32, usize)>>,
        free: &Resources,
        capacity: &Resources,
    ) -> Option<usize> {
        let mut room = free.clone();
        let mut passed = Vec::new();
        while let Some(Reverse((_, _, place))) = heads.pop() {
            let class = &self.classes[place];
            let need = class.need.on(capacity);
            if need.fits(&room) {
                for place in passed {
                    let class: &mut Class = &mut self.classes[place];
                    class.passed_over = class.passed_over.saturating_add(1);
                }
                return Some(place);
            }
            if class.passed_over >= MAX_PASSED_OVER {
                room.sub(&need);
            }
            passed.push(place);
        }
        None
    }

    /// Takes the first step of a class out and sends its run to the end of the turns.
    fn advance(&mut self, place: usize) -> Option<(RunId, ReadyStep)> {
        let class = &mut self.classes[place];
        class.passed_over = 0;
        let (turn, lane) = class.lanes.iter_mut().next()?;
        let (turn, run, need) = (*turn, lane.run, Arc::clone(&class.need));
        let (_, step) = lane.steps.pop_front()?;
        let done = lane.steps.is_empty();
        self.len -= 1;
        let waiting = self.runs.get_mut(&run)?;
        if done {
            waiting.classes.retain(|class| *class != place);
            class.lanes.remove(&turn);
        }
        if waiting.classes.is_empty() {
            self.runs.remove(&run);
        } else {
            let next = (turn.0, self.next_ticket);
            self.next_ticket += 1;
            waiting.turn = next;
            for place in &waiting.classes {
                let lanes = &mut self.classes[*place].lanes;
                if let Some(lane) = lanes.remove(&turn) {
                    lanes.insert(next, lane);
                }
            }
        }
        self.vacate(place);
        Some((run, ReadyStep { step, need }))
    }

    /// Gives the place of a class without steps free.
    fn vacate(&mut self, place: usize) {
        let class = &self.classes[place];
        if class.lanes.is_empty() && self.known.remove(&class.need).is_some() {
            self.vacant.push(place);
        }
    }

    /// Forgets all that waits of a run.
    pub fn remove(&mut self, run: RunId) {
        let Some(waiting) = self.runs.remove(&run) else { return };
        for place in waiting.classes {
            let lane = self.classes[place].lanes.remove(&waiting.turn);
            self.len -= lane.map_or(0, |lane| lane.steps.len());
            self.vacate(place);
        }
    }

    /// What the waiting steps of a run need, each need once.
    pub fn needs(&self, run: RunId) -> impl Iterator<Item = &Arc<Resources>> {
        let classes = self.runs.get(&run).map(|waiting| waiting.classes.as_slice());
        classes.unwrap_or_default().iter().map(|place| &self.classes[*place].need)
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
