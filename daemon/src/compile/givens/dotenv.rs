//! Files of `NAME=value` lines.
use windlass_core::Given;

use crate::compile::yaml::Place;

type Wrong = (Place, String, String);

/// Reads `NAME=value` lines: `export` before them, comments and quotes are as in a shell; in double
/// quotes `\n`, `\t`, `\"`, `\\` and `\$` stand for what they name. Nothing is put in for `$NAME`.
pub(super) fn read(text: &str) -> Result<Vec<(String, Given)>, Wrong> {
    let mut pairs: Vec<(String, Given)> = vec![];
    for (number, line) in (1u32..).zip(text.lines()) {
        let wrong = |before: &str, message: &str, help: &str| {
            let column = u32::try_from(before.chars().count() + 1).unwrap_or(u32::MAX);
            (Place { line: number, column }, message.to_owned(), help.to_owned())
        };
        let bare = line.trim_start();
        let indent = &line[..line.len() - bare.len()];
        if bare.is_empty() || bare.starts_with('#') {
            continue;
        }
        let pair = bare.strip_prefix("export ").unwrap_or(bare).trim_start();
        let Some((name, value)) = pair.split_once('=') else {
            return Err(wrong(indent, "the line has no `=`", "write `NAME=value`"));
        };
        let name = name.trim_end();
        let good = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.'));
        if !good {
            let message = format!("`{}` is no name", name.escape_debug());
            return Err(wrong(indent, &message, "write `NAME=value`"));
        }
        let before = &line[..line.len() - value.trim_start().len()];
        let value = unquote(value.trim()).map_err(|message| wrong(before, message, ""))?;
        if pairs.iter().any(|(known, _)| known == name) {
            let message = format!("`{name}` stands twice in the file");
            return Err(wrong(indent, &message, "remove one"));
        }
        pairs.push((name.to_owned(), Given::Text(value)));
    }
    Ok(pairs)
}

fn unquote(value: &str) -> Result<String, &'static str> {
    let quote = match value.chars().next() {
        Some(quote @ ('"' | '\'')) => quote,
        Some(_) | None => {
            // A comment begins after a blank.
            let end = value.find(" #").unwrap_or(value.len());
            return Ok(value[..end].trim_end().to_owned());
        }
    };
    let (mut text, mut chars) = (String::new(), value[1..].chars());
    loop {
        match chars.next() {
            None => return Err("a quote is not closed"),
            Some(c) if c == quote => break,
            Some('\\') if quote == '"' => match chars.next() {
                Some('n') => text.push('\n'),
                Some('t') => text.push('\t'),
                Some(c @ ('"' | '\\' | '$')) => text.push(c),
                Some(c) => text.extend(['\\', c]),
                None => return Err("a quote is not closed"),
            },
            Some(c) => text.push(c),
        }
    }
    let rest = chars.as_str().trim_start();
    if rest.is_empty() || rest.starts_with('#') {
        Ok(text)
    } else {
        Err("there is text after the quote")
    }
}
