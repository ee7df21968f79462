use windlass_proto::common::v1::{BoundArg, OutputRef, PythonAction};
use windlass_proto::common::v1::{MetricPoint, RetrySpec, StubAction, bound_arg::Value};
use windlass_proto::worker::v1::{TaskArg, task_arg};

use super::*;

#[tokio::test]
async fn a_chain_costs_one_call_a_step_and_is_recorded() {
    let home = tempfile::tempdir().unwrap();
    let rig = Rig::open(home.path());
    let worker = rig.worker("w", 2).await;
    let run = rig.create(chain(5)).await;
    assert_eq!(rig.state(run).await, RunState::Queued);
    assert_eq!(worker.work(worker.poll(1).await).await, 5);
    let seen = rig.run(run).await;
    assert_eq!(rig.state(run).await, RunState::Succeeded);
    assert!(seen.start_time.is_some() && seen.end_time.is_some());
    assert_eq!(seen.pipeline, "churn");
    let attempt = &seen.steps[4].attempts[0];
    assert_eq!((attempt.attempt, attempt.worker.as_str()), (1, "w"));
    assert_eq!(attempt.argv, ["true"]);
    assert_eq!(seen.steps[4].needs, ["s3"]);
    assert_eq!(rig.ends.0.lock().unwrap().len(), 5);
    rig.stop().await;
}

#[tokio::test]
async fn a_parked_poll_is_answered_as_soon_as_there_is_work() {
    let home = tempfile::tempdir().unwrap();
    let rig = Rig::open(home.path());
    let worker = rig.worker("w", 1).await;
    let poll = worker.poll_as("p", 4, Duration::from_secs(60));
    let create = rig.create(chain(1));
    let (grants, run) =
        tokio::time::timeout(PATIENCE, async { tokio::join!(poll, create) }).await.unwrap();
    assert_eq!(grants.unwrap()[0].key.run, run);
}

#[tokio::test]
async fn a_poll_without_work_is_answered_when_its_time_is_over() {
    let home = tempfile::tempdir().unwrap();
    let rig = Rig::open(home.path());
    let worker = rig.worker("w", 1).await;
    let poll = worker.poll_as("p", 1, Duration::from_secs(30));
    let pass = async {
        rig.settle().await;
        rig.clock.pass(Duration::from_secs(31));
        rig.settle().await;
    };
    let (grants, ()) =
        tokio::time::timeout(PATIENCE, async { tokio::join!(poll, pass) }).await.unwrap();
    assert!(grants.unwrap().is_empty());
}

#[tokio::test]
async fn independent_branches_go_on_after_a_failure() {
    let home = tempfile::tempdir().unwrap();
    let rig = Rig::open(home.path());
    let worker = rig.worker("w", 2).await;
    let run = rig.create(plan(&[&[], &[0], &[], &[2]])).await;
    let grants = worker.poll(2).await;
    let mut bad = worker.said(&grants[0], AttemptState::Failed);
    bad.end.message = "exit code 3\nmore".into();
    rig.handle.report(bad).await.unwrap();
    let waits = rig.run(run).await.steps.remove(1);
    assert_eq!(waits.reason, "follows a failure of s0");
    assert_eq!(rig.state(run).await, RunState::Running);
    worker.work(vec![Arc::clone(&grants[1])]).await;
    let states = rig.states(run).await;
    assert_eq!(states, ["failed", "upstream_failed", "succeeded", "succeeded"]);
    let seen = rig.run(run).await;
    assert_eq!(seen.reason, "step `s0` failed: exit code 3");
    assert_eq!(rig.state(run).await, RunState::Failed);
}

#[tokio::test]
async fn stubs_need_no_worker() {
    let home = tempfile::tempdir().unwrap();
    let rig = Rig::open(home.path());
    let mut stubs = chain(3);
    for step in &mut stubs.steps {
        step.spec.as_mut().unwrap().action = Some(Action::Stub(StubAction {}));
    }
    let run = rig.create(stubs).await;
    assert_eq!(rig.state(run).await, RunState::Succeeded);
    assert_eq!(rig.states(run).await, ["succeeded"; 3]);
    rig.handle.delete(run).await.unwrap();
}

