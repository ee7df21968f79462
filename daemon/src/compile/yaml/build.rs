//! Builds the tree from the parser's events. The events are those of serde-saphyr's own parser;
//! going through its serde side, with a place around every value, takes several times as long.
use std::collections::HashMap;

use serde_json::Number;
use serde_saphyr::granit_parser::{Event, ScalarStyle, Span, Tag};

use super::{Entry, Node, Place, Tree, syntax::SyntaxError};

/// Most lists, mappings and scalars in a file: those of the largest plan with room to spare.
const MAX_NODES: usize = 1_000_000;

/// Most of them that aliases may repeat.
const MAX_REPEATED: usize = 100_000;

/// Takes events and gives the tree at their end.
#[derive(Default)]
pub(super) struct Builder {
    open: Vec<Open>,
    root: Option<Tree>,
    documents: usize,
    nodes: usize,
    repeated: usize,
    /// What has an anchor, with the number of its nodes.
    anchored: HashMap<usize, (Tree, usize)>,
}

/// A list or mapping whose end has not come yet.
struct Open {
    place: Place,
    anchor: usize,
    /// The number of nodes before it.
    nodes: usize,
    inside: Inside,
}

enum Inside {
    List(Vec<Tree>),
    Map { entries: Vec<Entry>, key: Option<(String, Place)> },
}

impl Builder {
    /// Takes the next event.
    pub(super) fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), SyntaxError> {
        let place = place(span);
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    return Err(refuse(
                        place,
                        "the file has more than one document",
                        "keep the first",
                    ));
                }
            }
            Event::Scalar(text, style, anchor, tag) => {
                let node =
                    scalar(&text, style, tag.as_deref()).map_err(|(m, h)| refuse(place, m, h))?;
                // A key is its text, whatever type the text would have as a value.
                if let Some(Open { inside: Inside::Map { key: key @ None, .. }, .. }) =
                    self.open.last_mut()
                {
                    *key = Some((text.into_owned(), place));
                    return Ok(());
                }
                self.count(place)?;
                self.close(Tree { place, node }, anchor, 1)?;
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.start(place, anchor, tag.as_deref(), Inside::List(vec![]))?;
            }
            Event::MappingStart(_, anchor, tag) => {
                let inside = Inside::Map { entries: vec![], key: None };
                self.start(place, anchor, tag.as_deref(), inside)?;
            }
            Event::SequenceEnd | Event::MappingEnd => self.end()?,
            Event::Alias(anchor) => self.alias(place, anchor)?,
            Event::UnresolvedAlias(name) => {
                let message = format!("nothing before has the anchor `&{name}`");
                return Err(refuse(place, &message, ""));
            }
            _ => {}
        }
        Ok(())
    }

    /// The whole tree; null where the file says nothing.
    pub(super) fn finish(self) -> Tree {
        let start = Place { line: 1, column: 1 };
        self.root.unwrap_or(Tree { place: start, node: Node::Null })
    }

    fn count(&mut self, place: Place) -> Result<(), SyntaxError> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            let message = format!("the file is too large: more than {MAX_NODES} values");
            return Err(refuse(place, &message, ""));
        }
        Ok(())
    }

    fn start(
        &mut self,
        place: Place,
        anchor: usize,
        tag: Option<&Tag>,
        inside: Inside,
    ) -> Result<(), SyntaxError> {
        if tag.is_some_and(|tag| !tag.is_yaml_core_schema()) {
            return Err(refuse(place, UNKNOWN_TAG, "remove it"));
        }
        if let Some(Open { inside: Inside::Map { key: None, .. }, .. }) = self.open.last() {
            return Err(refuse(place, "a key is text, not a list or mapping", ""));
        }
        self.count(place)?;
        self.open.push(Open { place, anchor, nodes: self.nodes, inside });
        Ok(())
    }

    fn end(&mut self) -> Result<(), SyntaxError> {
        let Some(open) = self.open.pop() else { return Ok(()) };
        let node = match open.inside {
            Inside::List(items) => Node::List(items),
            Inside::Map { entries, .. } => Node::Map(merged(entries)?),
        };
        let size = self.nodes - open.nodes + 1;
        self.close(Tree { place: open.place, node }, open.anchor, size)
    }

    /// Puts a finished value into what it stands in.
    fn close(&mut self, tree: Tree, anchor: usize, size: usize) -> Result<(), SyntaxError> {
        if anchor != 0 {
            self.repeat(tree.place, size)?;
            self.anchored.insert(anchor, (tree.clone(), size));
        }
        match self.open.last_mut().map(|open| &mut open.inside) {
            None => self.root = Some(tree),
            Some(Inside::List(items)) => items.push(tree),
            Some(Inside::Map { entries, key }) => {
                if let Some((key, place)) = key.take() {
                    entries.push(Entry { key, place, value: tree });
                }
            }
        }
        Ok(())
    }

    fn alias(&mut self, place: Place, anchor: usize) -> Result<(), SyntaxError> {
        if let Some(Open { inside: Inside::Map { key: None, .. }, .. }) = self.open.last() {
            return Err(refuse(place, "an alias cannot be a key", ""));
        }
        let Some((tree, size)) = self.anchored.get(&anchor) else {
            return Err(refuse(place, "the alias stands within what it names", ""));
        };
        let size = *size;
        let node = if self.repeated + size > MAX_REPEATED { Node::Null } else { tree.node.clone() };
        self.repeat(place, size)?;
        self.nodes += size;
        self.close(Tree { place, node }, 0, size)
    }

    fn repeat(&mut self, place: Place, size: usize) -> Result<(), SyntaxError> {
        self.repeated += size;
        if self.repeated > MAX_REPEATED {
            let message = format!("the aliases repeat more than {MAX_REPEATED} values");
            return Err(refuse(place, &message, "write out what is meant"));
        }
        Ok(())
    }
}

