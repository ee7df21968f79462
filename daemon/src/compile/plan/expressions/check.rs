use windlass_core::{Kind, StepIndex, nearest};
use windlass_proto::common::v1::{PipelineSpec, StepSpec, step_spec::Action};

use super::{Use, Used};
use crate::{
    compile::{plan::level::Level, report::Report},
    expr::{Expression, Reference, Root},
};

/// Message and help.
type Words = (String, String);

/// Most names that a message lists.
const MAX_LISTED: usize = 20;

/// Checks every name that can be checked before the run.
pub(in crate::compile::plan) fn check(level: &Level, report: &mut Report<'_>) {
    for (i, told) in level.told.iter().enumerate() {
        if report.is_full() {
            return;
        }
        for used in &told.used {
            if let Err((message, help)) = check_one(level, i, used, report) {
                let Used { expression, reference, .. } = used;
                let text = expression.text();
                let message = format!("`{text}`, column {}: {message}", reference.column);
                report.value(&level.spec, &used.parts(i), (message, help));
            }
        }
    }
}

fn check_one(level: &Level, i: usize, used: &Used, report: &Report<'_>) -> Result<(), Words> {
    let reference = &used.reference;
    match &reference.root {
        Root::Unknown(name) => Err(unknown_root(&level.spec, name)),
        Root::Params => param(&level.spec, reference),
        Root::Steps => {
            let Some(name) = reference.path.first() else { return Ok(()) };
            let found = step_of(level, name, &reference.path[1..], report)?;
            before(level, i, used, found)
        }
        Root::Outputs => match used.output() {
            Some(name) => output_above(level, i, used, name),
            None => Ok(()),
        },
        Root::Metrics => {
            let alone = level.edges[i].needs.is_empty() && used.place != Use::Until;
            let in_loop = level.spec.steps[i].r#loop.is_some() && used.place == Use::With;
            if alone && !in_loop {
                let message = "there are no metrics yet: no step is above".to_owned();
                return Err((message, "move the step below the one that measures".to_owned()));
            }
            Ok(())
        }
    }
}

/// An unknown name at the start, and what was meant.
pub(in crate::compile::plan) fn unknown_root(spec: &PipelineSpec, name: &str) -> Words {
    let message = format!("nothing is named `{}`", name.escape_debug());
    let help = if spec.params.iter().any(|param| param.name == name) {
        format!("did you mean `params.{name}`?")
    } else if spec.steps.iter().any(|step| step.name == name) {
        format!("did you mean `steps.{name}`?")
    } else {
        match nearest(name, Root::NAMES) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("expressions begin with one of {}", Root::NAMES.join(", ")),
        }
    };
    (message, help)
}

