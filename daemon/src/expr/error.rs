/// Why a text is no expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("column {column}: {message}")]
pub(crate) struct BadExpression {
    /// In characters of the expression's text, from 1.
    pub(crate) column: u32,
    pub(crate) message: String,
    /// What to do about it; may be empty.
    pub(crate) help: String,
}

/// Why an expression has no value, or not one that will do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{expression}`, column {column}: {message}")]
pub(crate) struct EvalError {
    pub(crate) expression: String,
    /// In characters of the expression's text, from 1.
    pub(crate) column: u32,
    /// Says what was there.
    pub(crate) message: String,
    /// It cost too much: `||` and `&&` do not make good for it.
    pub(super) exhausted: bool,
}
