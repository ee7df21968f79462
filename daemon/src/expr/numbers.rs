use std::cmp::Ordering;

use serde_json::{Number, Value};

/// A JSON number: whole, or not.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Num {
    Int(i64),
    Float(f64),
}

impl Num {
    pub(super) fn of(value: &Value) -> Option<Self> {
        value.as_number().and_then(from)
    }

    pub(super) fn float(self) -> f64 {
        match self {
            // Rounded beyond 2^53, as arithmetic with such numbers is.
            Self::Int(int) => int.to_string().parse().unwrap_or(f64::NAN),
            Self::Float(float) => float,
        }
    }

    /// The JSON number; `None` where it is not finite.
    pub(super) fn into_value(self) -> Option<Value> {
        match self {
            Self::Int(int) => Some(Value::from(int)),
            Self::Float(float) => Number::from_f64(float).map(Value::Number),
        }
    }
}

fn from(number: &Number) -> Option<Num> {
    match number.as_i64() {
        Some(int) => Some(Num::Int(int)),
        None => number.as_f64().map(Num::Float),
    }
}

/// The order of two numbers as numbers: 1 is 1.0.
pub(super) fn compare(a: &Number, b: &Number) -> Option<Ordering> {
    if let (Some(a), Some(b)) = (a.as_u64(), b.as_u64()) {
        return Some(a.cmp(&b));
    }
    match (from(a)?, from(b)?) {
        (Num::Int(a), Num::Int(b)) => Some(a.cmp(&b)),
        (a, b) => a.float().partial_cmp(&b.float()),
    }
}

/// Why a sum, product and so on has no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoNumber {
    Overflow,
    ByZero,
}

/// `a operator b`; with a whole number on both sides the result is whole, also of `/`.
pub(super) fn arithmetic(operator: char, a: Num, b: Num) -> Result<Value, NoNumber> {
    if let (Num::Int(a), Num::Int(b)) = (a, b) {
        if b == 0 && matches!(operator, '/' | '%') {
            return Err(NoNumber::ByZero);
        }
        let result = match operator {
            '+' => a.checked_add(b),
            '-' => a.checked_sub(b),
            '*' => a.checked_mul(b),
            '/' => a.checked_div(b),
            _ => a.checked_rem(b),
        };
        return result.map(Value::from).ok_or(NoNumber::Overflow);
    }
    let (a, b) = (a.float(), b.float());
    if b == 0.0 && matches!(operator, '/' | '%') {
        return Err(NoNumber::ByZero);
    }
    let result = match operator {
        '+' => a + b,
        '-' => a - b,
        '*' => a * b,
        '/' => a / b,
        _ => a % b,
    };
    Num::Float(result).into_value().ok_or(NoNumber::Overflow)
}

/// The whole part, where it fits into 64 bits.
pub(super) fn truncated(float: f64) -> Option<i64> {
    let whole = float.trunc();
    // Through text, since it is exact and needs no cast.
    if whole.abs() < 9.3e18 { format!("{whole:.0}").parse().ok() } else { None }
}
