//! What a pipeline file may say, and what it is told where it is wrong.
use windlass_proto::common::v1::{environment_spec::Kind, retry_spec::On, step_spec::Action};

use super::{Files, cli, file, mistakes, plan, project, words};
use crate::compile::{check, schema};

/// The one mistake of the file: its line, and words that its message and help have.
pub(super) fn assert_told(yaml: &str, line: u32, says: &[&str]) {
    let errors = mistakes(yaml);
    let told = words(&errors);
    assert!(!errors.is_empty(), "nothing is told of {yaml:?}");
    assert_eq!(errors[0].line, line, "{told}\n{yaml}");
    assert!(errors[0].path == "p.yaml" && errors[0].column > 0, "{told}");
    for word in says {
        assert!(told.contains(word), "{word:?} is not in {told}");
    }
}

#[test]
fn keys_that_are_unknown_doubled_or_misplaced() {
    for (yaml, line, says) in [
        (
            "version: 1\nsteps:\n  a: {run: 'true', retyr: {times: 2}}\n",
            3,
            &["retyr", "did you mean `retry`?"][..],
        ),
        ("version: 1\nstps:\n  a: {run: 'true'}\n", 2, &["stps", "`steps`"]),
        (
            "version: 1\nsteps:\n  a: {run: 'true', zzzzzz: 1}\n",
            3,
            &["zzzzzz", "the keys here are `python`"],
        ),
        (
            "version: 1\nsteps:\n  a: {run: 'true'}\n  a: {run: 'false'}\n",
            4,
            &["duplicate key `a`", "line 3"],
        ),
        ("version: 1\nversion: 1\nsteps:\n  a: {run: 'true'}\n", 2, &["duplicate key `version`"]),
        ("version: 1\nsteps:\n  a: {run: 'true', run: 'false'}\n", 3, &["duplicate key `run`"]),
        (
            "version: 1\nretry: {times: 1}\nsteps:\n  a: {run: 'true'}\n",
            2,
            &["misplaced key `retry`", "in a step"],
        ),
        ("version: 1\nsteps:\n  a: {run: 'true', params: {}}\n", 3, &["misplaced", "top level"]),
        (
            "version: 1\nsteps:\n  a: {run: 'true', backoff: 1s}\n",
            3,
            &["misplaced", "under `retry`"],
        ),
        (
            "version: 1\nsteps:\n  a: {run: 'true', retry: {tims: 1, times: 1}}\n",
            3,
            &["tims", "`times`"],
        ),
        (
            "version: 1\nparams:\n  m: {depth: 1}\nsteps:\n  a: {run: 'true'}\n",
            3,
            &["depth", "type: map"],
        ),
        (
            "version: 1\nsteps:\n  a: {run: 'true', labels: {a: b}}\n",
            3,
            &["`labels` is not supported yet"],
        ),
        ("version: 1\nsteps:\n  a: {run: 'true', until: x}\n", 3, &["misplaced", "under `loop`"]),
        (
            "version: 1\nsecrets: [{name: A, frm: {env: B}}]\nsteps:\n  a: {run: 'true'}\n",
            2,
            &["frm", "did you mean `from`?"],
        ),
        (
            "version: 1\nenv: {image: x}\nsteps:\n  a: {run: 'true'}\n",
            2,
            &["`image` is not supported yet"],
        ),
        ("steps:\n  a: {run: 'true'}\n", 1, &["missing key `version`", "version: 1"]),
        ("version: 1\n", 1, &["missing key `steps`"]),
    ] {
        assert_told(yaml, line, says);
    }
}

