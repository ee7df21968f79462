mod comprehension;

use std::borrow::Cow;

use cel::{
    IdedExpr,
    common::ast::{CallExpr, EntryExpr, Expr, LiteralValue, SelectExpr, operators},
};
use serde_json::{Map, Value};

use super::{
    EvalError, Expression, Scope, functions, numbers, operators as ops, parse,
    shape::{names, shape},
};

/// Most parts of an expression that one evaluation visits, repeats counted.
const MAX_STEPS: u64 = 2_000_000;

/// Most bytes that one evaluation makes, roughly.
const MAX_BYTES: u64 = 64 << 20;

/// A value on the way: borrowed from the scope where it can be.
pub(super) type Val<'a> = Cow<'a, Value>;

impl Expression {
    /// The value over `scope`.
    ///
    /// Takes at most a few hundred milliseconds, whatever the expression is.
    pub(crate) fn evaluate(&self, scope: &Scope) -> Result<Value, EvalError> {
        let mut evaluation =
            Evaluation { expression: self, scope, locals: vec![], steps: 0, bytes: 0 };
        let value = evaluation.eval(self.root())?;
        // What comes out of the scope was paid for by who put it there.
        Ok(value.into_owned())
    }
}

pub(super) struct Evaluation<'a> {
    expression: &'a Expression,
    scope: &'a Scope,
    /// Names bound by `map` and its kin, the innermost last.
    locals: Vec<(&'a str, Val<'a>)>,
    steps: u64,
    bytes: u64,
}

impl<'a> Evaluation<'a> {
    pub(super) fn error(&self, part: &IdedExpr, message: impl Into<String>) -> EvalError {
        EvalError {
            expression: self.expression.text().to_owned(),
            column: self.expression.column(part),
            message: message.into(),
            exhausted: false,
        }
    }

    /// Counts work: parts visited and bytes made or looked through.
    pub(super) fn pay(
        &mut self,
        part: &IdedExpr,
        steps: usize,
        bytes: usize,
    ) -> Result<(), EvalError> {
        let wide = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        self.steps = self.steps.saturating_add(wide(steps));
        self.bytes = self.bytes.saturating_add(wide(bytes));
        let what = match (self.steps > MAX_STEPS, self.bytes > MAX_BYTES) {
            (false, false) => return Ok(()),
            (true, _) => "takes too much work",
            (false, true) => "makes too much data",
        };
        let message = format!("the expression {what}: compute the value in a step");
        Err(EvalError { exhausted: true, ..self.error(part, message) })
    }

