use std::sync::Arc;

use serde_json::{Map, Value};

use super::{BadExpression, EvalError, Expression, Scope, functions::text};

/// What opens an expression in a text, and what closes it.
const OPEN: &str = "${{";
const CLOSE: &str = "}}";

/// JSON in which strings hold `${{ … }}`.
#[derive(Debug)]
pub(crate) struct Template {
    node: Node,
}

#[derive(Debug)]
enum Node {
    /// Nothing in it is to be evaluated.
    Plain(Value),
    /// A string that is one expression and nothing else: it becomes the expression's value.
    Whole(Arc<Expression>),
    /// A text with expressions in it.
    Text(Vec<Piece>),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

#[derive(Debug)]
enum Piece {
    Plain(String),
    Expression(Arc<Expression>),
}

impl Template {
    /// True where a text has an expression in it.
    pub(crate) fn is_in(text: &str) -> bool {
        text.contains(OPEN)
    }

    /// Reads the expressions of a JSON value.
    pub(crate) fn parse(value: Value) -> Result<Self, BadExpression> {
        Self::parse_with(value, &mut |text| Expression::parse(text).map(Arc::new))
    }

    /// Likewise, where expressions are read by `read`, which may know them already.
    pub(crate) fn parse_with(
        value: Value,
        read: &mut dyn FnMut(&str) -> Result<Arc<Expression>, BadExpression>,
    ) -> Result<Self, BadExpression> {
        node(value, read).map(|node| Self { node })
    }

    /// The one expression that a text is, without `${{ }}`; the text itself where it has none.
    pub(crate) fn only(text: &str) -> Result<&str, BadExpression> {
        let trimmed = text.trim();
        match trimmed.strip_prefix(OPEN) {
            None => Ok(trimmed),
            Some(rest) => match close(rest) {
                Some((inner, "")) => Ok(inner.trim()),
                Some(_) => Err(bad(
                    1,
                    "there is text after the expression",
                    "write one `${{ … }}` and nothing else",
                )),
                None => Err(not_closed(1)),
            },
        }
    }

    /// Every expression in it.
    pub(crate) fn expressions(&self) -> Vec<&Arc<Expression>> {
        let mut all = vec![];
        self.node.expressions(&mut all);
        all
    }

    /// The value, with every expression evaluated over `scope`.
    pub(crate) fn evaluate(&self, scope: &Scope) -> Result<Value, EvalError> {
        self.node.evaluate(scope)
    }
}

impl Node {
    fn expressions<'a>(&'a self, all: &mut Vec<&'a Arc<Expression>>) {
        match self {
            Self::Plain(_) => {}
            Self::Whole(expression) => all.push(expression),
            Self::Text(pieces) => all.extend(pieces.iter().filter_map(|piece| match piece {
                Piece::Expression(expression) => Some(expression),
                Piece::Plain(_) => None,
            })),
            Self::List(nodes) => nodes.iter().for_each(|node| node.expressions(all)),
            Self::Map(entries) => entries.iter().for_each(|(_, node)| node.expressions(all)),
        }
    }

    fn evaluate(&self, scope: &Scope) -> Result<Value, EvalError> {
        Ok(match self {
            Self::Plain(value) => value.clone(),
            Self::Whole(expression) => expression.evaluate(scope)?,
            Self::Text(pieces) => {
                let mut made = String::new();
                for piece in pieces {
                    match piece {
                        Piece::Plain(plain) => made.push_str(plain),
                        Piece::Expression(expression) => {
                            made.push_str(&text(&expression.evaluate(scope)?))
                        }
                    }
                }
                Value::String(made)
            }
            Self::List(nodes) => Value::Array(
                nodes.iter().map(|node| node.evaluate(scope)).collect::<Result<_, _>>()?,
            ),
            Self::Map(entries) => {
                let pairs =
                    entries.iter().map(|(key, node)| Ok((key.clone(), node.evaluate(scope)?)));
                Value::Object(pairs.collect::<Result<Map<_, _>, EvalError>>()?)
            }
        })
    }
}

/// Reads an expression's text.
type Read<'r> = &'r mut dyn FnMut(&str) -> Result<Arc<Expression>, BadExpression>;

fn node(value: Value, read: Read<'_>) -> Result<Node, BadExpression> {
    Ok(match value {
        Value::String(text) if Template::is_in(&text) => of_text(&text, read)?,
        Value::Array(items) if items.iter().any(has_any) => {
            Node::List(items.into_iter().map(|item| node(item, read)).collect::<Result<_, _>>()?)
        }
        Value::Object(map) if map.values().any(has_any) => {
            let pairs = map.into_iter().map(|(key, value)| Ok((key, node(value, read)?)));
            Node::Map(pairs.collect::<Result<_, BadExpression>>()?)
        }
        other => Node::Plain(other),
    })
}

fn has_any(value: &Value) -> bool {
    match value {
        Value::String(text) => Template::is_in(text),
        Value::Array(items) => items.iter().any(has_any),
        Value::Object(map) => map.values().any(has_any),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

fn of_text(text: &str, read: Read<'_>) -> Result<Node, BadExpression> {
    let trimmed = text.trim();
    if let Some((inner, "")) = trimmed.strip_prefix(OPEN).and_then(close) {
        return read(inner.trim()).map(Node::Whole);
    }
    let (mut pieces, mut rest) = (vec![], text);
    while let Some((before, after)) = rest.split_once(OPEN) {
        let at = u32::try_from(text[..text.len() - rest.len() + before.len()].chars().count())
            .unwrap_or(u32::MAX);
        let (inner, further) = close(after).ok_or_else(|| not_closed(at.saturating_add(1)))?;
        if !before.is_empty() {
            pieces.push(Piece::Plain(before.to_owned()));
        }
        pieces.push(Piece::Expression(read(inner.trim())?));
        rest = further;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Plain(rest.to_owned()));
    }
    Ok(Node::Text(pieces))
}

/// The text up to the `}}` that closes an expression, and what follows; quotes and braces of the
/// expression's own are passed over.
fn close(text: &str) -> Option<(&str, &str)> {
    let (mut quote, mut depth, mut escaped) = (None, 0usize, false);
    for (at, c) in text.char_indices() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if c == '\\' => escaped = true,
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if matches!(c, '"' | '\'') => quote = Some(c),
            None if c == '{' => depth += 1,
            None if c == '}' && depth > 0 => depth -= 1,
            None if text[at..].starts_with(CLOSE) => {
                return Some((&text[..at], &text[at + CLOSE.len()..]));
            }
            None => {}
        }
    }
    None
}

fn not_closed(column: u32) -> BadExpression {
    bad(column, "`${{` is not closed", "close it with `}}`")
}

fn bad(column: u32, message: &str, help: &str) -> BadExpression {
    BadExpression { column, message: message.to_owned(), help: help.to_owned() }
}
