//! Mocks, patches and secrets.
use std::{cell::RefCell, collections::HashMap};

use windlass_proto::{
    api::v1::{ParamValues, PipelineError, Substitutes},
    common::v1::{Plan, bound_arg::Value},
};

use super::{Files, cli, file, named, words};
use crate::compile::{BlobWriter, Compiled, Offer, compile, describe, rebind};

#[derive(Default)]
struct Kept(RefCell<Vec<String>>);

impl BlobWriter for Kept {
    fn write(&self, bytes: &[u8]) -> Result<String, String> {
        self.0.borrow_mut().push(String::from_utf8_lossy(bytes).into_owned());
        Ok(blake3::hash(bytes).to_hex().to_string())
    }
}

const CODE: &str = "def never(): ...\ndef add(a=1, b=2): ...\ndef other(a=1, c=9): ...\n";
const YAML: &str = "version: 1\nsteps:\n  never: {python: 'f:never', out: a}\n  add: {python: 'f:add', out: c}\n  sh: {run: 'true'}\n";

fn with(substitutes: &Substitutes, kept: &Kept) -> Result<Plan, Vec<PipelineError>> {
    let files = Files::of(&[("p.yaml", YAML), ("f.py", CODE)]);
    let (values, secrets) = (cli(&[]), HashMap::new());
    let offer = Offer { values: &values, substitutes, secrets: Some(&secrets), blobs: Some(kept) };
    compile(&file("p.yaml"), &offer, &files).map(|compiled| compiled.plan)
}

fn mocks(text: &str) -> Substitutes {
    Substitutes { mocks: named(&[("m.yaml", text)]), ..Substitutes::default() }
}

#[test]
fn mocks_give_outputs_and_failures() {
    let kept = Kept::default();
    let done = with(&mocks("never: {outputs: {a: 40}}\nadd: {fail: no luck, sleep: 2s}\nsh: {outputs: {any: [1]}}\n"), &kept).unwrap();
    let mock = |i: usize| done.steps[i].mock.clone().unwrap();
    assert_eq!(
        (mock(0).outputs[0].name.as_str(), mock(0).outputs[0].codec.as_str()),
        ("a", "json")
    );
    assert_eq!((mock(1).fail.as_deref(), mock(1).sleep.unwrap().seconds), (Some("no luck"), 2));
    assert_eq!(*kept.0.borrow(), ["40", "[1]"]);
    let all = Substitutes { mock_all: true, ..mocks("sh: {sleep: 1s}") };
    let done = with(&all, &kept).unwrap();
    assert!(done.steps.iter().all(|step| step.mock.is_some()));
    let files = Files::of(&[("p.yaml", YAML), ("f.py", CODE)]);
    let (values, none, secrets) = (cli(&[]), Substitutes::default(), HashMap::new());
    let offer = Offer { values: &values, substitutes: &none, secrets: Some(&secrets), blobs: None };
    assert_eq!(rebind(&done, &offer, &files).unwrap().plan.steps, done.steps);
}

#[test]
fn mistakes_in_mocks_have_their_place() {
    for (text, wanted) in [
        ("{nevr: {outputs: {a: 40}}}", "m.yaml:1:2 no step `nevr` to mock (did you mean `never`?)"),
        ("never:\n  outputs: {b: 1}\n", "m.yaml:1:1 step `never` has no output `b`"),
        ("never: {outputs: 3}", "`outputs` is a mapping of names to values, got 3"),
        ("never: {ouputs: {}}", "did you mean `outputs`?"),
        ("never: {sleep: soon}", "a time like 500ms or 2s"),
        ("never: {fail: ''}", "a message of"),
        ("never: {fail: x, outputs: {a: 1}}", "not both"),
        ("never: 1", "a mock is a mapping"),
        ("- never", "a file of mocks is a mapping"),
        ("never: {", "m.yaml:1:"),
    ] {
        let told = words(&with(&mocks(text), &Kept::default()).unwrap_err());
        assert!(told.contains(wanted), "{text}: {told}");
    }
}

#[test]
fn a_patch_calls_another_function() {
    let patch = |step: &str, target: &str| Substitutes {
        patches: [(step.to_owned(), target.to_owned())].into(),
        ..Substitutes::default()
    };
    let done = with(&patch("add", "f:other"), &Kept::default()).unwrap();
    assert_eq!(done.steps[1].patched, "f:other");
    let names: Vec<&str> = done.steps[1].args.iter().map(|arg| arg.name.as_str()).collect();
    assert_eq!(names, ["a", "c"]);
    for (step, target, wanted) in [
        ("ad", "f:other", "no step `ad` to patch (did you mean `add`?)"),
        ("add", "f:othr", "no function `othr`"),
        ("add", "other", "does not name a function"),
        ("sh", "f:other", "calls no function"),
    ] {
        let told = words(&with(&patch(step, target), &Kept::default()).unwrap_err());
        assert!(told.contains(wanted) && told.contains("--patch"), "{told}");
    }
}

