//! What the keys of flow may say, as far as one step alone shows it.
use std::collections::HashSet;

use windlass_core::{Json, nearest};
use windlass_proto::common::v1::{
    ForeachSpec, LoopSpec, PipelineSpec, RetrySpec, StepSpec, foreach_spec::Items,
    matrix_axis::Values, step_spec::Action,
};

use super::{MAX_LISTED, bad_time, is_identifier};
use crate::compile::{
    python::Target,
    report::{Part, Report},
};

/// Most instances that one step can have.
pub(in crate::compile) const MAX_INSTANCES: u64 = 100_000;

/// Most iterations of a loop.
const MAX_ITERATIONS: u32 = 10_000;

/// Most further tries of a step.
const MAX_RETRIES: u32 = 1_000;

/// What makes one value of a list of values.
const REDUCERS: [&str; 6] = ["sum", "min", "max", "mean", "last", "concat"];

/// True for the name of a built-in reducer.
pub(in crate::compile) fn is_reducer(name: &str) -> bool {
    REDUCERS.contains(&name)
}

/// The arguments that instances and iterations bring along.
pub(in crate::compile) fn brought(step: &StepSpec) -> Vec<&str> {
    let mut names = vec![];
    if let Some(foreach) = &step.foreach {
        match &foreach.items {
            Some(Items::Matrix(matrix)) => {
                names.extend(matrix.axes.iter().map(|axis| axis.name.as_str()));
            }
            Some(Items::Expr(_) | Items::ListJson(_)) | None => names.push(foreach.r#as.as_str()),
        }
    }
    names.extend(step.r#loop.iter().map(|repeat| repeat.index.as_str()));
    names.retain(|name| !name.is_empty());
    names
}

pub(super) fn check(spec: &PipelineSpec, i: usize, report: &mut Report<'_>) {
    let step = &spec.steps[i];
    if let (Some(_), Some(_)) = (&step.foreach, &step.r#loop) {
        let message = format!("step `{}` has both `foreach` and `loop`", step.name);
        let help = "put the loop into a pipeline of its own, and go over that".to_owned();
        report.key(spec, &[Part::Step(i), Part::Key("loop")], (message, help));
    }
    if let Some(foreach) = &step.foreach {
        check_foreach(spec, i, foreach, report);
    }
    if let Some(repeat) = &step.r#loop {
        check_loop(spec, i, repeat, report);
    }
    check_brought(spec, i, report);
    if let Some(retry) = &step.retry {
        check_retry(spec, i, retry, report);
    }
    check_secrets(spec, i, report);
    check_pipeline(spec, i, report);
}

fn check_foreach(spec: &PipelineSpec, i: usize, foreach: &ForeachSpec, report: &mut Report<'_>) {
    let mut refuse = |parts: &[&str], message: String, help: &str| {
        let mut place = vec![Part::Step(i)];
        place.extend(parts.iter().map(|part| Part::Key(part)));
        report.value(spec, &place, (message, help.to_owned()));
    };
    match &foreach.items {
        None => refuse(&["foreach"], "there is nothing to go over".to_owned(), "give it a list"),
        Some(Items::Expr(_)) => {}
        Some(Items::ListJson(json)) => {
            if let Err(message) = list_len(json) {
                refuse(&["foreach"], message, "");
            }
        }
        Some(Items::Matrix(matrix)) => {
            if matrix.axes.is_empty() || matrix.axes.len() > MAX_LISTED {
                let message = format!("a matrix has 1 to {MAX_LISTED} lists");
                refuse(&["matrix"], message, "give it lists by name");
            }
            let mut combinations = 1u64;
            for axis in &matrix.axes {
                let Some(Values::ListJson(json)) = &axis.values else { continue };
                match list_len(json) {
                    Ok(len) => combinations = combinations.saturating_mul(len),
                    Err(message) => refuse(&["matrix", &axis.name], message, ""),
                }
            }
            if combinations > MAX_INSTANCES {
                let message = format!(
                    "the matrix has {combinations} combinations, more than {MAX_INSTANCES}"
                );
                refuse(&["matrix"], message, "shorten its lists");
            }
        }
    }
    let is_matrix = matches!(foreach.items, Some(Items::Matrix(_)));
    if !is_matrix && foreach.r#as.is_empty() {
        let message = "`foreach` does not say which argument gets the item".to_owned();
        refuse(&["foreach"], message, "add `as: NAME`");
    }
    if is_matrix && !foreach.r#as.is_empty() {
        let message = "the lists of a matrix have their arguments' names".to_owned();
        refuse(&["as"], message, "remove `as`");
    }
    let reduce = foreach.reduce.as_str();
    if !reduce.is_empty() && !is_reducer(reduce) {
        let known = REDUCERS.join(", ");
        if !reduce.contains(':') {
            let help = match nearest(reduce, REDUCERS) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("it is one of {known}, or `module:function`"),
            };
            let message = format!("unknown reducer `{}`", reduce.escape_debug());
            refuse(&["reduce"], message, &help);
        } else if let Err((message, help)) = Target::parse(reduce) {
            refuse(&["reduce"], message, &help);
        }
    }
}

