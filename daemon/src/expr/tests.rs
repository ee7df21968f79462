use std::time::Instant;

use serde_json::{Map, Value, json};

use super::{Expression, Root, Scope, StepScope, Template, as_bool, as_list};

fn map(value: Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap()
}

fn scope() -> Scope {
    let mut scope =
        Scope::of_params(map(json!({"goal": 3, "go": false, "xs": [1, 2.5, 3], "s": "ab"})));
    scope.outputs = json!({"n": 3, "deep": {"k": [10, 20]}});
    scope.metrics = json!({"accuracy": 1});
    scope.add_step(
        "fit",
        StepScope {
            state: "succeeded".into(),
            outputs: map(json!({"loss": 0.5})),
            metrics: map(json!({"f1": 0.9})),
        },
    );
    scope.unreadable.insert("outputs.model".into(), "is kept as pickle".into());
    scope
}

fn value(text: &str) -> Value {
    let expression = Expression::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    expression.evaluate(&scope()).unwrap_or_else(|error| panic!("{error}"))
}

fn wrong(text: &str) -> String {
    Expression::parse(text).unwrap().evaluate(&scope()).unwrap_err().to_string()
}

#[test]
fn values() {
    for (text, wanted) in [
        ("outputs.n >= params.goal", json!(true)),
        ("metrics.accuracy > 0.9", json!(true)),
        ("1 == 1.0 && [1] == [1.0]", json!(true)),
        ("1 + 1", json!(2)),
        ("7 / 2", json!(3)),
        ("7 / 2.0", json!(3.5)),
        ("-params.goal % 2", json!(-1)),
        ("'a' + \"b\"", json!("ab")),
        ("[1] + [2]", json!([1, 2])),
        ("{'a': [1]}.a[0]", json!(1)),
        ("outputs.deep.k[1]", json!(20)),
        ("outputs['deep'][\"k\"][0]", json!(10)),
        ("steps.fit.state == 'succeeded' && steps.fit.outputs.loss < 1", json!(true)),
        ("params.go ? 1 : 2", json!(2)),
        ("2 in params.xs && 'n' in outputs", json!(false)),
        ("2.5 in params.xs && 'n' in outputs", json!(true)),
        ("has(outputs.n) && !has(outputs.m)", json!(true)),
        ("params.xs.map(x, x * 2)", json!([2, 5.0, 6])),
        ("params.xs.filter(x, x > 2)", json!([2.5, 3])),
        ("params.xs.map(x, x > 1, x)", json!([2.5, 3])),
        ("params.xs.all(x, x > 0) && params.xs.exists(x, x == 3)", json!(true)),
        ("params.xs.exists_one(x, x > 2.7)", json!(true)),
        ("[[1, 2], [3]].map(l, l.map(x, x + size(l)))", json!([[3, 4], [4]])),
        ("outputs.map(k, k)", json!(["n", "deep"])),
        ("size('äö') + size(params.xs) + size(outputs) + 'a'.size()", json!(8)),
        ("string(1.5) + string(true)", json!("1.5true")),
        ("int('7') + int(2.9)", json!(9)),
        ("double('1e3')", json!(1000.0)),
        (
            "'train_1'.matches('^train_[0-9]$') && 'abc'.contains('b') && 'abc'.startsWith('a')",
            json!(true),
        ),
        ("metrics.nothing > 1 || true", json!(true)),
        ("metrics.nothing > 1 && false", json!(false)),
        ("null == null", json!(true)),
        ("'a' == 1", json!(false)),
        ("true && params.goal == 3", json!(true)),
        ("18446744073709551615u > 1", json!(true)),
    ] {
        assert_eq!(value(text), wanted, "{text}");
    }
}

