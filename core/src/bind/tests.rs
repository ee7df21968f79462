use std::collections::HashMap;

use super::{Bound, Fallback, Given, Givens, Hint, Json, Kind, Param, Slot, Source, Unbound, bind};

fn param(name: &str, kind: Kind, default: &str) -> Param {
    let default = Json::parse(default);
    Param { name: name.into(), kind, default, min: None, max: None, choices: vec![] }
}

fn given(list: &[(&str, &str)]) -> Givens {
    let mut givens = Givens::default();
    for (name, text) in list {
        givens.offer(name, Given::Text((*text).into()), Source::Cli);
    }
    givens
}

fn slot(name: &'static str) -> Slot<'static> {
    Slot {
        name,
        hint: Hint::default(),
        fallback: &Fallback::Required,
        with: None,
        fed: false,
        dotted: None,
    }
}

#[test]
fn the_first_source_that_has_a_value_wins() {
    let json = |text| Json::parse(text).unwrap();
    let literal = Fallback::Literal(json("7"));
    let full = Slot {
        fallback: &literal,
        with: Some(json("1")),
        fed: true,
        dotted: Some("f.x".into()),
        ..slot("x")
    };
    let both = given(&[("f.x", "3"), ("x", "4")]);
    let params = HashMap::from([("x".to_owned(), Some((json("6"), Source::Pipeline)))]);
    let none = HashMap::new();
    let value = |slot: &Slot<'_>, params, givens: &Givens| bind(slot, params, givens).unwrap();

    assert_eq!(value(&full, &params, &both), Bound::Json(json("1"), Source::With));
    let fed = Slot { with: None, ..full };
    assert_eq!(value(&fed, &params, &both), Bound::Output);
    let open = Slot { fed: false, ..fed };
    assert_eq!(value(&open, &params, &both), Bound::Json(json("3"), Source::Cli));
    let plain = Slot { dotted: None, ..open };
    assert_eq!(value(&plain, &none, &both), Bound::Json(json("4"), Source::Cli));
    assert_eq!(value(&plain, &params, &given(&[])), Bound::Json(json("6"), Source::Pipeline));
    assert_eq!(value(&plain, &none, &given(&[])), Bound::Json(json("7"), Source::Signature));
    let undeclared = HashMap::from([("x".to_owned(), None)]);
    assert_eq!(value(&plain, &undeclared, &given(&[])), Bound::Json(json("7"), Source::Signature));
    let in_code = Slot { fallback: &Fallback::InCode, ..plain };
    assert_eq!(value(&in_code, &none, &given(&[])), Bound::InCode);
    assert_eq!(bind(&slot("x"), &none, &given(&[])), Err(Unbound::Missing));
}

#[test]
fn the_first_offer_of_a_name_stands() {
    let mut givens = given(&[("x", "cli")]);
    givens.offer("x", Given::Text("env".into()), Source::Env);
    assert_eq!(givens.get("x"), Some((&Given::Text("cli".into()), Source::Cli)));
}

#[test]
fn values_are_json_else_text_and_text_stays_text_where_it_is_wanted() {
    let read = |text: &str, kind| Given::Text(text.into()).read(kind).text().to_owned();
    for (text, kind, wanted) in [
        ("1", Kind::Any, "1"),
        ("1.10", Kind::Float, "1.10"),
        ("123456789012345678901234567890", Kind::Int, "123456789012345678901234567890"),
        ("[1, 2]", Kind::Any, "[1, 2]"),
        ("plain text", Kind::Any, "\"plain text\""),
        ("NaN", Kind::Any, "\"NaN\""),
        ("1", Kind::Str, "\"1\""),
        ("true", Kind::Str, "\"true\""),
        ("null", Kind::Str, "\"null\""),
        ("\"1\"", Kind::Str, "\"1\""),
        ("", Kind::Any, "\"\""),
    ] {
        assert_eq!(read(text, kind), wanted, "{text} {kind:?}");
    }
    let hint = Hint { kind: Kind::Str, optional: true };
    assert_eq!(Given::Text("null".into()).read_for(hint), Json::null());
}

#[test]
fn misfits_say_what_was_wanted() {
    let refused = |param: &Param, text: &str| {
        let (source, misfit) = param.resolve(&given(&[("n", text)])).unwrap_err();
        assert_eq!(source, Source::Cli);
        misfit.to_string()
    };
    let n = Param { min: Some(0.5), max: Some(9.0), ..param("n", Kind::Int, "5") };
    assert_eq!(refused(&n, "10"), "must be at most 9, got 10");
    assert_eq!(refused(&n, "0"), "must be at least 0.5, got 0");
    assert_eq!(refused(&n, "many"), "expected int, got \"many\"");
    assert_eq!(refused(&n, "1.5"), "expected int, got 1.5");
    assert_eq!(refused(&n, "true"), "expected int, got true");
    assert_eq!(refused(&n, "null"), "expected int, got null");
    let choices = vec![Json::from("a"), Json::parse("1").unwrap()];
    let pick = Param { choices, ..param("n", Kind::Any, "") };
    assert_eq!(refused(&pick, "b"), "must be one of \"a\", 1, got \"b\"");
    assert!(pick.resolve(&given(&[("n", "1.0")])).is_ok());
    let float = param("n", Kind::Float, "");
    assert!(float.resolve(&given(&[("n", "3")])).is_ok());
    assert_eq!(float.resolve(&given(&[])), Ok(None));
}

#[test]
fn one_key_of_a_map_can_be_given() {
    let model = param("model", Kind::Map, r#"{"depth": 2, "deep": {"a": 1}}"#);
    let givens = given(&[("model.depth", "3"), ("model.deep.b", "x"), ("modelling", "1")]);
    let (value, source) = model.resolve(&givens).unwrap().unwrap();
    assert_eq!(value.text(), r#"{"depth":3,"deep":{"a":1,"b":"x"}}"#);
    assert_eq!(source, Source::Cli);
}

#[test]
fn hints_check_every_source() {
    let hinted = Slot { hint: Hint { kind: Kind::Int, optional: false }, ..slot("n") };
    let refused = bind(&hinted, &HashMap::new(), &given(&[("n", "many")])).unwrap_err();
    assert_eq!(refused.to_string(), "expected int, got \"many\"");
    let with = Slot { with: Json::parse("1.5"), ..hinted };
    assert!(bind(&with, &HashMap::new(), &given(&[])).is_err());
}

#[test]
fn kinds_follow_from_defaults() {
    for (text, kind) in [
        ("1", Kind::Int),
        ("1.0", Kind::Float),
        ("1e3", Kind::Float),
        ("\"a\"", Kind::Str),
        ("true", Kind::Bool),
        ("[]", Kind::List),
        ("{}", Kind::Map),
        ("null", Kind::Any),
    ] {
        assert_eq!(Kind::of(&Json::parse(text).unwrap()), kind, "{text}");
        assert_eq!(Kind::from_word(kind.word()), Some(kind));
    }
    assert_eq!(Kind::from_word("integer"), None);
}
