use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::compile::file::{
    forms::{ExprFile, ItemsFile, MetricsFile, OutFile, ResourcesFile, RunFile, Scalar},
    named::Named,
    units::Span,
};

/// One unit of work. Exactly one of `python`, `run`, `script`, `notebook`, `pipeline` and `stub`
/// says what it does.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
#[schemars(extend(
    "oneOf" = [
        {"required": ["python"]},
        {"required": ["run"]},
        {"required": ["script"]},
        {"required": ["notebook"]},
        {"required": ["pipeline"]},
        {"required": ["stub"]},
    ],
    "allOf" = [
        {"not": {"required": ["foreach", "matrix"]}},
        {"not": {"required": ["foreach", "loop"]}},
        {"not": {"required": ["matrix", "loop"]}},
    ],
    "dependencies" = {
        "as": ["foreach"],
        "foreach": ["as"],
        "max_parallel": {"anyOf": [{"required": ["foreach"]}, {"required": ["matrix"]}]},
        "reduce": {"anyOf": [{"required": ["foreach"]}, {"required": ["matrix"]}]},
        "retry": {"not": {"required": ["pipeline"]}},
    },
))]
pub(in crate::compile::file) struct StepFile {
    /// A Python function: `module:function` or `path/file.py:function`.
    pub(in crate::compile::file) python: Option<String>,
    /// Text for the shell (bash -euo pipefail, else sh -eu), or the words of a command as a list.
    pub(in crate::compile::file) run: Option<RunFile>,
    /// A file of the project and its arguments: `path args…`.
    pub(in crate::compile::file) script: Option<String>,
    /// A Jupyter notebook of the project; its parameters go into the cell tagged `parameters`.
    pub(in crate::compile::file) notebook: Option<String>,
    /// Another pipeline file of the project, run as steps of this run.
    pub(in crate::compile::file) pipeline: Option<String>,
    /// Does nothing and succeeds.
    #[schemars(extend("const" = true))]
    pub(in crate::compile::file) stub: Option<bool>,
    /// Steps that this one runs after, in place of the one above it.
    pub(in crate::compile::file) needs: Option<Vec<String>>,
    /// Names of the outputs: a name, a list of names for a tuple, or names with what to pick; of a
    /// pipeline, names with `${{ … }}` over its steps.
    pub(in crate::compile::file) out: Option<OutFile>,
    /// Values of arguments; text in them may hold `${{ … }}`.
    #[serde(rename = "with")]
    #[schemars(with = "Option<BTreeMap<String, serde_json::Value>>")]
    pub(in crate::compile::file) with: Option<Named<serde_json::Value>>,
    /// Numbers picked from what a function returns: names with paths, or a list of names.
    pub(in crate::compile::file) metrics: Option<MetricsFile>,
    /// New attempts after a failure.
    pub(in crate::compile::file) retry: Option<RetryFile>,
    /// Longest time of one attempt: `500ms`, `2s`, `5m`, `1h`.
    pub(in crate::compile::file) timeout: Option<Span>,
    /// Environment variables.
    #[schemars(with = "Option<BTreeMap<String, Scalar>>")]
    pub(in crate::compile::file) env: Option<Named<Scalar>>,
    /// What the step needs of its machine.
    pub(in crate::compile::file) resources: Option<ResourcesFile>,
    /// True: an attempt lost with its worker may be made again without `retry`.
    pub(in crate::compile::file) idempotent: Option<bool>,
    /// A condition; where it is false the step is skipped.
    pub(in crate::compile::file) when: Option<ExprFile>,
    /// A list, or `${{ … }}` that gives one: the step is run once for each item.
    pub(in crate::compile::file) foreach: Option<ItemsFile>,
    /// Name of the argument that gets the item.
    #[serde(rename = "as")]
    pub(in crate::compile::file) item: Option<String>,
    /// Lists by the name of the argument that gets their items: the step is run for every
    /// combination.
    #[schemars(with = "Option<BTreeMap<String, ItemsFile>>")]
    pub(in crate::compile::file) matrix: Option<Named<ItemsFile>>,
    /// Most instances at once.
    #[schemars(range(min = 1))]
    pub(in crate::compile::file) max_parallel: Option<u32>,
    /// What becomes of the list of each output: `sum`, `min`, `max`, `mean`, `last`, `concat` or
    /// `module:function`.
    pub(in crate::compile::file) reduce: Option<String>,
    /// The step again and again, until a condition holds.
    #[serde(rename = "loop")]
    pub(in crate::compile::file) repeat: Option<LoopFile>,
    /// The step that runs only if this one failed for good.
    pub(in crate::compile::file) on_failure: Option<String>,
    /// True: its failure does not fail the run, and steps that need no value of it go on.
    pub(in crate::compile::file) continue_on_error: Option<bool>,
    /// Names of the secrets that it gets as environment variables.
    pub(in crate::compile::file) secrets: Option<Vec<String>>,
}

/// The step again and again; an iteration sees the outputs of the one before.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
pub(in crate::compile::file) struct LoopFile {
    /// A condition over the iteration's `outputs` and `metrics` that ends the loop.
    pub(in crate::compile::file) until: ExprFile,
    /// Most iterations.
    #[schemars(range(min = 1, max = 10000))]
    pub(in crate::compile::file) max: u32,
    /// Name of the argument that gets the number of the iteration, from 0.
    pub(in crate::compile::file) index: Option<String>,
    /// What reaching `max` means; `fail` if not given.
    pub(in crate::compile::file) on_max: Option<OnMaxFile>,
}

/// What it means that a loop reached its bound.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::compile::file) enum OnMaxFile {
    /// The step fails.
    Fail,
    /// The step succeeds.
    Succeed,
}

/// When to try again: after `backoff · factor^n`, at most `max`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
pub(in crate::compile::file) struct RetryFile {
    /// Further tries after the first.
    pub(in crate::compile::file) times: u32,
    /// Wait before the first of them.
    pub(in crate::compile::file) backoff: Option<Span>,
    /// Growth of the wait with every try; 2 if not given.
    pub(in crate::compile::file) factor: Option<f64>,
    /// Longest wait.
    pub(in crate::compile::file) max: Option<Span>,
    /// Which ends are tried again; `[exit, timeout, oom]` if not given.
    pub(in crate::compile::file) on: Option<Vec<RetryOnFile>>,
}

/// An end of an attempt after which another may follow.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::compile::file) enum RetryOnFile {
    /// It failed.
    Exit,
    /// It took longer than `timeout`.
    Timeout,
    /// It ran out of memory.
    Oom,
    /// Its worker went away.
    Lost,
}

/// Which part of a returned value, and how to keep it.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
pub(in crate::compile::file) struct PickFields {
    /// Path into the value: `.a.b`, `[2]`; the whole if not given.
    pub(in crate::compile::file) pick: Option<String>,
    /// How the value is kept; JSON where that is lossless, else pickle, if not given.
    pub(in crate::compile::file) codec: Option<CodecFile>,
}

/// How a value is kept.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::compile::file) enum CodecFile {
    Json,
    Pickle,
}