const UNKNOWN_TAG: &str = "a tag that says nothing here";

fn refuse(place: Place, message: &str, help: &str) -> SyntaxError {
    SyntaxError { place, message: message.to_owned(), help: help.to_owned() }
}

fn place(span: Span) -> Place {
    let small = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Place { line: small(span.start.line()), column: small(span.start.col() + 1) }
}

/// Resolves the merge key `<<`: what it names is added where the mapping does not say it itself.
fn merged(mut entries: Vec<Entry>) -> Result<Vec<Entry>, SyntaxError> {
    let Some(at) = entries.iter().position(|entry| entry.key == "<<") else { return Ok(entries) };
    let Entry { place, value, .. } = entries.remove(at);
    let sources = match value.node {
        Node::List(items) => items,
        node => vec![Tree { place, node }],
    };
    for source in sources {
        let Node::Map(more) = source.node else {
            return Err(refuse(place, "`<<` wants a mapping, or a list of mappings", ""));
        };
        for entry in more {
            if entries.iter().all(|own| own.key != entry.key) {
                entries.push(entry);
            }
        }
    }
    merged(entries)
}

/// The value of a scalar by the core schema of YAML 1.2; else message and help.
fn scalar(
    text: &str,
    style: ScalarStyle,
    tag: Option<&Tag>,
) -> Result<Node, (&'static str, &'static str)> {
    let core = tag.map(|tag| tag.core_suffix());
    let is_text = matches!(core, Some(Some("str")));
    if matches!(core, Some(None)) {
        return Err((UNKNOWN_TAG, "remove it"));
    }
    if is_text || (style != ScalarStyle::Plain && core.is_none()) {
        return Ok(Node::Str(text.to_owned()));
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Ok(Node::Null),
        "true" | "True" | "TRUE" => return Ok(Node::Bool(true)),
        "false" | "False" | "FALSE" => return Ok(Node::Bool(false)),
        _ => {}
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if digits(unsigned) {
        let whole = text.strip_prefix('+').unwrap_or(text);
        let number = whole
            .parse::<u64>()
            .map(Number::from)
            .or_else(|_| whole.parse::<i64>().map(Number::from));
        let lost = ("the number has more digits than 64 bits hold", "write it as text, in quotes");
        return number.map(Node::Number).map_err(|_| lost);
    }
    for (prefix, radix) in [("0x", 16), ("0o", 8)] {
        if let Some(Ok(number)) =
            text.strip_prefix(prefix).map(|digits| u64::from_str_radix(digits, radix))
        {
            return Ok(Node::Number(number.into()));
        }
    }
    let is_float = unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && unsigned.contains(|c: char| c.is_ascii_digit());
    if is_float && let Ok(float) = text.parse::<f64>() {
        let number = Number::from_f64(float).ok_or(("the number is too large", ""))?;
        return Ok(Node::Number(number));
    }
    match unsigned {
        ".inf" | ".Inf" | ".INF" | ".nan" | ".NaN" | ".NAN" => Err((
            "values are JSON, which has no infinity and no NaN",
            "write it as text, in quotes",
        )),
        _ => Ok(Node::Str(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use crate::compile::yaml::parse;

    #[test]
    fn values_are_those_of_the_core_schema() {
        for (text, json) in [
            ("[null, ~, '', ]", r#"[null,null,""]"#),
            ("[true, False, yes, no, on]", r#"[true,false,"yes","no","on"]"#),
            (
                "[1, -2, +3, 007, 0x1F, 0o17, 18446744073709551615]",
                "[1,-2,3,7,31,15,18446744073709551615]",
            ),
            (
                "[1.5, .5, 1., -1e3, 1_000, 1.2.3, '1', 1e]",
                r#"[1.5,0.5,1.0,-1000.0,"1_000","1.2.3","1","1e"]"#,
            ),
            ("[!!str 1, !!int '2', infinity, nan, e5, .]", r#"["1",2,"infinity","nan","e5","."]"#),
            ("a: |\n  x\n  y\nb: >\n  x\n  y\n", r#"{"a":"x\ny\n","b":"x y\n"}"#),
            ("1: a\ntrue: b\n", r#"{"1":"a","true":"b"}"#),
            (
                "a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: [*a, *a]\n",
                r#"{"a":{"x":1,"y":2},"b":{"y":3,"x":1},"c":[{"x":1,"y":2},{"x":1,"y":2}]}"#,
            ),
            (
                "a: &a {x: 1}\nb: &b {y: 2}\nc: {<<: [*a, *b]}\n",
                r#"{"a":{"x":1},"b":{"y":2},"c":{"x":1,"y":2}}"#,
            ),
            ("# nothing\n", "null"),
            ("\u{feff}a: 1\n", r#"{"a":1}"#),
        ] {
            assert_eq!(parse(text.as_bytes()).unwrap().to_json().to_string(), json, "{text}");
        }
    }

    #[test]
    fn what_yaml_has_beyond_that_is_refused() {
        for text in [
            ".inf",
            "-.INF",
            ".nan",
            "1e999",
            "99999999999999999999",
            "!x a",
            "!!binary a",
            "!!set {a}",
            "? [a]\n: b",
            "*a",
            "&a [*a]",
            "--- a\n--- b",
            "&a a: b\n*a : c",
            "{<<: 1}",
            "a: b: c",
            "[a",
            "a:\n\tb: 1",
        ] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
