/// What is wrong with a dotenv file. It quotes nothing of the file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// Counts from 1.
    pub(super) line: u32,
    pub(super) message: &'static str,
}

/// The value of `name`, the last one where there are several.
///
/// Lines are `NAME=value`, with `export` before it or not; values are bare (a `#` after a blank
/// begins a comment), in `'…'` as they are, or in `"…"` with `\n \t \r \" \\ \$`. Quoted ones may
/// run over several lines. Nothing is expanded.
pub(super) fn lookup(text: &str, name: &str) -> Result<Option<String>, Fault> {
    let mut rest = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut line = 1;
    let mut found = None;
    while !rest.is_empty() {
        let fault = |message| Fault { line, message };
        let (head, after) = rest.split_once('\n').unwrap_or((rest, ""));
        let trimmed = head.trim();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            (rest, line) = (after, line + 1);
            continue;
        }
        let (key, _) = head.split_once('=').ok_or(fault("the line has no `=`"))?;
        let value = &rest[key.len() + 1..];
        let key = key.trim();
        let key = key.strip_prefix("export ").unwrap_or(key).trim();
        if key.is_empty() || !key.chars().all(|c| c.is_alphanumeric() || "_-.".contains(c)) {
            return Err(fault("the text before `=` is no name"));
        }
        let (value, next) = value_of(value).map_err(fault)?;
        let used = &rest[..rest.len() - next.len()];
        line += u32::try_from(used.matches('\n').count()).unwrap_or(u32::MAX);
        if key == name {
            found = Some(value);
        }
        rest = next;
    }
    Ok(found)
}

/// A value and what follows its line.
fn value_of(text: &str) -> Result<(String, &str), &'static str> {
    let text = text.trim_start_matches([' ', '\t']);
    let (value, after) = match text.chars().next() {
        Some('\'') => {
            let (value, after) = text[1..].split_once('\'').ok_or("a quote is never closed")?;
            (value.to_owned(), after)
        }
        Some('"') => quoted(&text[1..])?,
        _ => {
            let (line, after) = text.split_once('\n').unwrap_or((text, ""));
            let comment = line.find(" #").or(line.find("\t#")).unwrap_or(line.len());
            let comment = if line.starts_with('#') { 0 } else { comment };
            return Ok((line[..comment].trim().to_owned(), after));
        }
    };
    let (line, after) = after.split_once('\n').unwrap_or((after, ""));
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        Ok((value, after))
    } else {
        Err("something follows the closing quote")
    }
}

fn quoted(text: &str) -> Result<(String, &str), &'static str> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((value, &text[at + 1..])),
            '\\' => match chars.next().map(|(_, c)| c) {
                Some('n') => value.push('\n'),
                Some('t') => value.push('\t'),
                Some('r') => value.push('\r'),
                Some(c @ ('"' | '\\' | '$' | '\'')) => value.push(c),
                Some(c) => value.extend(['\\', c]),
                None => break,
            },
            c => value.push(c),
        }
    }
    Err("a quote is never closed")
}

#[cfg(test)]
mod tests {
    use super::{Fault, lookup};

    #[test]
    fn values_are_read_as_people_write_them() {
        let text = "\u{feff}# keys\n\nA=one # a comment\r\nexport B = 'it''\nC=\"x\\n#\\\"y\nz\" # c\n\
                    D=p#q\nE=\nA=two\n";
        let text = text.replace("'it''", "'it#s'");
        for (name, expected) in [
            ("A", Some("two")),
            ("B", Some("it#s")),
            ("C", Some("x\n#\"y\nz")),
            ("D", Some("p#q")),
            ("E", Some("")),
            ("F", None),
        ] {
            assert_eq!(lookup(&text, name).unwrap().as_deref(), expected, "{name}");
        }
    }

    #[test]
    fn faults_have_a_line_and_quote_nothing() {
        for (text, line, message) in [
            ("A=1\nB\n", 2, "the line has no `=`"),
            ("A=\"1\n2\"\nB='x\n", 3, "a quote is never closed"),
            ("a b=1", 1, "the text before `=` is no name"),
            ("A='x'y\n", 1, "something follows the closing quote"),
        ] {
            assert_eq!(lookup(text, "A"), Err(Fault { line, message }), "{text:?}");
        }
    }
}
