//! Conditions, fan-out, loops, failure handlers and what expressions name.
use windlass_proto::common::v1::{BoundArg, Plan, bound_arg::Value};

use super::{
    Files, cli, file, files::assert_told, function, mistakes, plan, project, refused, words,
};
use crate::compile::check;

fn step(text: &str) -> String {
    format!(
        "version: 1\nparams: {{n: 3, s: text, xs: [1, 2], m: {{type: map}}}}\nsteps:\n  first: {{run: 'true'}}\n  a: {text}\n"
    )
}

fn values(args: &[BoundArg]) -> Vec<String> {
    let shown = args.iter().map(|arg| match arg.value.as_ref().unwrap() {
        Value::Json(json) => format!("{}={json}", arg.name),
        Value::Output(output) => format!("{}=output {}.{}", arg.name, output.step, output.name),
        Value::TemplateJson(json) => format!("{}=template {json}", arg.name),
        Value::Param(name) => format!("{}=param {name}", arg.name),
        Value::Item(item) => format!("{}=item {}", arg.name, item.axis),
        Value::Iteration(_) => format!("{}=iteration", arg.name),
        Value::Secret(name) => format!("{}=secret {name}", arg.name),
    });
    shown.collect()
}

fn needs(plan: &Plan) -> Vec<(&[u32], &[u32])> {
    plan.steps.iter().map(|s| (s.needs.as_slice(), s.data_needs.as_slice())).collect()
}

#[test]
fn names_in_expressions_are_checked() {
    for (text, says) in [
        ("{run: 'true', when: '${{ metrcs.x > 1 }}'}", &["metrcs", "column 1", "`metrics`"][..]),
        ("{run: 'true', when: 'params.nn > 1'}", &["no parameter `nn`", "there is n, s, xs, m"]),
        ("{run: 'true', when: 'params.n.deep > 1'}", &["of type int and has no `deep`"]),
        ("{run: 'true', when: 'true && steps.frist.state == \"\"'}", &["column 9", "`first`"]),
        ("{run: 'true', when: 'steps.first.stat == \"\"'}", &["did you mean `state`?"]),
        ("{run: 'true', when: 'steps.a.state == \"\"'}", &["a step cannot read itself"]),
        ("{run: 'true', when: '${{ 1 + }}'}", &["`1 +`, column 4"]),
        ("{run: 'true', when: '${{ n }}'}", &["did you mean `params.n`?"]),
        ("{run: 'true', when: '${{ a }} ${{ b }}'}", &["more than one expression"]),
        ("{run: 'true', when: [1]}", &["expected `${{ … }}`, got [1]"]),
        ("{run: 'true', with: {x: '${{ params.nn }}'}}", &["no parameter `nn`"]),
        ("{run: 'true', with: {x: ['a ${{ params.n']}}", &["not closed"]),
        ("{run: 'true', env: {X: '${{ params.n }}'}}", &["not evaluated in `env`", "`with`"]),
        ("{run: 'true', when: 'sze(params.s) > 1'}", &["no function `sze`", "`size`"]),
    ] {
        assert_told(&step(text), 5, says);
    }
    let later = "version: 1\nsteps:\n  a: {run: 'true', when: 'steps.b.state == \"failed\"'}\n  b: {run: 'true'}\n";
    assert_told(later, 3, &["step `b` comes later", "needs: [b]"]);
    let alone = "version: 1\nsteps:\n  a: {run: 'true', when: 'metrics.x > 1'}\n";
    assert_told(alone, 3, &["no step is above"]);
    let unknown = "version: 1\nsteps:\n  m: {python: 'f:use', out: xs, with: {n: 1}}\n  a: {stub: true, when: 'size(outputs.ys) > 0'}\n";
    assert_told(unknown, 4, &["no step above gives an output `ys`", "there is xs"]);
    let pickle = "version: 1\nsteps:\n  m: {python: 'f:use', out: {xs: {codec: pickle}}, with: {n: 1}}\n  a: {run: 'true', foreach: '${{ outputs.xs }}', as: x}\n";
    assert_told(pickle, 4, &["`xs` is kept as pickle"]);
}

