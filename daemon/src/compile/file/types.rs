mod param;
mod step;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    forms::{ParamFile, SecretFile},
    named::Named,
    units::Span,
};

pub(super) use self::{
    param::{KindFile, ParamFields},
    step::{CodecFile, LoopFile, OnMaxFile, PickFields, RetryFile, RetryOnFile, StepFile},
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
    /// What the caller gives and no record keeps: a variable's name, or a name and where it is from.
    pub(super) secrets: Option<Vec<SecretFile>>,
    /// How many runs may go on at once; any number if not given.
    pub(super) concurrency: Option<ConcurrencyFile>,
    /// Longest time of a whole run: `500ms`, `2s`, `5m`, `1h`.
    pub(super) timeout: Option<Span>,
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
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub(super) struct EnvironmentFile {
    /// Requirements file of the project, from which an environment is built.
    pub(super) requirements: Option<String>,
    /// Directory of a uv project.
    pub(super) uv: Option<String>,
    /// Path of an interpreter.
    pub(super) python: Option<String>,
}

/// A secret in full.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
pub(super) struct SecretFields {
    /// Name of the environment variable under which steps get it.
    pub(super) name: String,
    /// Where the caller's side finds it; the caller's variable of that name if not given.
    pub(super) from: Option<SecretFromFile>,
}

/// Where a secret is found; one of these.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub(super) struct SecretFromFile {
    /// Another variable of the caller's environment.
    pub(super) env: Option<String>,
    /// A dotenv file of the project that has the name.
    pub(super) dotenv: Option<String>,
    /// A file whose content it is.
    pub(super) file: Option<String>,
    /// A command for the shell whose output it is.
    pub(super) command: Option<String>,
}

/// How many runs of one key may go on at once.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
pub(super) struct ConcurrencyFile {
    /// Text with `${{ … }}` over `params`; runs with the same text share the limit. One for all
    /// runs of the pipeline if not given.
    pub(super) key: Option<String>,
    /// Most runs at once; 1 if not given.
    #[schemars(range(min = 1))]
    pub(super) limit: Option<u32>,
    /// What one too many does; `queue` if not given.
    pub(super) when_full: Option<WhenFullFile>,
}

/// What a run does that finds as many others as there may be.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum WhenFullFile {
    /// It waits.
    Queue,
    /// It is not accepted.
    Refuse,
    /// The oldest of the others is cancelled.
    CancelOldest,
}
