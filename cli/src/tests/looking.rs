use windlass_proto::{
    api::v1::{self, Param},
    common::v1::{
        Artifact, CallRecord, Environment, LogStream, Output, Package, ValueSource, artifact::Kind,
    },
};

use super::{
    Stage,
    fake::{chunk, end},
    run, step,
};
use crate::error::Exit;

fn param(name: &str, json: &str, source: ValueSource) -> Param {
    Param { name: name.into(), json: json.into(), source: source.into() }
}

fn artifact(path: &str, kind: Kind, bytes: &[u8]) -> Artifact {
    Artifact {
        path: path.into(),
        kind: kind.into(),
        digest: windlass_blobs::digest_of(bytes).to_string(),
        size_bytes: i64::try_from(bytes.len()).unwrap(),
        executable: false,
    }
}

/// A run with something in every place.
fn rich() -> v1::Run {
    let mut load = step("load", (10, 1_010), 0);
    load.artifacts =
        vec![artifact("model.pkl", Kind::File, b"old"), artifact("new\nline", Kind::File, b"x")];
    let mut train = step("train", (1_010, 4_010), 0);
    train.args = vec![param("n_estimators", "200", ValueSource::Cli)];
    train.metrics = [("accuracy".to_owned(), 0.93)].into();
    train.artifacts = vec![
        artifact("model.pkl", Kind::File, b"new!"),
        artifact("leak", Kind::Symlink, b"/etc/passwd"),
    ];
    let digest = windlass_blobs::digest_of(b"{\"a\": 1}").to_string();
    train.outputs =
        vec![Output { name: "model".into(), digest, size_bytes: 8, codec: "json".into() }];
    train.calls = vec![CallRecord {
        function: "fit".into(),
        args_json: r#"{"n": 200, "x": "DataFrame 3x2"}"#.into(),
        seconds: 2.5,
        error: String::new(),
        module: "functions".into(),
    }];
    train.attempts[0].environment = Some(Environment {
        python: "CPython 3.11.7".into(),
        packages: vec![Package { name: "pandas".into(), version: "2.2.3".into() }],
        ..Default::default()
    });
    let mut publish = step("publish", (0, 0), 0);
    publish.attempts.clear();
    publish.state = v1::step::State::UpstreamFailed.into();
    publish.reason = "train failed".into();
    let mut run = run("calm-fox", v1::run::State::Succeeded, vec![load, train, publish]);
    run.params = vec![
        param("n_estimators", "200", ValueSource::Cli),
        param("path", r#""data\u001b[31m.csv""#, ValueSource::Pipeline),
    ];
    run.metrics = [("accuracy".to_owned(), 0.93)].into();
    run.git = Some(v1::GitState {
        commit: "3f2c1a9d".repeat(5),
        branch: "main".into(),
        dirty: true,
        diff_digest: String::new(),
    });
    run
}

fn stage() -> Stage {
    let stage = Stage::new();
    let mut state = stage.daemon.state();
    state.runs.push(rich());
    for blob in [&b"old"[..], b"new!", b"/etc/passwd", b"{\"a\": 1}"] {
        state.blobs.insert(windlass_blobs::digest_of(blob).to_string(), blob.to_vec());
    }
    drop(state);
    stage
}

#[tokio::test]
async fn a_run_is_a_page() {
    let said = stage().say(&["show", "calm-fox"]).await;
    let mut lines: Vec<_> = said.out.lines().map(str::to_owned).collect();
    // The reader's own time zone.
    let started = lines.iter_mut().find(|line| line.contains("started")).unwrap();
    assert!(started.ends_with(", 59 min ago, by ana@laptop"), "{started}");
    *started = "  started   …".into();
    let expected = "\
calm-fox  ✓ succeeded in 4.0 s
  pipeline  churn (churn.yaml)
  run       0193a1b2-7c3d-7000-8000-0000calm-fox
  started   …
  code      3f2c1a9d3f on main, with changes · snapshot 8f8f8f8f8f8f
  python    3.11.7, 1 package

Parameters
  n_estimators  200                   cli
  path          \"data\\u001b[31m.csv\"  pipeline

Steps
  ✓  load                      1.0 s  ██████                    local  54.1 MB  300 ms cpu
  ✓  train                     3.0 s        ██████████████████  local  54.1 MB  300 ms cpu
  ·  publish  upstream_failed
  publish: train failed

Metrics
  accuracy  0.93

Calls
  train  fit(n=200, x=\"DataFrame 3x2\")  2.5 s

Outputs
  train  model  json  {\"a\": 1}  8 B

Files
  load   model.pkl      3 B
  load   new\\nline      1 B
  train  model.pkl      4 B
  train  leak       symlink";
    assert_eq!(lines.join("\n"), expected);
    assert_eq!(said.exit, Exit::Ok);
}

#[tokio::test]
async fn scripts_get_the_fields_of_the_contract() {
    let said = stage().say(&["show", "@last", "--json"]).await;
    let run: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(run["run_id"], "0193a1b2-7c3d-7000-8000-0000calm-fox");
    assert_eq!(run["state"], "succeeded");
    assert_eq!(run["params"]["n_estimators"], serde_json::json!({"value": 200, "source": "cli"}));
    assert_eq!(run["git"]["branch"], "main");
    assert_eq!(run["git"]["dirty"], true);
    assert_eq!(run["create_time"], "2026-11-23T11:00:00.000000Z");
    assert_eq!(run["start_time"], "2026-11-23T11:00:00.010000Z");
    assert_eq!(run["metrics"], serde_json::json!({"accuracy": 0.93}));
    let train = &run["steps"][1];
    assert_eq!(train["outputs"]["model"]["codec"], "json");
    assert_eq!(train["artifacts"][0]["path"], "model.pkl");
    assert_eq!(train["args"]["n_estimators"]["source"], "cli");
    assert_eq!(train["calls"][0]["args"]["n"], 200);
    let attempt = &train["attempts"][0];
    assert_eq!(attempt["exit_code"], 0);
    assert_eq!(attempt["peak_memory_bytes"], 54_100_000);
    assert_eq!(attempt["cpu_seconds"], 0.3);
    assert_eq!(attempt["environment"]["python"], "3.11.7");
    assert_eq!(attempt["environment"]["packages"], serde_json::json!({"pandas": "2.2.3"}));
    assert!(attempt.get("signal").is_none());
}

#[tokio::test]
async fn a_signal_is_named_and_no_git_is_null() {
    let stage = stage();
    {
        let mut state = stage.daemon.state();
        let run = &mut state.runs[0];
        run.git = None;
        run.steps[1].state = v1::step::State::Failed.into();
        let end = run.steps[1].attempts[0].end.as_mut().unwrap();
        (end.exit_code, end.signal) = (None, Some(11));
        end.reason = windlass_proto::common::v1::EndReason::Signal.into();
    }
    let said = stage.say(&["show", "--json"]).await;
    let run: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert!(run["git"].is_null());
    let attempt = &run["steps"][1]["attempts"][0];
    assert_eq!((&attempt["signal"], &attempt["exit_code"]), (&"SIGSEGV".into(), &().into()));
    assert!(stage.say(&["show"]).await.out.contains("train: ended by SIGSEGV"));
}

#[tokio::test]
async fn listings_turn_pages_and_stop_at_the_limit() {
    let stage = Stage::new();
    let runs = (0..5).map(|n| run(&format!("run-{n}"), v1::run::State::Succeeded, vec![]));
    stage.daemon.state().runs = runs.collect();
    let names = |said: &super::Said| -> Vec<String> {
        let runs: Vec<serde_json::Value> = serde_json::from_str(&said.out).unwrap();
        assert!(runs.iter().all(|run| run.get("steps").is_none()));
        runs.iter().map(|run| run["name"].as_str().unwrap().to_owned()).collect()
    };
    let said = stage.say(&["ls", "--json", "--limit", "3"]).await;
    assert_eq!(names(&said), ["run-0", "run-1", "run-2"]);
    assert_eq!(stage.daemon.state().pages, [3, 1]);
    assert_eq!(names(&stage.say(&["ls", "--json"]).await).len(), 5);

    let said = stage.say(&["ls", "--limit", "1"]).await;
    let expected = "   NAME   STATE      PIPELINE  CREATED   TIME  ID
✓  run-0  succeeded  churn     1 h ago  4.0 s  0193a1b2-7c3d
";
    assert_eq!(said.out, expected);
    let said = stage.say(&["ls", "--state", "faild"]).await;
    assert_eq!(said.exit, Exit::Refused);
    assert!(said.err.contains("did you mean `failed`?"), "{}", said.err);
}

#[tokio::test]
async fn files_and_outputs_are_fetched() {
    let stage = stage();
    assert_eq!(stage.say(&["artifacts", "get", "@last", "model.pkl"]).await.out, "new!");
    assert_eq!(stage.say(&["artifacts", "get", "@last/load", "model.pkl"]).await.out, "old");
    assert_eq!(stage.say(&["outputs", "get", "@last/train", "model"]).await.out, "{\"a\": 1}");
    let file = stage.dir.path().join("copy");
    let args = ["artifacts", "get", "@last", "model.pkl", "-o", file.to_str().unwrap()];
    let said = stage.say(&args).await;
    assert_eq!((said.exit, said.out.as_str()), (Exit::Ok, ""));
    assert_eq!(std::fs::read(file).unwrap(), b"new!");

    for (args, message) in [
        (&["artifacts", "get", "@last", "leak"][..], "leak is a link to /etc/passwd"),
        (&["artifacts", "get", "@last", "model.pk"][..], "did you mean `model.pkl`?"),
        (&["outputs", "get", "@last", "model"][..], "write @last/load"),
        (&["outputs", "get", "@last/train", "modle"][..], "did you mean `model`?"),
        (&["outputs", "ls", "@last/trian"][..], "did you mean `train`?"),
        (&["logs", "nope"][..], "no run `nope`"),
        (&["logs", "@last/nope"][..], "no step `nope`"),
        (&["logs", "@last/train", "--attempt", "2"][..], "no attempt 2"),
    ] {
        let said = stage.say(args).await;
        assert_eq!(said.exit, Exit::Refused, "{args:?}");
        assert!(said.err.contains(message), "{args:?}: {}", said.err);
        assert_eq!(said.out, "");
    }
    let said = stage.say(&["artifacts", "ls", "@last", "--json"]).await;
    let entries: Vec<serde_json::Value> = serde_json::from_str(&said.out).unwrap();
    assert_eq!((entries.len(), &entries[1]["path"]), (4, &"new\nline".into()));
    assert_eq!(entries[3]["step"], "train");
}

#[tokio::test]
async fn logs_of_a_step_are_exact_and_those_of_a_run_have_prefixes() {
    let stage = stage();
    let log = || {
        let pieces = [
            chunk(LogStream::Stdout, 0, "a\nb"),
            chunk(LogStream::System, 0, "ours\n"),
            chunk(LogStream::Stderr, 0, "oops"),
            end(),
        ];
        pieces.map(Ok).into()
    };
    stage.daemon.state().logs.insert(("train".into(), 1), [log(), log()].into());
    let said = stage.say(&["logs", "@last/train"]).await;
    assert_eq!((said.out.as_str(), said.err.as_str()), ("a\nb", "oops"));
    let said = stage.say(&["logs", "@last"]).await;
    assert_eq!(said.out, "train | a\ntrain | b\n");
    assert_eq!(said.err, "train | ours\ntrain | oops\n");
}

#[tokio::test]
async fn deleting_reads_all_names_first() {
    let stage = Stage::new();
    let runs = ["a", "b"].map(|name| run(name, v1::run::State::Succeeded, vec![]));
    stage.daemon.state().runs = runs.into();
    let said = stage.say(&["rm", "@last", "b"]).await;
    assert_eq!((said.exit, said.out.as_str()), (Exit::Ok, "a deleted\nb deleted\n"));
    assert!(stage.daemon.state().runs.is_empty());
}

#[tokio::test]
async fn instances_are_nested_and_many_are_folded() {
    let stage = Stage::new();
    let part = |name: String, good: bool| {
        let mut step = step(&name, (10, 1_010), i32::from(!good));
        step.template = "square".into();
        step
    };
    let mut steps = vec![step("load", (10, 1_010), 0), step("square", (0, 0), 1)];
    steps[0].mocked = true;
    steps[1].attempts.clear();
    (steps[1].start_time, steps[1].end_time) = (super::at(10), super::at(1_010));
    steps[1].reason = "square[7] failed".into();
    let mut after = step("after", (0, 0), 0);
    after.attempts.clear();
    after.state = v1::step::State::UpstreamFailed.into();
    after.reason = "square failed".into();
    let mut inner = step("after/inner", (0, 0), 0);
    inner.attempts.clear();
    inner.state = v1::step::State::Skipped.into();
    steps.extend([after, inner]);
    steps.extend((0..1_000).map(|at| part(format!("square[{at}]"), at != 7)));
    let mut run = run("calm-fox", v1::run::State::Failed, steps);
    (run.substituted, run.priority) = (true, 5);
    stage.daemon.state().runs.push(run);
    let said = stage.say(&["show"]).await;
    let shown = said.out.split_once("\nSteps\n").unwrap().1;
    let first: Vec<_> =
        shown.lines().map(|line| line.split('█').next().unwrap_or_default().trim_end()).collect();
    let wanted = [
        "  ✓  load                          1.0 s",
        "  ✗  square       failed           1.0 s",
        "       [0..999] 1000 instances, 999 succeeded, 1 failed",
        "  ✗    square[7]  failed           1.0 s",
        "  ·  after        upstream_failed",
        "  ↷    inner      skipped",
        "  square: square[7] failed",
        "  square[7]: exit code 1",
        "  after: square failed",
    ];
    assert_eq!(first, wanted);
    assert!(shown.contains("mocked  local"), "{shown}");
    assert!(said.out.contains("\n  priority  5\n"), "{}", said.out);

    let said = stage.say(&["show", "--json"]).await;
    let shown: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(shown["steps"].as_array().unwrap().len(), 1_004);
    assert_eq!((&shown["steps"][0]["mocked"], &shown["substituted"]), (&true.into(), &true.into()));
    assert_eq!(shown["steps"][4]["template"], "square");
    assert_eq!(shown["steps"][1]["end_time"], "2026-11-23T11:00:01.010000Z");
    assert_eq!(shown["steps"][2]["reason"], "square failed");
}

#[tokio::test]
async fn listings_say_what_was_mocked_and_why_runs_wait() {
    let stage = Stage::new();
    let mut waits = run("b", v1::run::State::Queued, vec![]);
    (waits.start_time, waits.end_time) = (None, None);
    waits.reason = "waits for concurrency `x`: 1 of 1 runs".into();
    let mut mocked = run("a", v1::run::State::Succeeded, vec![]);
    mocked.substituted = true;
    stage.daemon.state().runs = vec![waits, mocked];
    let said = stage.say(&["ls"]).await;
    let ends: Vec<_> = said.out.lines().map(|line| line.rsplit("  ").next().unwrap()).collect();
    assert_eq!(ends, ["NOTE", "waits for concurrency `x`: 1 of 1 runs", "mocked"]);
}

#[tokio::test]
async fn the_live_view_needs_a_terminal() {
    let said = stage().say(&["watch"]).await;
    assert_eq!(said.exit, Exit::Refused);
    assert!(said.err.starts_with("error: watch needs a terminal\n"), "{}", said.err);
}
