use serde_json::Value;

use super::{EvalError, Expression};

/// Most keys that a message lists.
const MAX_KEYS: usize = 20;

/// Longest text that a message repeats, in characters.
const MAX_SHOWN: usize = 60;

/// What a value is, in words.
pub(crate) fn shape(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(truth) => truth.to_string(),
        Value::Number(number) => format!("the number {number}"),
        Value::String(text) => format!("the text {:?}", shorten(text)),
        Value::Array(items) if items.len() == 1 => "a list of 1 item".to_owned(),
        Value::Array(items) => format!("a list of {} items", items.len()),
        Value::Object(map) if map.is_empty() => "an empty mapping".to_owned(),
        Value::Object(map) => format!("a mapping with {}", names(map.keys())),
    }
}

/// Names with commas between them, as many as a message can hold.
pub(super) fn names<'a>(all: impl Iterator<Item = &'a String>) -> String {
    let mut all = all.map(|name| format!("`{}`", shorten(name)));
    let mut listed: Vec<String> = all.by_ref().take(MAX_KEYS).collect();
    let more = all.count();
    if more > 0 {
        listed.push(format!("{more} more"));
    }
    listed.join(", ")
}

pub(super) fn shorten(text: &str) -> String {
    match text.char_indices().nth(MAX_SHOWN) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

/// The truth value that a condition must have.
pub(crate) fn as_bool(expression: &Expression, value: &Value) -> Result<bool, EvalError> {
    value.as_bool().ok_or_else(|| wanted(expression, "true or false", value))
}

/// The list that `foreach` and the axes of `matrix` must have.
pub(crate) fn as_list(expression: &Expression, value: Value) -> Result<Vec<Value>, EvalError> {
    match value {
        Value::Array(items) => Ok(items),
        other => Err(wanted(expression, "a list", &other)),
    }
}

fn wanted(expression: &Expression, what: &str, got: &Value) -> EvalError {
    EvalError {
        expression: expression.text().to_owned(),
        column: 1,
        message: format!("must be {what}, and is {}", shape(got)),
        exhausted: false,
    }
}
