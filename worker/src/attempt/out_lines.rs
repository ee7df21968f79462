use std::collections::BTreeMap;

use windlass_core::StepPath;

/// Largest file of `name=value` lines.
pub(super) const MAX_OUT: u64 = 16 << 20;

/// Reads `name=value` lines to JSON texts by name; the last line of a name wins.
///
/// A value that is no JSON is text. The error names the line, for people.
pub(super) fn parse(bytes: &[u8]) -> Result<BTreeMap<String, String>, String> {
    let mut values = BTreeMap::new();
    for (number, line) in (1..).zip(bytes.split(|&byte| byte == b'\n')) {
        let bad = |why: &str| format!("line {number} of $WINDLASS_OUT {why}");
        let line = std::str::from_utf8(line).map_err(|_| bad("is not UTF-8"))?;
        let line = line.strip_suffix('\r').unwrap_or(line);
        if line.trim().is_empty() {
            continue;
        }
        let (name, value) =
            line.split_once('=').ok_or_else(|| bad(&format!("is not `name=value`: {line:.80}")))?;
        let name = name.trim();
        if !StepPath::is_name(name) {
            return Err(bad(&format!(
                "has a bad name: `{name:.80}` (letters, digits, `_` and `-`; first a letter or `_`)"
            )));
        }
        let json = match serde_json::from_str::<serde::de::IgnoredAny>(value) {
            Ok(_) => value.trim().to_owned(),
            Err(_) => serde_json::Value::from(value).to_string(),
        };
        values.insert(name.to_owned(), json);
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn json_or_text_and_the_last_line_wins() {
        let values = parse(b"n=1\n\nname=some text\r\nn=[1, 2]\nempty=\nurl=a=b\n").unwrap();

        let seen: Vec<_> = values.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        let wanted =
            [("empty", "\"\""), ("n", "[1, 2]"), ("name", "\"some text\""), ("url", "\"a=b\"")];
        assert_eq!(seen, wanted);
    }

    #[test]
    fn bad_lines_are_named() {
        for (bytes, part) in [
            (&b"a=1\nb\n"[..], "line 2 of $WINDLASS_OUT is not `name=value`"),
            (b"1a=1", "line 1 of $WINDLASS_OUT has a bad name: `1a`"),
            (b"a b=1", "has a bad name"),
            (b"a=\xff", "is not UTF-8"),
        ] {
            let message = parse(bytes).unwrap_err();
            assert!(message.contains(part), "{message}");
        }
    }
}
