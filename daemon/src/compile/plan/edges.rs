//! Which step follows which, and whose values it cannot do without.
use std::collections::{HashMap, HashSet, VecDeque};

use windlass_core::{Graph, Links, Order, StepIndex, nearest};
use windlass_proto::common::v1::StepSpec;

use super::{
    expressions::{Use, Used},
    level::Level,
};
use crate::compile::{
    report::{Part, Report},
    validate::brought,
};

/// The edges of one step.
#[derive(Clone, Debug, Default)]
pub(super) struct Edges {
    /// The steps that it follows.
    pub(super) needs: Vec<StepIndex>,
    /// Those of them without whose values it cannot run.
    pub(super) data: Vec<StepIndex>,
    /// It runs only where a step that names it under `on_failure` has failed.
    pub(super) handler: bool,
    /// The nearest step above that gives a name: for arguments and for outputs in expressions.
    pub(super) fed: HashMap<String, StepIndex>,
}

impl Level {
    /// The steps that end before step `i` starts, the nearest first, up to the first that `is_it`.
    pub(super) fn above(&self, i: usize, is_it: impl Fn(&StepSpec) -> bool) -> Vec<&StepSpec> {
        let mut seen = HashSet::new();
        let mut queue: VecDeque<StepIndex> = self.edges[i].needs.iter().copied().collect();
        let mut above = vec![];
        while let Some(step) = queue.pop_front() {
            if !seen.insert(step) {
                continue;
            }
            let Some(spec) = self.step(step) else { continue };
            above.push(spec);
            if is_it(spec) {
                break;
            }
            queue.extend(&self.edges[at(step)].needs);
        }
        above
    }
}

/// Resolves the edges of a level; `said` is what its steps say under `needs`.
pub(super) fn resolve(
    level: &Level,
    said: Vec<Option<Vec<StepIndex>>>,
    report: &mut Report<'_>,
) -> Option<Vec<Edges>> {
    let named_by = handlers(level, report)?;
    check_needs(level, &said, &named_by, report);
    let needs = ordered(level, said, &named_by);
    let links: Vec<Links<'_>> =
        needs.into_iter().enumerate().map(|(i, needs)| links(level, i, needs)).collect();
    let order = if level.spec.graph_order { Order::Graph } else { Order::Listed };
    let graph = match Graph::resolve(&links, order) {
        Ok(graph) => graph,
        Err(cycle) => {
            report_cycle(level, &cycle.steps, report);
            return None;
        }
    };
    let feeds = graph.feeds(&links);
    let edges = links.iter().zip(feeds).enumerate().map(|(i, (links, feeds))| {
        let fed = links.takes.iter().zip(feeds);
        let fed = fed.filter_map(|(name, giver)| Some(((*name).to_owned(), giver?)));
        // A step that failed has no values for whoever takes care of its failure.
        let fed = fed.filter(|(_, giver)| !named_by[i].contains(giver));
        let fed: HashMap<String, StepIndex> = fed.collect();
        let mut needs = graph.needs(index(i)).to_vec();
        let data = data(level, i, &needs, &fed);
        for giver in &data {
            if !needs.contains(giver) {
                needs.push(*giver);
            }
        }
        Edges { needs, data, handler: !named_by[i].is_empty(), fed }
    });
    Some(edges.collect())
}

/// For each step, the steps that name it under `on_failure`.
fn handlers(level: &Level, report: &mut Report<'_>) -> Option<Vec<Vec<StepIndex>>> {
    let steps = &level.spec.steps;
    let names = || steps.iter().map(|step| step.name.as_str());
    let places: HashMap<&str, usize> = names().enumerate().map(|(i, name)| (name, i)).collect();
    let mut named_by = vec![vec![]; steps.len()];
    let mut next: Vec<Option<usize>> = vec![None; steps.len()];
    let mut good = true;
    for (i, step) in steps.iter().enumerate().filter(|(_, step)| !step.on_failure.is_empty()) {
        let parts = [Part::Step(i), Part::Key("on_failure")];
        let name = step.on_failure.as_str();
        match places.get(name) {
            Some(handler) => {
                named_by[*handler].push(index(i));
                next[i] = Some(*handler);
            }
            None if report.is_full() || report.is_tainted(name) => {}
            None => {
                let message = format!("`{}` under `on_failure` is no step", name.escape_debug());
                let near = nearest(name, names());
                let help = near.map_or(String::new(), |near| format!("did you mean `{near}`?"));
                report.value(&level.spec, &parts, (message, help));
            }
        }
    }
    for i in 0..steps.len() {
        let (mut path, mut step) = (vec![i], next[i]);
        while let Some(at) = step.filter(|at| *at != i && path.len() <= steps.len()) {
            path.push(at);
            step = next[at];
        }
        // Told once for the whole cycle, at the first of its steps.
        if step == Some(i) && path.iter().all(|other| *other >= i) {
            path.push(i);
            let names: Vec<&str> = path.iter().map(|at| steps[*at].name.as_str()).collect();
            let message = format!("the failure handlers go round: {}", names.join(" → "));
            let help = "an arrow reads \"on_failure\": take one of them out".to_owned();
            report.value(&level.spec, &[Part::Step(i), Part::Key("on_failure")], (message, help));
            good = false;
        }
    }
    good.then_some(named_by)
}

