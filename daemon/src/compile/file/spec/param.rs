use serde_json::Value;
use windlass_core::{Json, Kind};
use windlass_proto::common::v1::ParamSpec;

use crate::compile::file::{
    forms::ParamFile,
    types::{KindFile, ParamFields},
};

/// A parameter of the file.
pub(super) fn spec(name: String, param: ParamFile) -> ParamSpec {
    let json = |value: Value| Json::from(value);
    match param {
        ParamFile::Default(value) => {
            let default = json(value);
            let kind = Kind::of(&default).word().to_owned();
            ParamSpec {
                name,
                r#type: kind,
                default_json: Some(default.text().into()),
                ..ParamSpec::default()
            }
        }
        ParamFile::Fields(ParamFields { kind, default, min, max, choices, pattern, help }) => {
            let default = default.map(json);
            let implied = || default.as_ref().map_or(Kind::Any, Kind::of);
            let kind = kind.map_or_else(implied, |kind| match kind {
                KindFile::Int => Kind::Int,
                KindFile::Float => Kind::Float,
                KindFile::Str => Kind::Str,
                KindFile::Bool => Kind::Bool,
                KindFile::List => Kind::List,
                KindFile::Map => Kind::Map,
                KindFile::Path => Kind::Path,
                KindFile::Date => Kind::Date,
                KindFile::Secret => Kind::Secret,
            });
            ParamSpec {
                name,
                r#type: kind.word().to_owned(),
                default_json: default.map(|default| default.text().to_owned()),
                min,
                max,
                choices_json: choices.into_iter().flatten().map(|c| c.to_string()).collect(),
                help: help.unwrap_or_default(),
                pattern: pattern.unwrap_or_default(),
            }
        }
    }
}
