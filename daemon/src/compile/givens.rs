//! Values from outside: where they come from and in which order.
mod dotenv;
mod files;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use serde_json::Value;
use windlass_core::{Given, Givens, Json, Kind, Source};
use windlass_proto::{
    api::v1::{NamedText, ParamValues, PipelineError},
    common::v1::{Plan, bound_arg},
};

/// Most values that may be given from outside in one way.
const MAX_GIVEN: usize = 10_000;

/// Offers every value from outside in the order of the contract: `-p` (the last of a name),
/// environment, files. Of files the last wins; mappings in them are merged key by key. Returns
/// what is wrong with the files, and, where that is asked for, values that contradict each other.
pub(super) fn offer(givens: &mut Givens, values: &ParamValues) -> Vec<PipelineError> {
    let mut mistakes = vec![];
    let mut said = Said { strict: values.strict, ..Said::default() };
    let mut merged: Vec<(String, Given)> = vec![];
    let mut places: HashMap<String, usize> = HashMap::new();
    let text = |value: &NamedText| Given::Text(value.text.clone());
    for value in values.cli.iter().rev().take(MAX_GIVEN) {
        said.add(("-p", 0), &value.name, &text(value), &mut mistakes);
        givens.offer(&value.name, text(value), Source::Cli);
    }
    for value in values.env.iter().take(MAX_GIVEN) {
        said.add(("the environment", 1), &value.name, &text(value), &mut mistakes);
        givens.offer(&value.name, text(value), Source::Env);
    }
    for (i, file) in values.files.iter().enumerate() {
        let read = match files::read(file) {
            Ok(read) => read,
            Err(mistake) => {
                mistakes.push(mistake);
                continue;
            }
        };
        for (name, given) in read {
            said.add((&file.name, i + 2), &name, &given, &mut mistakes);
            match places.get(&name) {
                Some(place) => {
                    let old = std::mem::replace(&mut merged[*place].1, Given::Json(Json::null()));
                    merged[*place].1 = over(old, given);
                }
                None => {
                    places.insert(name.clone(), merged.len());
                    merged.push((name, given));
                }
            }
        }
    }
    for (name, given) in merged {
        givens.offer(&name, given, Source::File);
    }
    mistakes
}

/// The later value over the earlier one.
fn over(old: Given, new: Given) -> Given {
    match (old, new) {
        (Given::Json(old), Given::Json(new)) => {
            let mut value = old.into_value();
            merge(&mut value, new.into_value());
            Given::Json(Json::from(value))
        }
        (_, new) => new,
    }
}

fn merge(old: &mut Value, new: Value) {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            for (key, value) in new {
                merge(old.entry(key).or_insert(Value::Null), value);
            }
        }
        (old, new) => *old = new,
    }
}

/// What was said of each name and by whom.
#[derive(Default)]
struct Said {
    strict: bool,
    by_name: HashMap<String, Vec<(usize, String, Value)>>,
}

impl Said {
    fn add(
        &mut self,
        (source, order): (&str, usize),
        name: &str,
        given: &Given,
        mistakes: &mut Vec<PipelineError>,
    ) {
        if !self.strict {
            return;
        }
        let value = given.read(Kind::Any).into_value();
        let said = self.by_name.entry(name.to_owned()).or_default();
        let other = said.iter().find(|(at, _, old)| *at != order && conflict(old, &value));
        if let Some((_, first, old)) = other {
            let message = format!(
                "`{name}` is {} by {first} and {} by {source}",
                crate::expr::shape(old),
                crate::expr::shape(&value)
            );
            let help = "give it once, or leave out --strict: then the first of -p, environment \
                        and files counts"
                .to_owned();
            mistakes.push(PipelineError {
                path: source.to_owned(),
                message,
                help,
                ..PipelineError::default()
            });
        }
        // Of one name that stands several times in one source, the one that counts comes first.
        if !said.iter().any(|(at, ..)| *at == order) {
            said.push((order, source.to_owned(), value));
        }
    }
}

/// True where both values cannot hold: mappings may each have keys of their own.
fn conflict(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            a.iter().any(|(key, value)| b.get(key).is_some_and(|other| conflict(value, other)))
        }
        (Value::Number(a), Value::Number(b)) => a.as_f64() != b.as_f64(),
        (a, b) => a != b,
    }
}

/// Offers the values that an old run was given, with their old sources.
pub(super) fn offer_old(givens: &mut Givens, old: &Plan) {
    for param in &old.params {
        let source = Source::from_code(param.source);
        let given = matches!(source, Some(Source::Cli | Source::Env | Source::File));
        if let (true, Some(source), Some(bound_arg::Value::Json(json))) =
            (given, source, &param.value)
            && let Some(json) = Json::parse(json)
        {
            givens.offer(&param.name, Given::Json(json), source);
        }
    }
}