    pub(super) fn eval(&mut self, part: &'a IdedExpr) -> Result<Val<'a>, EvalError> {
        self.pay(part, 1, 0)?;
        match &part.expr {
            Expr::Literal(literal) => self.literal(part, literal).map(Cow::Owned),
            Expr::Ident(name) => self.ident(part, name, false),
            Expr::Select(select) => self.select(part, select),
            Expr::Call(call) => self.call(part, call),
            Expr::Comprehension(comprehension) => self.comprehension(part, comprehension),
            Expr::List(list) => {
                let mut items = Vec::with_capacity(list.elements.len());
                for element in &list.elements {
                    let item = self.eval(element)?;
                    items.push(self.own(element, item)?);
                }
                Ok(Cow::Owned(Value::Array(items)))
            }
            Expr::Map(map) => {
                let mut made = Map::new();
                for entry in &map.entries {
                    let EntryExpr::MapEntry(pair) = &entry.expr else { continue };
                    let key = self.eval(&pair.key)?;
                    let Value::String(key) = key.as_ref() else {
                        let message =
                            format!("a key of a mapping is text, and this is {}", shape(&key));
                        return Err(self.error(&pair.key, message));
                    };
                    let key = key.clone();
                    let value = self.eval(&pair.value)?;
                    let value = self.own(&pair.value, value)?;
                    made.insert(key, value);
                }
                Ok(Cow::Owned(Value::Object(made)))
            }
            Expr::Struct(_) | Expr::Unspecified => Err(self.error(part, "is not supported")),
        }
    }

    /// The value itself, a copy paid for.
    pub(super) fn own(&mut self, part: &IdedExpr, value: Val<'a>) -> Result<Value, EvalError> {
        if let Cow::Borrowed(borrowed) = value {
            let (nodes, bytes) = functions::weight(borrowed);
            self.pay(part, nodes, bytes)?;
        }
        Ok(value.into_owned())
    }

    fn literal(&self, part: &IdedExpr, literal: &LiteralValue) -> Result<Value, EvalError> {
        Ok(match literal {
            LiteralValue::Boolean(truth) => Value::Bool(*truth.inner()),
            LiteralValue::Double(number) => {
                let number = serde_json::Number::from_f64(*number.inner());
                Value::Number(number.ok_or_else(|| self.error(part, "is no finite number"))?)
            }
            LiteralValue::Int(number) => Value::from(*number.inner()),
            LiteralValue::UInt(number) => Value::from(*number.inner()),
            LiteralValue::Null => Value::Null,
            LiteralValue::String(text) => Value::String(text.inner().to_owned()),
            LiteralValue::Bytes(_) => return Err(self.error(part, "is not supported")),
        })
    }

    /// What a name stands for; `take` leaves nothing behind, so that lists grow without copies.
    fn ident(&mut self, part: &IdedExpr, name: &str, take: bool) -> Result<Val<'a>, EvalError> {
        if let Some(at) = self.locals.iter().rposition(|(local, _)| *local == name) {
            if take {
                return Ok(std::mem::replace(&mut self.locals[at].1, Cow::Owned(Value::Null)));
            }
            if let Cow::Borrowed(value) = self.locals[at].1 {
                return Ok(Cow::Borrowed(value));
            }
            let (nodes, bytes) = functions::weight(&self.locals[at].1);
            self.pay(part, nodes, bytes)?;
            return Ok(self.locals[at].1.clone());
        }
        let scope = self.scope;
        Ok(Cow::Borrowed(match name {
            "params" => &scope.params,
            "steps" => &scope.steps,
            "outputs" => &scope.outputs,
            "metrics" => &scope.metrics,
            other => return Err(self.error(part, format!("nothing is named `{other}`"))),
        }))
    }