#[test]
fn values_of_the_wrong_type_or_out_of_range() {
    let step = |keys: &str| format!("version: 1\nsteps:\n  a:\n    run: 'true'\n    {keys}\n");
    for (keys, says) in [
        ("timeout: 5", &["time", "500ms", "5"][..]),
        ("timeout: soon", &["soon"]),
        ("retry: {times: many}", &["many"]),
        ("retry: {times: -1}", &["expected a whole number from 0 to 4294967295, got -1"]),
        ("retry: {times: 1, factor: 0.5}", &["`factor` must be at least 1"]),
        ("retry: {times: 1, on: [exti]}", &["exti", "did you mean `exit`?"]),
        ("retry: {}", &["missing key `times`"]),
        ("retry: 3", &["expected", "3"]),
        ("needs: a", &["expected a list", "\"a\""]),
        ("resources: {memory: lots}", &["4GiB", "lots"]),
        ("resources: {cpu: 0}", &["cores"]),
        ("env: {A: [1]}", &["expected text, got a list"]),
        ("env: {WINDLASS_X: '1'}", &["WINDLASS_X"]),
        ("idempotent: maybe", &["expected true or false", "maybe"]),
        ("out: 'a b'", &["no name for an output"]),
        ("out: {x: .path}", &["Python"]),
        ("metrics: {m: .a}", &["WINDLASS_METRICS"]),
    ] {
        assert_told(&step(keys), 5, says);
    }
    assert_told(
        "version: 1\nsteps:\n  a: {run: true}\n",
        3,
        &[
            "expected a string for the shell, or a list of the words of a command, got true",
            "quotes",
        ],
    );
    assert_told("version: 2\nsteps:\n  a: {run: 'true'}\n", 1, &["version 2"]);
    assert_told(
        "version: 1\norder: grph\nsteps:\n  a: {run: 'true'}\n",
        2,
        &["did you mean `graph`?"],
    );
    assert_told("version: 1\nsteps: [a]\n", 2, &["expected a mapping, got a list"]);
    assert_told("version: 1\nsteps: {}\n", 2, &["1 to 10000 steps"]);
    assert_told("version: 1\nsteps:\n  a: 3\n", 3, &["3"]);
    assert_told("- 1\n", 1, &["a list"]);
}

#[test]
fn steps_name_each_other_rightly() {
    for (yaml, line, says) in [
        (
            "version: 1\nsteps:\n  a: {run: 'true', needs: [b]}\n  b: {run: 'true', needs: [a]}\n",
            3,
            &["cycle", "a → b → a"][..],
        ),
        (
            "version: 1\nsteps:\n  build: {run: 'true'}\n  b: {run: 'true', needs: [biuld]}\n",
            4,
            &["biuld", "did you mean `build`?"],
        ),
        ("version: 1\nsteps:\n  a: {run: 'true', needs: [a]}\n", 3, &["needs itself"]),
        ("version: 1\nsteps:\n  a: {run: 'true', python: 'f:use'}\n", 3, &["`python` and `run`"]),
        ("version: 1\nsteps:\n  a: {needs: []}\n", 3, &["does not say what it does"]),
        ("version: 1\nsteps:\n  a b: {run: 'true'}\n", 3, &["no name for a step"]),
        ("version: 1\nsteps:\n  ../a: {run: 'true'}\n", 3, &["no name for a step"]),
        (
            "version: 1\nparams: {x: 1}\nsteps:\n  a: {run: 'echo ${{ params.x }}'}\n",
            4,
            &["$WINDLASS_PARAM_x"],
        ),
        (
            "version: 1\nsteps:\n  a: {run: 'echo ${{ steps.a.outputs.y }}'}\n",
            3,
            &["$WINDLASS_INPUTS"],
        ),
        (
            "version: 1\nsteps:\n  a: {python: 'f:use', with: {n: '${{ params.x }}'}}\n",
            3,
            &["no parameter `x`"],
        ),
    ] {
        assert_told(yaml, line, says);
    }
}

#[test]
fn parameters_fit_their_own_declaration() {
    let param =
        |text: &str| format!("version: 1\nparams:\n  p: {text}\nsteps:\n  a: {{run: 'true'}}\n");
    for (text, says) in [
        ("{type: int, default: many}", "expected int, got \"many\""),
        ("{type: int, default: 10, max: 9}", "must be at most 9, got 10"),
        ("{type: flaot}", "did you mean `float`?"),
        ("{type: str, min: 1}", "`min` is for numbers"),
        ("{default: 1, min: 3, max: 2}", "no value"),
        ("{default: c, choices: [a, b]}", "must be one of \"a\", \"b\", got \"c\""),
        ("{type: int, choices: [1, b]}", "expected int, got \"b\""),
        ("123456789012345678901234567890", "64 bits"),
    ] {
        assert_told(&param(text), 3, &[says]);
    }
    assert_told(
        "version: 1\nparams: {a-b: 1}\nsteps:\n  a: {run: 'true'}\n",
        2,
        &["no name for a parameter"],
    );
    for good in
        ["{type: int, default: null}", "null", "[1, a]", "{type: map, default: {a: 1}}", "{min: 1}"]
    {
        assert_eq!(words(&mistakes(&param(good))), "", "{good}");
    }
}

