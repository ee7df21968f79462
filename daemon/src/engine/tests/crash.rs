use super::*;

/// What a kill of the process would leave: the files as they are at this moment.
pub(super) fn killed(home: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for file in ["windlass.db", "windlass.db-wal"] {
        std::fs::copy(home.join(file), copy.path().join(file)).unwrap();
    }
    copy
}

#[tokio::test]
async fn everything_acknowledged_is_there_after_a_kill_at_any_point() {
    let home = tempfile::tempdir().unwrap();
    let rig = Rig::open(home.path());
    let worker = rig.worker("w", 1).await;
    let run = rig.create(chain(6)).await;
    let mut grants = worker.poll(1).await;
    for done in 1..=6usize {
        let grant = grants.pop().unwrap();
        let mut report = worker.said(&grant, AttemptState::Succeeded);
        (report.lease_next, report.poll) = (1, format!("p{done}"));
        report.outputs = vec![output("x", 1)];
        grants = rig.handle.report(report).await.unwrap().grants;

        let copy = killed(home.path());
        let after = Rig::open(copy.path());
        let states = after.states(run).await;
        assert!(states[..done].iter().all(|state| state == "succeeded"), "{states:?}");
        if done < 6 {
            assert_eq!(states[done], "running");
            let kept = vec![held(&grants[0], AttemptState::Running)];
            let (again, orders) = after.worker_with("w", 1, kept).await;
            assert_eq!(orders[0].order, crate::fleet::Order::Continue);
            assert_eq!(again.work(grants.clone()).await, 6 - done);
        }
        assert_eq!(after.state(run).await, RunState::Succeeded);
        after.stop().await;
    }
}

#[tokio::test]
async fn ready_steps_waits_cancellations_and_leases_are_derived_again() {
    let home = tempfile::tempdir().unwrap();
    let rig = Rig::open(home.path());
    let worker = rig.worker("w", 8).await;
    let mut plan = plan(&[&[], &[], &[]]);
    let spec = plan.steps[1].spec.as_mut().unwrap();
    let retry = windlass_proto::common::v1::RetrySpec { times: 1, ..Default::default() };
    spec.retry = Some(retry);
    let run = rig.create(plan).await;
    let grants = worker.poll(2).await;
    worker.report(&grants[0], AttemptState::Running).await.unwrap();
    worker.report(&grants[1], AttemptState::Failed).await.unwrap();
    let stopped = rig.create(chain(2)).await;
    let third = worker.poll(2).await;
    assert_eq!(third.len(), 2, "the last step of the one, the first of the other");
    let how = windlass_core::Stop::Politely;
    rig.handle.cancel(Cancel { run: stopped, reason: "so".into(), how }).await.unwrap();

    let copy = killed(home.path());
    let after = Rig::open(copy.path());
    assert_eq!(after.states(run).await, ["running", "backing_off", "running"]);
    let kept = [&grants[0], &third[1]].map(|grant| held(grant, AttemptState::Running));
    let (worker, orders) = after.worker_with("w", 8, kept.to_vec()).await;
    let orders: Vec<_> = orders.into_iter().map(|ordered| ordered.order).collect();
    use crate::fleet::Order::{Continue, Stop};
    assert_eq!(orders, [Continue, Stop(how)]);
    assert_eq!(worker.one().await.key, third[0].key, "leased, not held: out again");
    after.clock.pass(Duration::from_secs(1));
    after.settle().await;
    assert_eq!(worker.one().await.key.attempt.0, 2);
    worker.report(&third[1], AttemptState::Cancelled).await.unwrap();
    assert_eq!(after.state(stopped).await, RunState::Cancelled);
}

#[tokio::test]
async fn a_failed_transaction_fails_its_batch_alone() {
    let home = tempfile::tempdir().unwrap();
    let rig = Rig::open(home.path());
    let worker = rig.worker("w", 1).await;
    let run = rig.create(chain(2)).await;
    let grant = worker.one().await;
    let blocker = rusqlite::Connection::open(home.path().join("windlass.db")).unwrap();
    blocker.execute_batch("CREATE TRIGGER full BEFORE UPDATE ON steps BEGIN SELECT RAISE(ABORT, 'disk full'); END").unwrap();
    let mut report = worker.said(&grant, AttemptState::Succeeded);
    (report.lease_next, report.poll) = (1, "p".into());
    let failed = rig.handle.report(report.clone()).await;
    assert!(matches!(failed, Err(EngineError::Store(_))), "{failed:?}");
    assert_eq!(rig.states(run).await, ["running", "pending"]);
    blocker.execute_batch("DROP TRIGGER full").unwrap();
    let next = rig.handle.report(report).await.unwrap().grants;
    assert_eq!(worker.work(next).await, 1);
    assert_eq!(rig.state(run).await, RunState::Succeeded);
}

#[tokio::test]
async fn a_panic_of_the_engine_is_seen() {
    struct Bomb;
    impl EndSink for Bomb {
        fn ended(&mut self, _: AttemptEnded) {
            panic!("as the test wants");
        }
    }
    let home = tempfile::tempdir().unwrap();
    let mut rig = Rig::open(home.path());
    rig.handle.stop().await.unwrap();
    rig.thread.take().unwrap().join();
    let options = Options {
        database: home.path().join("windlass.db"),
        blobs: windlass_blobs::Store::open(&home.path().join("blobs")).unwrap(),
        environments: home.path().join("env"),
        clock: Arc::clone(&rig.clock) as Arc<dyn Clock>,
        ended: Box::new(Bomb),
    };
    let (handle, thread) = start(options).unwrap();
    rig.handle = handle;
    let worker = rig.worker("w", 1).await;
    rig.create(chain(1)).await;
    let grant = worker.one().await;
    let answer = worker.report(&grant, AttemptState::Succeeded).await;
    assert!(matches!(answer, Err(EngineError::Closed)), "{answer:?}");
    tokio::time::timeout(PATIENCE, rig.handle.closed()).await.unwrap();
    assert!(!thread.join());
}

#[tokio::test]
async fn ids_grow_also_where_the_clock_went_back() {
    let home = tempfile::tempdir().unwrap();
    let rig = Rig::open(home.path());
    let first = rig.create(chain(1)).await;
    let clock = Arc::clone(&rig.clock);
    rig.stop().await;
    clock.jump(-3600);
    let rig = Rig::open_at(home.path(), clock);
    let second = rig.create(chain(1)).await;
    let third = rig.create(chain(1)).await;
    assert!(first < second && second < third);
}
