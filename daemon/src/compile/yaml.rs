//! YAML as a tree in which everything has a place, so that all mistakes of a file can be told at
//! once and later checks can still point at the file.
mod build;
mod fault;
mod reader;
mod syntax;

use serde_json::{Map, Number, Value};

pub(super) use fault::{Fault, What, keys_of};
pub(super) use reader::{Reader, Skips};
pub(super) use syntax::parse;

/// Where something stands in its file; lines and columns count from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Place {
    pub(super) line: u32,
    pub(super) column: u32,
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    pub(super) place: Place,
    pub(super) node: Node,
}

/// A YAML value of the kinds that JSON has.
#[derive(Clone, Debug)]
pub(super) enum Node {
    Null,
    Bool(bool),
    Number(Number),
    Str(String),
    List(Vec<Tree>),
    Map(Vec<Entry>),
}

/// One key of a mapping with its value. Keys that stand twice are both kept.
#[derive(Clone, Debug)]
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