/// How many items a JSON list has; else what is wrong with it.
fn list_len(json: &str) -> Result<u64, String> {
    let Some(parsed) = Json::parse(json) else {
        return Err(format!("`{}` is not JSON", json.escape_debug()));
    };
    let Some(items) = parsed.value().as_array() else {
        return Err(format!("expected a list, got {}", crate::expr::shape(parsed.value())));
    };
    let len = u64::try_from(items.len()).unwrap_or(u64::MAX);
    if len > MAX_INSTANCES {
        return Err(format!("the list has {len} items, more than {MAX_INSTANCES}"));
    }
    Ok(len)
}

fn check_loop(spec: &PipelineSpec, i: usize, repeat: &LoopSpec, report: &mut Report<'_>) {
    let place = |key| [Part::Step(i), Part::Key("loop"), Part::Key(key)];
    if repeat.max == 0 || repeat.max > MAX_ITERATIONS {
        let message = format!("`max` must be from 1 to {MAX_ITERATIONS}, got {}", repeat.max);
        let help = "a loop has a bound".to_owned();
        report.value(spec, &place("max"), (message, help));
    }
    if repeat.until.is_empty() {
        let message = "the loop does not say when it ends".to_owned();
        report.value(spec, &place("until"), (message, "give it an `until`".to_owned()));
    }
}

/// Checks the names of the arguments that instances and iterations bring along.
fn check_brought(spec: &PipelineSpec, i: usize, report: &mut Report<'_>) {
    let step = &spec.steps[i];
    let is_matrix = |step: &StepSpec| {
        step.foreach.as_ref().is_some_and(|f| matches!(f.items, Some(Items::Matrix(_))))
    };
    let index = step.r#loop.as_ref().map_or("", |repeat| &repeat.index);
    let mut seen = HashSet::new();
    for name in brought(step) {
        let parts = match () {
            () if name == index => vec![Part::Step(i), Part::Key("loop"), Part::Key("index")],
            () if is_matrix(step) => vec![Part::Step(i), Part::Key("matrix"), Part::Key(name)],
            () => vec![Part::Step(i), Part::Key("as")],
        };
        if !is_identifier(name) {
            let message = format!("`{}` is no name for an argument", name.escape_debug());
            let help = "a letter or `_`, then letters, digits and `_`".to_owned();
            report.value(spec, &parts, (message, help));
        }
        let twice = !seen.insert(name);
        if twice || step.with_json.contains_key(name) {
            let message = format!("argument `{name}` gets two values");
            let help = if twice { "rename one of the two" } else { "remove it under `with`" };
            report.value(spec, &parts, (message, help.to_owned()));
        }
    }
}

