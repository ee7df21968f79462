use std::{cmp::Reverse, collections::BinaryHeap};

use crate::{RetryPolicy, StepIndex};

/// What the machine must know about a step beyond its edges.
#[derive(Clone, Copy, Debug)]
pub struct StepRules {
    pub retry: RetryPolicy,
    /// Succeeds by itself as soon as it is ready.
    pub stub: bool,
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
}

/// Lists of step indexes, one after the other in one allocation.
#[derive(Debug)]
struct Lists {
    starts: Vec<usize>,
    items: Vec<StepIndex>,
}

impl Lists {
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
    rules: Vec<StepRules>,
    /// Place of each step in the order of the plan.
    ranks: Vec<usize>,
}

impl RunGraph {
    /// The graph in which step `i` follows the steps `needs[i]`.
    pub fn new<'a>(
        needs: impl Iterator<Item = &'a [u32]> + Clone,
        rules: Vec<StepRules>,
    ) -> Result<Self, BadGraph> {
        let len = rules.len();
        let count = u32::try_from(len).map_err(|_| BadGraph::TooLarge)?;
        let mut starts = vec![0; len + 1];
        let mut own = Lists { starts: vec![0], items: Vec::new() };
        for (step, list) in (0..count).zip(needs.clone()) {
            for &need in list {
                if need >= count {
                    return Err(BadGraph::NoSuchStep { step, need });
                }
                starts[at(need) + 1] += 1;
                own.items.push(StepIndex(need));
            }
            own.starts.push(own.items.len());
        }
        own.starts.resize(len + 1, own.items.len());
        for index in 0..len {
            starts[index + 1] += starts[index];
        }
        let mut fill = starts.clone();
        let mut items = vec![StepIndex(0); own.items.len()];
        for (step, list) in (0..count).zip(needs) {
            for &need in list {
                items[fill[at(need)]] = StepIndex(step);
                fill[at(need)] += 1;
            }
        }
        let dependents = Lists { starts, items };
        let mut graph = Self { needs: own, dependents, rules, ranks: Vec::new() };
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

    /// The rules of `step`.
    pub fn rules(&self, step: StepIndex) -> Option<&StepRules> {
        self.rules.get(at(step.0))
    }
}

/// A step's number as an index; a number that no memory could hold is beyond every list.
pub(super) fn at(step: u32) -> usize {
    usize::try_from(step).unwrap_or(usize::MAX - 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(needs: &[&[u32]]) -> Result<RunGraph, BadGraph> {
        let rules = vec![StepRules { retry: RetryPolicy::NEVER, stub: false }; needs.len()];
        RunGraph::new(needs.iter().copied(), rules)
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
    fn cycles_and_unknown_steps_are_refused() {
        assert_eq!(graph(&[&[1], &[0]]).unwrap_err(), BadGraph::Cycle { step: 0 });
        assert_eq!(graph(&[&[], &[1]]).unwrap_err(), BadGraph::Cycle { step: 1 });
        assert_eq!(graph(&[&[7]]).unwrap_err(), BadGraph::NoSuchStep { step: 0, need: 7 });
    }
}
