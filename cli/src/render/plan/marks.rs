use windlass_proto::common::v1::{self as common, foreach_spec, matrix_axis};

use crate::render::{columns::shorten, json, words};

/// Longest list that a mark quotes, in columns.
const MAX_LIST: usize = 40;

/// What is particular about a step, each in a few words.
pub(super) fn marks(step: &common::PlannedStep) -> Vec<String> {
    let Some(spec) = &step.spec else { return Vec::new() };
    let mut marks = Vec::new();
    let mut mark = |there: bool, text: String| {
        if there {
            marks.push(text);
        }
    };
    mark(step.mock.is_some(), mock(step.mock.as_ref()));
    mark(!step.patched.is_empty(), format!("patched: calls {}", step.patched));
    mark(step.failure_handler, "only after a failure".into());
    mark(!spec.when.is_empty(), format!("when {}", spec.when));
    mark(spec.foreach.is_some(), spec.foreach.as_ref().map(foreach).unwrap_or_default());
    mark(spec.r#loop.is_some(), spec.r#loop.as_ref().map(looped).unwrap_or_default());
    if let Some(retry) = spec.retry.as_ref().filter(|retry| retry.times > 0) {
        mark(true, format!("up to {}", words::plural(count(retry.times) + 1, "attempt")));
    }
    let timeout = spec.timeout.as_ref().map(|t| words::duration(words::cpu(t)));
    mark(timeout.is_some(), format!("at most {}", timeout.unwrap_or_default()));
    mark(!spec.on_failure.is_empty(), format!("on failure {}", spec.on_failure));
    mark(spec.continue_on_error, "its failure is tolerated".into());
    mark(!spec.secrets.is_empty(), format!("secrets {}", spec.secrets.join(", ")));
    marks
}

fn mock(mock: Option<&common::Mock>) -> String {
    let Some(mock) = mock else { return String::new() };
    match &mock.fail {
        Some(message) => format!("mocked: fails with “{message}”"),
        None => "mocked: not executed".into(),
    }
}

fn foreach(foreach: &common::ForeachSpec) -> String {
    let mut text = match &foreach.items {
        Some(foreach_spec::Items::Expr(expr)) => format!("for each of {expr}"),
        Some(foreach_spec::Items::ListJson(items)) => {
            format!("for each of {}", shorten(items, MAX_LIST))
        }
        Some(foreach_spec::Items::Matrix(matrix)) => {
            let axes: Vec<_> = matrix.axes.iter().map(axis).collect();
            format!("for each of {}", axes.join(" × "))
        }
        None => "for each".into(),
    };
    if !foreach.r#as.is_empty() {
        text += &format!(" as {}", foreach.r#as);
    }
    if foreach.max_parallel > 0 {
        text += &format!(", at most {} at once", foreach.max_parallel);
    }
    if !foreach.reduce.is_empty() {
        text += &format!(", reduced by {}", foreach.reduce);
    }
    text
}

fn axis(axis: &common::MatrixAxis) -> String {
    let values = match &axis.values {
        Some(matrix_axis::Values::Expr(expr)) => expr.clone(),
        Some(matrix_axis::Values::ListJson(items)) => shorten(items, MAX_LIST),
        None => String::new(),
    };
    format!("{}: {values}", axis.name)
}

fn looped(spec: &common::LoopSpec) -> String {
    format!("until {}, at most {}", spec.until, words::plural(count(spec.max), "time"))
}

fn count(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// Where an argument's value comes from, as one writes it after `=`.
pub(super) fn value(arg: &common::BoundArg, path: impl Fn(u32) -> String) -> String {
    use common::bound_arg::Value;
    match &arg.value {
        Some(Value::Json(text)) => text.clone(),
        Some(Value::Output(from)) => format!("{} of {}", from.name, path(from.step)),
        Some(Value::TemplateJson(text)) => match json::value(text) {
            serde_json::Value::String(text) => text,
            _ => text.clone(),
        },
        Some(Value::Param(name)) => format!("params.{name}"),
        Some(Value::Item(item)) if item.axis.is_empty() => "the item".into(),
        Some(Value::Item(item)) => format!("the item's {}", item.axis),
        Some(Value::Iteration(_)) => "the number of the iteration".into(),
        Some(Value::Secret(name)) => format!("the secret {name}"),
        None => "?".into(),
    }
}