    fn select(&mut self, part: &'a IdedExpr, select: &'a SelectExpr) -> Result<Val<'a>, EvalError> {
        if !select.test {
            let value = self.eval(&select.operand)?;
            return self.member(part, value, &select.field);
        }
        let value = self.eval(&select.operand)?;
        match value.as_ref() {
            Value::Object(map) => Ok(Cow::Owned(Value::Bool(map.contains_key(&select.field)))),
            other => Err(self.error(
                part,
                format!("`has` asks a mapping for a key, and this is {}", shape(other)),
            )),
        }
    }

    /// The value under a key of a mapping.
    pub(super) fn member(
        &mut self,
        part: &IdedExpr,
        value: Val<'a>,
        key: &str,
    ) -> Result<Val<'a>, EvalError> {
        let found = match &value {
            Cow::Borrowed(Value::Object(map)) => map.get(key).map(Cow::Borrowed),
            Cow::Owned(Value::Object(map)) => map.get(key).cloned().map(Cow::Owned),
            Cow::Borrowed(_) | Cow::Owned(_) => None,
        };
        found.ok_or_else(|| self.error(part, self.missing(part, &value, key)))
    }

    /// Says of a key what is there instead.
    fn missing(&self, part: &IdedExpr, value: &Value, key: &str) -> String {
        let path = parse::path(part).unwrap_or_default();
        if let Some(why) = self.scope.unreadable.get(&path.join(".")) {
            return format!("`{}` {why}; only JSON can be read", path.join("."));
        }
        let Value::Object(map) = value else {
            let whole = match path.split_last() {
                Some((_, whole)) if !whole.is_empty() => format!("`{}`", whole.join(".")),
                _ => "what stands before it".to_owned(),
            };
            return format!("there is no `{key}`: {whole} is {}", shape(value));
        };
        let what = match &path[..] {
            ["params", _] => "parameter",
            ["outputs", _] | ["steps", _, "outputs", _] => "output",
            ["metrics", _] | ["steps", _, "metrics", _] => "metric",
            ["steps", _] => "finished step",
            _ => "key",
        };
        let of = match &path[..] {
            ["steps", step, "outputs" | "metrics", _] => format!(" of step `{step}`"),
            _ => String::new(),
        };
        if map.is_empty() {
            return format!("no {what} `{key}`{of}: there is none");
        }
        format!("no {what} `{key}`{of} among {}", names(map.keys()))
    }

    fn call(&mut self, part: &'a IdedExpr, call: &'a CallExpr) -> Result<Val<'a>, EvalError> {
        match (call.func_name.as_str(), &call.args[..]) {
            (operators::LOGICAL_AND, [left, right]) => self.logic(left, right, false),
            (operators::LOGICAL_OR, [left, right]) => self.logic(left, right, true),
            (operators::CONDITIONAL, [condition, then, otherwise]) => {
                if self.truth(condition)? {
                    self.eval_step(then)
                } else {
                    self.eval_step(otherwise)
                }
            }
            (operators::NOT_STRICTLY_FALSE, [arg]) => {
                let value = self.eval(arg)?;
                Ok(Cow::Owned(Value::Bool(value.as_bool() != Some(false))))
            }
            (operators::LOGICAL_NOT, [arg]) => Ok(Cow::Owned(Value::Bool(!self.truth(arg)?))),
            (name, _) => {
                let parts: Vec<&'a IdedExpr> =
                    call.target.as_deref().into_iter().chain(&call.args).collect();
                let mut values = Vec::with_capacity(parts.len());
                for arg in &parts {
                    values.push(self.eval_step(arg)?);
                }
                if name.starts_with(['_', '@', '-']) {
                    ops::apply(self, part, name, &parts, values)
                } else {
                    functions::apply(self, part, name, values).map(Cow::Owned)
                }
            }
        }
    }

    /// Evaluates; what a comprehension has gathered so far is moved out and not copied.
    fn eval_step(&mut self, part: &'a IdedExpr) -> Result<Val<'a>, EvalError> {
        match &part.expr {
            Expr::Ident(name) if name.starts_with('@') => self.ident(part, name, true),
            _ => self.eval(part),
        }
    }

    fn truth(&mut self, part: &'a IdedExpr) -> Result<bool, EvalError> {
        let value = self.eval(part)?;
        value.as_bool().ok_or_else(|| {
            self.error(part, format!("must be true or false, and is {}", shape(&value)))
        })
    }

    /// `&&` and `||`: the side that decides does so even where the other one fails.
    fn logic(
        &mut self,
        left: &'a IdedExpr,
        right: &'a IdedExpr,
        decides: bool,
    ) -> Result<Val<'a>, EvalError> {
        let first = self.truth(left);
        if let Ok(truth) = &first
            && *truth == decides
        {
            return Ok(Cow::Owned(Value::Bool(decides)));
        }
        if let Err(error) = &first
            && error.exhausted
        {
            return first.map(|truth| Cow::Owned(Value::Bool(truth)));
        }
        let second = self.truth(right);
        let truth = match (first, second) {
            (_, Ok(truth)) if truth == decides => decides,
            (Err(error), _) => return Err(error),
            (Ok(_), second) => second?,
        };
        Ok(Cow::Owned(Value::Bool(truth)))
    }
}

/// The natural order of two values, where they have one.
pub(super) fn compare(a: &Value, b: &Value) -> Option<std::cmp::Ordering> {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => numbers::compare(a, b),
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
        _ => None,
    }
}
