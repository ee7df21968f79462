//! Pipelines within pipelines.
use windlass_core::Source;
use windlass_proto::common::v1::{BoundArg, bound_arg::Value};

use super::{Files, cli, file, plan, refused, words};
use crate::compile::check;

const INNER: &str = "version: 1
params: {x: 1, tag: {type: str, default: none, choices: [none, good]}}
steps:
  square: {python: 'f:square', out: y}
  tell: {run: 'true'}
";
const OUTER: &str = "version: 1
params: {k: 2}
steps:
  one: {pipeline: inner.yaml, with: {x: '${{ params.k + 3 }}'}, out: {first: '${{ steps.square.outputs.y }}'}}
  all: {pipeline: ./inner.yaml, foreach: [2, 3], as: x, out: {squares: '${{ steps.square.outputs.y }}'}}
  total: {python: 'f:total', out: sum}
";
const CODE: &str = "def square(x): ...\ndef total(squares, first): ...\ndef inner(x, y): ...\n";

fn files(outer: &str, inner: &str) -> Files {
    Files::of(&[("p.yaml", outer), ("inner.yaml", inner), ("f.py", CODE)])
}

fn arg(args: &[BoundArg], name: &str) -> (Value, Source) {
    let arg = args.iter().find(|arg| arg.name == name).unwrap();
    (arg.value.clone().unwrap(), Source::from_code(arg.source).unwrap())
}

#[test]
fn inner_steps_come_in_one_piece_after_the_outer_ones() {
    let done = plan(&file("p.yaml"), &cli(&[("tag", "good")]), &files(OUTER, INNER));
    let paths: Vec<&str> = done.steps.iter().map(|step| step.path.as_str()).collect();
    assert_eq!(paths, ["one", "all", "total", "one/square", "one/tell", "all/square", "all/tell"]);
    let inner: Vec<_> =
        done.steps.iter().map(|s| s.inner.map(|inner| (inner.first, inner.count))).collect();
    assert_eq!(inner, [Some((3, 2)), Some((5, 2)), None, None, None, None, None]);
    let parents: Vec<_> = done.steps.iter().map(|step| step.parent).collect();
    assert_eq!(parents, [None, None, None, Some(0), Some(0), Some(1), Some(1)]);
    let needs: Vec<_> = done.steps.iter().map(|step| step.needs.clone()).collect();
    assert_eq!(needs[2..], [vec![1, 0], vec![], vec![3], vec![], vec![5]]);
    assert_eq!(done.steps[2].data_needs, [1, 0]);
    let of = |step: usize, name: &str| arg(&done.steps[step].args, name);
    assert_eq!(of(0, "x"), (Value::Json("5".into()), Source::With));
    assert_eq!(of(0, "tag"), (Value::Json("\"good\"".into()), Source::Cli));
    assert_eq!(of(3, "x"), (Value::Param("x".into()), Source::With));
    assert_eq!(of(4, "tag"), (Value::Param("tag".into()), Source::Cli));
    assert!(matches!(of(1, "x").0, Value::Item(_)));
    assert!(matches!(of(2, "first").0, Value::Output(output) if output.step == 0));
    assert_eq!(done.steps[0].spec.as_ref().unwrap().outputs[0].expr, "steps.square.outputs.y");
}

#[test]
fn a_cycle_of_files_is_named() {
    let ring = "version: 1\nsteps:\n  a: {pipeline: ring.yaml}\n";
    let told = words(&check(&file("ring.yaml"), &Files::of(&[("ring.yaml", ring)])));
    assert!(told.contains("ring.yaml:3:17") && told.contains("ring.yaml → ring.yaml"), "{told}");
    let two = |other: &str| format!("version: 1\nsteps:\n  a: {{pipeline: {other}}}\n");
    let files = Files::of(&[
        ("a.yaml", &two("b.yaml")),
        ("b.yaml", &two("c.yaml")),
        ("c.yaml", &two("b.yaml")),
    ]);
    let told = words(&check(&file("a.yaml"), &files));
    assert!(told.starts_with("c.yaml:3:") && told.contains("b.yaml → c.yaml → b.yaml"), "{told}");
}

