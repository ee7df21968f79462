use super::graph::{RunGraph, Spread, StepRules, Work, at};
use crate::StepIndex;

/// Which step of the plan a node was made of, and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeKey {
    /// Place in the plan.
    pub template: StepIndex,
    /// The node it is a child of.
    pub parent: Option<StepIndex>,
    /// Number among the instances or iterations of its parent.
    pub ordinal: Option<u32>,
}

/// What a node is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Attempts,
    Stub,
    Mock(super::Mock),
    /// Has the inner steps as children.
    Pipeline {
        first: u32,
        count: u32,
    },
    /// Has instances as children.
    Each {
        max_parallel: u32,
    },
    /// Has iterations as children.
    Loop {
        max: u32,
        succeed_at_max: bool,
    },
}

impl Role {
    /// True where it ends when its children have.
    pub(super) fn is_container(self) -> bool {
        match self {
            Self::Pipeline { .. } | Self::Each { .. } | Self::Loop { .. } => true,
            Self::Attempts | Self::Stub | Self::Mock(_) => false,
        }
    }
}

/// One step of the run, with what follows from the states of others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) key: NodeKey,
    /// The first node beside it; itself for an instance or an iteration.
    first: u32,
    /// Needs that have not ended.
    pub(super) waiting: u32,
    pub(super) children: Vec<StepIndex>,
    /// Children that have not ended.
    pub(super) open: u32,
    /// Children that were started, of those that start a few at a time.
    pub(super) begun: u32,
}

/// Every node of a run, the children behind their parents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Nodes {
    all: Vec<Node>,
}

impl Nodes {
    /// The nodes of the top-level steps.
    pub(super) fn new(graph: &RunGraph) -> Self {
        let mut nodes = Self { all: Vec::new() };
        for step in 0..graph.top() {
            nodes.push(graph, NodeKey { template: StepIndex(step), parent: None, ordinal: None });
        }
        nodes
    }

    /// Adds a node behind all others; its parent is there.
    pub(super) fn push(&mut self, graph: &RunGraph, key: NodeKey) -> StepIndex {
        let index = StepIndex(u32::try_from(self.all.len()).unwrap_or(u32::MAX));
        let (first, waiting) = match key.ordinal {
            Some(_) => (index.0, 0),
            None => {
                let beside = key.template.0.saturating_sub(graph.first_beside(key.template));
                let needs = graph.needs(key.template).len();
                (index.0.saturating_sub(beside), u32::try_from(needs).unwrap_or(u32::MAX))
            }
        };
        self.all.push(Node { key, first, waiting, children: Vec::new(), open: 0, begun: 0 });
        if let Some(parent) = key.parent.and_then(|parent| self.all.get_mut(at(parent.0))) {
            parent.children.push(index);
            parent.open += 1;
        }
        index
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn get(&self, node: StepIndex) -> Option<&Node> {
        self.all.get(at(node.0))
    }

    pub(super) fn get_mut(&mut self, node: StepIndex) -> Option<&mut Node> {
        self.all.get_mut(at(node.0))
    }

    /// The node beside `node` that was made of `template`.
    pub(super) fn beside(
        &self,
        graph: &RunGraph,
        node: StepIndex,
        template: StepIndex,
    ) -> Option<StepIndex> {
        let own = self.get(node)?;
        let place = template.0.checked_sub(graph.first_beside(template))?;
        own.key.ordinal.is_none().then_some(StepIndex(own.first + place))
    }

    /// The rules of a node's template.
    pub(super) fn rules<'a>(&self, graph: &'a RunGraph, node: StepIndex) -> Option<&'a StepRules> {
        graph.rules(self.get(node)?.key.template)
    }

    /// What a node is for.
    pub(super) fn role(&self, graph: &RunGraph, node: StepIndex) -> Option<Role> {
        let rules = self.rules(graph, node)?;
        let alone = self.get(node)?.key.ordinal.is_none();
        Some(match (rules.work, rules.spread) {
            (Work::Mock(mock), _) => Role::Mock(mock),
            (_, Spread::Each { max_parallel }) if alone => Role::Each { max_parallel },
            (_, Spread::Loop { max, succeed_at_max }) if alone => {
                Role::Loop { max, succeed_at_max }
            }
            (Work::Attempts, _) => Role::Attempts,
            (Work::Stub, _) => Role::Stub,
            (Work::Pipeline { first, count }, _) => Role::Pipeline { first, count },
        })
    }
}
