use std::borrow::Cow;

/// Text that is safe in a table: whatever could steer a terminal is written as an escape.
pub(crate) fn clean(text: &str) -> Cow<'_, str> {
    if !text.chars().any(steers) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if steers(c) => out.push_str(&format!("\\u{{{:x}}}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.into()
}

/// Control characters, and those that turn the direction of text.
fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// What a line of a log may do to a terminal: set colours, nothing else. Of a line that was
/// overwritten with carriage returns, the last text remains.
pub(crate) fn log_line(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim_end_matches(['\r', '\n']);
    let text = text.rsplit('\r').find(|part| !part.is_empty()).unwrap_or_default();
    let mut coloured = false;
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c.is_control() && c != '\t') {
        out.push_str(&rest[..at]);
        let (sequence, after) = escape_sequence(&rest[at..]);
        if is_colour(sequence) {
            coloured = true;
            out.push_str(sequence);
        }
        rest = after;
    }
    out.push_str(rest);
    if coloured {
        out.push_str("\x1b[0m");
    }
    out
}

/// A line without any escapes, for a place where its width counts.
pub(crate) fn bare_line(bytes: &[u8]) -> String {
    let line = log_line(bytes);
    let mut out = String::with_capacity(line.len());
    let mut rest = line.as_str();
    while let Some(at) = rest.find(char::is_control) {
        out.push_str(&rest[..at]);
        if rest[at..].starts_with('\t') {
            out.push(' ');
        }
        rest = escape_sequence(&rest[at..]).1;
    }
    out.push_str(rest);
    out
}

/// Splits the escape sequence, or the single control character, off the front of `text`.
fn escape_sequence(text: &str) -> (&str, &str) {
    let mut chars = text.char_indices();
    let first = chars.next().map_or('\0', |(_, c)| c);
    let end = match (first, chars.next()) {
        ('\x1b', Some((_, '['))) | ('\u{9b}', Some(_)) => {
            let body = if first == '\x1b' { 2 } else { first.len_utf8() };
            let last = text[body..].find(|c: char| ('@'..='~').contains(&c));
            last.map_or(text.len(), |at| body + at + 1)
        }
        ('\x1b', Some((_, ']' | 'P' | 'X' | '^' | '_'))) => string_sequence(text),
        ('\x1b', Some((at, c))) => at + c.len_utf8(),
        _ => first.len_utf8(),
    };
    text.split_at(end.min(text.len()))
}

/// Length of a sequence that ends with BEL or `ESC \`.
fn string_sequence(text: &str) -> usize {
    let bell = text.find('\x07').map(|at| at + 1);
    let ended = text.find("\x1b\\").map(|at| at + 2);
    match (bell, ended) {
        (Some(a), Some(b)) => a.min(b),
        (Some(a), None) | (None, Some(a)) => a,
        (None, None) => text.len(),
    }
}

fn is_colour(sequence: &str) -> bool {
    let body = sequence.strip_prefix("\x1b[").and_then(|rest| rest.strip_suffix('m'));
    body.is_some_and(|body| body.bytes().all(|b| b.is_ascii_digit() || b == b';' || b == b':'))
}

#[cfg(test)]
mod tests {
    use super::{bare_line, clean, log_line};

    #[test]
    fn names_cannot_steer_the_terminal() {
        assert_eq!(clean("deep/dir ü/a b"), "deep/dir ü/a b");
        assert_eq!(clean("new\nline"), "new\\nline");
        assert_eq!(clean("\x1b[2J\u{9b}x\u{202e}"), "\\u{1b}[2J\\u{9b}x\\u{202e}");
    }

    #[test]
    fn log_lines_keep_colours_and_lose_everything_else() {
        for (raw, expected) in [
            ("plain\ttext\r\n", "plain\ttext"),
            ("\x1b[31mred\x1b[0m", "\x1b[31mred\x1b[0m\x1b[0m"),
            ("\x1b[2Jcleared\x1b[H", "cleared"),
            ("\x1b]0;title\x07text", "text"),
            ("\x1b]8;;http://x\x1b\\link", "link"),
            ("\u{9b}2Jx", "x"),
            ("10%\r50%\r100%\r", "100%"),
            ("open \x1b[", "open "),
            ("\x1b", ""),
            ("a\x08b\0c", "abc"),
        ] {
            assert_eq!(log_line(raw.as_bytes()), expected, "{raw:?}");
        }
        assert_eq!(bare_line(b"\x1b[31mred\x1b[0m\tx"), "red x");
        assert_eq!(log_line(b"\xff\xfe"), "\u{fffd}\u{fffd}");
    }
}
