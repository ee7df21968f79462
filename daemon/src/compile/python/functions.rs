use tree_sitter::{Node, Parser};

use super::{Project, Unresolved, target::Place};
use crate::compile::SnapshotFiles;

/// Most functions of a module that are listed.
const MAX_FUNCTIONS: usize = 200;

/// Longest first line of a documentation, in characters.
const MAX_HELP: usize = 200;

/// A function at the top of a module.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::compile) struct Listed {
    pub(in crate::compile) name: String,
    /// First line of its documentation; may be empty.
    pub(in crate::compile) help: String,
}

impl Project<'_> {
    /// The functions that a module defines at its top, in their order, without those whose names
    /// begin with `_`. Of one that is defined twice, the last counts.
    pub(in crate::compile) fn listed(&self, place: &Place) -> Result<Vec<Listed>, Unresolved> {
        let (_, path, _) = self.locate(place)?;
        let source = SnapshotFiles::read(self.files, &path).unwrap_or_default();
        Ok(listed(&source))
    }
}

fn listed(source: &[u8]) -> Vec<Listed> {
    let source = source.strip_prefix(b"\xef\xbb\xbf").unwrap_or(source);
    let mut parser = Parser::new();
    if parser.set_language(&tree_sitter_python::LANGUAGE.into()).is_err() {
        return Vec::new();
    }
    let Some(tree) = parser.parse(source, None) else { return Vec::new() };
    let root = tree.root_node();
    let mut found: Vec<Listed> = Vec::new();
    for node in root.named_children(&mut root.walk()) {
        let definition = match node.kind() {
            "function_definition" => Some(node),
            "decorated_definition" => node.child_by_field_name("definition"),
            _ => None,
        };
        let function = definition.filter(|node| node.kind() == "function_definition");
        let Some(function) = function.and_then(|node| read(node, source)) else { continue };
        found.retain(|known| known.name != function.name);
        if found.len() < MAX_FUNCTIONS {
            found.push(function);
        }
    }
    found
}

fn read(function: Node<'_>, source: &[u8]) -> Option<Listed> {
    let name = function.child_by_field_name("name")?.utf8_text(source).ok()?;
    if name.starts_with('_') {
        return None;
    }
    let help = documentation(function, source).unwrap_or_default();
    let mut lines = help.lines().map(str::trim).filter(|line| !line.is_empty());
    let help = lines.next().unwrap_or_default().chars().take(MAX_HELP).collect();
    Some(Listed { name: name.to_owned(), help })
}

/// The text between the quotes of a function's first statement.
fn documentation<'s>(function: Node<'_>, source: &'s [u8]) -> Option<&'s str> {
    let body = function.child_by_field_name("body")?;
    let first = body.named_child(0).filter(|node| node.kind() == "expression_statement")?;
    let text = first.named_child(0).filter(|node| node.kind() == "string")?;
    let content = text.named_children(&mut text.walk()).find(|n| n.kind() == "string_content")?;
    content.utf8_text(source).ok()
}

#[cfg(test)]
mod tests {
    use super::{Listed, listed};

    #[test]
    fn functions_at_the_top_are_listed_in_their_order() {
        let source = br#"
import os
def load(path="x"):
    """Load it.

    More."""
def _private(): pass
class A:
    def method(self): pass
@decorated
async def train(df, n=3):
    '''
    Train a model
    '''
    def inner(): pass
def load(path): pass
"#;
        let one = |name: &str, help: &str| Listed { name: name.into(), help: help.into() };
        assert_eq!(listed(source), [one("train", "Train a model"), one("load", "")]);
    }
}
