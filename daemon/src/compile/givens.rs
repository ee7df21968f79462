use windlass_core::{Given, Givens, Json, Source};
use windlass_proto::{
    api::v1::{NamedText, ParamValues, PipelineError},
    common::v1::{Plan, bound_arg::Value},
};

use super::yaml::{self, Node, Place};

/// Most values that may be given from outside in one way.
const MAX_GIVEN: usize = 10_000;

/// Offers every value from outside in the order of the contract: `-p` (the last of a name),
/// environment, files (the last first). Returns what is wrong with the files.
pub(super) fn offer(givens: &mut Givens, values: &ParamValues) -> Vec<PipelineError> {
    let text = |value: &NamedText| Given::Text(value.text.clone());
    for value in values.cli.iter().rev().take(MAX_GIVEN) {
        givens.offer(&value.name, text(value), Source::Cli);
    }
    for value in values.env.iter().take(MAX_GIVEN) {
        givens.offer(&value.name, text(value), Source::Env);
    }
    let mut mistakes = vec![];
    for file in values.files.iter().rev() {
        if let Err(mistake) = offer_file(givens, file) {
            mistakes.push(mistake);
        }
    }
    mistakes
}

fn offer_file(givens: &mut Givens, file: &NamedText) -> Result<(), PipelineError> {
    let refuse = |place: Place, message: String, help: &str| PipelineError {
        path: file.name.clone(),
        line: place.line,
        column: place.column,
        message,
        help: help.to_owned(),
    };
    let tree = yaml::parse(file.text.as_bytes())
        .map_err(|error| refuse(error.place, error.message, &error.help))?;
    let entries = match &tree.node {
        Node::Null => return Ok(()),
        Node::Map(entries) => entries,
        Node::Bool(_) | Node::Number(_) | Node::Str(_) | Node::List(_) => {
            let message = "a parameter file is a mapping of names to values".to_owned();
            return Err(refuse(tree.place, message, "write `name: value` lines"));
        }
    };
    for (i, entry) in entries.iter().enumerate() {
        if entries[..i].iter().any(|before| before.key == entry.key) || i >= MAX_GIVEN {
            let message = format!("duplicate key `{}`, or too many", entry.key);
            return Err(refuse(entry.place, message, "remove it"));
        }
        givens.offer(&entry.key, Given::Json(Json::from(entry.value.to_json())), Source::File);
    }
    Ok(())
}

/// Offers the values that an old run was given, with their old sources.
pub(super) fn offer_old(givens: &mut Givens, old: &Plan) {
    for param in &old.params {
        let source = Source::from_code(param.source);
        let given = matches!(source, Some(Source::Cli | Source::Env | Source::File));
        if let (true, Some(source), Some(Value::Json(json))) = (given, source, &param.value)
            && let Some(json) = Json::parse(json)
        {
            givens.offer(&param.name, Given::Json(json), source);
        }
    }
}
