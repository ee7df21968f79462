//! YAML as a tree in which everything has a place, so that all mistakes of a file can be told at
//! once and later checks can still point at the file.
mod fault;
mod reader;
mod syntax;

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value};
use serde_saphyr::Spanned;

pub(super) use fault::{Fault, What, keys_of};
pub(super) use reader::{Reader, Skips};
pub(super) use syntax::parse;

/// Where something stands in its file; lines and columns count from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Place {
    pub(super) line: u32,
    pub(super) column: u32,
    /// Bytes of the file that spell it; empty where that is not known.
    start: u32,
    len: u32,
}

/// A value and where it stands.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) place: Place,
    pub(super) node: Node,
}

/// A YAML value of the kinds that JSON has.
#[derive(Debug)]
pub(super) enum Node {
    Null,
    Bool(bool),
    Number(Number),
    Str(String),
    List(Vec<Tree>),
    Map(Vec<Entry>),
}

/// One key of a mapping with its value. Keys that stand twice are both kept.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) place: Place,
    pub(super) value: Tree,
}

impl Tree {
    /// The first entry of that key, where this is a mapping that has it.
    pub(super) fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    /// The entries of a mapping; empty for anything else.
    pub(super) fn entries(&self) -> &[Entry] {
        match &self.node {
            Node::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The item at that place of a list.
    pub(super) fn item(&self, place: usize) -> Option<&Tree> {
        match &self.node {
            Node::List(items) => items.get(place),
            _ => None,
        }
    }

    /// The same value as JSON.
    pub(super) fn to_json(&self) -> Value {
        match &self.node {
            Node::Null => Value::Null,
            Node::Bool(value) => Value::Bool(*value),
            Node::Number(number) => Value::Number(number.clone()),
            Node::Str(text) => Value::String(text.clone()),
            Node::List(items) => items.iter().map(Self::to_json).collect(),
            Node::Map(entries) => {
                let pairs = entries.iter().map(|e| (e.key.clone(), e.value.to_json()));
                Value::Object(pairs.collect::<Map<_, _>>())
            }
        }
    }
}

impl From<serde_saphyr::Location> for Place {
    fn from(location: serde_saphyr::Location) -> Self {
        let small = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        let span = location.span();
        Self {
            line: small(location.line()),
            column: small(location.column()),
            start: span.byte_offset().map_or(0, small),
            len: span.byte_len().map_or(0, small),
        }
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Node>::deserialize(deserializer)?;
        Ok(Self { place: spanned.referenced.into(), node: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Node, E> {
        Number::from_f64(value)
            .map(Node::Number)
            .ok_or_else(|| E::custom("the number is not finite"))
    }

    fn visit_str<E>(self, text: &str) -> Result<Node, E> {
        Ok(Node::Str(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Node, E> {
        Ok(Node::Str(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        let mut items = vec![];
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut entries = vec![];
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            let place = key.referenced.into();
            entries.push(Entry { key: key.value, place, value: map.next_value()? });
        }
        Ok(Node::Map(entries))
    }
}
