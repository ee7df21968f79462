//! Turns what a user wants to run into a plan: reads the pipeline file, reads the project's Python
//! code without running it, resolves the order of the steps and binds their arguments.
//!
//! Mistakes are collected, each with its place and the mend, up to a bound.

mod file;
mod givens;
mod module;
mod overrides;
mod plan;
mod python;
mod report;
mod secrets;
mod target;
#[cfg(test)]
mod tests;
mod validate;
mod yaml;

use std::{borrow::Cow, collections::HashMap};

use prost::bytes::Bytes;
use windlass_core::{Given, Givens, Source};
use windlass_proto::{
    api::v1::{
        DescribePipelineResponse, ParamValues, PipelineError, RunSource,
        Substitutes as GivenSubstitutes,
    },
    common::v1::{PipelineSpec, Plan},
};

use plan::{Ingredients, Made, Substitutes};
use report::{Origin, Report};

pub(crate) use file::schema;
pub(crate) use module::functions;

/// Most steps that a pipeline writes down, with those of its inner pipelines. What `foreach`, `loop`
/// and `matrix` make of them while a run goes on is bounded apart.
pub(crate) const MAX_STEPS: usize = 10_000;

/// Longest other file that is read, in bytes.
pub(crate) const MAX_FILE_BYTES: u64 = 4 << 20;

/// The files of a snapshot.
pub(crate) trait SnapshotFiles {
    /// The content of the file at `path`, or `None` where there is no such plain file.
    fn read(&self, path: &str) -> Option<Cow<'_, [u8]>>;

    /// How many bytes the plain file at `path` has, also where it cannot be read.
    fn size(&self, path: &str) -> Option<u64>;

    /// True where a step will find something at `path`, through links too.
    fn has(&self, path: &str) -> bool;

    /// The paths of all plain files, relative to the project's root, with `/`.
    fn paths(&self) -> Box<dyn Iterator<Item = &str> + '_>;
}

/// Why the file at `path`, which is there, is not read.
fn too_large(path: &str, limit: u64, files: &dyn SnapshotFiles) -> Option<(String, String)> {
    let size = files.size(path).filter(|size| *size > limit)?;
    let message = format!("`{path}` has {size} bytes, more than the {limit} that are read");
    Some((message, "put large data into a file of its own that the steps read".to_owned()))
}

/// Where blobs are kept.
pub(crate) trait BlobWriter {
    /// Keeps the bytes and returns their digest.
    fn write(&self, bytes: &[u8]) -> Result<String, String>;
}

/// Whether arguments must all have values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// For a run.
    Run,
    /// Without parameters: only the pipeline's own mistakes count.
    Check,
}

/// What is given for a run besides what to run.
#[derive(Clone, Copy)]
pub(crate) struct Offer<'a> {
    pub(crate) values: &'a ParamValues,
    pub(crate) substitutes: &'a GivenSubstitutes,
    /// Values of secrets; `None` where a plan is only looked at.
    pub(crate) secrets: Option<&'a HashMap<String, Bytes>>,
    /// Where mocked outputs are kept; without it they are only named.
    pub(crate) blobs: Option<&'a dyn BlobWriter>,
}

/// The plan of a run, and the values that stand in no plan.
#[derive(Debug)]
pub(crate) struct Compiled {
    pub(crate) plan: Plan,
    /// Values of declared secrets and of secret parameters, by name.
    pub(crate) secrets: HashMap<String, Bytes>,
}

type Compiling = Result<Compiled, Vec<PipelineError>>;

/// Makes the plan of a run.
pub(crate) fn compile(
    source: &RunSource,
    offer: &Offer<'_>,
    files: &dyn SnapshotFiles,
) -> Compiling {
    let mut givens = Givens::default();
    let mut mistakes = givens::offer(&mut givens, offer.values);
    let (substitutes, wrong) = plan::read_substitutes(offer.substitutes);
    mistakes.extend(wrong);
    target::with_spec(source, files, |spec, report| {
        make(spec, (givens, &substitutes, mistakes), offer, files, report)
    })
}

/// Makes the plan of a rerun: `old` with other values; what is not given anew keeps its value and
/// its source, and what was mocked or patched stays so. `files` are those of the old run's snapshot.
pub(crate) fn rebind(old: &Plan, offer: &Offer<'_>, files: &dyn SnapshotFiles) -> Compiling {
    let mut givens = Givens::default();
    let mistakes = givens::offer(&mut givens, offer.values);
    givens::offer_old(&mut givens, old);
    let spec: PipelineSpec = old.spec.clone().unwrap_or_default();
    let substitutes = Substitutes::of(old);
    make(spec, (givens, &substitutes, mistakes), offer, files, Report::new(Origin::Spec))
}

fn make(
    spec: PipelineSpec,
    (mut givens, substitutes, mistakes): (Givens, &Substitutes, Vec<PipelineError>),
    offer: &Offer<'_>,
    files: &dyn SnapshotFiles,
    mut report: Report<'_>,
) -> Compiling {
    for mistake in mistakes {
        report.push(mistake);
    }
    // Whoever keeps a secret parameter elsewhere may give it as a secret.
    let secret = |name: &str| offer.secrets.and_then(|secrets| secrets.get(name));
    for param in spec.params.iter().filter(|param| param.r#type == "secret") {
        if let Some(text) = secret(&param.name).and_then(|value| std::str::from_utf8(value).ok()) {
            givens.offer(&param.name, Given::Text(text.to_owned()), Source::Env);
        }
    }
    let params: Vec<String> = spec.params.iter().map(|param| param.name.clone()).collect();
    let from =
        Ingredients { files, givens: &givens, substitutes, mode: Mode::Run, blobs: offer.blobs };
    let Made { plan, mut secrets, declared } = plan::make(spec, &from, report)?;
    if let Some(given) = offer.secrets {
        let mistakes = secrets::check(&declared, &params, given);
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        let declared = declared.iter().filter_map(|secret| given.get_key_value(&secret.name));
        secrets.extend(declared.map(|(name, value)| (name.clone(), value.clone())));
    }
    Ok(Compiled { plan, secrets })
}

/// Finds the pipeline's own mistakes, before anyone gives it parameters; none is good.
pub(crate) fn check(source: &RunSource, files: &dyn SnapshotFiles) -> Vec<PipelineError> {
    let (givens, substitutes) = (Givens::default(), Substitutes::default());
    let from = Ingredients {
        files,
        givens: &givens,
        substitutes: &substitutes,
        mode: Mode::Check,
        blobs: None,
    };
    let made = target::with_spec(source, files, |spec, report| plan::make(spec, &from, report));
    made.err().unwrap_or_default()
}

/// Tells what a pipeline, a function or a notebook asks of its caller.
pub(crate) fn describe(
    source: &RunSource,
    files: &dyn SnapshotFiles,
) -> Result<DescribePipelineResponse, Vec<PipelineError>> {
    let (givens, substitutes) = (Givens::default(), Substitutes::default());
    let from = Ingredients {
        files,
        givens: &givens,
        substitutes: &substitutes,
        mode: Mode::Check,
        blobs: None,
    };
    target::with_spec(source, files, |spec, report| plan::describe(spec, &from, report))
}
