use std::collections::{BTreeSet, HashMap};

use aho_corasick::{
    Anchored, BuildError, MatchError, MatchKind,
    automaton::{Automaton, StateID},
    nfa::contiguous::NFA,
};

/// Patterns that are looked for byte by byte.
#[derive(Debug)]
pub(super) struct Tree {
    automaton: NFA,
    start: StateID,
    /// States in which a pattern has begun that is not complete, and how many bytes ago.
    open: HashMap<StateID, usize>,
}

/// Why patterns cannot be looked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TreeError {
    #[error("failed to prepare the masking of secrets")]
    Build(#[from] BuildError),
    #[error("failed to begin the masking of secrets")]
    Start(#[from] MatchError),
}

impl Tree {
    pub(super) fn new(patterns: &BTreeSet<Vec<u8>>) -> Result<Self, TreeError> {
        let automaton = NFA::builder().match_kind(MatchKind::Standard).build(patterns)?;
        let start = automaton.start_state(Anchored::No)?;
        let mut tree = Self { automaton, start, open: HashMap::new() };
        let mut ends = Vec::new();
        for pattern in patterns {
            let mut state = start;
            for (&byte, depth) in pattern.iter().zip(1..) {
                state = tree.step(state, byte);
                if depth < pattern.len() {
                    tree.open.insert(state, depth);
                }
            }
            ends.push((pattern, state));
        }
        // What begins inside a complete pattern may go on behind it.
        ends.sort_by_key(|(pattern, _)| pattern.len());
        for (pattern, end) in ends {
            if !tree.open.contains_key(&end) {
                let inner = pattern[1..].iter().fold(start, |state, &byte| tree.step(state, byte));
                if let Some(&depth) = tree.open.get(&inner) {
                    tree.open.insert(end, depth);
                }
            }
        }
        Ok(tree)
    }

    pub(super) fn start(&self) -> StateID {
        self.start
    }

    pub(super) fn step(&self, state: StateID, byte: u8) -> StateID {
        self.automaton.next_state(Anchored::No, state, byte)
    }

    /// Length of the longest pattern that is complete in `state`; 0 for none.
    pub(super) fn complete(&self, state: StateID) -> usize {
        if !self.automaton.is_match(state) {
            return 0;
        }
        let lengths = (0..self.automaton.match_len(state))
            .map(|i| self.automaton.pattern_len(self.automaton.match_pattern(state, i)));
        lengths.max().unwrap_or_default()
    }

    /// How many bytes ago the longest pattern began that may become complete; 0 for none.
    pub(super) fn open(&self, state: StateID) -> usize {
        self.open.get(&state).copied().unwrap_or_default()
    }
}
