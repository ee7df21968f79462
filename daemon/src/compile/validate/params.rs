use std::collections::HashSet;

use windlass_core::{Json, Kind, Param, nearest};
use windlass_proto::common::v1::{ParamSpec, PipelineSpec};

use super::MAX_LISTED;
use crate::compile::report::{Part, Report};

/// Largest pattern when compiled, in bytes.
const MAX_PATTERN_BYTES: usize = 1 << 20;

/// The parameter as core takes it; what cannot be read is left out, since `check` reports it.
pub(in crate::compile) fn declared(spec: &ParamSpec) -> Param {
    let default = spec.default_json.as_deref().and_then(Json::parse);
    Param {
        name: spec.name.clone(),
        kind: Kind::from_word(&spec.r#type).unwrap_or_default(),
        default,
        min: spec.min,
        max: spec.max,
        choices: spec.choices_json.iter().filter_map(|json| Json::parse(json)).collect(),
    }
}

/// True for what a shell and Python both take as a name.
pub(in crate::compile) fn is_identifier(name: &str) -> bool {
    name.len() <= MAX_LISTED
        && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Checks a text against the parameter's pattern; else says what it must be.
pub(in crate::compile) fn fits_pattern(spec: &ParamSpec, value: &Json) -> Result<(), String> {
    let (false, Some(text)) = (spec.pattern.is_empty(), value.value().as_str()) else {
        return Ok(());
    };
    // A pattern that cannot be read is refused by `check`.
    let Ok(pattern) = whole(&spec.pattern) else { return Ok(()) };
    if pattern.is_match(text) {
        return Ok(());
    }
    let shown = if spec.r#type == Kind::Secret.word() { "another text" } else { value.text() };
    Err(format!("must match `{}`, got {shown}", spec.pattern))
}

/// The pattern, for texts from their begin to their end.
fn whole(pattern: &str) -> Result<regex::Regex, regex::Error> {
    // First alone: it may not close the group around it.
    regex::RegexBuilder::new(pattern).size_limit(MAX_PATTERN_BYTES).build()?;
    let whole = format!("^(?:{pattern})$");
    regex::RegexBuilder::new(&whole).size_limit(MAX_PATTERN_BYTES).build()
}

pub(super) fn check(spec: &PipelineSpec, report: &mut Report<'_>) {
    if spec.params.len() > MAX_LISTED {
        let message = format!("more than {MAX_LISTED} parameters");
        report.key(spec, &[Part::Key("params")], (message, String::new()));
        return;
    }
    let mut seen = HashSet::new();
    for (i, param) in spec.params.iter().enumerate() {
        if !seen.insert(param.name.as_str()) {
            let message = format!("two parameters are named `{}`", param.name);
            report.key(spec, &[Part::Param(i)], (message, String::new()));
        }
        if !is_identifier(&param.name) {
            let message = format!("`{}` is no name for a parameter", param.name.escape_debug());
            let help = "a letter or `_`, then letters, digits and `_`".to_owned();
            report.key(spec, &[Part::Param(i)], (message, help));
        }
        match Kind::from_word(&param.r#type) {
            Some(kind) if check_limits(spec, i, kind, report) => check_values(spec, i, report),
            Some(_) => {}
            None => {
                let words = Kind::NAMED.map(Kind::word);
                let help = match nearest(&param.r#type, words) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("it is one of {}", words.join(", ")),
                };
                let message = format!("unknown type `{}`", param.r#type.escape_debug());
                report.value(spec, &[Part::Param(i), Part::Key("type")], (message, help));
            }
        }
    }
}

/// False where the limits make no sense, so that no value can be held against them.
fn check_limits(spec: &PipelineSpec, i: usize, kind: Kind, report: &mut Report<'_>) -> bool {
    let param = &spec.params[i];
    let is_number = matches!(kind, Kind::Int | Kind::Float | Kind::Any);
    let mut good = true;
    for (key, limit) in [("min", param.min), ("max", param.max)] {
        let message = match limit {
            Some(limit) if !limit.is_finite() => format!("`{key}` is not finite"),
            Some(_) if !is_number => {
                format!("`{key}` is for numbers, and `{}` is of type {}", param.name, kind.word())
            }
            Some(_) | None => continue,
        };
        report.key(spec, &[Part::Param(i), Part::Key(key)], (message, String::new()));
        good = false;
    }
    let has_text = kind.is_text() || kind == Kind::Any;
    if !param.pattern.is_empty() {
        let message = match whole(&param.pattern) {
            Ok(_) if has_text => None,
            Ok(_) => Some(format!(
                "`pattern` is for text, and `{}` is of type {}",
                param.name,
                kind.word()
            )),
            Err(error) => {
                let line = error.to_string().lines().last().unwrap_or_default().to_owned();
                Some(format!("`pattern` is no regular expression: {line}"))
            }
        };
        if let Some(message) = message {
            let parts = [Part::Param(i), Part::Key("pattern")];
            report.value(spec, &parts, (message, String::new()));
            good = false;
        }
    }
    if kind == Kind::Secret && (param.default_json.is_some() || !param.choices_json.is_empty()) {
        let message = format!("secret `{}` has a value in the file", param.name);
        let help = "remove it: whoever starts a run gives it".to_owned();
        report.key(spec, &[Part::Param(i), Part::Key("default")], (message, help));
        good = false;
    }
    if let (Some(min), Some(max)) = (param.min, param.max)
        && min > max
    {
        let message = format!("no value of `{}` is at least {min} and at most {max}", param.name);
        report.value(spec, &[Part::Param(i), Part::Key("min")], (message, String::new()));
        good = false;
    }
    good
}

fn check_values(spec: &PipelineSpec, i: usize, report: &mut Report<'_>) {
    let param = declared(&spec.params[i]);
    let open = Param { choices: vec![], ..param.clone() };
    for (item, json) in spec.params[i].choices_json.iter().enumerate() {
        let parts = [Part::Param(i), Part::Key("choices"), Part::Item(item)];
        check_value(spec, &parts, json, &open, report);
    }
    // A default of null stands for "nothing", whatever the type.
    if let Some(json) = spec.params[i].default_json.as_ref().filter(|json| *json != "null") {
        check_value(spec, &[Part::Param(i), Part::Key("default")], json, &param, report);
    }
}

fn check_value(
    spec: &PipelineSpec,
    parts: &[Part<'_>],
    json: &str,
    param: &Param,
    report: &mut Report<'_>,
) {
    let Some(value) = Json::parse(json) else {
        let message = format!("`{}` is not JSON", json.escape_debug());
        report.value(spec, parts, (message, String::new()));
        return;
    };
    let misfit = param.check(&value).map_err(|misfit| misfit.to_string());
    let declared = spec.params.iter().find(|declared| declared.name == param.name);
    let pattern = || declared.map_or(Ok(()), |declared| fits_pattern(declared, &value));
    if let Err(misfit) = misfit.and_then(|()| pattern()) {
        report.value(spec, parts, (format!("`{}`: {misfit}", param.name), String::new()));
    }
    if json.contains("${{") {
        let message = "`${{ … }}` is not evaluated in a parameter".to_owned();
        let help = "put it under the `with` of the steps that need it".to_owned();
        report.value(spec, parts, (message, help));
    }
}