#[test]
fn there_is_a_bound_to_nesting_and_to_its_size() {
    let next = |i: usize| format!("version: 1\nsteps:\n  a: {{pipeline: p{}.yaml}}\n", i + 1);
    let mut files = Files::default();
    for i in 0..20 {
        files.0.insert(format!("p{i}.yaml"), next(i).into_bytes());
    }
    let told = words(&check(&file("p0.yaml"), &files));
    assert!(told.contains("p7.yaml:3:") && told.contains("more than 8"), "{told}");
    files.0.insert("p7.yaml".into(), b"version: 1\nsteps:\n  a: {stub: true}\n".to_vec());
    assert_eq!(words(&check(&file("p0.yaml"), &files)), "");
    let many = |next: &str| {
        let steps: String = (0..60).map(|i| format!("  s{i}: {{pipeline: {next}}}\n")).collect();
        format!("version: 1\nsteps:\n{steps}")
    };
    let leaf = "version: 1\nsteps:\n  a: {stub: true}\n  b: {stub: true}\n  c: {stub: true}\n";
    let files =
        Files::of(&[("a.yaml", &many("b.yaml")), ("b.yaml", &many("c.yaml")), ("c.yaml", leaf)]);
    let told = words(&check(&file("a.yaml"), &files));
    assert!(told.contains("more than 10000 steps"), "{told}");
}

#[test]
fn mistakes_around_inner_pipelines() {
    let outer = |step: &str| format!("version: 1\nsteps:\n  one: {step}\n");
    for (step, says) in [
        (
            "{pipeline: inner.yml}",
            &["p.yaml:3:", "no pipeline file `inner.yml`", "`inner.yaml`"][..],
        ),
        ("{pipeline: ../inner.yaml}", &["`..`"]),
        (
            "{pipeline: inner.yaml, with: {xx: 1}}",
            &["`inner.yaml` has no parameter `xx`", "there is x, tag"],
        ),
        ("{pipeline: inner.yaml, with: {x: many}}", &["`x`: expected int, got \"many\""]),
        ("{pipeline: inner.yaml, with: {tag: bad}}", &["`tag` must be one of"]),
        ("{pipeline: inner.yaml, out: y}", &["does not say what it is"]),
        (
            "{pipeline: inner.yaml, out: {y: '${{ steps.sqare.outputs.y }}'}}",
            &["no step `sqare`", "`square`"],
        ),
        (
            "{pipeline: inner.yaml, out: {y: '${{ steps.square.outputs.z }}'}}",
            &["no output `z`", "there is y"],
        ),
        ("{pipeline: inner.yaml, out: {y: '${{ oututs.z }}'}}", &["oututs", "`outputs`"]),
        ("{pipeline: inner.yaml, retry: {times: 2}}", &["give `retry` to its steps"]),
        ("{pipeline: inner.yaml, timeout: 1s}", &["`timeout` says nothing of a pipeline"]),
        ("{pipeline: inner.yaml, foreach: [1], as: z}", &["no parameter `z`"]),
        ("{run: 'true', needs: ['one/square']}", &["is no step", "name the step that runs it"]),
    ] {
        let told = words(&check(&file("p.yaml"), &files(&outer(step), INNER)));
        for word in says {
            assert!(told.contains(word), "{word:?} is not in {told}");
        }
    }
    let broken = "version: 1\nsteps:\n  a: {run: 'true', retyr: 1}\n  b: {python: 'f:nothing'}\n";
    let told = words(&check(&file("p.yaml"), &files(&outer("{pipeline: inner.yaml}"), broken)));
    assert!(told.contains("inner.yaml:3:20 unknown key `retyr`"), "{told}");
    let unbound = "version: 1\nsteps:\n  a: {python: 'f:inner'}\n";
    let outer = outer("{pipeline: inner.yaml}");
    let told = words(&refused(&file("p.yaml"), &cli(&[]), &files(&outer, unbound)));
    assert!(told.contains("inner.yaml:3:") && told.contains("no value for argument `x`"), "{told}");
    let other = "version: 1\nenv: {python: /x}\nsteps:\n  a: {stub: true}\n";
    assert!(words(&check(&file("p.yaml"), &files(&outer, other))).contains("another environment"));
}
