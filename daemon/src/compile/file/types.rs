use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    forms::{MetricsFile, OutFile, ParamFile, RunFile, Scalar},
    named::Named,
    units::{Cpu, Memory, Span},
};

/// A Windlass pipeline: named steps, their parameters and their environment.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
#[schemars(title = "Windlass pipeline")]
pub(super) struct PipelineFile {
    /// Version of this format: 1.
    #[schemars(extend("const" = 1))]
    pub(super) version: u64,
    /// Name of the pipeline; the file's name without its extension if not given.
    pub(super) name: Option<String>,
    /// Parameters of a run: a default, or a mapping with type, default, limits and help.
    #[schemars(with = "Option<BTreeMap<String, ParamFile>>")]
    pub(super) params: Option<Named<ParamFile>>,
    /// What Python steps run in; the caller's interpreter if not given.
    pub(super) env: Option<EnvironmentFile>,
    /// Gitignore-style patterns of files that .gitignore hides and the steps need.
    pub(super) files: Option<Vec<String>>,
    /// How steps follow each other; each after the one above it if not given.
    pub(super) order: Option<OrderFile>,
    /// The steps by name, in order.
    #[schemars(with = "BTreeMap<String, StepFile>")]
    pub(super) steps: Named<StepFile>,
}

/// Where edges between steps come from.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum OrderFile {
    /// Only from data and `needs`.
    Graph,
}

/// What Python steps run in; one of these.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
pub(super) struct EnvironmentFile {
    /// Requirements file of the project, from which an environment is built.
    pub(super) requirements: Option<String>,
    /// Directory of a uv project.
    pub(super) uv: Option<String>,
    /// Path of an interpreter.
    pub(super) python: Option<String>,
}

/// One unit of work. Exactly one of `python`, `run`, `script` and `stub` says what it does.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
pub(super) struct StepFile {
    /// A Python function: `module:function` or `path/file.py:function`.
    pub(super) python: Option<String>,
    /// Text for the shell (bash -euo pipefail, else sh -eu), or the words of a command as a list.
    pub(super) run: Option<RunFile>,
    /// A file of the project and its arguments: `path args…`.
    pub(super) script: Option<String>,
    /// Does nothing and succeeds.
    #[schemars(extend("const" = true))]
    pub(super) stub: Option<bool>,
    /// Steps that this one runs after, in place of the one above it.
    pub(super) needs: Option<Vec<String>>,
    /// Names of the outputs: a name, a list of names for a tuple, or names with what to pick.
    pub(super) out: Option<OutFile>,
    /// Values of arguments.
    #[serde(rename = "with")]
    #[schemars(with = "Option<BTreeMap<String, serde_json::Value>>")]
    pub(super) with: Option<Named<serde_json::Value>>,
    /// Numbers picked from what a function returns: names with paths, or a list of names.
    pub(super) metrics: Option<MetricsFile>,
    /// New attempts after a failure.
    pub(super) retry: Option<RetryFile>,
    /// Longest time of one attempt: `500ms`, `2s`, `5m`, `1h`.
    pub(super) timeout: Option<Span>,
    /// Environment variables.
    #[schemars(with = "Option<BTreeMap<String, Scalar>>")]
    pub(super) env: Option<Named<Scalar>>,
    /// What the step needs of its machine.
    pub(super) resources: Option<ResourcesFile>,
    /// True: an attempt lost with its worker may be made again without `retry`.
    pub(super) idempotent: Option<bool>,
}

/// When to try again: after `backoff · factor^n`, at most `max`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
pub(super) struct RetryFile {
    /// Further tries after the first.
    pub(super) times: u32,
    /// Wait before the first of them.
    pub(super) backoff: Option<Span>,
    /// Growth of the wait with every try; 2 if not given.
    pub(super) factor: Option<f64>,
    /// Longest wait.
    pub(super) max: Option<Span>,
    /// Which ends are tried again; `[exit, timeout, oom]` if not given.
    pub(super) on: Option<Vec<RetryOnFile>>,
}

/// An end of an attempt after which another may follow.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum RetryOnFile {
    /// It failed.
    Exit,
    /// It took longer than `timeout`.
    Timeout,
    /// It ran out of memory.
    Oom,
    /// Its worker went away.
    Lost,
}

/// What a step needs of its machine.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
pub(super) struct ResourcesFile {
    /// Cores, for instance 2 or 0.5.
    pub(super) cpu: Option<Cpu>,
    /// Bytes, for instance `4GiB`, `512MiB`.
    pub(super) memory: Option<Memory>,
}

/// A parameter in full.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
pub(super) struct ParamFields {
    /// Type of the value; that of the default if not given.
    #[serde(rename = "type")]
    pub(super) kind: Option<KindFile>,
    /// Value where nobody gives one.
    #[serde(default, deserialize_with = "super::forms::present")]
    pub(super) default: Option<serde_json::Value>,
    /// Smallest number.
    pub(super) min: Option<f64>,
    /// Largest number.
    pub(super) max: Option<f64>,
    /// The only values allowed.
    pub(super) choices: Option<Vec<serde_json::Value>>,
    /// What it is for.
    pub(super) help: Option<String>,
}

/// Type of a parameter.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum KindFile {
    Int,
    Float,
    Str,
    Bool,
    List,
    Map,
}

/// Which part of a returned value, and how to keep it.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
pub(super) struct PickFields {
    /// Path into the value: `.a.b`, `[2]`; the whole if not given.
    pub(super) pick: Option<String>,
    /// How the value is kept; JSON where that is lossless, else pickle, if not given.
    pub(super) codec: Option<CodecFile>,
}

/// How a value is kept.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum CodecFile {
    Json,
    Pickle,
}
