//! Expressions of the pipeline file: CEL, read by the `cel` crate, over JSON.
//!
//! The crate reads text into a syntax tree and expands CEL's macros. Evaluation is done here, over
//! JSON as it is: so that every error has a column and tells what was there, that 1 and 1.0 are
//! one number as in JSON, and that what an expression may cost is bounded in steps and in bytes.
mod check;
mod error;
mod evaluate;
mod functions;
mod numbers;
mod operators;
mod parse;
mod references;
mod scope;
mod shape;
mod template;
#[cfg(test)]
mod tests;

use cel::{IdedExpr, common::ast::SourceInfo};

pub(crate) use error::{BadExpression, EvalError};
pub(crate) use references::{Reference, Root};
pub(crate) use scope::{Scope, StepScope};
pub(crate) use shape::{as_bool, as_list, shape};
pub(crate) use template::Template;

/// One expression, ready to be evaluated.
#[derive(Debug)]
pub(crate) struct Expression {
    text: String,
    root: IdedExpr,
    source: SourceInfo,
}

impl Expression {
    /// The text as it was written.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The column in the text of a part of it, in characters from 1.
    fn column(&self, part: &IdedExpr) -> u32 {
        let mut first = part;
        // Of `a.b` and `a + b` the tree knows the place of the mark between.
        while let Some(left) = parse::leftmost(first) {
            first = left;
        }
        let bytes = self.source.offset_for(first.id).map_or(0, |(start, _)| start);
        let bytes = usize::try_from(bytes).unwrap_or_default();
        // Of a call it knows the bracket.
        let start = bytes.saturating_sub(parse::name_before(first));
        let characters = self.text.get(..start).map_or(0, |before| before.chars().count());
        u32::try_from(characters + 1).unwrap_or(u32::MAX)
    }
}
