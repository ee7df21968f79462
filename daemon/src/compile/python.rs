//! What Python code says of itself without being run: functions, their arguments, imports.
mod class;
mod functions;
mod literal;
mod module;
mod project;
mod signature;
mod target;

pub(super) use functions::Listed;
pub(super) use project::{Callable, Functions, Project, Unresolved};
pub(super) use signature::{Parameter, Signature};
pub(super) use target::Target;
