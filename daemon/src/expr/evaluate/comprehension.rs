//! `map`, `filter` and their kin.
use std::borrow::Cow;

use cel::{IdedExpr, common::ast::ComprehensionExpr};
use serde_json::Value;

use super::{Evaluation, Val};
use crate::expr::{EvalError, shape::shape};

impl<'a> Evaluation<'a> {
    pub(super) fn comprehension(
        &mut self,
        part: &'a IdedExpr,
        c: &'a ComprehensionExpr,
    ) -> Result<Val<'a>, EvalError> {
        let range = self.eval(&c.iter_range)?;
        let items: Vec<Val<'a>> = match range {
            Cow::Borrowed(Value::Array(items)) => items.iter().map(Cow::Borrowed).collect(),
            Cow::Owned(Value::Array(items)) => items.into_iter().map(Cow::Owned).collect(),
            Cow::Borrowed(Value::Object(map)) => {
                map.keys().map(|key| Cow::Owned(Value::from(key.as_str()))).collect()
            }
            Cow::Owned(Value::Object(map)) => {
                map.into_iter().map(|(key, _)| Cow::Owned(Value::from(key))).collect()
            }
            other => {
                let message =
                    format!("only a list or a mapping has items, and this is {}", shape(&other));
                return Err(self.error(&c.iter_range, message));
            }
        };
        let start = self.eval(&c.accu_init)?;
        let depth = self.locals.len();
        self.locals.push((&c.accu_var, start));
        self.locals.push((&c.iter_var, Cow::Owned(Value::Null)));
        let gone_through = self.go_through(part, c, items, depth);
        let result = gone_through.and_then(|()| {
            self.locals.truncate(depth + 1);
            self.eval_step(&c.result)
        });
        self.locals.truncate(depth);
        result
    }

    fn go_through(
        &mut self,
        part: &'a IdedExpr,
        c: &'a ComprehensionExpr,
        items: Vec<Val<'a>>,
        depth: usize,
    ) -> Result<(), EvalError> {
        for item in items {
            self.pay(part, 1, 0)?;
            if !self.truth(&c.loop_cond)? {
                break;
            }
            self.locals[depth + 1].1 = item;
            self.locals[depth].1 = self.eval_step(&c.loop_step)?;
        }
        Ok(())
    }
}
