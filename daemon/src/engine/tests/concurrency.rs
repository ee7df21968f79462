use windlass_core::Stop;
use windlass_proto::common::v1::{ConcurrencySpec, concurrency_spec::WhenFull};

use super::*;
use crate::store::runs::Flow;

/// A run of two steps with that key, of which `limit` may go on.
fn limited(rig: &Rig, key: &str, limit: u32, when_full: WhenFull) -> NewRun {
    let mut plan = chain(2);
    let concurrency = ConcurrencySpec { key: key.to_owned(), limit, when_full: when_full.into() };
    plan.spec.as_mut().unwrap().concurrency = Some(concurrency);
    let flow = Flow { concurrency: Some(key.to_owned()), ..Flow::default() };
    new_run(rig.handle.new_run_id(), Uuid::new_v4(), plan).with_flow(flow)
}

fn urgent(mut new: NewRun, priority: i32) -> NewRun {
    new.flow.priority = priority;
    new
}

async fn create(rig: &Rig, new: NewRun) -> RunId {
    rig.handle.create(new).await.unwrap().run
}

async fn finish(rig: &Rig, run: RunId) {
    let worker = rig.worker("finisher", 100).await;
    let mut grants = worker.poll(100).await;
    while let Some(place) = grants.iter().position(|grant| grant.key.run == run) {
        let grant = grants.swap_remove(place);
        worker.report(&grant, AttemptState::Succeeded).await.unwrap();
        grants.extend(worker.poll(100).await);
    }
    worker_gives_back(rig, &worker, &grants).await;
}

/// What was taken too much is ready again.
async fn worker_gives_back(rig: &Rig, worker: &Worker<'_>, grants: &[Arc<Grant>]) {
    let returned = grants.iter().map(|grant| proof(grant)).collect();
    rig.handle.close_session(worker.session.clone(), returned).await.unwrap();
}

async fn ready(rig: &Rig, run: RunId) -> bool {
    rig.states(run).await[0] == "ready"
}

#[tokio::test]
async fn runs_of_a_key_wait_for_each_other_and_others_do_not() {
    let home = tempfile::tempdir().unwrap();
    let rig = Rig::open(home.path());
    let queue = |key| limited(&rig, key, 2, WhenFull::Queue);
    let first = create(&rig, queue("x")).await;
    let second = create(&rig, queue("x")).await;
    let third = create(&rig, queue("x")).await;
    let other = create(&rig, queue("y")).await;
    let fourth = create(&rig, urgent(queue("x"), 3)).await;
    for (run, begun) in
        [(first, true), (second, true), (third, false), (other, true), (fourth, false)]
    {
        assert_eq!(ready(&rig, run).await, begun);
        assert_eq!(rig.state(run).await, RunState::Queued);
    }
    let name = rig.run(first).await.name;
    assert_eq!(rig.run(third).await.reason, format!("waits for concurrency `x`: {name} goes on"));
    finish(&rig, second).await;
    assert!(ready(&rig, fourth).await, "the higher priority goes first");
    assert!(!ready(&rig, third).await);
    finish(&rig, first).await;
    assert!(ready(&rig, third).await);
    assert_eq!(rig.run(third).await.reason, "");
    for run in [third, fourth, other] {
        finish(&rig, run).await;
        assert_eq!(rig.state(run).await, RunState::Succeeded);
    }
}

#[tokio::test]
async fn a_held_run_can_be_cancelled_and_lets_the_next_begin() {
    let home = tempfile::tempdir().unwrap();
    let rig = Rig::open(home.path());
    let queue = || limited(&rig, "x", 1, WhenFull::Queue);
    let first = create(&rig, queue()).await;
    let second = create(&rig, queue()).await;
    let third = create(&rig, queue()).await;
    let cancel = |run| Cancel { run, reason: "enough".into(), how: Stop::Politely };
    rig.handle.cancel(cancel(second)).await.unwrap();
    assert_eq!(rig.state(second).await, RunState::Cancelled);
    assert_eq!(rig.run(second).await.reason, "enough");
    assert!(!ready(&rig, third).await);
    rig.handle.cancel(cancel(first)).await.unwrap();
    assert!(ready(&rig, third).await);
}

#[tokio::test]
async fn a_full_key_may_refuse_and_keeps_nothing() {
    let home = tempfile::tempdir().unwrap();
    let rig = Rig::open(home.path());
    let refuse = || limited(&rig, "x", 1, WhenFull::Refuse);
    let first = create(&rig, refuse()).await;
    let name = rig.run(first).await.name;
    let second = refuse();
    let id = second.shared.run;
    let error = rig.handle.create(second).await.unwrap_err();
    assert_eq!(error.to_string(), format!("concurrency `x` is full: {name} goes on"));
    let found = rig.readers.read(move |conn| crate::store::runs::get(conn, id)).await.unwrap();
    assert!(found.is_none());
    finish(&rig, first).await;
    create(&rig, refuse()).await;
}

