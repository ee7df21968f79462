use std::collections::HashMap;

use windlass_core::StepState;
use windlass_proto::api::v1;

use super::words;

/// The steps of a run as they contain each other: instances, iterations and inner steps below the
/// step they belong to.
pub(crate) struct Tree {
    roots: Vec<usize>,
    children: HashMap<usize, Vec<usize>>,
}

/// A step in the order of reading.
pub(crate) struct Row {
    /// Place among the run's steps.
    pub(crate) at: usize,
    pub(crate) depth: usize,
    /// What is below it and not shown.
    pub(crate) folded: Option<Fold>,
}

/// How the instances of a step stand, where there are too many to show each.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fold {
    pub(crate) count: usize,
    /// By state, in the order of the states.
    pub(crate) states: Vec<(StepState, usize)>,
}

/// The path of the step that a step belongs to: `all[3]/tune[1]` is in `all[3]/tune`, that in
/// `all[3]`, that in `all`.
pub(crate) fn parent(path: &str) -> Option<&str> {
    let cut = if path.ends_with(']') { path.rfind('[') } else { path.rfind('/') };
    cut.map(|at| &path[..at])
}

/// A step's own part of its path: `tune[1]` of `all[3]/tune[1]`.
pub(crate) fn own_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

impl Tree {
    pub(crate) fn of(steps: &[v1::Step]) -> Self {
        let places: HashMap<&str, usize> =
            steps.iter().enumerate().map(|(at, step)| (step.step.as_str(), at)).collect();
        let mut tree = Self { roots: Vec::new(), children: HashMap::new() };
        for (at, step) in steps.iter().enumerate() {
            match parent(&step.step).and_then(|parent| places.get(parent)) {
                Some(&parent) => tree.children.entry(parent).or_default().push(at),
                None => tree.roots.push(at),
            }
        }
        tree
    }

    /// The steps directly below one.
    pub(crate) fn below(&self, at: usize) -> &[usize] {
        self.children.get(&at).map_or(&[], Vec::as_slice)
    }

    /// The steps in the order of reading. Where a step has more than `most` instances, only those
    /// of `always` are shown of them, `most` at most; all are counted.
    pub(crate) fn rows(
        &self,
        steps: &[v1::Step],
        most: usize,
        always: impl Fn(StepState) -> bool,
    ) -> Vec<Row> {
        let mut rows = Vec::new();
        let mut open: Vec<(usize, usize)> = self.roots.iter().rev().map(|at| (*at, 0)).collect();
        while let Some((at, depth)) = open.pop() {
            let below = self.below(at);
            let instances = below.first().is_some_and(|at| steps[*at].step.ends_with(']'));
            let many = instances && below.len() > most;
            rows.push(Row { at, depth, folded: many.then(|| fold(steps, below)) });
            let shown = |at: &&usize| !many || always(words::step_state(&steps[**at]));
            let shown: Vec<_> = below.iter().filter(shown).take(most).collect();
            open.extend(shown.into_iter().rev().map(|at| (*at, depth + 1)));
        }
        rows
    }
}

fn fold(steps: &[v1::Step], below: &[usize]) -> Fold {
    let count = |state: &StepState| {
        let of = below.iter().filter(|at| words::step_state(&steps[**at]) == *state);
        (*state, of.count())
    };
    let states = StepState::ALL.iter().map(count).filter(|(_, count)| *count > 0).collect();
    Fold { count: below.len(), states }
}

impl Fold {
    /// `[0..999] 1000 instances, 998 succeeded, 2 failed`
    pub(crate) fn text(&self) -> String {
        let states = self.states.iter().map(|(state, count)| format!(", {count} {}", state.word()));
        let last = self.count.saturating_sub(1);
        let instances = words::plural(self.count, "instance");
        format!("[0..{last}] {instances}{}", states.collect::<String>())
    }
}

#[cfg(test)]
mod tests {
    use windlass_core::StepState;
    use windlass_proto::api::v1::{self, step::State};

    use super::{Tree, parent};

    #[test]
    fn paths_say_what_contains_what() {
        for (path, expected) in [
            ("train", None),
            ("train[3]", Some("train")),
            ("all[1]/tune", Some("all[1]")),
            ("all[1]/tune[0]", Some("all[1]/tune")),
        ] {
            assert_eq!(parent(path), expected, "{path}");
        }
    }

    #[test]
    fn many_instances_are_folded_but_for_those_that_failed() {
        let step = |name: &str, state: State| v1::Step {
            step: name.into(),
            state: state.into(),
            ..Default::default()
        };
        let mut steps = vec![step("a", State::Failed), step("b", State::Succeeded)];
        for at in 0..5 {
            let state = if at == 3 { State::Failed } else { State::Succeeded };
            steps.push(step(&format!("a[{at}]"), state));
        }
        steps.push(step("a[3]/x", State::Failed));
        let tree = Tree::of(&steps);
        let failed = |state| state == StepState::Failed;
        let told = |most: usize| {
            let rows = tree.rows(&steps, most, failed);
            let row = |row: &super::Row| format!("{}{}", row.depth, steps[row.at].step);
            (rows.iter().map(row).collect::<Vec<_>>().join(" "), rows)
        };
        let (text, rows) = told(4);
        assert_eq!(text, "0a 1a[3] 2a[3]/x 0b");
        let fold = rows[0].folded.as_ref().unwrap();
        assert_eq!(fold.text(), "[0..4] 5 instances, 4 succeeded, 1 failed");
        assert_eq!(told(5).0, "0a 1a[0] 1a[1] 1a[2] 1a[3] 2a[3]/x 1a[4] 0b");
    }
}