#[test]
fn errors_name_the_expression_the_column_and_what_was_there() {
    for (text, wanted) in [
        ("1 + outputs.m", "`1 + outputs.m`, column 5: no output `m` among `n`, `deep`"),
        ("outputs.n.x", "column 1: there is no `x`: `outputs.n` is the number 3"),
        ("outputs.model.x", "column 1: `outputs.model` is kept as pickle; only JSON can be read"),
        ("metrics.loss > 1", "no metric `loss` among `accuracy`"),
        ("steps.fit.outputs.x", "no output `x` of step `fit` among `loss`"),
        ("steps.fi.state", "no finished step `fi` among `fit`"),
        ("params.xs > 1", "`>` does not work on a list of 3 items and the number 1"),
        ("true && params.s", "column 9: must be true or false, and is the text \"ab\""),
        ("params.xs[3]", "no item 3: it is a list of 3 items"),
        ("params.xs[0.5]", "no item 0.5"),
        ("params.s[0]", "the text \"ab\" has no item for the number 0"),
        ("1 / 0", "is divided by zero"),
        ("9223372036854775807 + 1", "the number is too large"),
        ("params.s.map(x, x)", "only a list or a mapping has items, and this is the text \"ab\""),
        ("int('x')", "`int` wants a number"),
        ("'a'.matches('(')", "is no regular expression"),
        ("{1: 2}", "a key of a mapping is text"),
        ("'ä' + 'ö' + outputs.m", "column 13: no output `m`"),
        ("has(params.s.x)", "`has` asks a mapping"),
    ] {
        let told = wrong(text);
        assert!(told.contains(wanted), "{text}: {told}");
    }
    let list = Expression::parse("params.s").unwrap();
    let value = list.evaluate(&scope()).unwrap();
    assert!(
        as_list(&list, value.clone())
            .unwrap_err()
            .to_string()
            .contains("must be a list, and is the text \"ab\"")
    );
    assert!(as_bool(&list, &value).unwrap_err().to_string().contains("must be true or false"));
}

#[test]
fn what_is_no_expression() {
    for (text, column, says) in [
        ("", 1, "empty"),
        ("1 +", 4, ""),
        ("params.x >", 11, ""),
        ("a b", 3, ""),
        ("(1", 3, ""),
        ("'open", 1, ""),
        ("sze(params.x)", 1, "no function `sze`"),
        ("1 > 2 || params.x.contans('a')", 10, "no method `contans`"),
        ("size(1, 2)", 1, "not called like this"),
        ("b'x'", 1, "bytes"),
        ("Message{a: 1}", 1, "messages"),
        ("[1].map(x, 1, 2, 3)", 1, "not called like this"),
        ("[[[[1]]]].map(a, a.map(b, b.map(c, c.map(d, d))))", 1, "inside each other"),
    ] {
        let bad = Expression::parse(text).expect_err(text);
        assert!(bad.message.contains(says) && !bad.message.is_empty(), "{text}: {bad}");
        if text != "[[[[1]]]].map(a, a.map(b, b.map(c, c.map(d, d))))" && text != "Message{a: 1}" {
            assert_eq!(bad.column, column, "{text}: {bad}");
        }
    }
    assert_eq!(Expression::parse("sze(1)").unwrap_err().help, "did you mean `size`?");
    assert!(Expression::parse(&"x".repeat(5_000)).is_err());
}

#[test]
fn deep_and_odd_texts_are_refused_in_no_time() {
    let start = Instant::now();
    for (open, close) in [
        ("(", ")"),
        ("[", "]"),
        ("{'a':", "}"),
        ("!", ""),
        ("-", ""),
        ("a.", "b"),
        ("a?", ":b"),
        ("f(", ")"),
    ] {
        for times in [30, 300, 1_000] {
            let text = format!("{}1{}", open.repeat(times), close.repeat(times));
            drop(Expression::parse(&text));
        }
    }
    for odd in [
        "\0", "${{", "}}", "`a`", "\"\\u\"", "𝄞", "a.?b", "[?a]", "1..2", "@result", "a[", "//",
        "'\\",
    ] {
        drop(Expression::parse(odd));
    }
    drop(Expression::parse(&"1 + ".repeat(1_000)));
    drop(
        Expression::parse(&format!("{}1", "1 + ".repeat(1_000)))
            .map(|e| e.evaluate(&Scope::default())),
    );
    assert!(start.elapsed().as_secs() < 60, "{:?}", start.elapsed());
}

