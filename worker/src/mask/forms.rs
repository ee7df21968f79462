//! The ways in which a secret may be written.
use std::collections::BTreeSet;

/// Shortest text whose encoded forms are looked for too: those of a shorter one are everywhere.
const MIN_ENCODED: usize = 4;

/// Longest text whose encoded forms are looked for.
const MAX_ENCODED: usize = 16 << 10;

/// Shortest line of a text of several lines that is masked where it stands alone.
const MIN_LINE: usize = 8;

const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const URL_SAFE: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Characters that different programs leave as they are in a URL, beside letters and digits.
const URL_PLAIN: [&[u8]; 4] = [b"-._~", b"-._~/", b"-._~!'()*", b"-._~!'()*;/?:@&=+$,#"];

/// What is looked for.
#[derive(Debug, Default)]
pub(super) struct Forms {
    /// As it stands.
    pub(super) exact: BTreeSet<Vec<u8>>,
    /// In the text without its line breaks: encoders wrap lines.
    pub(super) folded: BTreeSet<Vec<u8>>,
}

impl Forms {
    /// Adds every form of one secret; an empty one has none.
    pub(super) fn add(&mut self, secret: &[u8]) {
        let trimmed = secret.trim_ascii();
        for text in [secret, trimmed] {
            if !text.is_empty() {
                self.add_text(text);
            }
        }
        let lines = secret.split(|byte| matches!(byte, b'\n' | b'\r')).map(<[u8]>::trim_ascii);
        self.exact.extend(lines.filter(|line| line.len() >= MIN_LINE).map(<[u8]>::to_vec));
    }

    fn add_text(&mut self, text: &[u8]) {
        self.exact.insert(text.to_vec());
        if text.len() > MAX_ENCODED {
            return;
        }
        self.exact.extend(json_forms(text));
        self.exact.extend(url_forms(text));
        self.exact.insert(replaced(text, b'\'', b"'\\''"));
        if text.len() < MIN_ENCODED {
            return;
        }
        let lines = text.iter().filter(|byte| !matches!(byte, b'\n' | b'\r')).copied();
        let folded: Vec<u8> = lines.collect();
        if folded.len() < text.len() && folded.len() >= MIN_LINE {
            self.folded.insert(folded);
        }
        let with_break = [text, b"\n"].concat();
        for alphabet in [STANDARD, URL_SAFE] {
            self.folded.extend((0..3).map(|skip| base64_core(text, skip, alphabet)));
            self.folded.insert(base64(text, alphabet));
            self.folded.insert(base64(&with_break, alphabet));
        }
    }
}

fn json_forms(text: &[u8]) -> Vec<Vec<u8>> {
    let Ok(text) = std::str::from_utf8(text) else { return Vec::new() };
    let quoted = serde_json::Value::from(text).to_string();
    let plain = quoted[1..quoted.len() - 1].to_owned();
    let mut forms = vec![plain.replace('/', "\\/")];
    for upper in [false, true] {
        let mut ascii = String::new();
        for unit in plain.chars() {
            if unit.is_ascii() && unit != '\x7f' {
                ascii.push(unit);
                continue;
            }
            let mut units = [0; 2];
            for unit in unit.encode_utf16(&mut units) {
                let escape =
                    if upper { format!("\\u{unit:04X}") } else { format!("\\u{unit:04x}") };
                ascii.push_str(&escape);
            }
        }
        forms.push(ascii);
    }
    forms.push(plain);
    forms.into_iter().map(String::into_bytes).collect()
}

fn url_forms(text: &[u8]) -> BTreeSet<Vec<u8>> {
    let mut forms = BTreeSet::new();
    for plain in URL_PLAIN {
        for (digits, space) in [
            (b"0123456789ABCDEF", &b"%20"[..]),
            (b"0123456789ABCDEF", b"+"),
            (b"0123456789abcdef", b"%20"),
            (b"0123456789abcdef", b"+"),
        ] {
            let mut form = Vec::with_capacity(text.len());
            for &byte in text {
                match byte {
                    b' ' => form.extend_from_slice(space),
                    _ if byte.is_ascii_alphanumeric() || plain.contains(&byte) => form.push(byte),
                    _ => {
                        let digit = |half: u8| digits[usize::from(half)];
                        form.extend([b'%', digit(byte >> 4), digit(byte & 15)]);
                    }
                }
            }
            forms.insert(form);
        }
    }
    forms
}

fn replaced(text: &[u8], from: u8, to: &[u8]) -> Vec<u8> {
    let pieces: Vec<&[u8]> = text.split(|&byte| byte == from).collect();
    pieces.join(to)
}

/// Base64 with padding.
fn base64(bytes: &[u8], alphabet: &[u8; 64]) -> Vec<u8> {
    let mut text = Vec::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |i: usize| u32::from(chunk.get(i).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for i in 0..4u32 {
            let six = bits >> (18 - 6 * i) & 63;
            let sign = usize::try_from(six).ok().and_then(|six| alphabet.get(six)).copied();
            let padding = usize::try_from(i).is_ok_and(|i| i > chunk.len());
            text.push(if padding { b'=' } else { sign.unwrap_or_default() });
        }
    }
    text
}

/// The characters that are the same whatever stands around `bytes`, `skip` bytes into a group.
fn base64_core(bytes: &[u8], skip: usize, alphabet: &[u8; 64]) -> Vec<u8> {
    let all = base64(&[&vec![0; skip], bytes].concat(), alphabet);
    let (first, end) = ((8 * skip).div_ceil(6), 8 * (skip + bytes.len()) / 6);
    all[first..end].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_everybody_else() {
        for (bytes, text) in [
            (&b""[..], &b""[..]),
            (b"f", b"Zg=="),
            (b"fo", b"Zm8="),
            (b"foo", b"Zm9v"),
            (b"foob\xff\xfe", b"Zm9vYv/+"),
        ] {
            assert_eq!(base64(bytes, STANDARD), text);
        }
        assert_eq!(base64(b"\xff\xfe\xfd", URL_SAFE), b"__79");
        for before in 0..3 {
            let core = base64_core(b"hunter2", before, STANDARD);
            let whole = base64(&[&b"xyz"[..before], b"hunter2", b"zz"].concat(), STANDARD);
            assert!(whole.windows(core.len()).any(|window| window == core));
            assert!(core.len() >= 8);
        }
    }

    #[test]
    fn forms_of_a_difficult_one() {
        let mut forms = Forms::default();
        forms.add("a b/\"é'\n".as_bytes());
        for form in [
            "a b/\"é'",
            "a b/\\\"é'",
            "a b\\/\\\"é'",
            "a b/\\\"\\u00e9'",
            "a%20b%2F%22%C3%A9%27",
            "a+b%2f%22%c3%a9%27",
            "a%20b/%22%C3%A9%27",
            "a b/\"é'\\''",
        ] {
            assert!(forms.exact.contains(form.as_bytes()), "{form}");
        }
        let mut none = Forms::default();
        none.add(b"");
        assert!(none.exact.is_empty() && none.folded.is_empty());
        none.add(b"ab");
        assert!(none.exact.contains(&b"ab"[..]) && none.folded.is_empty());
    }
}