#[tokio::test]
async fn the_oldest_makes_way_and_is_waited_for() {
    let home = tempfile::tempdir().unwrap();
    let rig = Rig::open(home.path());
    let make = || limited(&rig, "x", 1, WhenFull::CancelOldest);
    let worker = rig.worker("w", 1).await;
    let first = create(&rig, make()).await;
    let grant = worker.one().await;
    worker.report(&grant, AttemptState::Running).await.unwrap();
    let second = create(&rig, make()).await;
    assert_eq!(rig.state(first).await, RunState::Cancelling);
    let name = rig.run(second).await.name;
    assert_eq!(rig.run(first).await.reason, format!("makes way for {name} (concurrency `x`)"));
    assert!(!ready(&rig, second).await, "it waits for the end");
    let third = create(&rig, make()).await;
    assert!(!ready(&rig, second).await && !ready(&rig, third).await);
    worker.report(&grant, AttemptState::Cancelled).await.unwrap();
    assert_eq!(rig.state(first).await, RunState::Cancelled);
    assert_eq!(rig.state(second).await, RunState::Cancelled, "and makes way in turn");
    assert!(ready(&rig, third).await);
}

#[tokio::test]
async fn held_runs_go_on_after_a_kill_at_any_commit() {
    let home = tempfile::tempdir().unwrap();
    let rig = Rig::open(home.path());
    let worker = rig.worker("w", 1).await;
    let mut runs = Vec::new();
    for _ in 0..3 {
        runs.push(create(&rig, limited(&rig, "x", 1, WhenFull::Queue)).await);
    }
    let mut done = 0;
    loop {
        let copy = super::crash::killed(home.path());
        let after = Rig::open(copy.path());
        let begun = [done / 2, done / 2 + 1].map(|place| runs.get(place).copied());
        if let [Some(going), waits] = begun {
            after.settle().await;
            assert_eq!(after.states(going).await[done % 2], "ready");
            if let Some(waits) = waits {
                assert_eq!(after.states(waits).await, ["pending", "pending"]);
                assert!(after.run(waits).await.reason.contains("goes on"));
            }
        }
        let again = after.worker("w", 1).await;
        let grants = again.poll(1).await;
        assert_eq!(again.work(grants).await, 6 - done);
        for run in &runs {
            assert_eq!(after.state(*run).await, RunState::Succeeded);
        }
        after.stop().await;
        let Some(grant) = worker.poll(1).await.pop() else { break };
        worker.report(&grant, AttemptState::Succeeded).await.unwrap();
        done += 1;
    }
    assert_eq!(done, 6);
}

/// The record as a crash leaves it that came after the end of a run and before the begin of the
/// next, as an older version might have.
#[tokio::test]
async fn a_held_run_that_nobody_holds_any_more_begins_with_the_daemon() {
    let home = tempfile::tempdir().unwrap();
    let rig = Rig::open(home.path());
    let first = create(&rig, limited(&rig, "x", 1, WhenFull::Queue)).await;
    let second = create(&rig, limited(&rig, "x", 1, WhenFull::Queue)).await;
    rig.stop().await;
    let conn = rusqlite::Connection::open(home.path().join("windlass.db")).unwrap();
    conn.execute("UPDATE runs SET state = 4 WHERE run_id = ?1", [first.0]).unwrap();
    drop(conn);
    let rig = Rig::open(home.path());
    rig.settle().await;
    assert!(ready(&rig, second).await);
}

#[tokio::test]
async fn a_failed_transaction_leaves_the_key_as_it_was() {
    let home = tempfile::tempdir().unwrap();
    let rig = Rig::open(home.path());
    let worker = rig.worker("w", 1).await;
    let first = create(&rig, limited(&rig, "x", 1, WhenFull::Queue)).await;
    let second = create(&rig, limited(&rig, "x", 1, WhenFull::Queue)).await;
    let mut grant = worker.one().await;
    worker.report(&grant, AttemptState::Succeeded).await.unwrap();
    grant = worker.one().await;
    let blocker = rusqlite::Connection::open(home.path().join("windlass.db")).unwrap();
    blocker.execute_batch("CREATE TRIGGER full BEFORE UPDATE ON steps BEGIN SELECT RAISE(ABORT, 'disk full'); END").unwrap();
    assert!(worker.report(&grant, AttemptState::Succeeded).await.is_err());
    assert_eq!(rig.states(first).await, ["succeeded", "running"]);
    blocker.execute_batch("DROP TRIGGER full").unwrap();
    worker.report(&grant, AttemptState::Succeeded).await.unwrap();
    assert_eq!(rig.state(first).await, RunState::Succeeded);
    rig.clock.pass(Duration::from_secs(2));
    rig.settle().await;
    assert!(ready(&rig, second).await);
}
