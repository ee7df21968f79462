use windlass_core::Stop;
use windlass_proto::worker::v1::directive::Action as Told;

use super::*;
use crate::fleet::LEASE_TTL;

/// Time that passes without anyone's lease being renewed, in steps that no one takes for a stop
/// of the engine's own process.
async fn silence(rig: &Rig, time: Duration) {
    let step = Duration::from_secs(1);
    for _ in 0..time.as_secs() + 1 {
        rig.clock.pass(step);
        rig.settle().await;
    }
}

fn idempotent(mut plan: Plan) -> Plan {
    for step in &mut plan.steps {
        step.spec.as_mut().unwrap().idempotent = true;
    }
    plan
}

#[tokio::test]
async fn slots_bound_what_a_worker_holds_and_big_steps_take_more() {
    let home = tempfile::tempdir().unwrap();
    let rig = Rig::open(home.path());
    let worker = rig.worker("w", 3).await;
    let mut wide = plan(&[&[], &[], &[]]);
    let resources =
        windlass_proto::common::v1::ResourceSpec { cpu_millis: 1500, ..Default::default() };
    wide.steps[0].spec.as_mut().unwrap().resources = Some(resources);
    rig.create(wide).await;
    let grants = worker.poll(9).await;
    assert_eq!(grants.len(), 2);
    assert!(worker.poll(9).await.is_empty());
    worker.report(&grants[0], AttemptState::Succeeded).await.unwrap();
    assert_eq!(worker.poll(9).await.len(), 1);
}

#[tokio::test]
async fn a_silent_worker_loses_its_attempts_whatever_the_wall_clock_does() {
    let home = tempfile::tempdir().unwrap();
    let rig = Rig::open(home.path());
    let worker = rig.worker("w", 2).await;
    let run = rig.create(idempotent(chain(1))).await;
    let grant = worker.one().await;
    worker.report(&grant, AttemptState::Running).await.unwrap();
    for jump in [3600, -7200] {
        rig.clock.jump(jump);
        silence(&rig, Duration::from_secs(3)).await;
        assert_eq!(worker.beat(&[&grant]).await, [Order::Continue]);
    }
    silence(&rig, LEASE_TTL).await;
    assert_eq!(rig.states(run).await, ["ready"]);
    assert_eq!(worker.beat(&[&grant]).await, [Order::Abandon]);
    let late = worker.report(&grant, AttemptState::Succeeded).await;
    assert!(matches!(late, Err(EngineError::LeaseFenced)), "{late:?}");
    assert_eq!(worker.one().await.key.attempt.0, 2);
    let ends = rig.ends.0.lock().unwrap().clone();
    assert!(ends[0].log_sizes.is_none());
}

#[tokio::test]
async fn a_lost_attempt_fails_its_step_unless_it_may_be_repeated() {
    let home = tempfile::tempdir().unwrap();
    let rig = Rig::open(home.path());
    let worker = rig.worker("w", 1).await;
    let run = rig.create(chain(1)).await;
    let grant = worker.one().await;
    worker.report(&grant, AttemptState::Running).await.unwrap();
    silence(&rig, LEASE_TTL).await;
    assert_eq!(rig.state(run).await, RunState::Failed);
    assert!(rig.run(run).await.reason.contains("silent"));
}

#[tokio::test]
async fn a_lease_that_never_arrived_goes_out_again() {
    let home = tempfile::tempdir().unwrap();
    let rig = Rig::open(home.path());
    let worker = rig.worker("w", 1).await;
    let run = rig.create(chain(1)).await;
    let first = worker.one().await;
    for _ in 0..9 {
        rig.clock.pass(Duration::from_secs(1));
        worker.beat(&[]).await;
    }
    let second = worker.one().await;
    assert_eq!(second.key, first.key);
    assert_ne!(second.lease, first.lease);
    assert!(worker.report(&first, AttemptState::Succeeded).await.is_err());
    worker.report(&second, AttemptState::Succeeded).await.unwrap();
    assert_eq!(rig.state(run).await, RunState::Succeeded);
}

#[tokio::test]
async fn a_new_session_fences_the_old_and_settles_what_is_held() {
    let home = tempfile::tempdir().unwrap();
    let rig = Rig::open(home.path());
    let old = rig.worker("w", 4).await;
    let run = rig.create(idempotent(plan(&[&[], &[], &[], &[]]))).await;
    let grants = old.poll(4).await;
    old.report(&grants[0], AttemptState::Running).await.unwrap();
    old.report(&grants[1], AttemptState::Running).await.unwrap();
    old.report(&grants[3], AttemptState::Succeeded).await.unwrap();
    let kept = [held(&grants[0], AttemptState::Running), held(&grants[3], AttemptState::Running)];
    let (new, orders) = rig.worker_with("w", 4, kept.to_vec()).await;
    let orders: Vec<Order> = orders.into_iter().map(|ordered| ordered.order).collect();
    assert_eq!(orders, [Order::Continue, Order::Abandon]);
    assert_eq!(rig.states(run).await, ["running", "ready", "ready", "succeeded"]);
    let fenced = old.report(&grants[0], AttemptState::Succeeded).await;
    assert!(matches!(fenced, Err(EngineError::SessionFenced)));
    new.report(&grants[0], AttemptState::Succeeded).await.unwrap();
    let mut numbers: Vec<u32> = new.poll(4).await.iter().map(|g| g.key.attempt.0).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [1, 2], "never arrived: the same number; lost: the next");
}

