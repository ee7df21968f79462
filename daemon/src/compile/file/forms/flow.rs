//! Values of flow, secrets and resources that may be written in more than one form.
use std::{collections::BTreeMap, fmt};

use schemars::JsonSchema;
use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, Visitor},
};
use serde_json::Value;

use super::{Forms, FormsVisitor};
use crate::compile::file::{
    types::SecretFields,
    units::{Cpu, Memory},
};

/// A secret: its name, or name and where it is from.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub(in crate::compile::file) enum SecretFile {
    Name(String),
    Fields(SecretFields),
}

/// A list, or an expression that gives one.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub(in crate::compile::file) enum ItemsFile {
    Expr(String),
    List(Vec<Value>),
}

/// An expression, with or without `${{ }}`; a truth value is one as well.
#[derive(JsonSchema)]
#[schemars(with = "ExprSchema")]
pub(in crate::compile::file) struct ExprFile(pub(in crate::compile::file) String);

#[derive(JsonSchema)]
#[schemars(untagged, rename = "Expression")]
#[expect(dead_code, reason = "only its schema is used")]
enum ExprSchema {
    Text(String),
    Truth(bool),
}

/// What a step needs of its machine.
#[derive(Default, JsonSchema)]
#[schemars(with = "ResourcesSchema")]
pub(in crate::compile::file) struct ResourcesFile {
    pub(in crate::compile::file) cpu: Option<Cpu>,
    pub(in crate::compile::file) memory: Option<Memory>,
    pub(in crate::compile::file) gpu: Option<u32>,
    pub(in crate::compile::file) named: BTreeMap<String, u64>,
}

/// What a step needs of its machine: cores, memory, and amounts of whatever else workers offer.
#[derive(JsonSchema)]
#[schemars(rename = "ResourcesFile")]
#[expect(dead_code, reason = "only its schema is used")]
struct ResourcesSchema {
    /// Cores, for instance 2 or 0.5.
    cpu: Option<Cpu>,
    /// Bytes, for instance `4GiB`, `512MiB`.
    memory: Option<Memory>,
    /// GPUs.
    gpu: Option<u32>,
    #[serde(flatten)]
    named: BTreeMap<String, u64>,
}

impl<'de> Deserialize<'de> for SecretFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = "the name of a variable, or a mapping with name and from";
        let forms = Forms { expected, text: Some(Self::Name), list: None };
        deserializer.deserialize_any(FormsVisitor { forms, map: Self::Fields })
    }
}

impl<'de> Deserialize<'de> for ItemsFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let got = match Value::deserialize(deserializer)? {
            Value::String(text) => return Ok(Self::Expr(text)),
            Value::Array(items) => return Ok(Self::List(items)),
            Value::Object(_) => "a mapping".to_owned(),
            Value::Null => "nothing".to_owned(),
            other => other.to_string(),
        };
        Err(D::Error::custom(format_args!(
            "expected a list, or `${{{{ … }}}}` that gives one, got {got}"
        )))
    }
}

impl<'de> Deserialize<'de> for ExprFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(text) => Ok(Self(text)),
            Value::Bool(truth) => Ok(Self(truth.to_string())),
            other => {
                let message = format_args!("expected `${{{{ … }}}}`, got {other}");
                Err(D::Error::custom(message))
            }
        }
    }
}

impl ResourcesFile {
    /// The keys with a meaning of their own.
    pub(in crate::compile::file) const KEYS: &'static [&'static str] = &["cpu", "memory", "gpu"];
}

impl<'de> Deserialize<'de> for ResourcesFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ResourcesVisitor)
    }
}

struct ResourcesVisitor;

impl<'de> Visitor<'de> for ResourcesVisitor {
    type Value = ResourcesFile;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a mapping with cpu, memory, gpu and other amounts")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ResourcesFile, A::Error> {
        let mut resources = ResourcesFile::default();
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "cpu" => resources.cpu = Some(map.next_value()?),
                "memory" => resources.memory = Some(map.next_value()?),
                "gpu" => resources.gpu = Some(map.next_value()?),
                _ => {
                    resources.named.insert(key, map.next_value()?);
                }
            }
        }
        Ok(resources)
    }
}
