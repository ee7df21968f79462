//! The Python runner: calls a function of the project as a step.
//!
//! Its source is embedded here and written once to `work/runner-HASH/`, where each interpreter's
//! compiled form is kept too. One request file goes in; outputs, metrics, calls and, where it
//! failed, the failure come back as files.

mod collect;
mod install;
mod request;

pub use collect::{Collected, Failure, Frame, collect};
pub use install::{RunnerDir, command, install};
pub use request::{ArgValue, StepFiles, StepRequest, write_request};

/// Variables that every Python step sees, unless the caller set them.
pub const VARIABLES: &[(&str, &str)] = &[("PYTHONHASHSEED", "0")];

#[cfg(test)]
mod tests;