#[test]
fn what_is_gone_over_is_a_list_and_not_too_long() {
    let long = format!("{{run: 'true', foreach: [{}1], as: x}}", "1, ".repeat(100_000));
    let axis = (0..1_000).map(|i| i.to_string()).collect::<Vec<_>>().join(", ");
    let matrix = format!("{{run: 'true', matrix: {{a: [{axis}], b: [{axis}], c: [{axis}]}}}}");
    for (text, says) in [
        ("{run: 'true', foreach: 3, as: x}", &["expected a list", "got 3"][..]),
        ("{run: 'true', foreach: '${{ params.n }}', as: x}", &["`params.n` is of type int"]),
        ("{run: 'true', foreach: '${{ 1 + 1 }}', as: x}", &["must be a list, and is the number 2"]),
        ("{run: 'true', foreach: [1, 2]}", &["which argument", "`as: NAME`"]),
        ("{run: 'true', as: x}", &["`as` says something only beside `foreach`"]),
        ("{run: 'true', max_parallel: 2}", &["`max_parallel`"]),
        ("{run: 'true', foreach: [1], as: x, max_parallel: 0}", &["at least 1"]),
        ("{run: 'true', foreach: [1], as: x, reduce: maen}", &["unknown reducer `maen`", "`mean`"]),
        ("{run: 'true', foreach: [1], as: x, reduce: 'f:usee'}", &["no function `usee`", "`use`"]),
        ("{run: 'true', foreach: [1], as: x, reduce: 'f:two'}", &["needs `b` besides the list"]),
        ("{run: 'true', foreach: [1], as: x, with: {x: 1}}", &["`x` gets two values"]),
        ("{run: 'true', matrix: {x: [1]}, with: {x: 1}}", &["`x` gets two values"]),
        ("{run: 'true', foreach: [1], as: x, matrix: {y: [1]}}", &["`foreach` or `matrix`"]),
        ("{run: 'true', matrix: {}}", &["1 to 1000 lists"]),
        ("{run: 'true', matrix: {x: 1}}", &["expected a list"]),
        ("{python: 'f:use', foreach: [1], as: nn}", &["no argument `nn`", "there is n, rate"]),
        (&long, &["100001 items"]),
        (&matrix, &["1000000000 combinations"]),
    ] {
        let code = "def use(n, rate=0.5): ...\ndef two(a, b): ...\n";
        let errors = check(&file("p.yaml"), &project(&step(text), code));
        let told = words(&errors);
        let short: String = text.chars().take(80).collect();
        for word in says {
            assert!(told.contains(word), "{word:?} is not in {told} of {short}");
        }
        assert_eq!(errors[0].line, 5, "{told}");
    }
    let files = project(&step("{run: 'true', foreach: '${{ params.m.xs }}', as: x}"), "");
    let told = words(&refused(&file("p.yaml"), &cli(&[("m", "{\"xs\": 1}")]), &files));
    assert!(told.contains("must be a list, and is the number 1"), "{told}");
}

#[test]
fn loops_and_retries_can_end_and_begin() {
    for (text, says) in [
        ("{run: 'true', loop: {until: 'outputs.n > 1'}}", &["missing key `max`", "bound"][..]),
        ("{run: 'true', loop: {max: 3}}", &["missing key `until`"]),
        ("{run: 'true', loop: {until: 'true', max: 0}}", &["from 1 to 10000"]),
        ("{run: 'true', loop: {until: 'true', max: 10001}}", &["from 1 to 10000"]),
        ("{run: 'true', loop: {until: 'true', max: 2, on_max: succed}}", &["`succeed`"]),
        ("{run: 'true', loop: {until: 'outputs.n > ', max: 2}}", &["column"]),
        ("{run: 'true', loop: {until: 'true', max: 2}, foreach: [1], as: x}", &["both"]),
        ("{run: 'true', loop: {until: 'true', max: 2, index: i}, with: {i: 1}}", &["two values"]),
        ("{run: 'true', retry: {times: 0}}", &["never tries again"]),
        ("{run: 'true', retry: {times: 1, on: []}}", &["can never come"]),
        ("{stub: true, retry: {times: 1}}", &["a stub never fails"]),
        ("{run: 'true', retry: {times: 1, backoff: -1s}}", &["500ms", "-1s"]),
        ("{run: 'true', timeout: -5m}", &["-5m"]),
        ("{run: 'true', resources: {gpu: -1}}", &["-1"]),
        ("{run: 'true', resources: {tokens: many}}", &["many"]),
    ] {
        assert_told(&step(text), 5, says);
    }
    assert_told("version: 1\ntimeout: -1h\nsteps:\n  a: {run: 'true'}\n", 2, &["-1h"]);
    assert_eq!(words(&mistakes(&step("{run: 'true', retry: {times: 2, on: [timeout]}}"))), "");
}

