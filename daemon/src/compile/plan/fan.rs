//! What a step is run for each of, and what becomes of the results.
use serde_json::{Map, Value};
use windlass_core::{Fallback, Kind};
use windlass_proto::common::v1::{PipelineSpec, foreach_spec::Items, matrix_axis::Values as Axis};

use super::{
    expressions::{Use, Used},
    level::Level,
    params::Values,
};
use crate::{
    compile::{
        python::{Project, Target, Unresolved},
        report::{Part, Report},
        validate::{MAX_INSTANCES, is_reducer},
    },
    expr::{Expression, Root, Scope, as_list},
};

/// The argument of each step's reducing function that gets the list.
pub(super) fn reducers(
    spec: &PipelineSpec,
    project: &Project<'_>,
    report: &mut Report<'_>,
) -> Vec<Option<String>> {
    let steps = spec.steps.iter().enumerate();
    steps.map(|(i, _)| reducer(spec, i, project, report)).collect()
}

fn reducer(
    spec: &PipelineSpec,
    i: usize,
    project: &Project<'_>,
    report: &mut Report<'_>,
) -> Option<String> {
    let text = spec.steps[i].foreach.as_ref()?.reduce.as_str();
    if text.is_empty() || is_reducer(text) {
        return None;
    }
    // What is no target was refused already.
    let target = Target::parse(text).ok()?;
    let parts = [Part::Step(i), Part::Key("reduce")];
    let callable = match project.resolve(&target) {
        Ok(callable) => callable,
        Err(Unresolved::Code(error)) => {
            report.push(error);
            return None;
        }
        Err(Unresolved::Target(message, help)) => {
            report.value(spec, &parts, (message, help));
            return None;
        }
    };
    // Of a function whose arguments are not known, the first gets it by place.
    let signature = callable.signature.as_ref()?;
    let mut args = signature.given_by_name();
    let first = args.next().map(|parameter| parameter.name.clone());
    let more = args.find(|parameter| parameter.fallback == Fallback::Required);
    if first.is_none() && !signature.takes_any {
        let message = format!("`{text}` takes no argument, and a reducer gets the list");
        report.value(spec, &parts, (message, String::new()));
    }
    if let Some(more) = more {
        let message = format!("`{text}` needs `{}` besides the list", more.name);
        let help = "give it a default, or reduce in a step of its own".to_owned();
        report.value(spec, &parts, (message, help));
    }
    first
}

/// Checks of what is gone over whatever the file alone shows of it.
pub(super) fn check(level: &Level, report: &mut Report<'_>) {
    for (i, told) in level.told.iter().enumerate() {
        for used in told.used.iter().filter(|used| used.place == Use::Items) {
            if let Some(words) = no_list(&level.spec, used) {
                report.value(&level.spec, &used.parts(i), words);
            }
        }
        for (keys, expression) in texts(level, i) {
            if let Ok(expression) = Expression::parse(expression)
                && expression.references().is_empty()
            {
                let no_params = Scope::of_params(Map::new());
                check_list(level, (i, &keys), &expression, &no_params, report);
            }
        }
    }
}

/// The expressions that give lists, with the keys that lead to them.
fn texts(level: &Level, i: usize) -> Vec<(Vec<&str>, &str)> {
    let foreach = level.spec.steps[i].foreach.as_ref();
    match foreach.and_then(|foreach| foreach.items.as_ref()) {
        Some(Items::Expr(text)) => vec![(vec!["foreach"], text.as_str())],
        Some(Items::Matrix(matrix)) => {
            let axis = |axis: &'_ windlass_proto::common::v1::MatrixAxis| match &axis.values {
                Some(Axis::Expr(_)) => true,
                Some(Axis::ListJson(_)) | None => false,
            };
            let axes = matrix.axes.iter().filter(|a| axis(a));
            axes.map(|axis| match &axis.values {
                Some(Axis::Expr(text)) => (vec!["matrix", axis.name.as_str()], text.as_str()),
                Some(Axis::ListJson(_)) | None => (vec!["matrix"], ""),
            })
            .collect()
        }
        Some(Items::ListJson(_)) | None => vec![],
    }
}

/// What is wrong with a parameter that is gone over and can be no list.
fn no_list(spec: &PipelineSpec, used: &Used) -> Option<(String, String)> {
    let [name] = &used.reference.path[..] else { return None };
    let whole = format!("params.{name}");
    if used.reference.root != Root::Params || used.expression.text() != whole {
        return None;
    }
    let param = spec.params.iter().find(|param| param.name == *name)?;
    let kind = Kind::from_word(&param.r#type).unwrap_or_default();
    if matches!(kind, Kind::Any | Kind::List) {
        return None;
    }
    let message = format!("`{whole}` is of type {}, and only a list can be gone over", kind.word());
    Some((message, format!("make `{name}` a list: `{name}: {{type: list}}`")))
}

/// Checks the lists that depend on nothing but parameters of the run.
pub(super) fn check_values(level: &Level, values: &Values, report: &mut Report<'_>) {
    for i in 0..level.spec.steps.len() {
        for (keys, text) in texts(level, i) {
            let used = level.told[i].used.iter();
            let own: Vec<_> = used.filter(|u| u.place == Use::Items && u.keys == keys).collect();
            let is_known = |used: &&Used| {
                let name = used.reference.path.first();
                used.reference.root == Root::Params
                    && name.is_some_and(|name| values.known(name).is_some())
            };
            if own.is_empty() || !own.iter().all(is_known) || own[0].expression.text() != text {
                continue;
            }
            let scope = Scope::of_params(values.scope());
            check_list(level, (i, &keys), &own[0].expression, &scope, report);
        }
    }
}

fn check_list(
    level: &Level,
    (i, keys): (usize, &[&str]),
    expression: &Expression,
    scope: &Scope,
    report: &mut Report<'_>,
) {
    let list = expression.evaluate(scope).and_then(|value: Value| as_list(expression, value));
    let message = match list {
        Err(error) => error.to_string(),
        Ok(items) if u64::try_from(items.len()).is_ok_and(|len| len > MAX_INSTANCES) => {
            format!("the list has {} items, more than {MAX_INSTANCES}", items.len())
        }
        Ok(_) => return,
    };
    let parts: Vec<Part<'_>> =
        std::iter::once(Part::Step(i)).chain(keys.iter().map(|key| Part::Key(key))).collect();
    report.value(&level.spec, &parts, (message, String::new()));
}
