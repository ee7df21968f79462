use std::process::Command;

use serde_json::Value;
use windlass_tests::{World, step, workspace};

/// The README's first command, as printed there, against this build.
#[test]
fn tutorial_script_runs_the_function_three_times() {
    let world = World::new();
    let script = workspace().join("examples/tutorial/run.sh");
    let windlass = world.command(["--version"]).get_program().to_owned();
    let done = Command::new(script)
        .env("WINDLASS", windlass)
        .env("WINDLASS_HOME", world.home())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success(), "{told}\n{}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(told.matches("Accuracy: 0.9").count(), 3, "{told}");

    let runs = world.w(["ls", "--json"]).exits(0).json();
    assert_eq!(runs.as_array().unwrap().len(), 3);
    let last = world.show("@last");
    assert_eq!(last["params"]["train_model.n_estimators"]["value"], 10);
    assert!(last["metrics"]["accuracy"].as_f64().unwrap() > 0.9, "{last}");
    let calls = last["steps"][0]["calls"].as_array().unwrap();
    let names: Vec<_> = calls.iter().map(|c| c["function"].as_str().unwrap()).collect();
    assert_eq!(names[..4], ["load_data", "preprocess_data", "train_model", "evaluate_model"]);
    let packages = &last["steps"][0]["attempts"][0]["environment"]["packages"];
    assert!(packages["scikit-learn"].is_string(), "{packages}");

    let digest = |run: &str| {
        let files = world.w(["artifacts", "ls", run, "--json"]).exits(0).json();
        let all = files.as_array().unwrap().clone();
        all.into_iter().find(|f| f["path"] == "model.pkl").unwrap()["digest"].clone()
    };
    assert_ne!(digest("@last"), digest("@-2"), "two models, both kept");
    assert!(!workspace().join("examples/tutorial/model.pkl").exists(), "the tree stays clean");
}

/// The same functions as five steps, in an environment made from requirements.txt.
#[test]
fn tutorial_pipeline_gives_the_same_accuracy() {
    let world = World::with_example("tutorial");
    let run = world.run(&["pipeline.yaml"]);
    let names: Vec<_> = run["steps"].as_array().unwrap().iter().map(|s| &s["step"]).collect();
    assert_eq!(names, ["load_data", "preprocess", "train", "evaluate", "save"]);
    assert!(run["metrics"]["accuracy"].as_f64().unwrap() > 0.9, "{run}");
    let train = step(&run, "train");
    assert_eq!(train["outputs"]["model_data"]["codec"], "pickle");
    assert_eq!(train["args"]["preprocessed"]["source"], "output");
    assert_eq!(train["args"]["n_estimators"]["source"], "pipeline");
    let saved = world.w(["artifacts", "get", "@last", "results.json"]).exits(0).json();
    assert_eq!(saved["accuracy"], run["metrics"]["accuracy"]);
    assert!(saved["test_rows"].is_u64());
}

#[test]
fn shell_example_counts_words() {
    let world = World::with_example("shell");
    let run = world.run(&["words.yaml", "-p", "top=3"]);
    let top = world.w(["artifacts", "get", "@last", "top.txt"]).exits(0).text();
    assert_eq!(top.lines().count(), 3, "{top}");
    assert_eq!(run["metrics"]["words"], 70.0);
    let distinct = world.w(["outputs", "get", "@last/count", "distinct"]).exits(0).json();
    assert!(distinct.as_u64().unwrap() > 40, "{distinct}");
}

#[test]
fn steps_in_c_javascript_and_shell_hand_values_on() {
    let world = World::with_example("any-language");
    let run = world.run(&["pipeline.yaml", "-p", "n=10"]);
    assert_eq!(world.w(["outputs", "get", "@last/statistics", "sum"]).exits(0).json(), 88);
    assert_eq!(step(&run, "statistics")["metrics"]["sum"], 88.0);
    let report = world.w(["artifacts", "get", "@last", "report.txt"]).exits(0).text();
    assert_eq!(report, "sum of the first 10: 88\n");
    let numbers: Value = world.w(["outputs", "get", "@last/numbers", "numbers"]).exits(0).json();
    assert_eq!(numbers.as_array().unwrap().len(), 10);
}