/// Checks a reference to a parameter, and into its value.
pub(in crate::compile::plan) fn param(
    spec: &PipelineSpec,
    reference: &Reference,
) -> Result<(), Words> {
    let Some((name, below)) = reference.path.split_first() else { return Ok(()) };
    let Some(param) = spec.params.iter().find(|param| param.name == *name) else {
        let known = spec.params.iter().map(|param| param.name.as_str());
        return Err((format!("no parameter `{}`", name.escape_debug()), meant(name, known)));
    };
    let kind = Kind::from_word(&param.r#type).unwrap_or_default();
    match below.first() {
        Some(key) if !matches!(kind, Kind::Any | Kind::Map) => {
            let message = format!("`{name}` is of type {} and has no `{key}`", kind.word());
            Err((message, String::new()))
        }
        Some(_) | None => Ok(()),
    }
}

/// Checks that an expression uses a known parameter and nothing else.
pub(in crate::compile::plan) fn only_params(
    spec: &PipelineSpec,
    expression: &Expression,
    reference: &Reference,
) -> Result<(), Words> {
    let checked = match &reference.root {
        Root::Params => param(spec, reference),
        Root::Unknown(name) => Err(unknown_root(spec, name)),
        Root::Steps | Root::Outputs | Root::Metrics => {
            let message = "only `params` are known before the run".to_owned();
            Err((message, String::new()))
        }
    };
    checked.map_err(|(message, help)| {
        (format!("`{}`, column {}: {message}", expression.text(), reference.column), help)
    })
}

/// Checks a reference to a step of the level and to what it has; returns the step.
pub(in crate::compile::plan) fn step_of(
    level: &Level,
    name: &str,
    below: &[String],
    report: &Report<'_>,
) -> Result<usize, Words> {
    let names = || level.spec.steps.iter().map(|step| step.name.as_str());
    let Some(at) = names().position(|known| known == name) else {
        return Err((format!("no step `{}`", name.escape_debug()), meant(name, names())));
    };
    let Some(part) = below.first() else { return Ok(at) };
    let parts = ["state", "outputs", "metrics"];
    if !parts.contains(&part.as_str()) {
        let message = format!("a step has no `{}`", part.escape_debug());
        return Err((message, meant(part, parts.into_iter())));
    }
    if part == "state" && below.len() > 1 {
        return Err(("the state of a step is text".to_owned(), String::new()));
    }
    if let ("outputs", Some(output)) = (part.as_str(), below.get(1))
        && !report.is_tainted(name)
    {
        gives(&level.spec.steps[at], output)?;
    }
    Ok(at)
}

/// True where a step may give outputs that it does not declare.
pub(in crate::compile::plan) fn is_open(step: &StepSpec) -> bool {
    matches!(step.action, Some(Action::Run(_) | Action::Script(_) | Action::Command(_)) | None)
}

/// Checks that a step gives an output that expressions can read.
fn gives(step: &StepSpec, output: &str) -> Result<(), Words> {
    let names = || step.outputs.iter().map(|output| output.name.as_str());
    match step.outputs.iter().find(|declared| declared.name == output) {
        Some(declared) if declared.codec == "pickle" => {
            let message = format!("output `{output}` is kept as pickle, and only JSON can be read");
            Err((message, "give a step the value as an argument".to_owned()))
        }
        Some(_) => Ok(()),
        None if is_open(step) => Ok(()),
        None => {
            let message = format!("step `{}` has no output `{}`", step.name, output.escape_debug());
            Err((message, meant(output, names())))
        }
    }
}

fn before(level: &Level, i: usize, used: &Used, named: usize) -> Result<(), Words> {
    let step = StepIndex(u32::try_from(named).unwrap_or(u32::MAX));
    if named == i {
        let message = "a step cannot read itself".to_owned();
        let help = match used.place {
            Use::Until => "in `until`, `outputs` and `metrics` are the iteration's own",
            Use::When | Use::Items | Use::With => "name a step above it",
        };
        return Err((message, help.to_owned()));
    }
    if level.edges[i].needs.contains(&step) {
        return Ok(());
    }
    let name = &level.spec.steps[named].name;
    let message = format!("step `{name}` comes later");
    Err((message, format!("move it above, or say `needs: [{name}]`")))
}

fn output_above(level: &Level, i: usize, used: &Used, name: &str) -> Result<(), Words> {
    let own = &level.spec.steps[i];
    let sees_own = own.r#loop.is_some() && matches!(used.place, Use::Until | Use::With);
    if let Some(giver) = level.edges[i].fed.get(name).and_then(|giver| level.step(*giver)) {
        return gives(giver, name);
    }
    if sees_own && (is_open(own) || own.outputs.iter().any(|output| output.name == name)) {
        return gives(own, name);
    }
    let above = level.above(i, is_open);
    if above.last().is_some_and(|step| is_open(step)) {
        return Ok(());
    }
    let own = sees_own.then_some(own);
    let known = above.into_iter().chain(own).flat_map(|step| &step.outputs);
    let names: Vec<&str> = known.map(|output| output.name.as_str()).collect();
    let message = format!("no step above gives an output `{}`", name.escape_debug());
    Err((message, meant(name, names.into_iter())))
}

/// What was meant, or what there is.
pub(in crate::compile::plan) fn meant<'a>(
    name: &str,
    known: impl Iterator<Item = &'a str>,
) -> String {
    let known: Vec<&str> = known.collect();
    match nearest(name, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if known.is_empty() => "there is none".to_owned(),
        None => {
            let listed: Vec<&str> = known.iter().copied().take(MAX_LISTED).collect();
            format!("there is {}", listed.join(", "))
        }
    }
}