#[test]
fn what_costs_too_much_ends_soon() {
    let mut scope = Scope::of_params(map(
        json!({"xs": (0..1_000).collect::<Vec<_>>(), "s": "x".repeat(1 << 20)}),
    ));
    scope.outputs = json!({});
    for text in [
        "params.xs.map(a, params.xs.map(b, params.xs.map(c, a * b * c)))",
        "params.xs.exists(a, params.xs.exists(b, params.xs.exists(c, a + b + c < 0)))",
        "params.xs.map(a, params.s + params.s)",
        "params.xs.map(a, params.xs + params.xs)",
        "params.xs.map(a, params.xs.map(b, params.xs == params.xs))",
        "params.xs.map(a, params.xs.map(b, params.s.matches('(x+x+)+y')))",
        "params.xs.map(a, params.xs.map(b, params.xs.map(c, 1))) == [] || true",
    ] {
        let start = Instant::now();
        let told = Expression::parse(text).unwrap().evaluate(&scope).unwrap_err();
        assert!(told.to_string().contains("the expression"), "{told}");
        assert!(start.elapsed().as_secs() < 30, "{text}: {:?}", start.elapsed());
    }
    let linear = Expression::parse("params.xs.map(a, a + 1)").unwrap();
    assert_eq!(as_list(&linear, linear.evaluate(&scope).unwrap()).unwrap().len(), 1_000);
}

#[test]
fn references_are_found_with_their_columns() {
    let text = "metrcs.x > 1 || params.xs.exists(params2, params2 > outputs['n'].deep) || has(steps.a.outputs.b) || params[outputs.k] == 1";
    let found = Expression::parse(text).unwrap().references();
    let shown: Vec<_> =
        found.iter().map(|r| (r.root.clone(), r.path.join("."), r.column, r.tested)).collect();
    let at = |part: &str| u32::try_from(text.find(part).unwrap() + 1).unwrap();
    assert_eq!(
        shown,
        [
            (Root::Unknown("metrcs".into()), "x".into(), 1, false),
            (Root::Params, "xs".into(), at("params.xs"), false),
            (Root::Outputs, "n.deep".into(), at("outputs['n']"), false),
            (Root::Steps, "a.outputs.b".into(), at("steps.a"), true),
            (Root::Params, String::new(), at("params[outputs"), false),
            (Root::Outputs, "k".into(), at("outputs.k"), false),
        ]
    );
}

#[test]
fn templates() {
    let of = |value: Value| Template::parse(value).unwrap().evaluate(&scope()).unwrap();
    assert_eq!(of(json!("${{ params.xs }}")), json!([1, 2.5, 3]));
    assert_eq!(of(json!("n is ${{ outputs.n }}, s is ${{params.s}}!")), json!("n is 3, s is ab!"));
    assert_eq!(of(json!({"a": ["${{ outputs.n }}", "x"], "b": 1})), json!({"a": [3, "x"], "b": 1}));
    assert_eq!(of(json!("${{ {'a': {'b': '}}'}} }}")), json!({"a": {"b": "}}"}}));
    assert_eq!(of(json!("${{ outputs.n }} ${{ outputs.n }}")), json!("3 3"));
    assert_eq!(of(json!([1, "$x", "{{ y }}"])), json!([1, "$x", "{{ y }}"]));
    assert_eq!(
        Template::parse(json!(["a ${{ outputs.n"])).unwrap_err().to_string(),
        "column 3: `${{` is not closed"
    );
    assert_eq!(Template::only(" ${{ a > 1 }} "), Ok("a > 1"));
    assert_eq!(Template::only("a > 1"), Ok("a > 1"));
    assert!(Template::only("${{ a }} b").is_err());
    assert_eq!(
        Template::parse(json!({"a": "${{ outputs.n }}", "b": "${{ params.s }}-"}))
            .unwrap()
            .expressions()
            .len(),
        2
    );
}
