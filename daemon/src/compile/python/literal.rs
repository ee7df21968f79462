use serde_json::{Map, Number, Value};
use tree_sitter::Node;

/// The JSON value of a literal, where it is one and JSON tells it exactly.
///
/// A tuple is none: as JSON it would reach the function as a list.
pub(super) fn to_json(node: Node<'_>, source: &[u8]) -> Option<Value> {
    let text = || node.utf8_text(source).ok();
    match node.kind() {
        "none" => Some(Value::Null),
        "true" => Some(true.into()),
        "false" => Some(false.into()),
        "integer" => integer(text()?),
        "float" => float(text()?),
        "string" => string(node, source).map(Value::String),
        "concatenated_string" => {
            let parts = node
                .named_children(&mut node.walk())
                .map(|part| string(part, source))
                .collect::<Option<Vec<_>>>();
            parts.map(|parts| Value::String(parts.concat()))
        }
        "unary_operator" => negative(node, source),
        "parenthesized_expression" => to_json(node.named_child(0)?, source),
        "list" => node.named_children(&mut node.walk()).map(|item| to_json(item, source)).collect(),
        "dictionary" => {
            let mut map = Map::new();
            for pair in node.named_children(&mut node.walk()) {
                let key = string(pair.child_by_field_name("key")?, source)?;
                map.insert(key, to_json(pair.child_by_field_name("value")?, source)?);
            }
            Some(Value::Object(map))
        }
        _ => None,
    }
}

fn integer(text: &str) -> Option<Value> {
    let digits = text.replace('_', "");
    let radix = |digits: &str, radix| u64::from_str_radix(digits, radix).ok();
    let value = match digits.get(..2).map(str::to_ascii_lowercase).as_deref() {
        Some("0x") => radix(&digits[2..], 16),
        Some("0o") => radix(&digits[2..], 8),
        Some("0b") => radix(&digits[2..], 2),
        _ => digits.parse().ok(),
    };
    value.map(Value::from)
}

fn float(text: &str) -> Option<Value> {
    let value: f64 = text.replace('_', "").parse().ok()?;
    Number::from_f64(value).map(Value::Number)
}

fn negative(node: Node<'_>, source: &[u8]) -> Option<Value> {
    let operator = node.child_by_field_name("operator")?.kind();
    let value = to_json(node.child_by_field_name("argument")?, source)?;
    let number = value.as_number()?;
    match (operator, number.as_u64(), number.as_f64()) {
        ("+", _, _) => Some(value),
        ("-", Some(whole), _) => i64::try_from(whole).ok().map(|whole| Value::from(-whole)),
        ("-", None, Some(float)) => Some(Value::from(-float)),
        _ => None,
    }
}

/// The text of a plain string literal; bytes and f-strings are none.
fn string(node: Node<'_>, source: &[u8]) -> Option<String> {
    let start = node.child(0)?.utf8_text(source).ok()?;
    let prefix = start.trim_end_matches(['"', '\'']).to_ascii_lowercase();
    if node.kind() != "string" || prefix.contains(['b', 'f', 't']) {
        return None;
    }
    let mut text = String::new();
    for part in node.named_children(&mut node.walk()).filter(|part| part.kind() == "string_content")
    {
        let raw = part.utf8_text(source).ok()?;
        if prefix.contains('r') { text.push_str(raw) } else { unescape(raw, &mut text)? }
    }
    Some(text)
}

/// Resolves Python's escapes; `None` for `\N{…}` and what is no character.
fn unescape(raw: &str, text: &mut String) -> Option<()> {
    let mut rest = raw;
    while let Some((before, after)) = rest.split_once('\\') {
        text.push_str(before);
        let escape = after.chars().next()?;
        rest = &after[escape.len_utf8()..];
        let digits = |len: usize| u32::from_str_radix(after.get(1..=len)?, 16).ok();
        let mut hex = |len: usize| {
            text.push(char::from_u32(digits(len)?)?);
            rest = &after[1 + len..];
            Some(())
        };
        match escape {
            '\n' => {}
            '\\' | '\'' | '"' => text.push(escape),
            'a' => text.push('\x07'),
            'b' => text.push('\x08'),
            'f' => text.push('\x0c'),
            'n' => text.push('\n'),
            'r' => text.push('\r'),
            't' => text.push('\t'),
            'v' => text.push('\x0b'),
            'x' => hex(2)?,
            'u' => hex(4)?,
            'U' => hex(8)?,
            'N' => return None,
            '0'..='7' => {
                let len = after.bytes().take(3).take_while(|b| (b'0'..=b'7').contains(b)).count();
                text.push(char::from_u32(u32::from_str_radix(&after[..len], 8).ok()?)?);
                rest = &after[len..];
            }
            other => text.extend(['\\', other]),
        }
    }
    text.push_str(rest);
    Some(())
}
