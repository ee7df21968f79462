use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, HashSet},
};

use crate::StepIndex;

/// What one step asks of the graph, and what it gives to it.
#[derive(Clone, Debug, Default)]
pub struct Links<'a> {
    /// The steps it names under `needs`, or `None` where it says nothing.
    pub needs: Option<Vec<StepIndex>>,
    /// Names of its outputs.
    pub gives: Vec<&'a str>,
    /// Names of its arguments that an output of a step above may feed.
    pub takes: Vec<&'a str>,
}

/// Where edges come from that `needs` does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// A step follows the one listed above it.
    Listed,
    /// A step follows the steps whose outputs feed its arguments.
    Graph,
}

/// Edges of the steps of a plan, proved to be free of cycles.
#[derive(Clone, Debug)]
pub struct Graph {
    needs: Vec<Vec<StepIndex>>,
    order: Vec<StepIndex>,
    /// Place of each step in `order`.
    rank: Vec<usize>,
}

/// Steps that wait for each other: each needs the next, and the last needs the first.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} steps wait for each other in a cycle", steps.len())]
pub struct Cycle {
    pub steps: Vec<StepIndex>,
}

impl Graph {
    /// Builds the graph from what each step needs; needs named twice count once.
    ///
    /// # Panics
    /// Where `needs` names a step that is not in the list.
    pub fn new(mut needs: Vec<Vec<StepIndex>>) -> Result<Self, Cycle> {
        for list in needs.iter_mut().filter(|list| list.len() > 1) {
            let mut seen = HashSet::new();
            list.retain(|need| seen.insert(*need));
        }
        let order = plan_order(&needs)?;
        let mut rank = vec![0; needs.len()];
        for (place, step) in order.iter().enumerate() {
            rank[at(*step)] = place;
        }
        Ok(Self { needs, order, rank })
    }

