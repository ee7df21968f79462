//! From a spec to a plan: signatures, edges, arguments, inner pipelines.
//!
//! First every level is read and its graph resolved, the outer pipeline before the inner ones; then,
//! when the functions of all levels are known, arguments are bound.
mod bind;
mod edges;
mod expressions;
mod fan;
mod functions;
mod inner;
mod level;
mod names;
mod notebooks;
mod params;
mod substitutes;

use std::{collections::HashMap, rc::Rc};

use prost::bytes::Bytes;
use serde_json::{Map, Value as Any};
use windlass_core::{Givens, StepIndex};
use windlass_proto::{
    api::v1::{DescribePipelineResponse, PipelineError},
    common::v1::{
        BoundArg, CallOverride, InnerSteps, PipelineSpec, Plan, PlannedStep, SecretSpec,
        bound_arg::Value,
    },
};

use self::{
    bind::Binder,
    level::{Building, Level},
    params::Values,
    substitutes::Standing,
};
use super::{
    BlobWriter, Mode, SnapshotFiles,
    overrides::Overrides,
    python::Callable,
    report::{Part, Report},
};
use crate::expr::{Scope, Template};

pub(super) use self::substitutes::{Substitutes, read as read_substitutes};

/// What each step's function is, where it has one that can be called.
type Callables = Vec<Option<Rc<Callable>>>;

/// What a plan is made of besides the spec.
pub(super) struct Ingredients<'a> {
    pub(super) files: &'a dyn SnapshotFiles,
    pub(super) givens: &'a Givens,
    pub(super) substitutes: &'a Substitutes,
    pub(super) mode: Mode,
    /// Where mocked outputs are kept; without it they are only named.
    pub(super) blobs: Option<&'a dyn BlobWriter>,
}

/// A plan, and the values of secret parameters, which stand in no plan.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) plan: Plan,
    pub(super) secrets: HashMap<String, Bytes>,
    /// Names of the secrets that the levels declare, each with words on where it is looked for.
    pub(super) declared: Vec<SecretSpec>,
}

/// Makes the plan, or tells every mistake that can be told.
pub(super) fn make(
    spec: PipelineSpec,
    from: &Ingredients<'_>,
    mut report: Report<'_>,
) -> Result<Made, Vec<PipelineError>> {
    let building = Building::new(from);
    let top = Level::build(&building, spec, &mut report);
    let (true, Some(top)) = (report.is_empty(), top) else { return Err(report.into_errors()) };
    let callables: Callables = top.all().iter().flat_map(|level| level.callables.clone()).collect();
    let is_part = |name: &str| names::is_part_of_map(&top.spec, name);
    let (overrides, mistakes) =
        Overrides::find(from.givens, &callables, building.project(), is_part);
    for mistake in mistakes {
        report.push(mistake);
    }
    let mut standing = Standing::new(from.substitutes, from.blobs);
    let extras = names::check_given(&top, from.givens, building.project(), &mut report);
    let values = params::resolve(&top.spec, from.givens, &mut report);
    fan::check_values(&top, &values, &mut report);
    let mut steps = vec![];
    let mut bound = bind_levels(&top, from, (&overrides, &values, &extras), &mut report);
    flatten(&top, &mut bound, &mut standing, &mut steps);
    standing.finish(&steps, &mut report);
    let concurrency_key = concurrency(&top.spec, &values, from.mode, &mut report);
    let params = params::of_run(&top.spec, &values, &overrides, &steps);
    let declared = top.secrets(&mut report);
    if !report.is_empty() {
        return Err(report.into_errors());
    }
    let spec = Some(top.spec.clone());
    let plan = Plan { spec, steps, params, concurrency_key };
    Ok(Made { plan, secrets: values.secrets(), declared })
}

/// Tells what a pipeline asks of its caller: the parameters that it declares, of a function that
/// runs alone its arguments, and the secrets of all levels.
pub(super) fn describe(
    spec: PipelineSpec,
    from: &Ingredients<'_>,
    mut report: Report<'_>,
) -> Result<DescribePipelineResponse, Vec<PipelineError>> {
    let is_target = report.is_of_target();
    let building = Building::new(from);
    let top = Level::build(&building, spec, &mut report);
    let secrets = top.as_ref().map(|top| top.secrets(&mut report)).unwrap_or_default();
    let (true, Some(top)) = (report.is_empty(), top) else { return Err(report.into_errors()) };
    let params = match &top.callables[..] {
        [Some(callable)] if is_target => functions::params_of(callable),
        _ => top.spec.params.clone(),
    };
    Ok(DescribePipelineResponse { params, secrets, functions: Vec::new() })
}