#[test]
fn failure_handlers_stand_beside_the_order() {
    let yaml = "version: 1\nsteps:\n  a: {run: 'exit 4', on_failure: mend}\n  mend: {run: 'true'}\n  b: {run: 'true', on_failure: mend}\n  c: {run: 'true'}\n";
    let done = plan(&file("p.yaml"), &cli(&[]), &project(yaml, ""));
    assert_eq!(
        needs(&done).iter().map(|(n, _)| *n).collect::<Vec<_>>(),
        [&[][..], &[0, 2], &[0], &[2]]
    );
    let handlers: Vec<bool> = done.steps.iter().map(|step| step.failure_handler).collect();
    assert_eq!(handlers, [false, true, false, false]);
    for (steps, line, says) in [
        ("a: {run: 'true', on_failure: mnd}\n  mend: {run: 'true'}", 3, &["`mnd`", "`mend`"][..]),
        ("a: {run: 'true', on_failure: a}", 3, &["a → a"]),
        ("a: {run: 'true', on_failure: b}\n  b: {run: 'true', on_failure: a}", 3, &["a → b → a"]),
        (
            "a: {run: 'true', on_failure: m}\n  m: {run: 'true', needs: []}",
            4,
            &["handles failures"],
        ),
        (
            "a: {run: 'true', on_failure: m}\n  m: {run: 'true'}\n  c: {run: 'true', needs: [m]}",
            5,
            &["cannot wait for it"],
        ),
    ] {
        assert_told(&format!("version: 1\nsteps:\n  {steps}\n"), line, says);
    }
}

#[test]
fn arguments_of_instances_iterations_and_templates() {
    let yaml = "version: 1
params: {n: 2, xs: [1]}
steps:
  numbers: {python: 'f:numbers', out: xs}
  square: {python: 'f:square', foreach: '${{ outputs.xs }}', as: x, out: squares, reduce: 'f:join'}
  grid: {python: 'f:add', matrix: {a: [1, 2], b: '${{ params.xs }}'}, out: sums}
  climb: {run: 'true', loop: {until: '${{ outputs.n >= params.n }}', max: 5, index: i}, with: {k: '${{ params.n + 1 }}'}}
  total: {python: 'f:total', with: {more: 'n is ${{ outputs.squares }}', so: '${{ has(steps.grid.outputs.sums) }}'}}
";
    let code = "def numbers(): ...\ndef square(x): ...\ndef add(a=1, b=2): ...\ndef join(parts, sep=','): ...\ndef total(sums, more='', so=0): ...\n";
    let done = plan(&file("p.yaml"), &cli(&[]), &project(yaml, code));
    let args: Vec<_> = done.steps.iter().map(|step| values(&step.args)).collect();
    assert_eq!(args[1], ["x=item "]);
    assert_eq!(args[2], ["a=item a", "b=item b"]);
    assert_eq!(args[3], ["n=2", "xs=[1]", "i=iteration", "k=3"]);
    assert_eq!(
        args[4],
        [
            "sums=output 2.sums",
            "more=template \"n is ${{ outputs.squares }}\"",
            "so=template \"${{ has(steps.grid.outputs.sums) }}\"",
        ]
    );
    assert_eq!(needs(&done)[1], (&[0][..], &[0][..]));
    assert_eq!(needs(&done)[2], (&[1][..], &[][..]));
    assert_eq!(needs(&done)[4], (&[3, 2, 1][..], &[2, 1][..]));
    assert_eq!(done.steps[1].reduce_arg, "parts");
}

#[test]
fn a_list_of_results_is_no_number() {
    let yaml = "version: 1\nsteps:\n  a: {python: 'f:square', foreach: [1], as: x, out: y}\n  b: {python: 'f:half'}\n";
    let code = "def square(x): ...\ndef half(y: int): ...\n";
    let told = words(&check(&file("p.yaml"), &project(yaml, code)));
    assert!(told.contains("`y` is of type int, and `a` gives a list of them"), "{told}");
    let reduced = yaml.replace("out: y", "out: y, reduce: sum");
    assert_eq!(words(&check(&file("p.yaml"), &project(&reduced, code))), "");
}

#[test]
fn expressions_make_edges_in_graph_order() {
    let yaml = "version: 1\norder: graph\nsteps:\n  late: {run: 'true', when: 'steps.early.outputs.x > 1'}\n  early: {run: 'true'}\n  other: {run: 'true', when: 'steps.early.state == \"failed\"'}\n";
    let done = plan(&file("p.yaml"), &cli(&[]), &project(yaml, ""));
    assert_eq!(needs(&done), [(&[1][..], &[1][..]), (&[], &[]), (&[1], &[])]);
    let round = yaml.replace("early: {run: 'true'}", "early: {run: 'true', needs: [late]}");
    assert_told(&round, 4, &["late → early → late"]);
}

