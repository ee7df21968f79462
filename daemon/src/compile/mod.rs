//! Turns what a user wants to run into a plan: reads the pipeline file, reads the project's Python
//! code without running it, resolves the order of the steps and binds their arguments.
//!
//! Mistakes are collected, each with its place and the mend, up to a bound.

mod file;
mod givens;
mod overrides;
mod plan;
mod python;
mod report;
mod target;
#[cfg(test)]
mod tests;
mod validate;
mod yaml;

use std::borrow::Cow;

use windlass_core::Givens;
use windlass_proto::{
    api::v1::{ParamValues, PipelineError, RunSource},
    common::v1::{PipelineSpec, Plan},
};

pub(crate) use file::schema;
use report::{Origin, Report};

/// The files of a snapshot.
pub(crate) trait SnapshotFiles {
    /// The content of the file at `path`, or `None` where there is no such plain file.
    fn read(&self, path: &str) -> Option<Cow<'_, [u8]>>;

    /// The paths of all plain files, relative to the project's root, with `/`.
    fn paths(&self) -> Box<dyn Iterator<Item = &str> + '_>;
}

/// Whether arguments must all have values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// For a run.
    Run,
    /// Without parameters: only the pipeline's own mistakes count.
    Check,
}

/// Makes the plan of a run.
pub(crate) fn compile(
    source: &RunSource,
    values: &ParamValues,
    files: &dyn SnapshotFiles,
) -> Result<Plan, Vec<PipelineError>> {
    let mut givens = Givens::default();
    let mistakes = givens::offer(&mut givens, values);
    target::with_spec(source, files, |spec, mut report| {
        for mistake in mistakes {
            report.push(mistake);
        }
        plan::make(spec, files, &givens, Mode::Run, report)
    })
}

/// Finds the pipeline's own mistakes, before anyone gives it parameters; none is good.
pub(crate) fn check(source: &RunSource, files: &dyn SnapshotFiles) -> Vec<PipelineError> {
    let givens = Givens::default();
    let plan = target::with_spec(source, files, |spec, report| {
        plan::make(spec, files, &givens, Mode::Check, report)
    });
    plan.err().unwrap_or_default()
}

/// Makes the plan of a rerun: `old` with other values; what is not given anew keeps its value and
/// its source. `files` are those of the old run's snapshot.
pub(crate) fn rebind(
    old: &Plan,
    values: &ParamValues,
    files: &dyn SnapshotFiles,
) -> Result<Plan, Vec<PipelineError>> {
    let mut givens = Givens::default();
    let mistakes = givens::offer(&mut givens, values);
    givens::offer_old(&mut givens, old);
    let spec: PipelineSpec = old.spec.clone().unwrap_or_default();
    let mut report = Report::new(Origin::Spec);
    for mistake in mistakes {
        report.push(mistake);
    }
    plan::make(spec, files, &givens, Mode::Run, report)
}
