//! The functions that the steps of a level call.
use std::{collections::HashMap, rc::Rc};

use windlass_core::{Fallback, nearest};
use windlass_proto::common::v1::{ParamSpec, PipelineSpec, StepSpec, step_spec::Action};

use super::{
    Callables,
    level::{Building, Level, Nest},
};
use crate::compile::{
    python::{Callable, Project, Target, Unresolved},
    report::{Part, Report},
    validate::{brought, is_identifier},
};

/// The functions that are put in the place of the steps' own.
pub(super) fn patched(
    building: &Building<'_>,
    spec: &PipelineSpec,
    nest: &Nest,
    report: &mut Report<'_>,
) -> Vec<Option<String>> {
    let patches = &building.from.substitutes.patches;
    let mut all = vec![None; spec.steps.len()];
    if patches.is_empty() {
        return all;
    }
    for (step, patched) in spec.steps.iter().zip(&mut all) {
        let path = format!("{}{}", nest.prefix, step.name);
        let Some(text) = patches.get(&path) else { continue };
        if target(step).is_none() {
            let message = format!("step `{path}` calls no function that could be replaced");
            report.outside("--patch", message, "only `python` steps can be patched".to_owned());
        } else if let Err((message, help)) = Target::parse(text) {
            report.outside("--patch", message, help);
        } else {
            *patched = Some(text.clone());
        }
    }
    all
}

/// Finds the function of every step that has one.
pub(super) fn find(
    spec: &PipelineSpec,
    patched: &[Option<String>],
    project: &Project<'_>,
    report: &mut Report<'_>,
) -> Callables {
    let mut known: HashMap<&str, Result<Rc<Callable>, Unresolved>> = HashMap::new();
    let mut callables = vec![None; spec.steps.len()];
    for (i, step) in spec.steps.iter().enumerate() {
        let Some(text) = patched[i].as_deref().or_else(|| target(step)) else { continue };
        // A target of no good shape is reported by the checks of the spec.
        let Ok(parsed) = Target::parse(text) else { continue };
        let found = known.entry(text).or_insert_with(|| project.resolve(&parsed).map(Rc::new));
        match found {
            Ok(callable) => callables[i] = Some(Rc::clone(callable)),
            Err(Unresolved::Code(error)) => report.push(error.clone()),
            Err(Unresolved::Target(message, help)) if patched[i].is_some() => {
                report.outside("--patch", message.clone(), help.clone());
            }
            Err(Unresolved::Target(message, help)) => {
                let words = (message.clone(), help.clone());
                report.value(spec, &[Part::Step(i), Part::Key("python")], words);
            }
        }
    }
    callables
}

/// The function that a step names.
pub(super) fn target(step: &StepSpec) -> Option<&str> {
    match &step.action {
        Some(Action::Python(python)) => Some(&python.target),
        Some(_) | None => None,
    }
}

/// Checks that every name under `with`, and every name of an item, is an argument.
pub(super) fn check_with(
    spec: &PipelineSpec,
    (callables, inner): (&Callables, &[Option<Level>]),
    report: &mut Report<'_>,
) {
    for (i, step) in spec.steps.iter().enumerate() {
        let given = step.with_json.keys().map(|name| (name.as_str(), vec!["with", name]));
        let items = brought(step).into_iter().map(|name| (name, keys_of(step, name)));
        for (name, keys) in given.chain(items) {
            let parts: Vec<Part<'_>> =
                std::iter::once(Part::Step(i)).chain(keys.into_iter().map(Part::Key)).collect();
            let is_call = matches!(step.action, Some(Action::Python(_) | Action::Pipeline(_)));
            if !is_call {
                if !is_identifier(name) {
                    let message = format!("`{}` is no name for a parameter", name.escape_debug());
                    let help = "a letter or `_`, then letters, digits and `_`".to_owned();
                    report.key(spec, &parts, (message, help));
                }
            } else if let Some(words) = unknown(step, (&callables[i], &inner[i]), name) {
                report.key(spec, &parts, words);
            }
        }
    }
}

fn keys_of<'a>(step: &'a StepSpec, name: &'a str) -> Vec<&'a str> {
    use windlass_proto::common::v1::foreach_spec::Items;
    let items = step.foreach.as_ref().and_then(|foreach| foreach.items.as_ref());
    match items {
        _ if step.r#loop.as_ref().is_some_and(|repeat| repeat.index == name) => {
            vec!["loop", "index"]
        }
        Some(Items::Matrix(_)) => vec!["matrix", name],
        Some(_) | None => vec!["as"],
    }
}

/// What is wrong with a name that is no argument.
fn unknown(
    step: &StepSpec,
    (callable, inner): (&Option<Rc<Callable>>, &Option<Level>),
    name: &str,
) -> Option<(String, String)> {
    let (what, args): (String, Vec<&str>) = if let Some(inner) = inner {
        let params = inner.spec.params.iter().map(|param| param.name.as_str());
        let path = inner.file.as_ref().map_or("the pipeline", |file| &file.path);
        (format!("`{path}` has no parameter"), params.collect())
    } else {
        let signature = callable.as_ref()?.signature.as_ref()?;
        if signature.takes_any {
            return None;
        }
        let args = signature.given_by_name().map(|p| p.name.as_str()).collect();
        (format!("`{}` has no argument", target(step).unwrap_or_default()), args)
    };
    if args.contains(&name) {
        return None;
    }
    let help = match nearest(name, args.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if args.is_empty() => "it takes none".to_owned(),
        None => format!("there is {}", args.join(", ")),
    };
    Some((format!("{what} `{}`", name.escape_debug()), help))
}

/// A function's arguments, as parameters of a run of it.
pub(super) fn params_of(callable: &Callable) -> Vec<ParamSpec> {
    let signature = callable.signature.as_ref();
    let params = signature.into_iter().flat_map(|signature| signature.given_by_name());
    let param = |parameter: &crate::compile::python::Parameter| ParamSpec {
        name: parameter.name.clone(),
        r#type: parameter.hint.kind.word().to_owned(),
        default_json: match &parameter.fallback {
            Fallback::Literal(json) => Some(json.text().to_owned()),
            Fallback::Required | Fallback::InCode => None,
        },
        ..ParamSpec::default()
    };
    params.map(param).collect()
}
