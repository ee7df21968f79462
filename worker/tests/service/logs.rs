use std::time::Instant;

use windlass_proto::common::v1::{AttemptState, LogStream};

use crate::worker::{Stage, until};

#[tokio::test]
async fn a_flood_arrives_byte_for_byte() {
    let stage = Stage::new();
    let lines = 400_000;
    let began = Instant::now();
    stage.daemon.submit(stage.sh(&format!("seq 1 {lines}; seq 1 1000 >&2; printf end")));

    let end = stage.daemon.end(0).await;

    let mut wanted: String = (1..=lines).map(|n| format!("{n}\n")).collect();
    wanted.push_str("end");
    assert_eq!(usize::try_from(end.stdout_size).unwrap(), wanted.len());
    assert!(stage.daemon.log(&end, LogStream::Stdout) == wanted.as_bytes());
    assert_eq!(end.stderr_size, 3893);
    println!("{} bytes in {:?}", wanted.len(), began.elapsed());
}

#[tokio::test]
async fn a_daemon_that_does_not_keep_up_slows_only_the_step() {
    let stage = Stage::new();
    stage.daemon.state().hold_acks = true;
    stage.daemon.submit(stage.sh("head -c 90000000 /dev/zero; echo done >&2"));
    stage.daemon.running().await;
    let spool = || {
        let dir = stage.attempts().into_iter().next();
        dir.and_then(|dir| dir.join("stdout").metadata().ok()).map_or(0, |meta| meta.len())
    };
    until("the spool is full", || spool() >= 64 << 20);
    stage.daemon.submit(stage.sh("true"));

    let other = stage.daemon.end(0).await;

    assert_eq!(other.state(), AttemptState::Succeeded);
    assert!(spool() < 66 << 20, "{}", spool());
    let sent: usize = stage.daemon.state().logs.values().map(Vec::len).sum();
    assert!(sent <= 5 << 20, "{sent}");
    stage.daemon.state().hold_acks = false;
    stage.daemon.state().fence_calls = 1;
    let end = stage.daemon.end(1).await;
    assert_eq!((end.state(), end.stdout_size), (AttemptState::Succeeded, 90_000_000));
    assert_eq!(stage.daemon.log(&end, LogStream::Stdout).len(), 90_000_000);
}