#[test]
fn paths_stay_in_the_project() {
    for text in [
        "files: [../secret]",
        "files: [/etc/passwd]",
        "files: [\"a\\0b\"]",
        "env: {requirements: ../r.txt}",
        "env: {uv: /x}",
    ] {
        let yaml = format!("version: 1\n{text}\nsteps:\n  a: {{run: 'true'}}\n");
        assert_told(&yaml, 2, &["path"]);
    }
    for text in ["script: ../x.sh", "script: /bin/sh", "python: ../f.py:use", "python: /f.py:use"] {
        assert_told(&format!("version: 1\nsteps:\n  a:\n    {text}\n"), 4, &["path"]);
    }
    assert_told("version: 1\nsteps:\n  a: {script: 'a \"b'}\n", 3, &["quote"]);
    assert_told("version: 1\nsteps:\n  a: {script: ''}\n", 3, &["no command"]);
    assert_told("version: 1\nsteps:\n  a: {run: \"a\\0b\"}\n", 3, &["NUL"]);
}

#[test]
fn what_is_no_yaml_or_too_much_of_it() {
    assert_told("version: 1\nsteps:\n\ta: {run: 'true'}\n", 3, &["tab"]);
    assert_told("version: 1\nsteps:\n  a: {run: 'true'\n", 3, &[]);
    let deep = format!("version: 1\nsteps: {}{}\n", "[".repeat(10_000), "]".repeat(10_000));
    assert_told(&deep, 2, &["deep"]);
    let block: String = (0..10_000).map(|i| format!("{}a:\n", " ".repeat(i % 2000))).collect();
    assert!(!mistakes(&block).is_empty());
    let mut bomb = String::from("version: 1\na0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for i in 1..10 {
        let last = format!("*a{}", i - 1);
        bomb += &format!("a{i}: &a{i} [{}]\n", vec![last; 10].join(", "));
    }
    assert!(words(&mistakes(&bomb)).contains("alias"), "{}", words(&mistakes(&bomb)));
    assert!(words(&mistakes(&"# long\n".repeat(1 << 20))).contains("bytes"));
    let broken = Files(std::collections::BTreeMap::from([(
        "p.yaml".into(),
        b"version: 1\n  \xff".to_vec(),
    )]));
    let told = check(&file("p.yaml"), &broken);
    assert_eq!((told[0].line, told[0].column), (2, 3), "{}", words(&told));
    assert!(told[0].message.contains("UTF-8"));
    for odd in
        ["", "null", "a", "[", "{", "&a *a", "? [a]\n: b", "--- a\n--- b", "!!binary x", "\u{0}"]
    {
        assert!(!mistakes(odd).is_empty(), "{odd:?}");
    }
}

#[test]
fn all_mistakes_are_told_at_once_and_no_more_than_twenty() {
    let yaml = "version: 1\nnmae: x\nsteps:\n  a: {run: 'true', retyr: 1, timeout: 5}\n  b: {run: 1}\n  \
                c: {run: 'true', needs: [aa]}\n  d: {python: 'f:usee'}\n  d: {stub: true}\n";
    let errors = mistakes(yaml);
    let lines: Vec<u32> = errors.iter().map(|error| error.line).collect();
    assert_eq!(lines, [2, 4, 4, 5, 6, 7, 8], "{}", words(&errors));
    let many: String = (0..50).map(|i| format!("  s{i}: {{rnu: 1}}\n")).collect();
    assert_eq!(mistakes(&format!("version: 1\nsteps:\n{many}")).len(), 20);
}

