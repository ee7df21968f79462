//! CEL's operators over JSON.
use std::{borrow::Cow, cmp::Ordering};

use cel::{IdedExpr, common::ast::operators};
use serde_json::Value;

use super::{
    EvalError,
    evaluate::{Evaluation, Val, compare},
    functions::weight,
    numbers::{NoNumber, Num, arithmetic, truncated},
    shape::shape,
};

/// The value of an operator that looks at all of its operands.
pub(super) fn apply<'a>(
    of: &mut Evaluation<'a>,
    part: &'a IdedExpr,
    name: &str,
    parts: &[&'a IdedExpr],
    values: Vec<Val<'a>>,
) -> Result<Val<'a>, EvalError> {
    let mut values = values.into_iter();
    let (Some(first), second) = (values.next(), values.next()) else {
        return Err(of.error(part, "is not supported"));
    };
    let Some(second) = second else { return negate(of, part, &first).map(Cow::Owned) };
    let truth = |truth: bool| Ok(Cow::Owned(Value::Bool(truth)));
    match name {
        operators::INDEX => index(of, part, first, &second),
        operators::EQUALS | operators::NOT_EQUALS | operators::IN => {
            let (nodes, bytes) = weight(&first);
            let (others, more) = weight(&second);
            of.pay(part, nodes + others, bytes.min(more))?;
            match (name, second.as_ref()) {
                (operators::EQUALS, second) => truth(equal(&first, second)),
                (operators::NOT_EQUALS, second) => truth(!equal(&first, second)),
                (_, Value::Array(items)) => truth(items.iter().any(|item| equal(&first, item))),
                (_, Value::Object(map)) => {
                    truth(first.as_str().is_some_and(|key| map.contains_key(key)))
                }
                (_, other) => Err(of.error(
                    part,
                    format!("`in` looks into a list or a mapping, and this is {}", shape(other)),
                )),
            }
        }
        operators::LESS
        | operators::LESS_EQUALS
        | operators::GREATER
        | operators::GREATER_EQUALS => {
            let order =
                compare(&first, &second).ok_or_else(|| unfit(of, part, name, &first, &second))?;
            truth(match name {
                operators::LESS => order == Ordering::Less,
                operators::LESS_EQUALS => order != Ordering::Greater,
                operators::GREATER => order == Ordering::Greater,
                _ => order != Ordering::Less,
            })
        }
        _ => calculate(of, part, name, parts, (first, second)).map(Cow::Owned),
    }
}

fn negate(of: &Evaluation<'_>, part: &IdedExpr, value: &Value) -> Result<Value, EvalError> {
    let negative = match Num::of(value) {
        Some(Num::Int(int)) => int.checked_neg().map(Value::from),
        Some(Num::Float(float)) => Num::Float(-float).into_value(),
        None => None,
    };
    negative
        .ok_or_else(|| of.error(part, format!("`-` wants a number, and this is {}", shape(value))))
}

fn calculate<'a>(
    of: &mut Evaluation<'a>,
    part: &IdedExpr,
    name: &str,
    parts: &[&IdedExpr],
    (first, second): (Val<'a>, Val<'a>),
) -> Result<Value, EvalError> {
    if let (Some(a), Some(b)) = (Num::of(&first), Num::of(&second)) {
        return arithmetic(sign(name), a, b).map_err(|error| match error {
            NoNumber::Overflow => of.error(part, "the number is too large"),
            NoNumber::ByZero => of.error(part, "is divided by zero"),
        });
    }
    match (name, first.as_ref(), second.as_ref()) {
        (operators::ADD, Value::String(a), Value::String(b)) => {
            of.pay(part, 1, a.len() + b.len())?;
            Ok(Value::String(format!("{a}{b}")))
        }
        (operators::ADD, Value::Array(_), Value::Array(_)) => {
            // The left one of a comprehension is its own already.
            let (Value::Array(mut items), Value::Array(more)) =
                (of.own(parts[0], first)?, of.own(parts[1], second)?)
            else {
                return Err(of.error(part, "is not supported"));
            };
            of.pay(part, 1, 16 * more.len())?;
            items.extend(more);
            Ok(Value::Array(items))
        }
        (_, first, second) => Err(unfit(of, part, name, first, second)),
    }
}

fn sign(name: &str) -> char {
    match name {
        operators::ADD => '+',
        operators::SUBSTRACT => '-',
        operators::MULTIPLY => '*',
        operators::DIVIDE => '/',
        _ => '%',
    }
}

fn unfit(of: &Evaluation<'_>, part: &IdedExpr, name: &str, a: &Value, b: &Value) -> EvalError {
    let mark = name.trim_matches('_');
    of.error(part, format!("`{mark}` does not work on {} and {}", shape(a), shape(b)))
}

fn index<'a>(
    of: &mut Evaluation<'a>,
    part: &IdedExpr,
    value: Val<'a>,
    key: &Value,
) -> Result<Val<'a>, EvalError> {
    match (value.as_ref(), key) {
        (Value::Object(_), Value::String(key)) => of.member(part, value, key),
        (Value::Array(items), Value::Number(_)) => {
            let at = match Num::of(key) {
                Some(Num::Int(int)) => usize::try_from(int).ok(),
                Some(Num::Float(float)) if float.fract() == 0.0 => {
                    truncated(float).and_then(|int| usize::try_from(int).ok())
                }
                Some(Num::Float(_)) | None => None,
            };
            let found = at.filter(|at| *at < items.len());
            let Some(at) = found else {
                return Err(of.error(part, format!("no item {key}: it is {}", shape(&value))));
            };
            Ok(match value {
                Cow::Borrowed(Value::Array(items)) => Cow::Borrowed(&items[at]),
                Cow::Owned(Value::Array(mut items)) => Cow::Owned(items.swap_remove(at)),
                other => other,
            })
        }
        (whole, key) => {
            Err(of.error(part, format!("{} has no item for {}", shape(whole), shape(key))))
        }
    }
}

/// Equality of JSON, where 1 is 1.0.
pub(super) fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len()
                && a.iter().all(|(key, value)| b.get(key).is_some_and(|other| equal(value, other)))
        }
        (Value::Null, Value::Null) => true,
        (a, b) => compare(a, b) == Some(Ordering::Equal),
    }
}
