use serde_json::{Value, json};
use windlass_proto::api::v1;

use super::{Stage, run};
use crate::error::Exit;

/// A daemon that makes four runs, the last of which fails.
fn stage() -> Stage {
    let stage = Stage::new();
    stage.write("churn.yaml", "version: 1\n");
    let made = |(at, name): (usize, &str)| {
        let state = if at == 3 { v1::run::State::Failed } else { v1::run::State::Succeeded };
        let mut run = run(name, state, vec![]);
        run.metrics = [("accuracy".to_owned(), 0.9 + [0.01, 0.03, 0.02, 0.0][at])].into();
        let param =
            |name: &str, json: &str| v1::Param { name: name.into(), json: json.into(), source: 0 };
        let lr = ["0.1", "0.1", "0.2", "0.2"][at];
        run.params = vec![param("lr", lr), param("n", "7")];
        run
    };
    stage.daemon.state().coming = ["a", "b", "c", "d"].into_iter().enumerate().map(made).collect();
    stage
}

const SWEEP: [&str; 8] =
    ["-p", "lr=[0.1, 0.2]", "-p", "depth=[3, 5]", "--sweep", "lr", "--sweep", "depth"];

#[tokio::test]
async fn a_sweep_is_a_run_for_each_combination_under_one_label() {
    let stage = stage();
    let args = ["submit", "churn.yaml", "--json", "--group", "rates", "-p", "n=7"];
    let said = stage.say(&[&args[..], &SWEEP].concat()).await;
    let made: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((said.exit, made.as_array().unwrap().len()), (Exit::Ok, 4));
    assert_eq!(made[1], json!({"run_id": "0193a1b2-7c3d-7000-8000-00000000000b", "name": "b"}));
    let state = stage.daemon.state();
    let of = |request: &v1::CreateRunRequest| {
        let cli = &request.params.as_ref().unwrap().cli;
        let texts = cli.iter().map(|given| format!("{}={}", given.name, given.text));
        (texts.collect::<Vec<_>>().join(" "), request.labels["group"].clone())
    };
    let rates = |text: &str| (text.to_owned(), "rates".to_owned());
    let made: Vec<_> = state.created.iter().map(of).collect();
    assert_eq!(made[0], rates("n=7 lr=0.1 depth=3"));
    assert_eq!(made[3], rates("n=7 lr=0.2 depth=5"));
    let mut ids: Vec<_> = state.created.iter().map(|request| &request.request_id).collect();
    ids.dedup();
    assert_eq!(ids.len(), 4);
}

#[tokio::test]
async fn a_sweep_is_followed_line_by_line_and_ends_with_a_ranking() {
    let stage = stage();
    let said = stage.say(&[&["run", "churn.yaml", "--group", "g"][..], &SWEEP].concat()).await;
    assert_eq!(said.exit, Exit::RunFailed, "{}", said.err);
    let expected = "\
#  RUN  accuracy   lr
1  b        0.93  0.1
2  c        0.92  0.2
3  a        0.91  0.1
";
    assert_eq!(said.out, expected);
    let expected = "\
windlass: 4 runs of group g
✓ a  lr=0.1  depth=3  4.0 s  accuracy 0.91
✓ b  lr=0.1  depth=5  4.0 s  accuracy 0.93
✓ c  lr=0.2  depth=3  4.0 s  accuracy 0.92
✗ d  lr=0.2  depth=5  failed  4.0 s  accuracy 0.9
windlass: 3 succeeded, 1 failed
again, or by another metric: windlass best --metric accuracy --group g
";
    assert_eq!(said.err, expected);
}

#[tokio::test]
async fn scripts_get_every_run_of_a_sweep() {
    let said = stage().say(&[&["run", "churn.yaml", "--json"][..], &SWEEP].concat()).await;
    let runs: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((said.exit, said.err.as_str()), (Exit::RunFailed, ""));
    assert_eq!((&runs[0]["name"], &runs[3]["state"]), (&json!("a"), &json!("failed")));
}

#[tokio::test]
async fn the_best_runs_are_asked_for_and_ranked() {
    let stage = stage();
    let runs: Vec<_> = stage.daemon.state().coming.drain(..2).collect();
    stage.daemon.state().runs = runs;
    let args = ["best", "--metric", "accuracy", "--group", "g", "--pipeline", "churn", "--min"];
    let said = stage.say(&[&args[..], &["--limit", "5", "--json"]].concat()).await;
    let best: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((&best[0]["name"], &best[0]["value"]), (&json!("a"), &json!(0.91)));
    assert_eq!(best[0]["params"]["lr"]["value"], 0.1);
    let asked = stage.daemon.state().ranked.remove(0);
    assert_eq!((asked.metric.as_str(), asked.ascending, asked.limit), ("accuracy", true, 5));
    assert_eq!((asked.pipeline.as_str(), asked.labels["group"].as_str()), ("churn", "g"));
}
