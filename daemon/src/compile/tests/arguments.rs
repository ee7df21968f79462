//! Where the values of arguments come from.
use windlass_core::Source;
use windlass_proto::api::v1::ParamValues;

use super::{
    Files, cli, file, function, mistakes, named, plan, project, rebind, refused, shown, words,
};
use crate::compile::check;

const ORDER: &str = "version: 1
params: {b: pipe, c: pipe, d: pipe, e: pipe, f: pipe}
steps:
  make: {python: 'f:make', out: a}
  use: {python: 'f:use', out: all, with: {b: with}}
";
const CODE: &str = "def make():
    return 1
def use(a, b='sig', c='sig', d='sig', e='sig', f='sig', g='sig'):
    return [a, b, c, d, e, f, g]
";

fn everywhere() -> ParamValues {
    ParamValues {
        cli: named(&[("c", "old"), ("c", "cli"), ("b", "cli")]),
        env: named(&[("d", "env"), ("c", "env"), ("PATH", "x")]),
        files: named(&[("one.yaml", "{d: file1, e: file1}"), ("two.yaml", "{e: file2}")]),
        strict: false,
    }
}

#[test]
fn the_order_of_the_contract() {
    let plan = plan(&file("p.yaml"), &everywhere(), &project(ORDER, CODE));
    let text = |s: &str| format!("\"{s}\"");
    let wanted = [
        ("a", "0.a".to_owned(), Source::Output),
        ("b", text("with"), Source::With),
        ("c", text("cli"), Source::Cli),
        ("d", text("env"), Source::Env),
        ("e", text("file2"), Source::File),
        ("f", text("pipe"), Source::Pipeline),
        ("g", text("sig"), Source::Signature),
    ];
    assert_eq!(
        shown(&plan.steps[1].args),
        wanted.map(|(name, value, source)| (name.to_owned(), value, source))
    );
    let params: Vec<_> =
        shown(&plan.params).into_iter().map(|(name, _, source)| (name, source)).collect();
    let sources = [Source::Cli, Source::Cli, Source::Env, Source::File, Source::Pipeline];
    assert_eq!(
        params,
        ["b", "c", "d", "e", "f"].map(str::to_owned).into_iter().zip(sources).collect::<Vec<_>>()
    );
}

#[test]
fn a_rerun_keeps_what_is_not_given_anew() {
    let files = project(ORDER, CODE);
    let old = plan(&file("p.yaml"), &everywhere(), &files);
    let same = rebind(&old, &cli(&[]), &files).unwrap();
    assert_eq!(same.params, old.params);
    assert_eq!(same.steps[1].args, old.steps[1].args);
    let new = rebind(&old, &cli(&[("e", "new")]), &files).unwrap();
    assert_eq!(shown(&new.params)[3], ("e".into(), "\"new\"".into(), Source::Cli));
    assert_eq!(shown(&new.params)[2], ("d".into(), "\"env\"".into(), Source::Env));
    let told = words(&rebind(&old, &cli(&[("ee", "new")]), &files).unwrap_err());
    assert!(told.contains("ee"), "{told}");
}

#[test]
fn a_missing_argument_is_named_with_the_mend() {
    let files = project(
        "version: 1\nsteps:\n  a: {python: 'f:use'}\n",
        "def use(n_estimators, rate=0.5): ...\n",
    );
    let told = words(&refused(&file("p.yaml"), &cli(&[]), &files));
    for word in ["p.yaml:3:", "step `a`", "`n_estimators`", "-p n_estimators=…"] {
        assert!(told.contains(word), "{told}");
    }
    let told = words(&refused(&file("p.yaml"), &cli(&[("n_estimator", "3")]), &files));
    assert!(told.contains("did you mean `n_estimators`?"), "{told}");
    let told = words(&refused(&function("f:use"), &cli(&[]), &files));
    assert!(told.contains("n_estimators"), "{told}");
    assert_eq!(words(&check(&file("p.yaml"), &files)), "");
    assert!(
        mistakes("version: 1\nsteps:\n  a: {python: 'f:use', with: {rat: 1}}\n")[0]
            .help
            .contains("`rate`")
    );
}

#[test]
fn types_ranges_and_hints_are_checked() {
    let range = "version: 1\nparams:\n  n_estimators: {type: int, default: 5, max: 9}\nsteps:\n  a: {python: 'f:use'}\n";
    let files = project(
        range,
        "def use(n_estimators: int, rate: float = 1, tag: str = None, x: 'list[int]' = ()): ...\n",
    );
    for (name, value, wanted) in [
        ("n_estimators", "10", "n_estimators must be at most 9, got 10"),
        ("n_estimators", "many", "expected int, got \"many\""),
        ("rate", "fast", "rate: expected float, got \"fast\""),
        ("x", "{}", "x: expected list, got {}"),
    ] {
        let told = words(&refused(&file("p.yaml"), &cli(&[(name, value)]), &files));
        assert!(told.contains(wanted), "{told}");
    }
    let plan = plan(&file("p.yaml"), &cli(&[("rate", "3"), ("tag", "1"), ("x", "[1]")]), &files);
    let values: Vec<_> =
        shown(&plan.steps[0].args).into_iter().map(|(_, value, _)| value).collect();
    assert_eq!(values, ["5", "3", "\"1\"", "[1]"]);
    let env = ParamValues { env: named(&[("n_estimators", "many")]), ..ParamValues::default() };
    assert!(words(&refused(&file("p.yaml"), &env, &files)).contains("WINDLASS_PARAM_n_estimators"));
    let with = "version: 1\nsteps:\n  a: {python: 'f:use', with: {n_estimators: x}}\n";
    let errors = check(&file("p.yaml"), &project(with, "def use(n_estimators: int): ...\n"));
    assert_eq!(
        (errors[0].line, errors[0].message.as_str()),
        (3, "step `a`: `n_estimators`: expected int, got \"x\"")
    );
}