/// Checks that `needs` and failure handlers do not get into each other's way.
fn check_needs(
    level: &Level,
    said: &[Option<Vec<StepIndex>>],
    named_by: &[Vec<StepIndex>],
    report: &mut Report<'_>,
) {
    for (i, needs) in said.iter().enumerate() {
        let Some(needs) = needs else { continue };
        let name = &level.spec.steps[i].name;
        if !named_by[i].is_empty() {
            let message = format!("`{name}` handles failures: it follows the steps that name it");
            let help = "remove its `needs`".to_owned();
            report.key(&level.spec, &[Part::Step(i), Part::Key("needs")], (message, help));
        }
        for need in needs.iter().filter(|need| !named_by[at(**need)].is_empty()) {
            let handler = level.step(*need).map_or("", |step| &step.name);
            let message = format!("`{handler}` handles failures, so `{name}` cannot wait for it");
            let help = "name the step whose failure it handles".to_owned();
            report.value(&level.spec, &[Part::Step(i), Part::Key("needs")], (message, help));
        }
    }
}

/// What each step follows by what it says, by its place, and by the steps its expressions name.
fn ordered(
    level: &Level,
    said: Vec<Option<Vec<StepIndex>>>,
    named_by: &[Vec<StepIndex>],
) -> Vec<Vec<StepIndex>> {
    let steps = level.spec.steps.iter();
    let places: HashMap<&str, usize> =
        steps.enumerate().map(|(i, step)| (step.name.as_str(), i)).collect();
    let mut above: Option<usize> = None;
    let mut all = Vec::with_capacity(said.len());
    for (i, said) in said.into_iter().enumerate() {
        let is_handler = !named_by[i].is_empty();
        let mut needs = match said {
            _ if is_handler => named_by[i].clone(),
            Some(needs) => needs,
            None if level.spec.graph_order => vec![],
            None => above.map(index).into_iter().collect(),
        };
        for used in &level.told[i].used {
            let named = used.step().and_then(|name| places.get(name)).copied();
            // What is listed later is refused later on, with its place.
            let fits = |named: &usize| *named != i && (level.spec.graph_order || *named < i);
            if let Some(named) = named.filter(fits)
                && !needs.contains(&index(named))
            {
                needs.push(index(named));
            }
        }
        if !is_handler {
            above = Some(i);
        }
        all.push(needs);
    }
    all
}

fn links(level: &Level, i: usize, needs: Vec<StepIndex>) -> Links<'_> {
    let step = &level.spec.steps[i];
    let own = brought(step);
    let open = |name: &&str| !step.with_json.contains_key(*name) && !own.contains(name);
    let mut takes: Vec<&str> =
        level.takes(i).unwrap_or_default().into_iter().filter(open).collect();
    let outputs = level.told[i].used.iter().filter(|used| reads_above(step, used));
    for name in outputs.filter_map(Used::output) {
        if !takes.contains(&name) {
            takes.push(name);
        }
    }
    let gives = step.outputs.iter().map(|output| output.name.as_str()).collect();
    Links { needs: Some(needs), gives, takes }
}

/// False where a loop's condition means the iteration's own output.
fn reads_above(step: &StepSpec, used: &Used) -> bool {
    let own = |name: &str| step.outputs.iter().any(|output| output.name == name);
    used.place != Use::Until || !used.output().is_some_and(own)
}

/// The steps without whose values a step cannot run.
fn data(
    level: &Level,
    i: usize,
    needs: &[StepIndex],
    fed: &HashMap<String, StepIndex>,
) -> Vec<StepIndex> {
    let mut data: Vec<StepIndex> = vec![];
    let step = &level.spec.steps[i];
    let own = brought(step);
    let open = |name: &&str| !step.with_json.contains_key(*name) && !own.contains(name);
    let args = level.takes(i).unwrap_or_default().into_iter().filter(open);
    data.extend(args.filter_map(|name| fed.get(name)));
    for used in level.told[i].used.iter().filter(|used| used.is_data()) {
        data.extend(used.output().and_then(|name| fed.get(name)));
        let is_named = |need: &&StepIndex| {
            level.step(**need).is_some_and(|step| Some(step.name.as_str()) == used.step())
        };
        data.extend(needs.iter().find(is_named));
    }
    let mut seen = HashSet::new();
    data.retain(|step| seen.insert(*step));
    data
}

fn report_cycle(level: &Level, steps: &[StepIndex], report: &mut Report<'_>) {
    let places: Vec<usize> = steps.iter().map(|step| at(*step)).collect();
    let mut names: Vec<&str> = places.iter().map(|i| level.spec.steps[*i].name.as_str()).collect();
    names.extend(names.first().copied());
    let message = format!("the steps wait for each other in a cycle: {}", names.join(" → "));
    let help = "an arrow reads \"needs\": take one of them out".to_owned();
    let first = places.iter().copied().min().unwrap_or_default();
    report.value(&level.spec, &[Part::Step(first), Part::Key("needs")], (message, help));
}

pub(super) fn index(place: usize) -> StepIndex {
    StepIndex(u32::try_from(place).unwrap_or(u32::MAX))
}

fn at(step: StepIndex) -> usize {
    usize::try_from(step.0).unwrap_or(usize::MAX)
}
