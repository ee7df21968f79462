//! The pipeline file: its types, which are its JSON Schema too, and how it becomes a spec.
mod forms;
mod keys;
mod named;
mod read;
mod spec;
mod types;
mod units;

pub(super) use keys::explain;
pub(super) use read::read;
pub(super) use units::span;

/// The file's name without directories and extension.
pub(super) fn stem(path: &str) -> &str {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.rsplit_once('.').map_or(name, |(stem, _)| stem)
}

/// The JSON Schema of the pipeline file, as editors take it.
pub(crate) fn schema() -> String {
    let settings = schemars::generate::SchemaSettings::draft07();
    let schema = settings.into_generator().into_root_schema_for::<types::PipelineFile>();
    serde_json::to_string_pretty(schema.as_value()).unwrap_or_default()
}