fn check_retry(spec: &PipelineSpec, i: usize, retry: &RetrySpec, report: &mut Report<'_>) {
    let step = &spec.steps[i];
    let mut refuse = |key, message: String, help: &str| {
        let parts = [Part::Step(i), Part::Key("retry"), Part::Key(key)];
        report.value(spec, &parts, (message, help.to_owned()));
    };
    if retry.times == 0 {
        let message = "`times: 0` never tries again".to_owned();
        refuse("times", message, "remove `retry`, or let it try at least once more");
    }
    if retry.times > MAX_RETRIES {
        refuse("times", format!("`times` must be at most {MAX_RETRIES}, got {}", retry.times), "");
    }
    if !retry.factor.is_finite() || retry.factor < 1.0 {
        refuse("factor", format!("`factor` must be at least 1, got {}", retry.factor), "");
    }
    for (key, time) in [("backoff", &retry.backoff), ("max", &retry.max)] {
        if time.as_ref().is_some_and(bad_time) {
            refuse(key, format!("`{key}` must be longer than nothing"), "");
        }
    }
    let mut seen = HashSet::new();
    if !retry.on.iter().all(|on| seen.insert(*on)) {
        refuse("on", "`on` names an end twice".to_owned(), "");
    }
    match step.action {
        Some(Action::Stub(_)) => {
            refuse(
                "times",
                "a stub never fails, so there is nothing to retry".to_owned(),
                "remove `retry`",
            );
        }
        Some(Action::Pipeline(_)) => {
            let message = "a pipeline is not tried again as a whole".to_owned();
            refuse("times", message, "give `retry` to its steps");
        }
        Some(_) | None => {}
    }
}

fn check_secrets(spec: &PipelineSpec, i: usize, report: &mut Report<'_>) {
    let declared = || spec.secrets.iter().map(|secret| secret.name.as_str());
    for (item, name) in spec.steps[i].secrets.iter().enumerate() {
        if !declared().any(|known| known == name) {
            let message = format!("the pipeline declares no secret `{}`", name.escape_debug());
            let help = match nearest(name, declared()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => {
                    format!("declare it at the top level: `secrets: [{}]`", name.escape_debug())
                }
            };
            let parts = [Part::Step(i), Part::Key("secrets"), Part::Item(item)];
            report.value(spec, &parts, (message, help));
        }
        if spec.steps[i].env.contains_key(name) {
            let message = format!("`{name}` is set under `env` and is a secret too");
            let parts = [Part::Step(i), Part::Key("env"), Part::Key(name)];
            report.key(spec, &parts, (message, "keep one".to_owned()));
        }
    }
}

/// Checks what a pipeline step may not say since it runs nothing itself.
fn check_pipeline(spec: &PipelineSpec, i: usize, report: &mut Report<'_>) {
    let step = &spec.steps[i];
    let is_pipeline = matches!(step.action, Some(Action::Pipeline(_)));
    for output in &step.outputs {
        let parts = [Part::Step(i), Part::Key("out"), Part::Key(&output.name)];
        if is_pipeline && output.expr.is_empty() {
            let message = format!("output `{}` of a pipeline does not say what it is", output.name);
            let help =
                format!("write `out: {{{}: \"${{{{ steps.NAME.outputs.NAME }}}}\"}}`", output.name);
            report.value(spec, &parts, (message, help));
        }
    }
    if !is_pipeline {
        return;
    }
    let mut refuse = |key, help: &str| {
        let message = format!("`{key}` says nothing of a pipeline, which runs only its own steps");
        report.key(spec, &[Part::Step(i), Part::Key(key)], (message, help.to_owned()));
    };
    let moved = "say it of the steps in its file";
    if step.timeout.is_some() {
        refuse("timeout", moved);
    }
    if step.resources.is_some() {
        refuse("resources", moved);
    }
    if !step.env.is_empty() {
        refuse("env", moved);
    }
    if !step.secrets.is_empty() {
        refuse("secrets", "declare and name them in its file");
    }
    if step.idempotent {
        refuse("idempotent", moved);
    }
}