    /// Resolves what the steps say into edges.
    ///
    /// With [`Order::Graph`] an argument that no step above feeds by `needs` alone gets an edge
    /// from the nearest giver listed above it, else from the nearest listed below.
    pub fn resolve(steps: &[Links<'_>], order: Order) -> Result<Self, Cycle> {
        let listed = |i: usize| match (order, i.checked_sub(1)) {
            (Order::Listed, Some(above)) => vec![index(above)],
            (Order::Listed, None) | (Order::Graph, _) => vec![],
        };
        let said = |(i, step): (usize, &Links<'_>)| match &step.needs {
            Some(needs) => needs.clone(),
            None => listed(i),
        };
        let graph = Self::new(steps.iter().enumerate().map(said).collect())?;
        match order {
            Order::Listed => Ok(graph),
            Order::Graph => graph.with_data_edges(steps),
        }
    }

    /// The steps that `step` waits for.
    pub fn needs(&self, step: StepIndex) -> &[StepIndex] {
        &self.needs[at(step)]
    }

    /// Every step after all that it needs; otherwise as listed.
    pub fn plan_order(&self) -> &[StepIndex] {
        &self.order
    }

    /// Every step that ends before `step` starts, in plan order.
    pub fn ancestors(&self, step: StepIndex) -> Vec<StepIndex> {
        let mut seen: HashSet<StepIndex> = HashSet::new();
        let mut stack = self.needs(step).to_vec();
        while let Some(next) = stack.pop() {
            if seen.insert(next) {
                stack.extend_from_slice(self.needs(next));
            }
        }
        let mut all: Vec<_> = seen.into_iter().collect();
        all.sort_unstable_by_key(|step| self.rank[at(*step)]);
        all
    }

    /// For each step and each name it takes: the nearest step above that gives it.
    ///
    /// The nearest is the last in plan order of the ancestors that give the name.
    pub fn feeds(&self, steps: &[Links<'_>]) -> Vec<Vec<Option<StepIndex>>> {
        if self.is_line() { self.feeds_of_line(steps) } else { self.feeds_of_graph(steps) }
    }

    fn is_line(&self) -> bool {
        self.needs.iter().enumerate().all(|(i, needs)| match i.checked_sub(1) {
            Some(above) => *needs == [index(above)],
            None => needs.is_empty(),
        })
    }

    fn feeds_of_line(&self, steps: &[Links<'_>]) -> Vec<Vec<Option<StepIndex>>> {
        let mut last: HashMap<&str, StepIndex> = HashMap::new();
        let mut feeds = Vec::with_capacity(steps.len());
        for (i, step) in steps.iter().enumerate() {
            feeds.push(step.takes.iter().map(|name| last.get(name).copied()).collect());
            last.extend(step.gives.iter().map(|name| (*name, index(i))));
        }
        feeds
    }

    fn feeds_of_graph(&self, steps: &[Links<'_>]) -> Vec<Vec<Option<StepIndex>>> {
        let givers = givers(steps);
        let mut feeds: Vec<Vec<_>> = steps.iter().map(|s| vec![None; s.takes.len()]).collect();
        let mut asked: HashMap<&str, Vec<(usize, usize)>> = HashMap::new();
        for (i, step) in steps.iter().enumerate() {
            for (slot, name) in step.takes.iter().enumerate() {
                if givers.contains_key(name) {
                    asked.entry(name).or_default().push((i, slot));
                }
            }
        }
        let mut search = Search::new(self);
        for (name, places) in asked {
            search.start(&givers[name]);
            for (i, slot) in places {
                feeds[i][slot] = search.nearest(index(i));
            }
        }
        feeds
    }

    fn with_data_edges(mut self, steps: &[Links<'_>]) -> Result<Self, Cycle> {
        let givers = givers(steps);
        let feeds = self.feeds(steps);
        for (i, step) in steps.iter().enumerate() {
            for (name, fed) in step.takes.iter().zip(&feeds[i]) {
                let all = givers.get(name).map_or(&[][..], Vec::as_slice);
                let cut = all.partition_point(|giver| at(*giver) < i);
                let below = all[cut..].iter().find(|giver| at(**giver) != i);
                let listed = all[..cut].last().or(below);
                if let (None, Some(giver)) = (fed, listed) {
                    self.needs[i].push(*giver);
                }
            }
        }
        Self::new(self.needs)
    }
}

/// Searches upward for the nearest giver of one name after the other, remembering per name what
/// each step passed on the way sees above itself.
struct Search<'a> {
    graph: &'a Graph,
    /// Counts the names; what bears an older number is void.
    stamp: u32,
    giver: Vec<u32>,
    known: Vec<(u32, Option<StepIndex>)>,
}

impl<'a> Search<'a> {
    fn new(graph: &'a Graph) -> Self {
        let len = graph.needs.len();
        Self { graph, stamp: 0, giver: vec![0; len], known: vec![(0, None); len] }
    }

    fn start(&mut self, givers: &[StepIndex]) {
        self.stamp += 1;
        for giver in givers {
            self.giver[at(*giver)] = self.stamp;
        }
    }

    /// What `above` contributes to a step that needs it; `None` where it is not known yet.
    fn seen_through(&self, above: StepIndex) -> Option<Option<StepIndex>> {
        if self.giver[at(above)] == self.stamp {
            return Some(Some(above));
        }
        let (stamp, found) = self.known[at(above)];
        (stamp == self.stamp).then_some(found)
    }

    fn nearest(&mut self, step: StepIndex) -> Option<StepIndex> {
        let graph = self.graph;
        let mut stack = vec![step];
        while let Some(&top) = stack.last() {
            if self.known[at(top)].0 == self.stamp {
                stack.pop();
                continue;
            }
            let needs = graph.needs(top);
            let before = stack.len();
            stack.extend(needs.iter().filter(|need| self.seen_through(**need).is_none()));
            if stack.len() == before {
                let found = needs.iter().filter_map(|need| self.seen_through(*need).flatten());
                let best = found.max_by_key(|giver| graph.rank[at(*giver)]);
                self.known[at(top)] = (self.stamp, best);
                stack.pop();
            }
        }
        self.known[at(step)].1
    }
}

/// The steps that give each name, as listed.
fn givers<'a>(steps: &[Links<'a>]) -> HashMap<&'a str, Vec<StepIndex>> {
    let mut all: HashMap<&str, Vec<StepIndex>> = HashMap::new();
    for (i, step) in steps.iter().enumerate() {
        for name in &step.gives {
            all.entry(name).or_default().push(index(i));
        }
    }
    all
}

fn plan_order(needs: &[Vec<StepIndex>]) -> Result<Vec<StepIndex>, Cycle> {
    let mut waits: Vec<usize> = needs.iter().map(Vec::len).collect();
    let mut followers: Vec<Vec<usize>> = vec![vec![]; needs.len()];
    for (i, list) in needs.iter().enumerate() {
        for need in list {
            followers[at(*need)].push(i);
        }
    }
    let free = waits.iter().enumerate().filter(|(_, count)| **count == 0);
    let mut ready: BinaryHeap<_> = free.map(|(i, _)| Reverse(i)).collect();
    let mut order = Vec::with_capacity(needs.len());
    while let Some(Reverse(next)) = ready.pop() {
        order.push(index(next));
        for &follower in &followers[next] {
            waits[follower] -= 1;
            if waits[follower] == 0 {
                ready.push(Reverse(follower));
            }
        }
    }
    if order.len() == needs.len() { Ok(order) } else { Err(find_cycle(needs, &waits)) }
}

/// Walks from a step that never became free along needs that never became free.
fn find_cycle(needs: &[Vec<StepIndex>], waits: &[usize]) -> Cycle {
    let stuck = |step: &&StepIndex| waits[at(**step)] > 0;
    let mut path = vec![];
    let mut place: HashMap<StepIndex, usize> = HashMap::new();
    let mut next = waits.iter().position(|count| *count > 0).map(index);
    while let Some(step) = next {
        if let Some(&start) = place.get(&step) {
            path.drain(..start);
            break;
        }
        place.insert(step, path.len());
        path.push(step);
        next = needs[at(step)].iter().find(stuck).copied();
    }
    Cycle { steps: path }
}

/// Plans are far smaller than either type's range.
fn index(place: usize) -> StepIndex {
    StepIndex(u32::try_from(place).unwrap_or(u32::MAX))
}

fn at(step: StepIndex) -> usize {
    usize::try_from(step.0).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
