use tonic::Status;
use windlass_proto::{
    api::v1::{self, WatchRunResponse},
    common::v1::LogStream::{Stderr, Stdout, System},
};

use super::{
    Stage,
    fake::{chunk, end},
    run, step,
};
use crate::error::Exit;

fn change(sequence: u64, run: Option<&v1::Run>, steps: Vec<v1::Step>) -> WatchRunResponse {
    let run = run.map(|run| v1::Run { steps: vec![], ..run.clone() });
    WatchRunResponse { sequence, run, steps }
}

/// A run of two steps whose second fails, as a daemon tells it.
fn stage() -> Stage {
    let stage = Stage::new();
    let going = run("calm-fox", v1::run::State::Running, vec![]);
    let mut bad = step("train", (1_000, 4_000), 3);
    bad.attempts[0].end.as_mut().unwrap().message = "ValueError: no rows".into();
    let steps = vec![step("load", (10, 1_000), 0), bad];
    let ended = run("calm-fox", v1::run::State::Failed, steps.clone());
    let pending = ["load", "train"].map(|name| v1::Step {
        step: name.into(),
        state: v1::step::State::Pending.into(),
        ..Default::default()
    });
    let mut state = stage.daemon.state();
    state.watches.push_back(vec![
        Ok(change(1, Some(&going), pending.into())),
        Ok(change(2, None, vec![steps[0].clone()])),
        Ok(change(3, Some(&ended), vec![steps[1].clone()])),
    ]);
    let log = |pieces: Vec<_>| [pieces.into_iter().map(Ok).collect()].into();
    let load = vec![chunk(Stdout, 0, "rows: 3\nrest"), chunk(System, 0, "cached\n"), end()];
    state.logs.insert(("load".into(), 1), log(load));
    let train = vec![chunk(Stderr, 0, "Traceback\n"), end()];
    state.logs.insert(("train".into(), 1), log(train));
    state.runs.push(ended);
    drop(state);
    stage.write("churn.yaml", "version: 1\n");
    stage
}

#[tokio::test]
async fn a_run_is_told_line_by_line_and_ends_as_it_did() {
    let said = stage().say(&["run", "churn.yaml"]).await;
    assert_eq!(said.exit, Exit::RunFailed);
    assert_eq!(said.out, "load | rows: 3\nload | rest\n");
    let expected = "\
windlass: run calm-fox
load | cached
train | Traceback
✗ train  exit code 3
  ValueError: no rows
windlass: calm-fox failed in 4.0 s
";
    assert_eq!(said.err, expected);
}

#[tokio::test]
async fn scripts_get_the_finished_run_alone() {
    let said = stage().say(&["run", "churn.yaml", "--json"]).await;
    let run: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((said.exit, said.err.as_str()), (Exit::RunFailed, ""));
    assert_eq!((&run["state"], &run["steps"][1]["step"]), (&"failed".into(), &"train".into()));
    assert_eq!(run["steps"][1]["attempts"][0]["exit_code"], 3);
}

#[tokio::test]
async fn a_daemon_that_comes_back_goes_on_where_it_was() {
    let stage = stage();
    {
        let mut state = stage.daemon.state();
        let mut whole = state.watches.pop_front().unwrap();
        let rest = whole.split_off(2);
        whole.push(Err(Status::unavailable("broken pipe")));
        state.watches.extend([whole, rest]);
        let log = state.logs.get_mut(&("load".into(), 1)).unwrap();
        let broken = vec![Ok(chunk(Stdout, 0, "rows")), Err(Status::unavailable("broken pipe"))];
        log.push_front(broken);
    }
    let said = stage.say(&["run", "churn.yaml"]).await;
    assert_eq!(said.exit, Exit::RunFailed);
    assert_eq!(said.out, "load | rows: 3\nload | rest\n");
    assert_eq!(stage.daemon.state().watched_after, [0, 2]);
}

#[tokio::test]
async fn an_answer_that_no_waiting_mends_ends_the_wait() {
    let stage = stage();
    let gone = super::fake::refusal(tonic::Code::NotFound, "RUN_NOT_FOUND", "no run `calm-fox`");
    stage.daemon.state().watches = [vec![Err(gone)]].into();
    let said = stage.say(&["wait", "calm-fox"]).await;
    assert_eq!((said.exit, said.err.as_str()), (Exit::Refused, "error: no run `calm-fox`\n"));
}

#[tokio::test]
async fn waiting_ends_as_the_worst_of_the_runs() {
    let stage = stage();
    let good = run("good", v1::run::State::Succeeded, vec![]);
    {
        let mut state = stage.daemon.state();
        state.watches.push_back(vec![Ok(change(9, Some(&good), vec![]))]);
        state.runs.push(good);
    }
    let said = stage.say(&["wait", "calm-fox", "good"]).await;
    assert_eq!(
        (said.exit, said.err.as_str()),
        (Exit::RunFailed, "calm-fox failed\ngood succeeded\n")
    );
}

#[tokio::test]
async fn a_step_is_followed_through_its_attempts_byte_for_byte() {
    let stage = stage();
    {
        let mut state = stage.daemon.state();
        let mut retried = step("load", (10, 1_000), 0);
        retried.attempts.insert(0, retried.attempts[0].clone());
        retried.attempts[1].attempt = 2;
        let mut first = state.watches[0][1].as_ref().unwrap().clone();
        first.steps[0].state = v1::step::State::BackingOff.into();
        state.watches = [vec![Ok(first), Ok(change(4, None, vec![retried]))]].into();
        let again = vec![Ok(chunk(Stdout, 0, "again")), Ok(end())];
        state.logs.insert(("load".into(), 2), [again].into());
    }
    let said = stage.say(&["logs", "-f", "calm-fox/load"]).await;
    assert_eq!((said.exit, said.err.as_str()), (Exit::Ok, ""));
    assert_eq!(said.out, "rows: 3\nrestagain");
}
