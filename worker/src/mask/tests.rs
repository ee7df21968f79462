use proptest::prelude::*;

use super::*;

fn masks(secrets: &[&[u8]]) -> Arc<Masks> {
    Masks::of(secrets).unwrap().unwrap()
}

/// Masks `bytes` in the pieces that `cuts` make.
fn in_pieces(masks: &Arc<Masks>, bytes: &[u8], cuts: &[usize]) -> Vec<u8> {
    let mut masker = Masker::new(Arc::clone(masks));
    let mut out = Vec::new();
    let mut from = 0;
    for &cut in cuts {
        let cut = cut.clamp(from, bytes.len());
        masker.push(&bytes[from..cut], &mut out);
        from = cut;
    }
    masker.push(&bytes[from..], &mut out);
    masker.finish(&mut out);
    out
}

#[test]
fn every_spelling_is_masked() {
    let masks = masks(&[b"s3cr3t-value/012 \"x\"", b"postgres-password-1", "p\u{e4}ss".as_bytes()]);
    for (text, wanted) in [
        ("a s3cr3t-value/012 \"x\" b", "a *** b"),
        ("key=s3cr3t-value%2F012%20%22x%22&", "key=***&"),
        ("key=s3cr3t-value%2f012+%22x%22&", "key=***&"),
        ("{\"k\": \"s3cr3t-value/012 \\\"x\\\"\"}", "{\"k\": \"***\"}"),
        ("postgres-password-1postgres-password-1", "******"),
        ("cG9zdGdyZXMtcGFzc3dvcmQtMQ==", "***"),
        ("cG9zdGdyZXMtcGFz\nc3dvcmQtMQ==\n", "***\n"),
        ("cG9zdGdyZXMtcGFzc3dvcmQtMQo=", "***"),
        ("\"p\\u00e4ss\" p%C3%A4ss p\u{e4}ss", "\"***\" *** ***"),
        ("nothing to see\n", "nothing to see\n"),
        ("postgres-password-", "postgres-password-"),
    ] {
        assert_eq!(masks.text(text), wanted, "{text}");
    }
    // Behind other bytes, in every alignment, and before others.
    for before in ["", "u", "us", "use"] {
        let text = format!("{before}postgres-password-1:more");
        let encoded = base64_of(text.as_bytes());
        let shown = masks.text(&encoded);
        let leak = &base64_of(b"postgres-password-1")[4..16];
        assert!(shown.contains("***") && !shown.contains(leak), "{shown}");
    }
}

fn base64_of(bytes: &[u8]) -> String {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bits: Vec<u8> =
        bytes.iter().flat_map(|byte| (0..8).rev().map(move |i| byte >> i & 1)).collect();
    let six = |bits: &[u8]| (0..6).fold(0, |n, i| n << 1 | bits.get(i).copied().unwrap_or(0));
    bits.chunks(6).map(|bits| char::from(alphabet[usize::from(six(bits))])).collect()
}

#[test]
fn lines_of_a_key_are_masked_alone_and_with_other_breaks() {
    let masks = masks(&[b"-----BEGIN KEY-----\nAAAABBBBCCCC\nDDDDEEEE\n-----END KEY-----\n"]);

    assert_eq!(masks.text("x AAAABBBBCCCC y"), "x *** y");
    let windows = "-----BEGIN KEY-----\r\nAAAABBBBCCCC\r\nDDDDEEEE\r\n-----END KEY-----\r\n";
    assert_eq!(masks.text(windows), "***\r\n");
}

#[test]
fn overlapping_secrets_leave_nothing() {
    let masks = masks(&[b"abcd", b"cdef", b"b"]);

    assert_eq!(masks.text("abcdef abc b"), "*** a***c ***");
    for cut in 0..9 {
        assert_eq!(in_pieces(&masks, b"xabcdefx", &[cut]), b"x***x");
    }
}

#[test]
fn only_what_may_be_a_secret_is_held_back() {
    let masks = masks(&[b"hunter2"]);
    let mut masker = Masker::new(masks);
    let mut out = Vec::new();

    masker.push(b"a line\nhun", &mut out);
    assert_eq!(out, b"a line\n");
    masker.push(b"gry\n", &mut out);
    assert_eq!(out, b"a line\nhungry\n");
    masker.push(b"hunter", &mut out);
    assert_eq!(out.len(), 14);
    masker.push(b"2\n", &mut out);
    assert_eq!(out, b"a line\nhungry\n***\n");
    masker.push(b"hunt", &mut out);
    masker.finish(&mut out);
    assert_eq!(out, b"a line\nhungry\n***\nhunt");
}

#[test]
fn json_stays_json() {
    let masks = masks(&[b"1234", b"n", b"true"]);
    for (json, wanted) in [
        ("{\"a\": 12345, \"b\": \"x\"}", "{\"a\":\"***\",\"b\":\"x\"}"),
        ("[true, 1]", "[\"***\",1]"),
        ("\"a 1234\"", "\"a ***\""),
        ("\"a\\nb\"", "\"a\\nb\""),
        ("[0.10, 1e400]", "[0.10, 1e400]"),
    ] {
        assert_eq!(masks.json(json), wanted);
    }
}

#[test]
fn nothing_to_mask_is_none() {
    assert!(Masks::of::<&[u8]>(&[]).unwrap().is_none());
    assert!(Masks::of(&[b""]).unwrap().is_none());
}

proptest! {
    #[test]
    fn cuts_change_nothing(
        secrets in prop::collection::vec("[ab]{1,4}", 1..4),
        text in "[abc ]{0,40}",
        cuts in prop::collection::vec(0usize..40, 0..8),
    ) {
        let secrets: Vec<&[u8]> = secrets.iter().map(String::as_bytes).collect();
        let masks = masks(&secrets);
        let mut cuts = cuts;
        cuts.sort_unstable();

        let whole = masks.bytes(text.as_bytes());

        prop_assert_eq!(&in_pieces(&masks, text.as_bytes(), &cuts), &whole);
        // Nothing is left, and what is left was there.
        for secret in secrets {
            let found = whole.windows(secret.len()).any(|window| window == secret);
            prop_assert!(!found, "{:?}", String::from_utf8_lossy(&whole));
        }
    }

    #[test]
    fn no_cut_lets_a_secret_through(
        secret in "[!-~]{8,40}",
        before in "[a-z \n]{0,10}",
        width in 1usize..80,
        cuts in prop::collection::vec(0usize..300, 0..6),
        form in 0u8..3,
    ) {
        let masks = masks(&[secret.as_bytes()]);
        let mut cuts = cuts;
        cuts.sort_unstable();
        let written = match form {
            0 => secret.clone(),
            1 => serde_json::Value::from(secret.as_str()).to_string(),
            _ => {
                let encoded = base64_of(secret.as_bytes());
                let lines: Vec<&str> = encoded
                    .as_bytes()
                    .chunks(width.max(3))
                    .map(|line| std::str::from_utf8(line).unwrap())
                    .collect();
                lines.join("\n")
            }
        };
        let text = format!("{before}{written}\nmore");

        let shown = in_pieces(&masks, text.as_bytes(), &cuts);

        let shown = String::from_utf8(shown).unwrap();
        let inner = &written[1..written.len() - 2];
        prop_assert!(shown.contains("***"), "{shown}");
        prop_assert!(!shown.contains(inner), "{shown}");
    }
}
