use schemars::JsonSchema;
use serde::Deserialize;

/// A parameter in full.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
pub(in crate::compile::file) struct ParamFields {
    /// Type of the value; that of the default if not given.
    #[serde(rename = "type")]
    pub(in crate::compile::file) kind: Option<KindFile>,
    /// Value where nobody gives one.
    #[serde(default, deserialize_with = "crate::compile::file::forms::present")]
    pub(in crate::compile::file) default: Option<serde_json::Value>,
    /// Smallest number.
    pub(in crate::compile::file) min: Option<f64>,
    /// Largest number.
    pub(in crate::compile::file) max: Option<f64>,
    /// The only values allowed.
    pub(in crate::compile::file) choices: Option<Vec<serde_json::Value>>,
    /// Regular expression that a text must match as a whole.
    pub(in crate::compile::file) pattern: Option<String>,
    /// What it is for.
    pub(in crate::compile::file) help: Option<String>,
}

/// Type of a parameter.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::compile::file) enum KindFile {
    Int,
    Float,
    Str,
    Bool,
    List,
    Map,
    /// Text that is the path of a file.
    Path,
    /// Text that is a day, as 2026-11-28.
    Date,
    /// Text that is in no record.
    Secret,
}
