use std::collections::HashSet;

use rustix::process::Signal;
use windlass_proto::{
    common::v1::{AttemptState, LogStream},
    worker::v1::directive,
};

use crate::worker::{Stage, processes, until};

#[tokio::test]
async fn a_repeated_poll_gives_the_same_lease_once() {
    let stage = Stage::new();
    stage.daemon.state().lose_answers = 1;
    stage.daemon.submit(stage.sh("echo once"));

    let end = stage.daemon.end(0).await;

    assert_eq!(end.state(), AttemptState::Succeeded);
    let state = stage.daemon.state();
    assert_eq!(state.polls.len(), 2);
    assert_eq!(state.polls.iter().collect::<HashSet<_>>().len(), 1, "the same poll id");
    assert_eq!(state.leased.len(), 1);
}

#[tokio::test]
async fn a_lost_answer_to_a_report_neither_doubles_nor_drops_the_next_lease() {
    let stage = Stage::with_slots(1);
    for n in 0..3 {
        stage.daemon.submit(stage.sh(&format!("sleep 0.3; echo {n}")));
    }
    stage.daemon.running().await;
    stage.daemon.state().lose_answers = 2;

    let last = stage.daemon.end(2).await;

    assert_eq!(stage.daemon.log(&last, LogStream::Stdout), b"2\n");
    assert_eq!(stage.daemon.state().leased.len(), 3);
}

#[tokio::test]
async fn a_fenced_session_is_opened_again_with_what_is_held() {
    let stage = Stage::new();
    stage.daemon.submit(stage.sh("sleep 0.5; echo survived"));
    let lease = stage.daemon.running().await;
    stage.daemon.state().fence_calls = 1;

    let end = stage.daemon.end(0).await;

    assert_eq!(end.state(), AttemptState::Succeeded);
    let state = stage.daemon.state();
    assert_eq!(state.opened.len(), 2);
    assert_eq!(state.opened[1].held[0].lease, Some(lease));
}

#[tokio::test]
async fn a_daemon_that_comes_back_gets_everything() {
    let mut stage = Stage::new();
    stage.daemon.submit(stage.sh("echo before; sleep 0.6; echo after"));
    stage.daemon.running().await;
    stage.listening = None;
    let socket = stage.home.daemon_socket();
    stage.listening = Some(stage.daemon.listen(&socket));

    let end = stage.daemon.end(0).await;

    assert_eq!(end.state(), AttemptState::Succeeded);
    assert_eq!(stage.daemon.log(&end, LogStream::Stdout), b"before\nafter\n");
}

#[tokio::test]
async fn an_abandoned_attempt_is_killed_and_not_reported() {
    let stage = Stage::new();
    stage.daemon.submit(stage.sh("sleep 1000"));
    let lease = stage.daemon.running().await;

    stage.daemon.direct(&lease, directive::Action::Abandon);

    until("it is gone", || stage.attempts().is_empty());
    let marker = format!("WINDLASS_OUTPUTS={}", stage.home.work().display());
    assert!(processes(&marker).is_empty());
    assert!(stage.daemon.state().reports.iter().all(|report| report.end.is_none()));
}

#[tokio::test]
async fn a_worker_that_is_told_to_stop_says_goodbye_and_leaves_the_step_running() {
    let mut stage = Stage::new();
    stage.daemon.submit(stage.sh("sleep 0.7; echo done"));
    stage.daemon.running().await;

    stage.end_worker(Signal::TERM);

    assert_eq!(stage.daemon.state().closed, 1);
    assert!(stage.daemon.state().returned.is_empty());
    stage.start_worker();
    let end = stage.daemon.end(0).await;
    assert_eq!(end.state(), AttemptState::Succeeded);
    assert_eq!(stage.daemon.log(&end, LogStream::Stdout), b"done\n");
}

#[tokio::test]
async fn a_second_worker_of_the_home_leaves_quietly() {
    let stage = Stage::new();
    stage.daemon.submit(stage.sh("true"));
    stage.daemon.end(0).await;

    let second = std::process::Command::new(env!("CARGO_BIN_EXE_windlass-worker"))
        .arg("--home")
        .arg(stage.home.root())
        .output()
        .unwrap();

    assert!(second.status.success());
    assert_eq!(String::from_utf8_lossy(&second.stderr), "");
    assert_eq!(stage.daemon.state().opened.len(), 1);
}
