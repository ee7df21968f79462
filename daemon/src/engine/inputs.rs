//! What a step gets from the steps above it: inputs, bound outputs and layers.

use std::{cmp::Reverse, collections::HashSet};

use windlass_core::StepIndex;
use windlass_proto::common::v1::{Output, OutputRef, bound_arg::Value, step_spec::Action};

use super::live::LiveRun;
use crate::store::details::planned;

/// What a step gets from above.
#[derive(Debug, Default)]
pub(super) struct FromAbove {
    pub(super) inputs: Vec<Output>,
    pub(super) bound: Vec<(usize, Output)>,
    pub(super) layers: Vec<String>,
}

/// Collects what `step` gets: a Python function the outputs that it names, a command the outputs
/// of every step above, the nearest of a name; and every step the changes of files above it.
pub(super) fn collect(run: &LiveRun, step: StepIndex) -> FromAbove {
    if run.results.is_empty() {
        return FromAbove::default();
    }
    let bound = bound(run, step);
    let python = matches!(
        run.shared.spec(step).and_then(|spec| spec.action.as_ref()),
        Some(Action::Python(_))
    );
    let (nearest, layers) = walk(run, step);
    let inputs = if python { named(&bound) } else { nearest };
    FromAbove { inputs, bound, layers }
}

fn bound(run: &LiveRun, step: StepIndex) -> Vec<(usize, Output)> {
    let args = planned(&run.shared.plan, step).map(|planned| planned.args.as_slice());
    let args = args.unwrap_or_default().iter().enumerate();
    args.filter_map(|(place, arg)| match &arg.value {
        Some(Value::Output(output)) => Some((place, find(run, output)?.clone())),
        Some(_) | None => None,
    })
    .collect()
}

fn find<'a>(run: &'a LiveRun, wanted: &OutputRef) -> Option<&'a Output> {
    let result = run.results.get(&StepIndex(wanted.step))?;
    result.outputs.iter().find(|output| output.name == wanted.name)
}

fn named(bound: &[(usize, Output)]) -> Vec<Output> {
    let mut seen = HashSet::new();
    let outputs = bound.iter().map(|(_, output)| output);
    outputs.filter(|output| seen.insert(output.name.as_str())).cloned().collect()
}

/// Goes up from `step` level by level; of one level the later step goes first.
fn walk(run: &LiveRun, step: StepIndex) -> (Vec<Output>, Vec<String>) {
    let graph = run.machine.graph();
    let mut seen: HashSet<StepIndex> = HashSet::new();
    let mut names: HashSet<&str> = HashSet::new();
    let (mut inputs, mut changed) = (Vec::new(), Vec::new());
    let mut level: Vec<StepIndex> = graph.needs(step).to_vec();
    while !level.is_empty() {
        level.sort_unstable_by_key(|above| Reverse(graph.place(*above)));
        level.retain(|above| seen.insert(*above));
        for above in &level {
            let Some(result) = run.results.get(above) else { continue };
            let new = result.outputs.iter().filter(|output| names.insert(&output.name));
            inputs.extend(new.cloned());
            if !result.changes.is_empty() {
                changed.push((graph.place(*above), &result.changes));
            }
        }
        level = level.iter().flat_map(|above| graph.needs(*above)).copied().collect();
    }
    changed.sort_unstable();
    (inputs, changed.into_iter().map(|(_, changes)| changes.clone()).collect())
}