#[test]
fn the_key_of_a_limit_is_text_over_parameters() {
    let yaml = "version: 1\nparams: {region: x, n: 1}\nconcurrency: {key: 'r-${{ params.region }}', when_full: refuse}\nsteps: {a: {run: 'true'}}\n";
    let files = project(yaml, "");
    let done = plan(&file("p.yaml"), &cli(&[("region", "y")]), &files);
    assert_eq!(done.concurrency_key.as_deref(), Some("r-y"));
    assert_eq!(done.spec.unwrap().concurrency.unwrap().limit, 1);
    let bad = |key: &str| yaml.replace("r-${{ params.region }}", key);
    assert_told(&bad("${{ params.regin }}"), 3, &["no parameter `regin`", "`region`"]);
    assert_told(&bad("${{ outputs.x }}"), 3, &["only `params` are known"]);
    assert_told(&yaml.replace("when_full: refuse", "limit: 0"), 3, &["at least 1"]);
    assert_told(&yaml.replace("refuse", "refse"), 3, &["did you mean `refuse`?"]);
}

#[test]
fn parameters_of_text_and_their_patterns() {
    let yaml = "version: 1\nparams:\n  p: {type: path, default: data/x.csv}\n  d: {type: date}\n  s: {type: str, pattern: '[a-z]+', default: ab}\n  m: {type: map, default: {a: {b: 1}}}\nsteps: {a: {run: 'true'}}\n";
    let files = project(yaml, "");
    let given = cli(&[("d", "2024-02-29"), ("p", "/abs/y"), ("m.a.c", "2"), ("m.d", "x")]);
    let done = plan(&file("p.yaml"), &given, &files);
    let wanted =
        ["p=\"/abs/y\"", "d=\"2024-02-29\"", "s=\"ab\"", "m={\"a\":{\"b\":1,\"c\":2},\"d\":\"x\"}"];
    assert_eq!(values(&done.params), wanted);
    for (name, value, says) in [
        ("d", "2023-02-29", "expected date"),
        ("d", "29.2.2024", "expected date"),
        ("p", "a/../../b", "expected path"),
        ("s", "ab1", "s must match `[a-z]+`, got \"ab1\""),
    ] {
        let told =
            words(&refused(&file("p.yaml"), &cli(&[("d", "2024-01-01"), (name, value)]), &files));
        assert!(told.contains(says), "{told}");
    }
    for (param, says) in [
        ("{type: str, pattern: '('}", "no regular expression"),
        ("{type: int, pattern: 'a'}", "`pattern` is for text"),
        ("{type: str, pattern: 'a', default: b}", "must match"),
        ("{type: date, default: today}", "expected date"),
        ("{type: secret, default: x}", "has a value in the file"),
        ("{type: str, default: '${{ params.x }}'}", "not evaluated in a parameter"),
    ] {
        let yaml = format!("version: 1\nparams:\n  p: {param}\nsteps: {{a: {{run: 'true'}}}}\n");
        assert_told(&yaml, 3, &[says]);
    }
}

#[test]
fn notebooks_are_looked_at() {
    let yaml =
        "version: 1\nparams: {x: 1}\nsteps:\n  n: {notebook: n.ipynb, out: [y], with: {z: 2}}\n";
    let with = |text: &str| Files::of(&[("p.yaml", yaml), ("n.ipynb", text)]);
    let done = plan(&file("p.yaml"), &cli(&[("x", "41")]), &with("{\"cells\": []}"));
    assert_eq!(values(&done.steps[0].args), ["x=41", "z=2"]);
    for (text, says) in
        [("{", "is not JSON"), ("{}", "has no cells"), ("{\"worksheets\": []}", "old format")]
    {
        let told = words(&check(&file("p.yaml"), &with(text)));
        assert!(told.contains(says) && told.starts_with("p.yaml:4:"), "{told}");
    }
    let told = words(&check(&file("p.yaml"), &Files::of(&[("p.yaml", yaml), ("m.ipynb", "{}")])));
    assert!(told.contains("no notebook `n.ipynb`") && told.contains("`m.ipynb`"), "{told}");
    for source in [file("a/my n.ipynb"), function("a/my n.ipynb")] {
        let files = Files::of(&[("a/my n.ipynb", "{\"cells\": []}")]);
        assert_eq!(plan(&source, &cli(&[]), &files).steps[0].path, "my_n");
    }
}
