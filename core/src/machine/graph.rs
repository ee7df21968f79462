use std::{cmp::Reverse, collections::BinaryHeap, time::Duration};

use crate::{RetryPolicy, StepIndex};

/// What a step does in place of its work, where it is mocked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mock {
    pub fails: bool,
    pub sleep: Duration,
}

/// What a step does when it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Attempts on workers.
    Attempts,
    /// Succeeds by itself.
    Stub,
    /// The inner steps at these places of the plan.
    Pipeline {
        first: u32,
        count: u32,
    },
    Mock(Mock),
}

/// How often a step does it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spread {
    Once,
    /// Once for each item; 0: any number at a time.
    Each {
        max_parallel: u32,
    },
    /// Until its condition holds.
    Loop {
        max: u32,
        succeed_at_max: bool,
    },
}

/// What the machine must know about a step of the plan beyond its edges.
#[derive(Clone, Copy, Debug)]
pub struct StepRules {
    pub retry: RetryPolicy,
    pub work: Work,
    /// Of a mock: [`Spread::Once`].
    pub spread: Spread,
    /// It has something to evaluate before it starts. What spreads over items always has.
    pub asks: bool,
    /// It has something to evaluate after its inner steps. Instances and loops always have.
    pub joins: bool,
    /// Its failure fails nothing else.
    pub tolerated: bool,
    /// Runs only where a step that it needs has failed for good.
    pub handler: bool,
    /// The pipeline step around it.
    pub parent: Option<u32>,
}

impl StepRules {
    /// One attempt that asks for nothing.
    pub const PLAIN: Self = Self {
        retry: RetryPolicy::NEVER,
        work: Work::Attempts,
        spread: Spread::Once,
        asks: false,
        joins: false,
        tolerated: false,
        handler: false,
        parent: None,
    };
}

/// Edges that are no plan.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BadGraph {
    #[error("step {step} needs step {need}, which is not there")]
    NoSuchStep { step: u32, need: u32 },
    #[error("step {step} needs itself by way of others")]
    Cycle { step: u32 },
    #[error("a plan has at most {} steps", u32::MAX)]
    TooLarge,
    #[error("step {step} is not where the steps of its pipeline are")]
    Misplaced { step: u32 },
}

/// Lists of step indexes, one after the other in one allocation.
#[derive(Debug)]
struct Lists {
    starts: Vec<usize>,
    items: Vec<StepIndex>,
}

impl Lists {
    fn new() -> Self {
        Self { starts: vec![0], items: Vec::new() }
    }

    fn push(&mut self, list: &[u32]) {
        self.items.extend(list.iter().map(|step| StepIndex(*step)));
        self.starts.push(self.items.len());
    }

    fn get(&self, index: usize) -> &[StepIndex] {
        match self.starts.get(index..index + 2) {
            Some(&[start, end]) => &self.items[start..end],
            Some(_) | None => &[],
        }
    }
}

/// The edges of a run's plan, both ways; proved to be without cycles.
#[derive(Debug)]
pub struct RunGraph {
    needs: Lists,
    dependents: Lists,
    /// The needs of each step whose values it takes.
    data: Lists,
    rules: Vec<StepRules>,
    /// How many steps stand in no inner pipeline.
    top: u32,
    /// Place of each step in the order of the plan.
    ranks: Vec<usize>,
}

