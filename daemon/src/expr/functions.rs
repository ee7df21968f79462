//! CEL's functions over JSON.
use cel::IdedExpr;
use serde_json::Value;

use super::{
    EvalError,
    evaluate::{Evaluation, Val},
    numbers::{Num, truncated},
    shape::shape,
};

/// Largest regular expression when compiled, in bytes.
const MAX_REGEX_BYTES: usize = 1 << 20;

/// The functions, with how they are called.
const USAGE: [(&str, &str); 9] = [
    ("size", "size(x)"),
    ("string", "string(x)"),
    ("int", "int(x)"),
    ("double", "double(x)"),
    ("bool", "bool(x)"),
    ("contains", "text.contains(part)"),
    ("startsWith", "text.startsWith(part)"),
    ("endsWith", "text.endsWith(part)"),
    ("matches", "text.matches(pattern)"),
];

/// Their names.
pub(super) const NAMES: [&str; 9] =
    ["size", "string", "int", "double", "bool", "contains", "startsWith", "endsWith", "matches"];

/// True where a function is called as it can be.
pub(super) fn fits(name: &str, method: bool, args: usize) -> bool {
    match name {
        "size" => args == usize::from(!method),
        "string" | "int" | "double" | "bool" => !method && args == 1,
        "contains" | "startsWith" | "endsWith" => method && args == 1,
        "matches" => args == 2 - usize::from(method),
        _ => false,
    }
}

/// How a function is called, if there is one of that name.
pub(super) fn usage(name: &str) -> Option<&'static str> {
    USAGE.iter().find(|(known, _)| *known == name).map(|(_, usage)| *usage)
}

/// How many values are in a value, and roughly how many bytes.
pub(super) fn weight(value: &Value) -> (usize, usize) {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => (1, 16),
        Value::String(text) => (1, 16 + text.len()),
        Value::Array(items) => {
            items.iter().map(weight).fold((1, 16), |a, b| (a.0 + b.0, a.1 + b.1))
        }
        Value::Object(map) => map.iter().fold((1, 16), |a, (key, value)| {
            let b = weight(value);
            (a.0 + b.0, a.1 + b.1 + key.len())
        }),
    }
}

pub(super) fn apply(
    of: &mut Evaluation<'_>,
    part: &IdedExpr,
    name: &str,
    values: Vec<Val<'_>>,
) -> Result<Value, EvalError> {
    let Some(first) = values.first() else { return Err(of.error(part, "is not supported")) };
    let wrong = |of: &Evaluation<'_>, what: &str| {
        of.error(part, format!("`{name}` wants {what}, and this is {}", shape(first)))
    };
    match name {
        "size" => {
            let size = match first.as_ref() {
                Value::String(text) => text.chars().count(),
                Value::Array(items) => items.len(),
                Value::Object(map) => map.len(),
                _ => return Err(wrong(of, "text, a list or a mapping")),
            };
            Ok(Value::from(size))
        }
        "string" => {
            let (nodes, bytes) = weight(first);
            of.pay(part, nodes, bytes)?;
            Ok(Value::String(text(first)))
        }
        "int" => {
            let int = match (Num::of(first), first.as_ref()) {
                (Some(Num::Int(int)), _) => Some(int),
                (Some(Num::Float(float)), _) => truncated(float),
                (None, Value::String(text)) => text.trim().parse().ok(),
                (None, _) => None,
            };
            int.map(Value::from)
                .ok_or_else(|| wrong(of, "a number of at most 64 bits, or its text"))
        }
        "double" => {
            let float = match (Num::of(first), first.as_ref()) {
                (Some(number), _) => Some(number.float()),
                (None, Value::String(text)) => text.trim().parse().ok(),
                (None, _) => None,
            };
            float
                .and_then(|float| Num::Float(float).into_value())
                .ok_or_else(|| wrong(of, "a number or its text"))
        }
        "bool" => match first.as_ref() {
            Value::Bool(truth) => Ok(Value::Bool(*truth)),
            Value::String(text) if matches!(text.as_str(), "true" | "false") => {
                Ok(Value::Bool(text == "true"))
            }
            _ => Err(wrong(of, "true, false or their text")),
        },
        _ => search(of, part, name, &values),
    }
}

fn search(
    of: &mut Evaluation<'_>,
    part: &IdedExpr,
    name: &str,
    values: &[Val<'_>],
) -> Result<Value, EvalError> {
    let [text, sought] = values else { return Err(of.error(part, "is not supported")) };
    let (Value::String(text), Value::String(sought)) = (text.as_ref(), sought.as_ref()) else {
        let message = format!(
            "`{name}` looks for text in text, and these are {} and {}",
            shape(text),
            shape(sought)
        );
        return Err(of.error(part, message));
    };
    of.pay(part, 1 + (text.len() + sought.len()) / 64, 0)?;
    let found = match name {
        "contains" => text.contains(sought.as_str()),
        "startsWith" => text.starts_with(sought.as_str()),
        "endsWith" => text.ends_with(sought.as_str()),
        _ => {
            // Compiling takes long beside anything else that an expression does.
            of.pay(part, 2_000 + 20 * sought.len() + text.len(), 0)?;
            let pattern = regex::RegexBuilder::new(sought).size_limit(MAX_REGEX_BYTES).build();
            let pattern = pattern.map_err(|error| {
                let line = error.to_string().lines().last().unwrap_or_default().to_owned();
                of.error(part, format!("{sought:?} is no regular expression: {line}"))
            })?;
            pattern.is_match(text)
        }
    };
    Ok(Value::Bool(found))
}

/// A value as part of a text: text as it is, the rest as JSON.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