#[tokio::test]
async fn cancel_reaches_the_worker_at_once_and_waits_for_its_report() {
    let home = tempfile::tempdir().unwrap();
    let rig = Rig::open(home.path());
    let worker = rig.worker("w", 1).await;
    let mut told = rig.handle.watch_directives(worker.session.clone()).await.unwrap();
    let run = rig.create(chain(2)).await;
    let grant = worker.one().await;
    let cancel = |how| Cancel { run, reason: "enough".into(), how };
    rig.handle.cancel(cancel(Stop::Politely)).await.unwrap();
    let heard = tokio::time::timeout(PATIENCE, told.recv()).await.unwrap().unwrap();
    assert_eq!((heard[0].action(), heard[0].reason.as_str()), (Told::Stop, "enough"));
    assert_eq!(rig.state(run).await, RunState::Cancelling);
    assert_eq!(worker.beat(&[&grant]).await, [Order::Stop(Stop::Politely)]);
    rig.handle.cancel(cancel(Stop::AtOnce)).await.unwrap();
    let heard = tokio::time::timeout(PATIENCE, told.recv()).await.unwrap().unwrap();
    assert_eq!(heard[0].action(), Told::Kill);
    worker.report(&grant, AttemptState::Cancelled).await.unwrap();
    assert_eq!(rig.states(run).await, ["cancelled", "cancelled"]);
    assert_eq!(rig.state(run).await, RunState::Cancelled);
    assert_eq!(rig.run(run).await.reason, "enough");
    rig.handle.cancel(cancel(Stop::Politely)).await.unwrap();
}

#[tokio::test]
async fn a_worker_lost_while_cancelling_ends_the_run_cancelled() {
    let home = tempfile::tempdir().unwrap();
    let rig = Rig::open(home.path());
    let worker = rig.worker("w", 1).await;
    let run = rig.create(chain(1)).await;
    let grant = worker.one().await;
    worker.report(&grant, AttemptState::Running).await.unwrap();
    let how = Stop::Politely;
    rig.handle.cancel(Cancel { run, reason: String::new(), how }).await.unwrap();
    silence(&rig, LEASE_TTL).await;
    assert_eq!(rig.state(run).await, RunState::Cancelled);
}

#[tokio::test]
async fn a_drained_worker_gets_nothing_until_it_is_resumed() {
    let home = tempfile::tempdir().unwrap();
    let rig = Rig::open(home.path());
    let worker = rig.worker("w", 1).await;
    rig.create(chain(1)).await;
    let name = WorkerName("w".into());
    assert!(rig.handle.drain(name.clone(), true).await.unwrap().draining);
    assert!(worker.poll(1).await.is_empty());
    assert!(!rig.handle.drain(name, false).await.unwrap().draining);
    assert_eq!(worker.poll(1).await.len(), 1);
    let nobody = rig.handle.drain(WorkerName("x".into()), true).await;
    assert!(matches!(nobody, Err(EngineError::NoSuchWorker(_))));
}

#[tokio::test]
async fn what_was_returned_with_the_session_goes_to_another_worker() {
    let home = tempfile::tempdir().unwrap();
    let rig = Rig::open(home.path());
    let (first, second) = (rig.worker("a", 1).await, rig.worker("b", 1).await);
    rig.create(chain(1)).await;
    let grant = first.one().await;
    rig.handle.close_session(first.session.clone(), vec![proof(&grant)]).await.unwrap();
    assert_eq!(second.one().await.key, grant.key);
}

#[tokio::test]
async fn a_long_stop_of_the_engine_itself_loses_nobody() {
    let home = tempfile::tempdir().unwrap();
    let rig = Rig::open(home.path());
    let worker = rig.worker("w", 1).await;
    let run = rig.create(chain(1)).await;
    let grant = worker.one().await;
    worker.report(&grant, AttemptState::Running).await.unwrap();
    rig.clock.pass(Duration::from_secs(600));
    rig.settle().await;
    assert_eq!(worker.beat(&[&grant]).await, [Order::Continue]);
    assert_eq!(rig.states(run).await, ["running"]);
}
