//! What a step gets from the steps above it: arguments, inputs and layers.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashSet},
};

use windlass_core::{StepIndex, StepState};
use windlass_proto::common::v1::{Output, step_spec::Action};

use super::{
    args::Found,
    live::{FromAbove, LiveRun},
};

/// Where a step comes in the order of the plan: place and ordinal, level by level.
type Order = Vec<(usize, u32)>;

/// Collects what `step`, whose arguments are `found`, gets: a Python function the outputs that it
/// names, a command the outputs of every step above, the nearest of a name; and every step the
/// changes of files above it.
pub(super) fn collect(
    run: &LiveRun,
    step: StepIndex,
    found: &[(String, Found)],
    reduces: bool,
) -> FromAbove {
    let mut given = FromAbove::default();
    for (name, found) in found {
        given.args.extend(found.to_task(name));
        if let Found::Secret(secret) = found {
            given.secret_args.push((name.clone(), secret.clone()));
        }
    }
    if run.results.is_empty() {
        return given;
    }
    let (nearest, layers) = walk(run, step, reduces);
    let action = run.template(step).and_then(|planned| planned.spec.as_ref()?.action.as_ref());
    let python = reduces || matches!(action, Some(Action::Python(_)));
    given.inputs = if python { named(found) } else { nearest };
    given.layers = layers;
    given
}

/// The arguments of an attempt; a reducer has one, the list of what the instances gave.
pub(super) fn arguments(run: &LiveRun, step: StepIndex, reduces: bool) -> Vec<(String, Found)> {
    if !reduces {
        return run.arguments(step);
    }
    let name = run.template(step).map(|planned| planned.reduce_arg.clone()).unwrap_or_default();
    let list = run.results.get(&step).and_then(|result| result.outputs.first());
    list.map(|list| (name, Found::Output(list.clone()))).into_iter().collect()
}

/// True where an attempt of the step reduces what its instances gave.
pub(super) fn reduces(run: &LiveRun, step: StepIndex) -> bool {
    let alone = run.machine.key(step).is_some_and(|key| key.ordinal.is_none());
    let spec = run.template(step).and_then(|planned| planned.spec.as_ref());
    alone && spec.is_some_and(|spec| spec.foreach.is_some())
}

/// The step that failed for good and is the reason why a failure handler runs.
pub(super) fn failed_need(run: &LiveRun, step: StepIndex) -> Option<StepIndex> {
    let handler = run.template(step).is_some_and(|planned| planned.failure_handler);
    let failed = |need: &StepIndex| run.cell(*need).state == StepState::Failed;
    run.machine.needs(step).find(failed).filter(|_| handler)
}

fn named(found: &[(String, Found)]) -> Vec<Output> {
    let mut seen = HashSet::new();
    let output = |(_, found): &(String, Found)| match found {
        Found::Output(output) => Some(output.clone()),
        Found::Json(_) | Found::Secret(_) => None,
    };
    found.iter().filter_map(output).filter(|output| seen.insert(output.name.clone())).collect()
}

/// The outputs of the steps above, the nearest of a name, and the change sets of files in the order
/// of the plan. A reducer also sees the files of the instances.
fn walk(run: &LiveRun, step: StepIndex, reduces: bool) -> (Vec<Output>, Vec<String>) {
    let mut names: HashSet<&str> = HashSet::new();
    let mut inputs = Vec::new();
    let mut changed: BTreeMap<Order, &str> = BTreeMap::new();
    for above in nearest(run, step) {
        if let Some(result) = run.results.get(&above) {
            let new = result.outputs.iter().filter(|output| names.insert(&output.name));
            inputs.extend(new.cloned());
        }
        changes(run, above, &mut changed);
    }
    if reduces {
        changes(run, step, &mut changed);
    }
    (inputs, changed.into_values().map(str::to_owned).collect())
}

/// Every step that ended before `step` starts, the nearest first: level by level, of one level the
/// later of the plan first.
pub(super) fn nearest(run: &LiveRun, step: StepIndex) -> Vec<StepIndex> {
    let graph = run.machine.graph();
    let place = |step: StepIndex| run.machine.key(step).map(|key| graph.place(key.template));
    let mut seen: HashSet<StepIndex> = HashSet::new();
    let mut found = Vec::new();
    let mut level = above(run, step);
    while !level.is_empty() {
        level.sort_unstable_by_key(|above| Reverse(place(*above)));
        level.retain(|above| seen.insert(*above));
        found.extend_from_slice(&level);
        level = level.iter().flat_map(|step| above(run, *step)).collect();
    }
    found
}

/// The steps that come right before `step`: those that it needs, the iteration before it, or those
/// before the step around it.
fn above(run: &LiveRun, step: StepIndex) -> Vec<StepIndex> {
    let mut step = step;
    loop {
        if let Some(before) = run.iteration_before(step) {
            return vec![before];
        }
        let needs: Vec<StepIndex> = run.machine.needs(step).collect();
        if !needs.is_empty() {
            return needs;
        }
        match run.machine.key(step).and_then(|key| key.parent) {
            Some(around) => step = around,
            None => return Vec::new(),
        }
    }
}

/// The change sets of a step and of all that it was made into.
fn changes<'a>(run: &'a LiveRun, step: StepIndex, found: &mut BTreeMap<Order, &'a str>) {
    if let Some(result) = run.results.get(&step).filter(|result| !result.changes.is_empty()) {
        found.insert(order(run, step), &result.changes);
    }
    for child in run.machine.children(step) {
        changes(run, *child, found);
    }
}

fn order(run: &LiveRun, step: StepIndex) -> Order {
    let mut order = Vec::new();
    let mut next = Some(step);
    while let Some(key) = next.and_then(|step| run.machine.key(step)) {
        let ordinal = key.ordinal.map_or(0, |ordinal| ordinal + 1);
        order.push((run.machine.graph().place(key.template), ordinal));
        next = key.parent;
    }
    order.reverse();
    order
}
