use std::{collections::BTreeSet, rc::Rc};

use windlass_core::{Givens, Kind, Source, nearest};
use windlass_proto::{api::v1::PipelineError, common::v1::PipelineSpec};

use super::level::Level;
use crate::compile::{overrides, python::Project, report::Report, validate::brought};

/// Most names that a message lists.
const MAX_LISTED: usize = 20;

/// True for `model.depth` where `model` is a declared parameter of type map.
pub(super) fn is_part_of_map(spec: &PipelineSpec, name: &str) -> bool {
    let is_map = |top: &str| {
        spec.params.iter().any(|param| param.name == top && param.r#type == Kind::Map.word())
    };
    name.split_once('.').is_some_and(|(top, _)| is_map(top))
}

/// True where a function's arguments are not known and it is all that runs: then it takes
/// whatever is given.
fn takes_everything(level: &Level) -> bool {
    matches!(&level.callables[..], [Some(callable)] if callable.signature.is_none())
}

/// Checks that something takes every value that was given on purpose; returns the names that only
/// functions with `**kwargs` take. Variables of the environment are not checked: they may be there
/// for something else.
pub(super) fn check_given(
    level: &Level,
    givens: &Givens,
    project: &Project<'_>,
    report: &mut Report<'_>,
) -> Vec<String> {
    let mut extras = vec![];
    if givens.iter().next().is_none() || takes_everything(level) {
        return extras;
    }
    let spec = &level.spec;
    let mut known: BTreeSet<&str> = spec.params.iter().map(|param| param.name.as_str()).collect();
    known.extend(spec.steps.iter().flat_map(|step| step.with_json.keys()).map(String::as_str));
    known.extend(spec.steps.iter().flat_map(brought));
    let inner = level.inner.iter().flatten().flat_map(|inner| &inner.spec.params);
    known.extend(inner.map(|param| param.name.as_str()));
    // Many steps may share one function.
    let mut seen = BTreeSet::new();
    let mut takes_any = false;
    for callable in level.callables.iter().flatten() {
        if seen.insert(Rc::as_ptr(callable)) {
            let signature = callable.signature.as_ref();
            takes_any |= signature.is_some_and(|signature| signature.takes_any);
            let args = signature.into_iter().flat_map(|signature| signature.given_by_name());
            known.extend(args.map(|parameter| parameter.name.as_str()));
        }
    }
    for (name, _, source) in givens.iter() {
        let on_purpose = matches!(source, Source::Cli | Source::File);
        if !on_purpose || name.contains('.') || known.contains(name) || report.is_full() {
            continue;
        }
        if takes_any {
            extras.push(name.to_owned());
            continue;
        }
        let near = nearest(name, known.iter().copied()).map(str::to_owned);
        let near = near.or_else(|| overrides::near_dotted(name, &level.callables, project));
        let help = match near {
            Some(near) => format!("did you mean `{near}`?"),
            None if known.is_empty() => "nothing that runs takes parameters".to_owned(),
            None => {
                let listed: Vec<&str> = known.iter().copied().take(MAX_LISTED).collect();
                format!("what can be given: {}", listed.join(", "))
            }
        };
        let message = format!("nothing takes a parameter `{}`", name.escape_debug());
        let path = overrides::place(source).to_owned();
        report.push(PipelineError { path, message, help, ..PipelineError::default() });
    }
    extras
}
