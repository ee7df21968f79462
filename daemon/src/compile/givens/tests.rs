use windlass_core::{Givens, Kind, Source};
use windlass_proto::api::v1::{NamedText, ParamValues};

use super::offer;

fn named(list: &[(&str, &str)]) -> Vec<NamedText> {
    let named =
        |(name, text): &(&str, &str)| NamedText { name: (*name).into(), text: (*text).into() };
    list.iter().map(named).collect()
}

fn offered(values: &ParamValues) -> (Vec<String>, String) {
    let mut givens = Givens::default();
    let mistakes = offer(&mut givens, values);
    let shown = givens.iter().map(|(name, given, source)| {
        assert!(matches!(source, Source::File | Source::Cli | Source::Env));
        format!("{name}={}", given.read(Kind::Any))
    });
    let told = mistakes.iter().map(|m| format!("{}:{}:{} {}", m.path, m.line, m.column, m.message));
    (shown.collect(), told.collect::<Vec<_>>().join("\n"))
}

fn files(list: &[(&str, &str)]) -> (Vec<String>, String) {
    offered(&ParamValues { files: named(list), ..ParamValues::default() })
}

#[test]
fn files_of_four_kinds_are_merged_in_order() {
    let (shown, told) = files(&[
        ("a.yaml", "a: 1\nm: {x: 1, y: {p: 1}}\nd: 2026-01-02\n"),
        ("b.json", "{\"b\": [1.5], \"m\": {\"y\": {\"q\": 2}}}"),
        ("c.toml", "a = 2\nd = 2026-11-28\n[m]\nx = 3\n"),
        ("conf/.env", "# c\nexport E=text # more\nF='a b'\nG=\"q\\n\\\"x\\$\"\na=5\n"),
        ("-", "z: 1\n"),
    ]);
    assert_eq!(told, "");
    assert_eq!(
        shown,
        [
            "E=\"text\"",
            "F=\"a b\"",
            "G=\"q\\n\\\"x$\"",
            "a=5",
            "b=[1.5]",
            "d=\"2026-11-28\"",
            "m={\"x\":3,\"y\":{\"p\":1,\"q\":2}}",
            "z=1",
        ]
    );
}

#[test]
fn mistakes_in_files_have_their_place() {
    for (name, text, wanted) in [
        ("a.env", "A=1\nB\n", "a.env:2:1 the line has no `=`"),
        ("a.env", "A=1\n  B='x\n", "a.env:2:5 a quote is not closed"),
        ("a.env", "A b=1\n", "a.env:1:1 `A b` is no name"),
        ("a.env", "A=1\nA=2\n", "a.env:2:1 `A` stands twice"),
        ("a.env", "A='1' 2\n", "there is text after the quote"),
        ("a.toml", "a = 1\nb = \n", "a.toml:2:"),
        ("a.json", "{\"a\": 1,}", "a.json:1:9 it is not JSON"),
        ("a.json", "[1]", "a parameter file is a mapping"),
        ("a.json", "{\"a\": 1, \"a\": 2}", "duplicate key `a`"),
        ("a.yml", "a: 1\na: 2\n", "a.yml:2:1 duplicate key `a`"),
    ] {
        let (_, told) = files(&[(name, text)]);
        assert!(told.contains(wanted), "{text:?}: {told}");
    }
}

#[test]
fn contradictions_are_refused_where_that_is_asked_for() {
    let values = |strict| ParamValues {
        cli: named(&[("a", "1"), ("a", "2"), ("b", "2.0")]),
        env: named(&[("a", "3"), ("b", "2")]),
        files: named(&[("x.yaml", "m: {p: 1}\nc: 1\n"), ("y.yaml", "m: {q: 2}\nc: 2\n")]),
        strict,
    };
    assert_eq!(offered(&values(false)).1, "");
    let told = offered(&values(true)).1;
    assert_eq!(told.lines().count(), 2, "{told}");
    assert!(
        told.contains("`a` is the number 2 by -p and the number 3 by the environment"),
        "{told}"
    );
    assert!(told.contains("`c` is the number 1 by x.yaml and the number 2 by y.yaml"), "{told}");
}
