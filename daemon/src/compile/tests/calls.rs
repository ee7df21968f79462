//! Arguments of calls inside a function, set from outside.
use windlass_core::Source;
use windlass_proto::common::v1::PlannedStep;

use super::{Files, cli, file, function, plan, rebind, refused, shown, words};

fn tutorial() -> Files {
    Files::of(&[
        (
            "functions.py",
            "import helpers\nfrom pkg.deep import tune\nimport numpy as np\n\n\
             def train_model(rows, n_estimators=100, random_state=42): ...\n\
             def evaluate(model): ...\n\
             def train_ml_model_basic():\n    from pkg import late\n    return train_model([], n_estimators=100)\n",
        ),
        (
            "helpers.py",
            "from functions import evaluate\ndef load(path: str, *, limit: int = 3): ...\ndef open(**kw): ...\n",
        ),
        ("pkg/__init__.py", "from . import side\n"),
        (
            "pkg/deep.py",
            "from ..far import nothing\nfrom .side import shared\ndef tune(depth): ...\n",
        ),
        ("pkg/side.py", "def shared(x): ...\n"),
        ("pkg/late.py", "def load(path, limit=9): ...\n"),
        ("unrelated.py", "def lonely(x): ...\n"),
        (
            "p.yaml",
            "version: 1\nparams: {model: {type: map, default: {depth: 1}}}\nsteps:\n  t: {python: 'functions:train_model', with: {rows: []}}\n  u: {python: 'unrelated:lonely', with: {x: 1}}\n  v: {run: 'true'}\n",
        ),
    ])
}

fn overrides(step: &PlannedStep) -> Vec<String> {
    let shown = step
        .overrides
        .iter()
        .map(|o| format!("{}:{}.{}={} {}", o.module, o.function, o.arg, o.json, o.source));
    shown.collect()
}

#[test]
fn a_dotted_name_sets_the_argument_in_every_such_call() {
    let done = plan(
        &function("functions:train_ml_model_basic"),
        &cli(&[("train_model.n_estimators", "200")]),
        &tutorial(),
    );
    assert_eq!(overrides(&done.steps[0]), ["functions:train_model.n_estimators=200 3"]);
    assert_eq!(
        shown(&done.params),
        [("train_model.n_estimators".into(), "200".into(), Source::Cli)]
    );
    let again = rebind(&done, &cli(&[("train_model.random_state", "1")]), &tutorial()).unwrap();
    assert_eq!(again.steps[0].overrides.len(), 2);
    let other = rebind(&done, &cli(&[("train_model.n_estimators", "300")]), &tutorial()).unwrap();
    assert_eq!(overrides(&other.steps[0]), ["functions:train_model.n_estimators=300 3"]);
}

#[test]
fn functions_are_found_through_imports() {
    let of = |name: &str, value: &str| {
        let done =
            plan(&function("functions:train_ml_model_basic"), &cli(&[(name, value)]), &tutorial());
        overrides(&done.steps[0])
    };
    assert_eq!(of("tune.depth", "x"), ["pkg.deep:tune.depth=\"x\" 3"]);
    assert_eq!(of("pkg.deep.tune.depth", "1"), ["pkg.deep:tune.depth=1 3"]);
    assert_eq!(of("deep.tune.depth", "1"), ["pkg.deep:tune.depth=1 3"]);
    assert_eq!(of("shared.x", "1"), ["pkg.side:shared.x=1 3"]);
    assert_eq!(of("helpers.load.limit", "1"), ["helpers:load.limit=1 3"]);
    assert_eq!(of("load.path", "1"), ["helpers:load.path=\"1\" 3", "pkg.late:load.path=1 3"]);
    assert_eq!(of("open.any", "1"), ["helpers:open.any=1 3"]);
}

#[test]
fn what_fits_nothing_is_refused_with_what_was_meant() {
    for (name, value, wanted) in [
        ("train_model.n_estimator", "1", "did you mean `train_model.n_estimators`?"),
        ("trian_model.seed", "1", "did you mean `train_model.seed`?"),
        ("lonely.x", "1", "no function `lonely`"),
        ("helper.load.limit", "1", "did you mean"),
        ("helpers.load.limit", "many", "expected int"),
        ("n_estimators", "1", "did you mean `train_model.n_estimators`?"),
        ("n_estimatrs", "1", "did you mean `train_model.n_estimators`?"),
        ("evaluate.x.y", "1", "no function `evaluate.x`"),
        (".", "1", "no function"),
    ] {
        let told = words(&refused(
            &function("functions:train_ml_model_basic"),
            &cli(&[(name, value)]),
            &tutorial(),
        ));
        assert!(told.contains(wanted) && told.starts_with("-p:0:0"), "{name}: {told}");
    }
}

#[test]
fn a_step_of_its_own_takes_it_as_argument_and_a_map_as_its_part() {
    let done = plan(
        &file("p.yaml"),
        &cli(&[("train_model.n_estimators", "7"), ("model.depth", "3")]),
        &tutorial(),
    );
    assert_eq!(shown(&done.steps[0].args)[1], ("n_estimators".into(), "7".into(), Source::Cli));
    assert!(done.steps.iter().all(|step| step.overrides.is_empty()));
    assert_eq!(shown(&done.steps[2].args), [("model".into(), "{\"depth\":3}".into(), Source::Cli)]);
    let again = rebind(&done, &cli(&[]), &tutorial()).unwrap();
    assert_eq!((again.steps, again.params), (done.steps, done.params));
}
