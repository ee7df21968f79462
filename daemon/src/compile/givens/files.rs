use serde_json::{Map, Value};
use windlass_core::{Given, Json};
use windlass_proto::api::v1::{NamedText, PipelineError};

use super::{MAX_GIVEN, dotenv};
use crate::compile::yaml::{self, Node, Place};

/// Longest text of a parameter file, in bytes.
const MAX_BYTES: usize = 4 << 20;

/// What a parameter file says, in its order: by the ending of its name it is TOML (`.toml`),
/// dotenv (`.env`, or a name like `.env.local`), JSON (`.json`), and YAML else.
pub(super) fn read(file: &NamedText) -> Result<Vec<(String, Given)>, PipelineError> {
    let name = file.name.rsplit('/').next().unwrap_or_default();
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending).to_ascii_lowercase();
    let read = if file.text.len() > MAX_BYTES {
        let message = format!("the file has {} bytes, more than {MAX_BYTES}", file.text.len());
        Err((Place::default(), message, String::new()))
    } else if ending == "toml" {
        of_toml(&file.text)
    } else if ending == "env" || name == ".env" || name.starts_with(".env.") {
        dotenv::read(&file.text)
    } else if ending == "json" {
        of_json(&file.text)
    } else {
        of_yaml(&file.text)
    };
    let (Place { line, column }, message, help) = match read {
        Ok(read) if read.len() <= MAX_GIVEN => return Ok(read),
        Ok(_) => (Place::default(), format!("more than {MAX_GIVEN} values"), String::new()),
        Err(wrong) => wrong,
    };
    Err(PipelineError { path: file.name.clone(), line, column, message, help })
}

type Read = Result<Vec<(String, Given)>, (Place, String, String)>;

fn of_yaml(text: &str) -> Read {
    let tree =
        yaml::parse(text.as_bytes()).map_err(|wrong| (wrong.place, wrong.message, wrong.help))?;
    let entries = match &tree.node {
        Node::Null => return Ok(vec![]),
        Node::Map(entries) => entries,
        Node::Bool(_) | Node::Number(_) | Node::Str(_) | Node::List(_) => {
            let message = "a parameter file is a mapping of names to values".to_owned();
            return Err((tree.place, message, "write `name: value` lines".to_owned()));
        }
    };
    let mut seen = std::collections::HashSet::new();
    for entry in entries {
        if !seen.insert(entry.key.as_str()) {
            let message = format!("duplicate key `{}`", entry.key);
            return Err((entry.place, message, "remove it".to_owned()));
        }
    }
    let value = |value: &yaml::Tree| Given::Json(Json::from(value.to_json()));
    Ok(entries.iter().map(|entry| (entry.key.clone(), value(&entry.value))).collect())
}

fn of_json(text: &str) -> Read {
    // First as JSON, which is stricter; then for the places of doubled keys as YAML, which it is.
    match serde_json::from_str::<Value>(text) {
        Ok(_) => of_yaml(text),
        Err(error) => {
            let small = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
            let place = Place { line: small(error.line()), column: small(error.column()) };
            let message = error.to_string();
            let message = message.split(" at line ").next().unwrap_or_default();
            Err((place, format!("it is not JSON: {message}"), String::new()))
        }
    }
}

fn of_toml(text: &str) -> Read {
    let table: toml::Table = toml::from_str(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start).min(text.len());
        let before = text.get(..at).unwrap_or_default();
        let small = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        let place = Place { line: small(line), column: small(column) };
        (place, error.message().replace('\n', "; "), String::new())
    })?;
    let pairs = table.into_iter();
    Ok(pairs.map(|(name, value)| (name, Given::Json(Json::from(to_json(value))))).collect())
}

/// The value as JSON; dates and times become their text.
fn to_json(value: toml::Value) -> Value {
    match value {
        toml::Value::String(text) => Value::String(text),
        toml::Value::Integer(number) => Value::from(number),
        toml::Value::Float(number) => Value::from(number),
        toml::Value::Boolean(truth) => Value::Bool(truth),
        toml::Value::Datetime(time) => Value::String(time.to_string()),
        toml::Value::Array(items) => items.into_iter().map(to_json).collect(),
        toml::Value::Table(table) => {
            let pairs = table.into_iter().map(|(key, value)| (key, to_json(value)));
            Value::Object(pairs.collect::<Map<_, _>>())
        }
    }
}