/// The arguments of every step of a level, and of the levels below it.
struct BoundLevel {
    args: Vec<Vec<BoundArg>>,
    overrides: Vec<Vec<CallOverride>>,
    inner: Vec<Option<BoundLevel>>,
}

fn bind_levels(
    level: &Level,
    from: &Ingredients<'_>,
    (overrides, values, extras): (&Overrides, &Values, &[String]),
    report: &mut Report<'_>,
) -> BoundLevel {
    let mut bound = BoundLevel { args: vec![], overrides: vec![], inner: vec![] };
    for i in 0..level.spec.steps.len() {
        let mut binder = Binder { level, from, overrides, values, extras, report };
        bound.args.push(binder.arguments(i));
        let callable = level.callables[i].as_deref();
        bound.overrides.push(callable.map(|of| overrides.of(of)).unwrap_or_default());
    }
    for (i, inner) in level.inner.iter().enumerate() {
        bound.inner.push(inner.as_ref().map(|inner| {
            let values = params::of_inner(&bound.args[i]);
            inner.with_report(report, |report| {
                bind_levels(inner, from, (overrides, &values, &[]), report)
            })
        }));
    }
    bound
}

/// Writes the steps of a level in one piece, and after them each inner level in one piece.
fn flatten(
    top: &Level,
    bound: &mut BoundLevel,
    standing: &mut Standing<'_>,
    steps: &mut Vec<PlannedStep>,
) {
    let mut queue = std::collections::VecDeque::from([(top, bound, None::<usize>, String::new())]);
    while let Some((level, bound, parent, prefix)) = queue.pop_front() {
        let first = steps.len();
        if let Some(outer) = parent.and_then(|parent| steps.get_mut(parent)) {
            outer.inner =
                Some(InnerSteps { first: small(first), count: small(level.spec.steps.len()) });
        }
        let moved = |list: &[StepIndex]| list.iter().map(|step| step.0 + small(first)).collect();
        for (i, spec) in level.spec.steps.iter().enumerate() {
            let mut args = std::mem::take(&mut bound.args[i]);
            for arg in &mut args {
                if let Some(Value::Output(output)) = &mut arg.value {
                    output.step += small(first);
                }
            }
            let mut step = PlannedStep {
                spec: Some(spec.clone()),
                path: format!("{prefix}{}", spec.name),
                needs: moved(&level.edges[i].needs),
                data_needs: moved(&level.edges[i].data),
                failure_handler: level.edges[i].handler,
                args,
                overrides: std::mem::take(&mut bound.overrides[i]),
                parent: parent.map(small),
                patched: level.patched[i].clone().unwrap_or_default(),
                reduce_arg: level.reduce_args[i].clone().unwrap_or_default(),
                ..PlannedStep::default()
            };
            standing.mock(&mut step);
            steps.push(step);
        }
        for (i, (inner, bound)) in level.inner.iter().zip(&mut bound.inner).enumerate() {
            if let (Some(inner), Some(bound)) = (inner, bound) {
                let prefix = format!("{}/", steps[first + i].path);
                queue.push_back((inner, bound, Some(first + i), prefix));
            }
        }
    }
}

fn small(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(u32::MAX)
}

/// The text that runs which share a limit have in common.
fn concurrency(
    spec: &PipelineSpec,
    values: &Values,
    mode: Mode,
    report: &mut Report<'_>,
) -> Option<String> {
    let key = &spec.concurrency.as_ref()?.key;
    let parts = [Part::Key("concurrency"), Part::Key("key")];
    let template = match Template::parse(Any::String(key.clone())) {
        Ok(template) => template,
        Err(bad) => {
            report.value(spec, &parts, (bad.to_string(), bad.help));
            return None;
        }
    };
    let mut known = true;
    for expression in template.expressions() {
        for reference in expression.references() {
            if let Err((message, help)) = expressions::only_params(spec, expression, &reference) {
                report.value(spec, &parts, (message, help));
                return None;
            }
            known &= reference.path.first().is_some_and(|name| values.known(name).is_some());
        }
    }
    if mode == Mode::Check && !known {
        return None;
    }
    let params: Map<String, Any> = values.scope();
    match template.evaluate(&Scope::of_params(params)) {
        Ok(Any::String(text)) => Some(text),
        Ok(other) => Some(other.to_string()),
        Err(error) => {
            report.value(spec, &parts, (error.to_string(), String::new()));
            None
        }
    }
}