const SECRETS: &str = "version: 1
params: {key: {type: secret, pattern: '[a-z0-9]+'}}
secrets: [API_KEY, {name: DB, from: {dotenv: .env}}]
steps:
  a: {run: 'true', secrets: [API_KEY, DB]}
  b: {python: 'f:use', with: {n: '${{ params.key }}'}}
";

fn secret(
    yaml: &str,
    values: &ParamValues,
    given: Option<&[(&str, &str)]>,
) -> Result<Compiled, Vec<PipelineError>> {
    let files = Files::of(&[("p.yaml", yaml), ("f.py", "def use(n, key=''): ...\n")]);
    let substitutes = Substitutes::default();
    let map = |list: &[(&str, &str)]| {
        list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned().into())).collect()
    };
    let secrets = given.map(map);
    let offer = Offer { values, substitutes: &substitutes, secrets: secrets.as_ref(), blobs: None };
    compile(&file("p.yaml"), &offer, &files)
}

#[test]
fn secrets_are_in_no_plan() {
    let given = [("API_KEY", "s3cr3t"), ("DB", "hidden")];
    let done = secret(SECRETS, &cli(&[("key", "k3y")]), Some(&given)).unwrap();
    let text = format!("{:?}", done.plan);
    assert!(["s3cr3t", "hidden", "k3y"].iter().all(|value| !text.contains(value)), "{text}");
    let mut names: Vec<_> = done.secrets.keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["API_KEY", "DB", "key"]);
    let args = &done.plan.steps[1].args;
    assert!(args.iter().all(|arg| arg.value == Some(Value::Secret("key".into()))), "{args:?}");
    let also = [("API_KEY", "s3cr3t"), ("DB", "hidden"), ("key", "k3y")];
    assert_eq!(secret(SECRETS, &cli(&[]), Some(&also)).unwrap().secrets["key"], "k3y");
    assert!(secret(SECRETS, &cli(&[("key", "x")]), None).is_ok());
}

#[test]
fn secrets_that_are_missing_or_unknown_are_refused() {
    let key = cli(&[("key", "k3y")]);
    let told = words(&secret(SECRETS, &key, Some(&[])).unwrap_err());
    for word in ["secret `API_KEY` has no value", "no variable API_KEY", "secret `DB`", "`.env`"] {
        assert!(told.contains(word), "{told}");
    }
    let more = [("API_KEY", "a"), ("DB", "b"), ("API_KEZ", "c")];
    let told = words(&secret(SECRETS, &key, Some(&more)).unwrap_err());
    assert!(told.contains("no secret `API_KEZ`") && told.contains("`API_KEY`"), "{told}");
    let told = words(&secret(SECRETS, &cli(&[("key", "UPPER")]), Some(&[])).unwrap_err());
    assert!(told.contains("must match") && !told.contains("UPPER"), "{told}");
    for (from, to, wanted) in [
        ("secrets: [API_KEY, DB]", "secrets: [API_KY]", "did you mean `API_KEY`?"),
        ("[API_KEY, {", "[key, {", "`key` is a parameter as well"),
        ("[API_KEY, {", "[DB, {", "two secrets are named `DB`"),
        ("[API_KEY, {", "[1A, {", "no name for a secret"),
        ("{dotenv: .env}", "{dotenv: .env, file: x}", "by one key"),
        ("{dotenv: .env}", "{dotenv: ../.env}", "`..`"),
        ("'${{ params.key }}'", "'a${{ params.key }}'", "a secret is handed on as it is"),
    ] {
        let yaml = SECRETS.replace(from, to);
        let told = words(&secret(&yaml, &key, None).unwrap_err());
        assert!(told.contains(wanted), "{told}");
    }
}

#[test]
fn a_pipeline_tells_what_it_asks_for() {
    let inner = "version: 1\nsecrets: [INNER]\nsteps: {a: {stub: true}}\n";
    let outer = format!("{SECRETS}  c: {{pipeline: inner.yaml}}\n");
    let code = "def use(n: int, key='k', *, deep=x): ...\n";
    let files = Files::of(&[("p.yaml", &outer), ("inner.yaml", inner), ("f.py", code)]);
    let told = describe(&file("p.yaml"), &files).unwrap();
    let names: Vec<&str> = told.secrets.iter().map(|secret| secret.name.as_str()).collect();
    assert_eq!(names, ["API_KEY", "DB", "INNER"]);
    assert_eq!((told.params.len(), told.params[0].r#type.as_str()), (1, "secret"));
    let told = describe(&super::function("f:use"), &files).unwrap();
    let shown: Vec<_> = told
        .params
        .iter()
        .map(|p| (p.name.as_str(), p.r#type.as_str(), p.default_json.as_deref()))
        .collect();
    assert_eq!(shown, [("n", "int", None), ("key", "", Some("\"k\"")), ("deep", "", None)]);
}
