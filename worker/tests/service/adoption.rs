use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process};
use windlass_proto::{
    common::v1::{AttemptState, EndReason, LogStream},
    worker::v1::directive,
};

use crate::worker::{Stage, keepers, processes, until};

#[tokio::test]
async fn a_killed_worker_is_replaced_and_no_byte_is_lost_or_doubled() {
    let mut stage = Stage::new();
    stage
        .daemon
        .submit(stage.sh("for i in $(seq 1 400); do echo line $i; sleep 0.005; done; exit 7"));
    stage.daemon.running().await;

    for _ in 0..3 {
        stage.end_worker(Signal::KILL);
        let opened = stage.daemon.state().opened.len();
        stage.start_worker();
        stage.daemon.wait(|state| (state.opened.len() > opened).then_some(())).await;
    }

    let end = stage.daemon.end(0).await;
    assert_eq!(end.end.as_ref().unwrap().exit_code, Some(7));
    let wanted: String = (1..=400).map(|i| format!("line {i}\n")).collect();
    assert_eq!(String::from_utf8(stage.daemon.log(&end, LogStream::Stdout)).unwrap(), wanted);
    assert_eq!(stage.daemon.state().leased.len(), 1);
}

#[tokio::test]
async fn an_attempt_that_ended_without_a_worker_is_reported_by_the_next() {
    let mut stage = Stage::new();
    stage.daemon.submit(stage.sh("sleep 0.3; echo late > made; echo out"));
    stage.daemon.running().await;
    stage.end_worker(Signal::KILL);
    until("its end is written down", || {
        stage.attempts().first().is_some_and(|dir| dir.join("exit.json").exists())
    });
    // The keeper is not needed for it.
    for keeper in keepers(stage.home.root()) {
        kill_process(keeper, Signal::KILL).unwrap();
    }
    stage.start_worker();

    let end = stage.daemon.end(0).await;

    assert_eq!(end.state(), AttemptState::Succeeded, "{end:#?}");
    assert_eq!(stage.daemon.log(&end, LogStream::Stdout), b"out\n");
    assert_eq!(end.artifacts[0].path, "made");
    until("its directory is removed", || stage.attempts().is_empty());
}

#[tokio::test]
async fn a_killed_keeper_loses_the_attempt_and_its_whole_tree() {
    let stage = Stage::new();
    stage.daemon.submit(stage.sh("setsid sleep 1000 & sleep 1000"));
    stage.daemon.running().await;
    let marker = format!("WINDLASS_OUTPUTS={}", stage.home.work().display());
    until("the tree is there", || processes(&marker).len() >= 3);
    let began = Instant::now();
    for keeper in keepers(stage.home.root()) {
        kill_process(keeper, Signal::KILL).unwrap();
    }

    let end = stage.daemon.end(0).await;

    assert!(began.elapsed() < Duration::from_secs(10));
    assert_eq!((end.state(), end.end.unwrap().reason()), (AttemptState::Lost, EndReason::Lost));
    assert!(processes(&marker).is_empty());
    stage.daemon.submit(stage.sh("echo again"));
    let next = stage.daemon.end(1).await;
    assert_eq!(next.state(), AttemptState::Succeeded);
}

#[tokio::test]
async fn keeper_and_worker_killed_together() {
    let mut stage = Stage::new();
    stage.daemon.submit(stage.sh("setsid sleep 1000 & sleep 1000"));
    stage.daemon.running().await;
    let marker = format!("WINDLASS_OUTPUTS={}", stage.home.work().display());
    for keeper in keepers(stage.home.root()) {
        kill_process(keeper, Signal::KILL).unwrap();
    }
    stage.end_worker(Signal::KILL);
    stage.start_worker();

    let end = stage.daemon.end(0).await;

    assert_eq!(end.state(), AttemptState::Lost);
    assert!(processes(&marker).is_empty());
}

#[tokio::test]
async fn a_keeper_that_is_told_to_leave_kills_what_it_has() {
    let stage = Stage::new();
    stage.daemon.submit(stage.sh("setsid sleep 1000 & sleep 1000"));
    stage.daemon.running().await;
    for keeper in keepers(stage.home.root()) {
        kill_process(keeper, Signal::TERM).unwrap();
    }

    let end = stage.daemon.end(0).await;

    assert_eq!(end.state(), AttemptState::Lost);
    let marker = format!("WINDLASS_OUTPUTS={}", stage.home.work().display());
    assert!(processes(&marker).is_empty());
}

#[tokio::test]
async fn a_keeper_without_work_and_worker_leaves() {
    let mut stage = Stage::new();
    stage.daemon.submit(stage.sh("true"));
    stage.daemon.end(0).await;
    assert_eq!(keepers(stage.home.root()).len(), 1);

    stage.end_worker(Signal::TERM);

    until("the keeper is gone", || keepers(stage.home.root()).is_empty());
}

#[tokio::test]
async fn held_attempts_that_the_daemon_gave_up_are_discarded() {
    let mut stage = Stage::new();
    stage.daemon.submit(stage.sh("sleep 1000"));
    stage.daemon.running().await;
    stage.end_worker(Signal::KILL);
    stage.daemon.state().on_open = Some(directive::Action::Abandon);
    stage.start_worker();

    until("it is gone", || stage.attempts().is_empty());

    assert!(stage.daemon.state().reports.iter().all(|report| report.end.is_none()));
}