#[tokio::test]
async fn a_retry_waits_for_its_time_on_a_clock_that_does_not_jump() {
    let home = tempfile::tempdir().unwrap();
    let rig = Rig::open(home.path());
    let worker = rig.worker("w", 1).await;
    let mut retried = chain(1);
    let backoff = Some(prost_types::Duration { seconds: 10, nanos: 0 });
    let retry = RetrySpec { times: 1, backoff, ..RetrySpec::default() };
    retried.steps[0].spec.as_mut().unwrap().retry = Some(retry);
    let run = rig.create(retried).await;
    let first = worker.one().await;
    worker.report(&first, AttemptState::Failed).await.unwrap();
    assert_eq!(rig.states(run).await, ["backing_off"]);
    rig.clock.jump(3600);
    rig.settle().await;
    assert!(worker.poll(1).await.is_empty());
    rig.clock.pass(Duration::from_secs(10));
    rig.settle().await;
    let second = worker.one().await;
    assert_eq!(second.key.attempt.0, 2);
    worker.report(&second, AttemptState::Succeeded).await.unwrap();
    assert_eq!(rig.state(run).await, RunState::Succeeded);
    assert_eq!(rig.run(run).await.steps[0].attempts.len(), 2);
}

#[tokio::test]
async fn steps_get_outputs_and_changes_from_above() {
    let home = tempfile::tempdir().unwrap();
    let rig = Rig::open(home.path());
    let worker = rig.worker("w", 1).await;
    let mut plan = plan(&[&[], &[0], &[1], &[2]]);
    let python = Action::Python(PythonAction { target: "m:f".into() });
    plan.steps[3].spec.as_mut().unwrap().action = Some(python);
    let value = Some(Value::Output(OutputRef { step: 1, name: "y".into() }));
    plan.steps[3].args = vec![
        BoundArg { name: "k".into(), value: Some(Value::Json("1".into())), ..BoundArg::default() },
        BoundArg { name: "y".into(), value, ..BoundArg::default() },
    ];
    rig.create(plan).await;
    for place in 0..3u8 {
        let grant = worker.one().await;
        let mut report = worker.said(&grant, AttemptState::Succeeded);
        report.outputs = vec![output("x", place), output("y", place + 10)];
        report.outputs.truncate(if place == 2 { 1 } else { 2 });
        report.changes = if place == 1 { String::new() } else { format!("change{place}") };
        rig.handle.report(report).await.unwrap();
        if place == 2 {
            assert_eq!(grant.given.inputs, [output("x", 1), output("y", 11)]);
            assert_eq!(grant.given.layers, ["change0"]);
        }
    }
    let last = worker.one().await;
    let value = Some(task_arg::Value::Output(output("y", 11)));
    assert_eq!(last.given.args.last(), Some(&TaskArg { name: "y".into(), value }));
    assert_eq!(last.given.inputs, [output("y", 11)]);
    assert_eq!(last.given.layers, ["change0", "change2"]);
}

#[tokio::test]
async fn metrics_are_kept_once_and_the_last_value_is_shown() {
    let home = tempfile::tempdir().unwrap();
    let rig = Rig::open(home.path());
    let worker = rig.worker("w", 1).await;
    let run = rig.create(chain(1)).await;
    let grant = worker.one().await;
    let point = |sequence, value| MetricPoint {
        name: "loss".into(),
        value,
        sequence,
        ..MetricPoint::default()
    };
    let session = worker.session.clone();
    let points = vec![point(1, 0.5), point(2, 0.25)];
    let add = |points| rig.handle.metrics(session.clone(), proof(&grant), points);
    assert_eq!(add(points.clone()).await.unwrap(), 2);
    assert_eq!(add(points).await.unwrap(), 2);
    let mut end = worker.said(&grant, AttemptState::Succeeded);
    end.metrics = vec![point(2, 9.0), point(3, 0.125)];
    rig.handle.report(end).await.unwrap();
    let seen = rig.run(run).await;
    assert_eq!(seen.metrics["loss"], 0.125);
    let key = grant.key;
    let kept = rig.readers.read(move |conn| crate::store::metrics::after(conn, key, 0, 10)).await;
    let values: Vec<f64> = kept.unwrap().iter().map(|point| point.value).collect();
    assert_eq!(values, [0.5, 0.25, 0.125]);
}

#[tokio::test]
async fn watchers_hear_of_every_change_and_of_the_end() {
    let home = tempfile::tempdir().unwrap();
    let rig = Rig::open(home.path());
    let worker = rig.worker("w", 1).await;
    let run = rig.create(chain(2)).await;
    let mut changes = rig.handle.watchers.subscribe(run);
    worker.work(worker.poll(1).await).await;
    let (mut last, mut steps) = (0, 0);
    while let Ok(change) = tokio::time::timeout(PATIENCE, changes.recv()).await.unwrap() {
        assert!(change.sequence > last);
        (last, steps) = (change.sequence, steps + change.steps.len());
    }
    assert!(steps >= 3, "{steps}");
    assert_eq!(rig.run(run).await.sequence, u64::try_from(last).unwrap());
}
