use windlass_core::Stop;

use super::*;
use crate::fleet::Order;

fn limited(len: u32, secs: i64) -> Plan {
    let mut plan = chain(len);
    let timeout = Some(prost_types::Duration { seconds: secs, nanos: 0 });
    plan.spec.as_mut().unwrap().timeout = timeout;
    plan
}

/// Time that passes while the worker renews its leases.
async fn pass(rig: &Rig, worker: &Worker<'_>, grants: &[&Grant], secs: u64) -> Vec<Order> {
    let mut orders = Vec::new();
    for _ in 0..secs {
        rig.clock.pass(Duration::from_secs(1));
        orders = worker.beat(grants).await;
    }
    orders
}

#[tokio::test]
async fn a_run_that_takes_too_long_is_stopped_and_has_failed() {
    let home = tempfile::tempdir().unwrap();
    let rig = Rig::open(home.path());
    let run = rig.create(limited(2, 300)).await;
    rig.clock.pass(Duration::from_secs(1_000));
    rig.settle().await;
    assert_eq!(rig.state(run).await, RunState::Queued, "its time begins with its first attempt");
    let worker = rig.worker("w", 1).await;
    let grant = worker.one().await;
    assert_eq!(pass(&rig, &worker, &[&grant], 299).await, [Order::Continue]);
    pass(&rig, &worker, &[&grant], 1).await;
    assert_eq!(worker.beat(&[&grant]).await, [Order::Stop(Stop::Politely)]);
    assert_eq!(rig.state(run).await, RunState::Cancelling);
    worker.report(&grant, AttemptState::Cancelled).await.unwrap();
    assert_eq!(rig.states(run).await, ["cancelled", "cancelled"]);
    let run = rig.run(run).await;
    assert_eq!(
        (run.state().as_str_name(), run.reason.as_str()),
        ("STATE_FAILED", "took longer than 5m")
    );
}

#[tokio::test]
async fn the_time_of_a_run_goes_on_over_a_restart() {
    let home = tempfile::tempdir().unwrap();
    let rig = Rig::open(home.path());
    let worker = rig.worker("w", 2).await;
    let (slow, fast) = (rig.create(limited(1, 60)).await, rig.create(limited(1, 3_600)).await);
    let grants = worker.poll(2).await;
    let grants: Vec<&Grant> = grants.iter().map(|grant| &**grant).collect();
    pass(&rig, &worker, &grants, 40).await;
    let clock = Arc::clone(&rig.clock);
    drop(worker);
    rig.stop().await;
    let rig = Rig::open_at(home.path(), clock);
    let kept = grants.iter().map(|grant| held(grant, AttemptState::Running)).collect();
    let (worker, _) = rig.worker_with("w", 2, kept).await;
    pass(&rig, &worker, &grants, 19).await;
    assert_eq!(rig.state(slow).await, RunState::Running);
    pass(&rig, &worker, &grants, 1).await;
    rig.settle().await;
    assert_eq!(rig.state(slow).await, RunState::Cancelling);
    assert_eq!(rig.state(fast).await, RunState::Running);
    drop(worker);
    let clock = Arc::clone(&rig.clock);
    rig.stop().await;
    let rig = Rig::open_at(home.path(), clock);
    let kept = grants.iter().map(|grant| held(grant, AttemptState::Running)).collect();
    let (worker, _) = rig.worker_with("w", 2, kept).await;
    let stopped = grants.iter().find(|grant| grant.key.run == slow).unwrap();
    worker.report(stopped, AttemptState::Cancelled).await.unwrap();
    assert_eq!(rig.state(slow).await, RunState::Failed);
}