/// Python with scikit-learn, made once for the examples that want it.
#[expect(clippy::disallowed_methods, reason = "the programs of the account that tests run in")]
fn with_scikit_learn(example: &str) -> World {
    let mut world = World::with_example(example);
    let venv = workspace().join("target/example-env");
    let ready = venv.join("ready");
    if !ready.exists() {
        let run = |program: &std::path::Path, args: &[&str]| {
            let done = Command::new(program).args(args).status().unwrap();
            assert!(done.success(), "{} {args:?}", program.display());
        };
        run("python3".as_ref(), &["-m", "venv", "--clear", venv.to_str().unwrap()]);
        let packages = ["install", "-q", "--disable-pip-version-check", "scikit-learn"];
        run(&venv.join("bin/pip"), &packages);
        std::fs::write(&ready, "").unwrap();
    }
    let path = std::env::var("PATH").unwrap_or_default();
    world.set("PATH", format!("{}:{path}", venv.join("bin").display()));
    world.set("VIRTUAL_ENV", venv.to_string_lossy());
    world
}

#[test]
fn sweep_makes_a_run_for_each_combination_and_best_ranks_them() {
    let world = with_scikit_learn("sweep");
    let lists = ["-p", "learning_rate=[0.05, 0.2]", "-p", "max_depth=[1, 3]"];
    let sweep = ["--sweep", "learning_rate", "--sweep", "max_depth", "--group", "wines"];
    let args = [&["run", "train:train", "-p", "n_estimators=5"][..], &lists, &sweep].concat();
    world.w(args).exits(0);
    let runs = world.w(["ls", "--label", "group=wines", "--json"]).exits(0).json();
    assert_eq!(runs.as_array().unwrap().len(), 4);
    let best = world.w(["best", "--metric", "accuracy", "--group", "wines", "--json"]).exits(0);
    let best = best.json();
    let ranked = best.as_array().unwrap();
    assert_eq!(ranked.len(), 4);
    let page = world.w(["best", "--metric", "accuracy", "--group", "wines"]).exits(0).text();
    assert!(page.contains("learning_rate") && page.contains("max_depth"), "{page}");
    assert!(!page.contains("n_estimators"), "only what differs: {page}");
}

#[test]
fn grid_of_one_run_is_reduced_to_its_best() {
    let world = with_scikit_learn("sweep");
    let run = world.run(&["grid.yaml", "-p", "n_estimators=5"]);
    assert_eq!(step(&run, "train[3]")["state"], "succeeded");
    let best = world.w(["outputs", "get", "@last/train", "scores"]).exits(0).json();
    assert!(best.as_f64().unwrap() > 0.7, "{best}");
}

#[test]
fn files_fan_out_and_are_joined_by_a_function() {
    let world = World::with_example("files");
    let run = world.run(&["pipeline.yaml", "-p", "top=3"]);
    assert_eq!(step(&run, "count[2]")["state"], "succeeded");
    let report = world.w(["artifacts", "get", "@last", "report.json"]).exits(0).json();
    assert_eq!(report.as_object().unwrap().len(), 3, "{report}");
    let total = world.w(["outputs", "get", "@last/count", "total"]).exits(0).json();
    assert_eq!(total["times"], 2, "{total}");
}

#[test]
fn nightly_report_retries_reports_and_tells_of_failures() {
    let world = World::with_example("nightly");
    let run = world.run(&["pipeline.yaml"]);
    assert_eq!(step(&run, "fetch")["attempts"].as_array().unwrap().len(), 2);
    assert_eq!(step(&run, "publish")["state"], "succeeded", "{run}");
    assert_eq!(step(&run, "alarm")["state"], "skipped");
    let notebook = world.w(["artifacts", "get", "@last", "report.ipynb"]).exits(0).text();
    assert!(notebook.contains("injected-parameters") && notebook.contains("0: "), "{notebook}");
    let summary = world.w(["outputs", "get", "@last/report", "summary"]).exits(0).json();
    assert_eq!(summary["digits"], 10);

    let skipped = world.run(&["pipeline.yaml", "-p", "least=1.0"]);
    assert_eq!(step(&skipped, "publish")["state"], "skipped");

    let broken =
        world.w(["run", "pipeline.yaml", "--mocks", "broken.yaml", "--json"]).exits(1).json();
    assert_eq!(step(&broken, "report")["state"], "upstream_failed");
    let alarm = world.w(["artifacts", "get", "@last", "alarm.txt"]).exits(0).text();
    assert_eq!(alarm, "ALARM: evaluate: out of data\n");
}
