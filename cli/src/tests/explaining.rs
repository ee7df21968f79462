use serde_json::Value;
use windlass_proto::{
    api::v1::{self, step::State},
    common::v1::{
        EndReason, LogStream::Stderr, LogStream::Stdout, PipelineSpec, ResourceSpec, StepSpec,
    },
};

use super::{
    Stage,
    fake::{chunk, end},
    run, step,
};
use crate::error::Exit;

/// A run in which an instance ran out of memory.
fn stage() -> Stage {
    let stage = Stage::new();
    let mut all = step("train", (0, 0), 1);
    all.attempts.clear();
    all.reason = "train[1] failed".into();
    let mut bad = step("train[1]", (0, 900), 1);
    bad.template = "train".into();
    bad.attempts[0].attempt = 2;
    let ended = bad.attempts[0].end.as_mut().unwrap();
    (ended.reason, ended.exit_code) = (EndReason::Oom.into(), None);
    let mut run = run("calm-fox", v1::run::State::Failed, vec![all, bad]);
    let resources = ResourceSpec { memory_bytes: 50_000_000, ..Default::default() };
    let spec = StepSpec { name: "train".into(), resources: Some(resources), ..Default::default() };
    run.spec = Some(PipelineSpec { steps: vec![spec], ..Default::default() });
    let mut state = stage.daemon.state();
    state.runs.push(run);
    let log = [chunk(Stdout, 0, "so far\n"), chunk(Stderr, 0, "\x1b[2JTraceback\nno\n"), end()];
    state.logs.insert(("train[1]".into(), 2), [log.map(Ok).into()].into());
    drop(state);
    stage
}

#[tokio::test]
async fn a_failure_is_one_screen() {
    let said = stage().say(&["explain"]).await;
    let expected = "\
calm-fox  ✗ failed

✗ train[1], attempt 2
  out of memory
  used 54.1 MB of 50.0 MB allowed
  its last lines:
  │ so far
  │ Traceback
  │ no

What helps next
  windlass logs calm-fox/train[1]
  windlass show calm-fox
  windlass rerun calm-fox
";
    assert_eq!((said.exit, said.out.as_str()), (Exit::Ok, expected));
    let said = stage().say(&["explain", "@last", "--json"]).await;
    let card: Value = serde_json::from_str(&said.out).unwrap();
    let failed = &card["failed"][0];
    assert_eq!((&failed["step"], &failed["attempt"]), (&"train[1]".into(), &2.into()));
    assert_eq!(failed["memory_limit_bytes"], 50_000_000);
    assert_eq!(failed["log"][1], "Traceback");
}

#[tokio::test]
async fn what_waits_says_for_what() {
    let stage = stage();
    {
        let mut state = stage.daemon.state();
        let run = &mut state.runs[0];
        run.state = v1::run::State::Running.into();
        run.steps.truncate(1);
        run.steps[0].state = State::Running.into();
        let bare = |name: &str, state: State| v1::Step {
            step: name.into(),
            state: state.into(),
            ..Default::default()
        };
        let mut after = bare("after", State::Pending);
        after.needs = vec!["train".into()];
        let mut gpu = bare("gpu", State::Ready);
        gpu.reason = "waits for gpu: 1, no worker has one free".into();
        run.steps.extend([after, gpu]);
    }
    let said = stage.say(&["explain"]).await;
    let expected = "\
calm-fox  ▶ running

What waits
  ○  after  after train
  ○  gpu    waits for gpu: 1, no worker has one free

What helps next
  windlass watch calm-fox
  windlass workers ls
  windlass cancel calm-fox
";
    assert_eq!(said.out, expected);
}