impl RunGraph {
    /// The graph in which step `i` follows the steps of the first list of `edges[i]`; of those in
    /// the second list it needs the values.
    pub fn new<'a>(
        edges: impl Iterator<Item = (&'a [u32], &'a [u32])> + Clone,
        rules: Vec<StepRules>,
    ) -> Result<Self, BadGraph> {
        let len = rules.len();
        let count = u32::try_from(len).map_err(|_| BadGraph::TooLarge)?;
        let top = check_places(&rules)?;
        let (mut needs, mut data) = (Lists::new(), Lists::new());
        let mut followers = vec![0; len];
        for (step, (list, values)) in (0..count).zip(edges.clone()) {
            for &need in list.iter().chain(values) {
                let Some(other) = rules.get(at(need)) else {
                    return Err(BadGraph::NoSuchStep { step, need });
                };
                if other.parent != rules[at(step)].parent {
                    return Err(BadGraph::Misplaced { step });
                }
            }
            list.iter().for_each(|need| followers[at(*need)] += 1);
            needs.push(list);
            data.push(values);
        }
        needs.starts.resize(len + 1, needs.items.len());
        data.starts.resize(len + 1, data.items.len());
        let dependents = turned(&needs, &followers);
        let mut graph = Self { needs, dependents, data, rules, top, ranks: Vec::new() };
        graph.ranks = graph.rank()?;
        Ok(graph)
    }

    /// Every step after all that it needs, otherwise as listed.
    fn rank(&self) -> Result<Vec<usize>, BadGraph> {
        let mut waiting: Vec<usize> =
            (0..self.len()).map(|step| self.needs.get(step).len()).collect();
        let free = (0..self.len()).filter(|&step| waiting[step] == 0).map(Reverse);
        let mut free: BinaryHeap<Reverse<usize>> = free.collect();
        let (mut ranks, mut next) = (vec![0; self.len()], 0);
        while let Some(Reverse(step)) = free.pop() {
            ranks[step] = next;
            next += 1;
            for dependent in self.dependents.get(step) {
                let left = &mut waiting[at(dependent.0)];
                *left -= 1;
                if *left == 0 {
                    free.push(Reverse(at(dependent.0)));
                }
            }
        }
        match (0u32..).zip(&waiting).find(|(_, left)| **left > 0) {
            Some((step, _)) => Err(BadGraph::Cycle { step }),
            None => Ok(ranks),
        }
    }

    /// Where `step` comes in the order of the plan: after all that it needs, otherwise as listed.
    pub fn place(&self, step: StepIndex) -> usize {
        self.ranks.get(at(step.0)).copied().unwrap_or(usize::MAX)
    }

    /// How many steps there are.
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// True for a plan without steps.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The steps that `step` follows; empty for one that is not there.
    pub fn needs(&self, step: StepIndex) -> &[StepIndex] {
        self.needs.get(at(step.0))
    }

    /// The steps that follow `step`; empty for one that is not there.
    pub fn dependents(&self, step: StepIndex) -> &[StepIndex] {
        self.dependents.get(at(step.0))
    }

    /// True where `step` cannot run without a value of `need`.
    pub fn needs_value(&self, step: StepIndex, need: StepIndex) -> bool {
        self.data.get(at(step.0)).contains(&need)
    }

    /// How many steps stand in no inner pipeline; they come first.
    pub fn top(&self) -> u32 {
        self.top
    }

    /// Place of the first step beside `step`, itself included.
    pub(super) fn first_beside(&self, step: StepIndex) -> u32 {
        let parent = self.rules(step).and_then(|rules| rules.parent);
        let around = parent.and_then(|parent| self.rules(StepIndex(parent)));
        match around.map(|rules| rules.work) {
            Some(Work::Pipeline { first, .. }) => first,
            Some(Work::Attempts | Work::Stub | Work::Mock(_)) | None => 0,
        }
    }

    /// The rules of `step`.
    pub fn rules(&self, step: StepIndex) -> Option<&StepRules> {
        self.rules.get(at(step.0))
    }
}

/// Checks that the steps of each pipeline stand in one piece, behind the pipeline's own step, and
/// returns how many stand in none. A pipeline that is mocked has no steps.
fn check_places(rules: &[StepRules]) -> Result<u32, BadGraph> {
    let top = rules.iter().take_while(|rules| rules.parent.is_none()).count();
    let top = u32::try_from(top).map_err(|_| BadGraph::TooLarge)?;
    for (step, own) in (0u32..).zip(rules) {
        if let Work::Pipeline { first, count } = own.work {
            let inner = rules.get(at(first)..at(first).saturating_add(at(count)));
            let all_inner = inner.is_some_and(|all| all.iter().all(|r| r.parent == Some(step)));
            if first <= step || !all_inner {
                return Err(BadGraph::Misplaced { step });
            }
        }
        let around = own.parent.map(|parent| rules.get(at(parent)).map(|rules| rules.work));
        let at_home = match around {
            None => step < top,
            Some(Some(Work::Pipeline { first, count })) => (first..first + count).contains(&step),
            Some(Some(Work::Mock(_))) => step >= top,
            Some(Some(Work::Attempts | Work::Stub) | None) => false,
        };
        if !at_home {
            return Err(BadGraph::Misplaced { step });
        }
    }
    Ok(top)
}

