//! From a spec to a plan: signatures, edges, arguments.
mod arguments;
mod names;

use std::{collections::HashMap, rc::Rc};

use windlass_core::{Givens, Graph, Links, Order, StepIndex, nearest};
use windlass_proto::{
    api::v1::PipelineError,
    common::v1::{PipelineSpec, Plan, PlannedStep, StepSpec, step_spec::Action},
};

use self::arguments::Binder;
use super::{
    Mode, SnapshotFiles,
    overrides::Overrides,
    python::{Callable, Project, Target, Unresolved},
    report::{Part, Report},
    validate::{is_identifier, validate},
};

/// What each step's function is, where it has one that can be called.
type Callables = Vec<Option<Rc<Callable>>>;

/// Makes the plan, or tells every mistake that can be told.
pub(super) fn make(
    spec: PipelineSpec,
    files: &dyn SnapshotFiles,
    givens: &Givens,
    mode: Mode,
    mut report: Report<'_>,
) -> Result<Plan, Vec<PipelineError>> {
    let needs = validate(&spec, &mut report);
    let project = Project::new(files);
    let callables = find_callables(&spec, &project, &mut report);
    check_with(&spec, &callables, &mut report);
    let links = links(&spec, needs, &callables);
    let graph = resolve(&spec, &links, &mut report);
    let (true, Some(graph)) = (report.is_empty(), graph) else {
        return Err(report.into_errors());
    };
    let is_part = |name: &str| names::is_part_of_map(&spec, name);
    let (overrides, mistakes) = Overrides::find(givens, &callables, &project, is_part);
    for mistake in mistakes {
        report.push(mistake);
    }
    names::check_given(&spec, &callables, givens, &project, &mut report);
    let feeds = graph.feeds(&links);
    let mut binder = Binder::new(&spec, givens, &overrides, mode, &mut report);
    let steps = spec.steps.iter().enumerate().map(|(i, step)| {
        let fed = links[i].takes.iter().copied().zip(feeds[i].iter().copied());
        let callable = callables[i].as_deref();
        PlannedStep {
            path: step.name.clone(),
            needs: graph.needs(index(i)).iter().map(|need| need.0).collect(),
            args: binder.arguments(i, callable, &fed.collect()),
            overrides: callable.map(|callable| overrides.of(callable)).unwrap_or_default(),
            spec: Some(step.clone()),
            ..PlannedStep::default()
        }
    });
    let steps: Vec<_> = steps.collect();
    let params = binder.params(&steps);
    if report.is_empty() {
        Ok(Plan { spec: Some(spec), steps, params, concurrency_key: None })
    } else {
        Err(report.into_errors())
    }
}

fn find_callables(
    spec: &PipelineSpec,
    project: &Project<'_>,
    report: &mut Report<'_>,
) -> Callables {
    let mut known: HashMap<&str, Result<Rc<Callable>, Unresolved>> = HashMap::new();
    let mut callables = vec![None; spec.steps.len()];
    for (i, step) in spec.steps.iter().enumerate() {
        let Some(text) = target(step) else { continue };
        // A target of no good shape is reported by the checks of the spec.
        let Ok(parsed) = Target::parse(text) else { continue };
        let found = known.entry(text).or_insert_with(|| project.resolve(&parsed).map(Rc::new));
        match found {
            Ok(callable) => callables[i] = Some(Rc::clone(callable)),
            Err(Unresolved::Code(error)) => report.push(error.clone()),
            Err(Unresolved::Target(message, help)) => {
                let words = (message.clone(), help.clone());
                report.value(spec, &[Part::Step(i), Part::Key("python")], words);
            }
        }
    }
    callables
}

fn target(step: &StepSpec) -> Option<&str> {
    match &step.action {
        Some(Action::Python(python)) => Some(&python.target),
        Some(_) | None => None,
    }
}

/// Checks that every name under `with` is an argument.
fn check_with(spec: &PipelineSpec, callables: &Callables, report: &mut Report<'_>) {
    for (i, step) in spec.steps.iter().enumerate() {
        for name in step.with_json.keys() {
            let parts = [Part::Step(i), Part::Key("with"), Part::Key(name)];
            let signature = callables[i].as_ref().and_then(|callable| callable.signature.as_ref());
            if target(step).is_none() {
                if !is_identifier(name) {
                    let message = format!("`{}` is no name for a parameter", name.escape_debug());
                    let help = "a letter or `_`, then letters, digits and `_`".to_owned();
                    report.key(spec, &parts, (message, help));
                }
            } else if let Some(signature) = signature
                && signature.parameter(name).is_none()
                && !signature.takes_any
            {
                let args: Vec<_> = signature.given_by_name().map(|p| p.name.as_str()).collect();
                let help = match nearest(name, args.iter().copied()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None if args.is_empty() => "the function takes no arguments".to_owned(),
                    None => format!("its arguments are {}", args.join(", ")),
                };
                let function = target(step).unwrap_or_default();
                let message = format!("`{function}` has no argument `{}`", name.escape_debug());
                report.key(spec, &parts, (message, help));
            }
        }
    }
}

fn links<'a>(
    spec: &'a PipelineSpec,
    needs: Vec<Option<Vec<StepIndex>>>,
    callables: &'a Callables,
) -> Vec<Links<'a>> {
    let all = spec.steps.iter().zip(callables).zip(needs);
    let link = |((step, callable), needs): ((&'a StepSpec, &'a Option<Rc<Callable>>), _)| {
        let signature = callable.as_ref().and_then(|callable| callable.signature.as_ref());
        let open = |name: &&str| !step.with_json.contains_key(*name);
        let args = signature.into_iter().flat_map(|s| s.given_by_name()).map(|p| p.name.as_str());
        let gives = step.outputs.iter().map(|output| output.name.as_str()).collect();
        Links { needs, gives, takes: args.filter(open).collect() }
    };
    all.map(link).collect()
}

fn resolve(spec: &PipelineSpec, links: &[Links<'_>], report: &mut Report<'_>) -> Option<Graph> {
    let order = if spec.graph_order { Order::Graph } else { Order::Listed };
    let cycle = match Graph::resolve(links, order) {
        Ok(graph) => return Some(graph),
        Err(cycle) => cycle,
    };
    let places: Vec<usize> =
        cycle.steps.iter().map(|step| usize::try_from(step.0).unwrap_or(usize::MAX)).collect();
    let mut names: Vec<&str> = places.iter().map(|i| spec.steps[*i].name.as_str()).collect();
    names.extend(names.first().copied());
    let message = format!("the steps wait for each other in a cycle: {}", names.join(" → "));
    let help = "an arrow reads \"needs\": take one of them out".to_owned();
    let first = places.iter().copied().min().unwrap_or_default();
    report.value(spec, &[Part::Step(first), Part::Key("needs")], (message, help));
    None
}

fn index(place: usize) -> StepIndex {
    StepIndex(u32::try_from(place).unwrap_or(u32::MAX))
}