#[test]
fn mistakes_are_short_and_no_terminal_obeys_them() {
    let long = "x".repeat(1 << 19);
    let yaml = format!("version: 1\nsteps:\n  \"a\\e[2J\": {{run: 'true', needs: [{long}]}}\n");
    let errors = mistakes(&yaml);
    assert_eq!(errors.len(), 2);
    let plain = |text: &str| text.chars().count() <= 1_000 && !text.contains(char::is_control);
    assert!(errors.iter().all(|e| plain(&e.message) && plain(&e.help)));
}

#[test]
fn a_missing_file_and_its_nearest() {
    let files = project("version: 1\nsteps: {a: {run: 'true'}}\n", "");
    let told = words(&check(&file("q.yaml"), &files));
    assert!(told.contains("q.yaml") && told.contains("did you mean `p.yaml`?"), "{told}");
    assert!(words(&check(&file("../p.yaml"), &files)).contains("`..`"));
}

#[test]
fn everything_that_a_file_may_say() {
    let yaml = r#"
version: 1
params:
  n: 100
  rate: {type: float, default: 0.2, min: 0.05, max: 0.5, help: share}
  anything: {}
env: {requirements: requirements.txt}
files: [data/*.csv]
order: graph
steps:
  make: {python: "f:make", out: [a, b], with: {deep: {x: [1, null]}}}
  use:
    python: ./f.py:use
    out: {x: .path, y: {pick: "[0].z", codec: pickle}, all: {}}
    metrics: [accuracy]
    retry: {times: 3, backoff: 500ms, factor: 1.5, max: 1h, on: [lost, exit]}
    timeout: 2m
    env: {A: text, B: 1, C: true}
    resources: {cpu: 0.5, memory: 1.5GiB}
    idempotent: true
  shell: {run: "echo hi", needs: [make, use], out: [count, word]}
  words: {script: "bin/do.sh 'one two' three"}
  nothing: {stub: true, needs: []}
"#;
    let python = "def make(deep, n, anything=None): ...\ndef use(a, b, rate=1): ...\n";
    let named = [("p.yaml", yaml), ("f.py", python), ("requirements.txt", ""), ("bin/do.sh", "")];
    let plan = plan(&file("p.yaml"), &cli(&[("anything", "x")]), &Files::of(&named));
    let spec = plan.spec.unwrap();
    assert_eq!((spec.name.as_str(), spec.graph_order), ("p", true));
    assert_eq!(spec.environment.unwrap().kind, Some(Kind::Requirements("requirements.txt".into())));
    assert_eq!((spec.params[0].r#type.as_str(), spec.params[2].r#type.as_str()), ("int", ""));
    let needs: Vec<_> = plan.steps.iter().map(|step| step.needs.as_slice()).collect();
    assert_eq!(needs, [&[][..], &[0], &[0, 1], &[], &[]]);
    let [make, used, shell, words, _] = &spec.steps[..] else { panic!() };
    assert_eq!(make.outputs[1].pick, "[1]");
    assert_eq!(make.with_json["deep"], r#"{"x":[1,null]}"#);
    let outputs: Vec<_> =
        used.outputs.iter().map(|o| (o.name.as_str(), o.pick.as_str(), o.codec.as_str())).collect();
    assert_eq!(outputs, [("x", ".path", ""), ("y", "[0].z", "pickle"), ("all", "", "")]);
    assert_eq!((used.metrics[0].pick.as_str(), used.metrics_given), (".accuracy", true));
    let retry = used.retry.as_ref().unwrap();
    assert_eq!(
        (retry.times, retry.factor, retry.on.as_slice()),
        (3, 1.5, &[On::Lost.into(), On::Exit.into()][..])
    );
    assert_eq!((used.env["B"].as_str(), used.env["C"].as_str()), ("1", "true"));
    let resources = used.resources.as_ref().unwrap();
    assert_eq!((resources.cpu_millis, resources.memory_bytes), (500, 3 << 29));
    assert_eq!(shell.outputs[1].pick, "");
    let Some(Action::Script(script)) = &words.action else { panic!() };
    assert_eq!(script.argv, ["bin/do.sh", "one two", "three"]);
}

#[test]
fn anchors_and_merges_work_and_a_python_step_gives_result() {
    let yaml = "version: 1\nsteps:\n  a: &a {python: 'f:go', retry: {times: 2}}\n  b: {<<: *a, timeout: 1s}\n  c: {stub: true}\n";
    let plan = plan(&file("p.yaml"), &cli(&[]), &project(yaml, "def go(): ...\n"));
    let b = plan.steps[1].spec.as_ref().unwrap();
    assert_eq!((b.retry.as_ref().unwrap().times, b.timeout.as_ref().unwrap().seconds), (2, 1));
    assert_eq!(b.outputs[0].name, "result");
}

#[test]
fn the_schema_is_of_the_same_types() {
    let schema: serde_json::Value = serde_json::from_str(&schema()).unwrap();
    assert_eq!(schema["$schema"], "http://json-schema.org/draft-07/schema#");
    assert_eq!(schema["additionalProperties"], false);
    let step = &schema["definitions"]["StepFile"];
    for key in [
        "python",
        "run",
        "script",
        "stub",
        "needs",
        "out",
        "with",
        "metrics",
        "retry",
        "timeout",
        "env",
        "resources",
        "idempotent",
    ] {
        assert!(step["properties"][key]["description"].is_string(), "{key}: {step:#}");
    }
    assert_eq!(schema["required"], serde_json::json!(["version", "steps"]));
}

#[test]
fn what_is_named_must_be_in_the_project() {
    let of = |yaml: &str, more: &[(&str, &str)]| {
        let files = [&[("p.yaml", yaml), ("tools/publish.sh", "")][..], more].concat();
        words(&check(&file("p.yaml"), &Files::of(&files)))
    };
    let env = |env: &str| format!("version: 1\nenv: {env}\nsteps:\n  a: {{run: 'true'}}\n");
    let told = of(&env("{requirements: req.txt}"), &[("reqs.txt", "")]);
    assert_eq!(told, "p.yaml:2:21 no file `req.txt` in the project (did you mean `reqs.txt`?)");
    assert_eq!(of(&env("{requirements: ./req.txt}"), &[("req.txt", "")]), "");
    assert!(of(&env("{uv: nope}"), &[]).contains("2:11 no file `nope/pyproject.toml`"));
    assert_eq!(of(&env("{uv: .}"), &[("pyproject.toml", "")]), "");

    let script = |path: &str| format!("version: 1\nsteps:\n  a: {{script: '{path} x'}}\n");
    assert_eq!(of(&script("./tools/publish.sh"), &[]), "");
    assert!(of(&script("tools/publsh.sh"), &[]).contains("did you mean `tools/publish.sh`?"));
    let second = "version: 1\nsteps:\n  a: {run: 'cc -o b b.c'}\n  b: {script: b}\n";
    assert_eq!(of(second, &[]), "", "the step before may write it");

    let globs = "version: 1\nfiles: ['data/*', '[', ../up]\nsteps:\n  a: {run: 'true'}\n";
    let told = of(globs, &[]);
    assert!(told.contains("p.yaml:2:19 `[` is no pattern"), "{told}");
    assert!(told.contains("p.yaml:2:24 the path `../up` has `..` in it"), "{told}");
}

#[test]
fn a_file_that_is_too_large_is_told_as_such() {
    let large = format!("version: 1\nsteps:\n  a: {{run: 'true'}}\n#{}", "x".repeat(1 << 20));
    let files = Files::of(&[("p.yaml", large.as_str())]);
    let told = words(&check(&file("p.yaml"), &files));
    assert!(told.contains("more than the 1048576 that are read"), "{told}");
    let outer = "version: 1\nsteps:\n  a: {pipeline: in.yaml}\n";
    let files = Files::of(&[("p.yaml", outer), ("in.yaml", large.as_str())]);
    let told = words(&check(&file("p.yaml"), &files));
    assert!(told.contains("`in.yaml` has") && !told.contains("did you mean"), "{told}");
}