/// The lists the other way: who names each, in ascending order.
fn turned(needs: &Lists, followers: &[usize]) -> Lists {
    let mut starts = vec![0; followers.len() + 1];
    for (index, count) in followers.iter().enumerate() {
        starts[index + 1] = starts[index] + count;
    }
    let mut fill = starts.clone();
    let mut items = vec![StepIndex(0); needs.items.len()];
    for step in (0u32..).take(followers.len()) {
        for need in needs.get(at(step)) {
            items[fill[at(need.0)]] = StepIndex(step);
            fill[at(need.0)] += 1;
        }
    }
    Lists { starts, items }
}

/// A step's number as an index; a number that no memory could hold is beyond every list.
pub(super) fn at(step: u32) -> usize {
    usize::try_from(step).unwrap_or(usize::MAX - 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(needs: &[&[u32]]) -> Result<RunGraph, BadGraph> {
        let rules = vec![StepRules::PLAIN; needs.len()];
        RunGraph::new(needs.iter().map(|needs| (*needs, &[][..])), rules)
    }

    #[test]
    fn edges_go_both_ways() {
        let graph = graph(&[&[], &[0], &[0], &[1, 2]]).unwrap();
        assert_eq!(graph.dependents(StepIndex(0)), [StepIndex(1), StepIndex(2)]);
        assert_eq!(graph.needs(StepIndex(3)), [StepIndex(1), StepIndex(2)]);
        assert_eq!(graph.dependents(StepIndex(3)), []);
        assert_eq!(graph.dependents(StepIndex(9)), []);
    }

    #[test]
    fn a_step_comes_after_all_that_it_needs() {
        let graph = graph(&[&[2], &[], &[], &[0, 1]]).unwrap();
        let mut order = [0, 1, 2, 3].map(StepIndex);
        order.sort_by_key(|step| graph.place(*step));
        assert_eq!(order, [1, 2, 0, 3].map(StepIndex));
    }

    #[test]
    fn inner_steps_stand_in_one_piece_behind_their_pipeline() {
        let pipeline =
            |first, count| StepRules { work: Work::Pipeline { first, count }, ..StepRules::PLAIN };
        let inner = |parent| StepRules { parent: Some(parent), ..StepRules::PLAIN };
        let none: (&[u32], &[u32]) = (&[], &[]);
        let make =
            |rules: Vec<StepRules>| RunGraph::new(vec![none; rules.len()].into_iter(), rules);
        let good = make(vec![pipeline(2, 2), StepRules::PLAIN, inner(0), inner(0)]).unwrap();
        assert_eq!((good.top(), good.first_beside(StepIndex(3))), (2, 2));
        let misplaced = |step| BadGraph::Misplaced { step };
        assert_eq!(make(vec![pipeline(1, 2), inner(0)]).unwrap_err(), misplaced(0));
        assert_eq!(make(vec![pipeline(0, 1)]).unwrap_err(), misplaced(0));
        assert_eq!(make(vec![StepRules::PLAIN, inner(0)]).unwrap_err(), misplaced(1));
    }

    #[test]
    fn cycles_and_unknown_steps_are_refused() {
        assert_eq!(graph(&[&[1], &[0]]).unwrap_err(), BadGraph::Cycle { step: 0 });
        assert_eq!(graph(&[&[], &[1]]).unwrap_err(), BadGraph::Cycle { step: 1 });
        assert_eq!(graph(&[&[7]]).unwrap_err(), BadGraph::NoSuchStep { step: 0, need: 7 });
    }
}