#[test]
fn commands_take_every_parameter() {
    let yaml = "version: 1\nparams: {b: 2, a: {type: str, default: x}, need: {type: int}}\nsteps:\n  s: {run: 'true', with: {z: [1], b: 3}}\n  t: {stub: true}\n";
    let files = project(yaml, "");
    let done = plan(&file("p.yaml"), &cli(&[("a", "7"), ("need", "1")]), &files);
    let wanted = [
        ("b", "3", Source::With),
        ("a", "\"7\"", Source::Cli),
        ("need", "1", Source::Cli),
        ("z", "[1]", Source::With),
    ];
    assert_eq!(shown(&done.steps[0].args), wanted.map(|(n, v, s)| (n.to_owned(), v.to_owned(), s)));
    assert!(done.steps[1].args.is_empty());
    let told = words(&refused(&file("p.yaml"), &cli(&[]), &files));
    assert!(told.contains("p.yaml:2:") && told.contains("parameter `need` has no value"), "{told}");
    let told = words(&refused(&file("p.yaml"), &cli(&[("need", "1"), ("other", "1")]), &files));
    assert!(told.contains("nothing takes a parameter `other`"), "{told}");
}

#[test]
fn each_parameter_without_a_value_is_told_once() {
    let yaml = "version: 1\nparams: {a: {type: int}, b: {type: int}, c: {type: int}}\nsteps:\n  \
                s: {run: 'true'}\n  t: {run: 'true'}\n  u: {python: 'f:go'}\n";
    let files = project(yaml, "def go(c): ...\n");
    let told: Vec<String> = refused(&file("p.yaml"), &cli(&[("c", "x")]), &files)
        .into_iter()
        .map(|error| error.message)
        .collect();
    let wanted =
        ["c: expected int, got \"x\"", "parameter `a` has no value", "parameter `b` has no value"];
    assert_eq!(told, wanted);
}

#[test]
fn functions_with_open_arguments() {
    let code = "def open(a, /, b, *rest, c, d=[1], e=(1, 2), **more): ...\nmade = functools.partial(open)\nclass C(B): ...\n";
    let files = Files::of(&[
        ("f.py", code),
        ("p.yaml", "version: 1\nsteps:\n  s: {python: 'f:open', with: {x: 1}}\n"),
    ]);
    let given = cli(&[("a", "1"), ("b", "2"), ("c", "3")]);
    let done = plan(&file("p.yaml"), &given, &files);
    let names: Vec<_> = shown(&done.steps[0].args).into_iter().map(|(name, ..)| name).collect();
    assert_eq!(names, ["a", "b", "c", "d", "x"]);
    let given = cli(&[("a", "1"), ("b", "2"), ("c", "3"), ("y", "4"), ("rest", "5")]);
    let done = plan(&function("f:open"), &given, &files);
    let names: Vec<_> = shown(&done.steps[0].args).into_iter().map(|(name, ..)| name).collect();
    assert_eq!(names, ["a", "b", "c", "d", "rest", "y"]);
    let given = cli(&[("a", "1"), ("b", "2"), ("c", "3")]);
    for target in ["f:made", "f:C", "f:C.method"] {
        let done = plan(&function(target), &given, &files);
        assert_eq!(done.steps[0].args.len(), 3, "{target}");
    }
}

#[test]
fn parameter_files_are_checked_as_files_are() {
    let files = project(ORDER, CODE);
    let of =
        |text: &str| ParamValues { files: named(&[("big.yaml", text)]), ..ParamValues::default() };
    for (text, wanted) in [
        ("b: 1\n\tc: 2\n", "tab"),
        ("- 1\n", "big.yaml:1:1 a parameter file is a mapping"),
        ("b: 1\nb: 2\n", "big.yaml:2:1 duplicate key `b`"),
        ("zzz: 1\n", "nothing takes a parameter `zzz`"),
        ("b: 1\n", "expected str, got 1"),
    ] {
        let told = words(&refused(&file("p.yaml"), &of(text), &files));
        assert!(told.contains(wanted), "{told}");
    }
    plan(&file("p.yaml"), &of("{\"b\": \"json\"}"), &files);
    plan(&file("p.yaml"), &of(""), &files);
}
