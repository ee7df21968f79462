use cel::{
    IdedExpr,
    common::ast::{CallExpr, EntryExpr, Expr, IdedEntryExpr, LiteralValue, operators},
    parser::Parser,
};

use super::{BadExpression, Expression, check};

/// Longest text of an expression, in bytes.
const MAX_TEXT: usize = 4_096;

/// Most brackets, signs and conditions inside each other.
const MAX_NESTED: usize = 32;

/// Most levels of the syntax tree: a row of sums has one for each.
const MAX_DEPTH: usize = 128;

/// Stack for the parser, which goes down a dozen functions with every level.
const PARSER_STACK: usize = 64 << 20;

impl Expression {
    /// Reads an expression, written without `${{ }}`.
    pub(crate) fn parse(text: &str) -> Result<Self, BadExpression> {
        let refuse = |message: &str, help: &str| {
            Err(BadExpression { column: 1, message: message.to_owned(), help: help.to_owned() })
        };
        if text.trim().is_empty() {
            return refuse("the expression is empty", "");
        }
        if text.len() > MAX_TEXT || nesting(text) > MAX_NESTED {
            return refuse("the expression is too long", "compute the value in a step");
        }
        let owned = text.to_owned();
        let parser = std::thread::Builder::new().name("expression".into()).stack_size(PARSER_STACK);
        match parser.spawn(move || tree(owned)).map(std::thread::JoinHandle::join) {
            Ok(Ok(parsed)) => parsed,
            Ok(Err(_)) => refuse("it is no CEL expression", ""),
            Err(_) => refuse("the expression cannot be read just now", "try again"),
        }
    }

    /// The syntax tree.
    pub(super) fn root(&self) -> &IdedExpr {
        &self.root
    }
}

fn tree(text: String) -> Result<Expression, BadExpression> {
    let parser = Parser::new().error_recovery_limit(1);
    let (root, source) = parser.parse_with_source_info(&text).map_err(|errors| {
        let first = errors.errors.first();
        let column = first.and_then(|error| u32::try_from(error.pos.1).ok()).unwrap_or(0);
        let message = in_words(first.map_or("", |error| &error.msg));
        BadExpression { column: column.max(1), message, help: String::new() }
    })?;
    let expression = Expression { text, root, source };
    if depth(expression.root(), MAX_DEPTH) > MAX_DEPTH {
        let message = "the expression is too long".to_owned();
        let help = "compute the value in a step".to_owned();
        return Err(BadExpression { column: 1, message, help });
    }
    check::check(&expression)?;
    Ok(expression)
}

/// Levels of a tree, counted no further than just beyond `most`.
fn depth(part: &IdedExpr, most: usize) -> usize {
    let below = |part| if most == 0 { 1 } else { depth(part, most - 1) };
    1 + parts(&part.expr).into_iter().map(below).max().unwrap_or(0)
}

/// How much may be inside each other at most, seen from the marks alone.
fn nesting(text: &str) -> usize {
    let (mut open, mut most, mut signs, mut quote) = (0usize, 0, 0usize, None);
    for c in text.chars() {
        match quote {
            Some(mark) if c == mark => quote = None,
            Some(_) => continue,
            None if matches!(c, '"' | '\'') => quote = Some(c),
            None => {}
        }
        match c {
            '(' | '[' | '{' => open += 1,
            ')' | ']' | '}' => open = open.saturating_sub(1),
            '?' => signs += 2,
            '!' | '-' => signs += 1,
            _ => {}
        }
        most = most.max(open);
    }
    most.max(signs / 2)
}

/// What the parser says, without its tables of marks.
fn in_words(message: &str) -> String {
    let short = message.split(" expecting {").next().unwrap_or_default();
    let short = short.replace("'<EOF>'", "the end").replace("<EOF>", "the end");
    let short = short.split('\n').next().unwrap_or_default().trim();
    if short.is_empty() { "it is no CEL expression".to_owned() } else { short.to_owned() }
}

/// The operand that stands before the mark by which the tree places an expression.
pub(super) fn leftmost(part: &IdedExpr) -> Option<&IdedExpr> {
    match &part.expr {
        Expr::Select(select) => Some(&select.operand),
        Expr::Call(call) => match &call.target {
            Some(target) => Some(target),
            None if is_infix(call) => call.args.first(),
            None => None,
        },
        Expr::Comprehension(comprehension) => Some(&comprehension.iter_range),
        _ => None,
    }
}

/// Length of the name before the mark by which the tree places a call, in bytes.
pub(super) fn name_before(part: &IdedExpr) -> usize {
    match &part.expr {
        Expr::Call(call) if call.func_name.starts_with(char::is_alphabetic) => call.func_name.len(),
        _ => 0,
    }
}

fn is_infix(call: &CallExpr) -> bool {
    call.func_name.starts_with('_') || call.func_name == operators::IN
}

/// The expressions right below one, in the order of the text.
pub(super) fn parts(expr: &Expr) -> Vec<&IdedExpr> {
    match expr {
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => vec![],
        Expr::Call(call) => call.target.as_deref().into_iter().chain(&call.args).collect(),
        Expr::Comprehension(c) => {
            vec![&c.iter_range, &c.accu_init, &c.loop_cond, &c.loop_step, &c.result]
        }
        Expr::List(list) => list.elements.iter().collect(),
        Expr::Map(map) => entries(&map.entries),
        Expr::Struct(structure) => entries(&structure.entries),
        Expr::Select(select) => vec![&select.operand],
    }
}

fn entries(entries: &[IdedEntryExpr]) -> Vec<&IdedExpr> {
    let mut parts = vec![];
    for entry in entries {
        match &entry.expr {
            EntryExpr::StructField(field) => parts.push(&field.value),
            EntryExpr::MapEntry(pair) => parts.extend([&pair.key, &pair.value]),
        }
    }
    parts
}

/// The text of a string literal.
pub(super) fn literal_text(part: &IdedExpr) -> Option<&str> {
    match &part.expr {
        Expr::Literal(LiteralValue::String(text)) => Some(text.inner()),
        _ => None,
    }
}

/// The one step of a path: `.name` or `["name"]`, with what stands before it.
pub(super) fn hop(part: &IdedExpr) -> Option<(&IdedExpr, &str)> {
    match &part.expr {
        Expr::Select(select) => Some((&select.operand, &select.field)),
        Expr::Call(call) if call.func_name == operators::INDEX => match &call.args[..] {
            [operand, key] => Some((operand, literal_text(key)?)),
            _ => None,
        },
        _ => None,
    }
}

/// The names of a path, the first first: `steps.a["outputs"]` is `steps`, `a`, `outputs`.
pub(super) fn path(part: &IdedExpr) -> Option<Vec<&str>> {
    let (mut names, mut part) = (vec![], part);
    while let Some((operand, name)) = hop(part) {
        names.push(name);
        part = operand;
    }
    let Expr::Ident(root) = &part.expr else { return None };
    names.push(root);
    names.reverse();
    Some(names)
}
