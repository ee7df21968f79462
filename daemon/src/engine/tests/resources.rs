use windlass_proto::common::v1::ResourceSpec;

use super::*;

/// Steps that all are free at once and need these.
fn needing(resources: &[ResourceSpec]) -> Plan {
    let mut plan = plan(&vec![&[] as &[u32]; resources.len()]);
    for (step, resources) in plan.steps.iter_mut().zip(resources) {
        step.spec.as_mut().unwrap().resources = Some(resources.clone());
    }
    plan
}

fn gpu(gpu: u32) -> ResourceSpec {
    ResourceSpec { gpu, ..ResourceSpec::default() }
}

fn memory(gib: u64) -> ResourceSpec {
    ResourceSpec { memory_bytes: gib << 30, ..ResourceSpec::default() }
}

async fn refused(rig: &Rig, plan: Plan) -> String {
    let new = new_run(rig.handle.new_run_id(), Uuid::new_v4(), plan);
    let error = rig.handle.create(new).await.unwrap_err();
    assert!(matches!(error, EngineError::NoWorkerFits { .. }), "{error:?}");
    error.to_string()
}

async fn waits(rig: &Rig, run: RunId, step: u32) -> String {
    let waits = rig.handle.waits(run).await.unwrap().unwrap();
    waits.reason(windlass_core::StepIndex(step)).unwrap().to_owned()
}

#[tokio::test]
async fn what_is_held_is_not_free_and_comes_back_with_the_end() {
    let home = tempfile::tempdir().unwrap();
    let rig = Rig::open(home.path());
    let capacity = [("slots", 8), ("memory", 4 << 30), ("gpu", 1), ("tape", 1)];
    let (worker, _) = rig.worker_of("w", &capacity, Vec::new()).await;
    let tape = ResourceSpec { named: [("tape".to_owned(), 1)].into(), ..ResourceSpec::default() };
    let run = rig.create(needing(&[memory(3), memory(2), gpu(1), gpu(1), tape])).await;
    let grants = worker.poll(9).await;
    let given: Vec<u32> = grants.iter().map(|grant| grant.key.step.0).collect();
    assert_eq!(given, [0, 2, 4]);
    assert_eq!(waits(&rig, run, 1).await, "waits for memory: 2 GiB (1 GiB free)");
    assert_eq!(waits(&rig, run, 3).await, "waits for gpu: 1 (0 free)");
    let view = rig.handle.workers().await.unwrap().remove(0);
    assert_eq!((view.used.slots, view.used.cpu_millis), (3, 3_000));
    assert_eq!((view.used.memory_bytes, view.used.gpu, view.used.named["tape"]), (3 << 30, 1, 1));
    worker.report(&grants[0], AttemptState::Succeeded).await.unwrap();
    assert_eq!(worker.one().await.key.step.0, 1);
    worker.report(&grants[1], AttemptState::Failed).await.unwrap();
    assert_eq!(worker.one().await.key.step.0, 3);
    assert!(worker.poll(9).await.is_empty());
}

#[tokio::test]
async fn what_no_worker_can_run_is_refused_with_the_most_there_is() {
    let home = tempfile::tempdir().unwrap();
    let rig = Rig::open(home.path());
    let _small = rig.worker("small", 2).await;
    let _big = rig.worker_of("big", &[("slots", 1), ("gpu", 2)], Vec::new()).await;
    let told = refused(&rig, needing(&[gpu(1), gpu(64)])).await;
    assert_eq!(told, "step `s1` needs gpu: 64; the most that any worker has is 2");
    let told = refused(&rig, needing(&[ResourceSpec { cpu_millis: 2_500, ..gpu(0) }])).await;
    assert_eq!(told, "step `s0` needs cpu: 2.5; the most that any worker has is 2");
    let mut stubs = needing(&[gpu(64)]);
    stubs.steps[0].mock = Some(windlass_proto::common::v1::Mock::default());
    rig.create(stubs).await;
}

#[tokio::test]
async fn a_step_waits_for_the_first_worker_and_says_so() {
    let home = tempfile::tempdir().unwrap();
    let rig = Rig::open(home.path());
    let run = rig.create(needing(&[gpu(64), gpu(0)])).await;
    assert_eq!(waits(&rig, run, 0).await, "no worker is connected");
    let worker = rig.worker("w", 1).await;
    assert_eq!(waits(&rig, run, 0).await, "no worker offers gpu: 64 (the most is 0)");
    let grants = worker.poll(9).await;
    assert_eq!(grants.len(), 1, "what can never run keeps nobody waiting");
    worker.report(&grants[0], AttemptState::Succeeded).await.unwrap();
    let (able, _) = rig.worker_of("able", &[("slots", 1), ("gpu", 64)], Vec::new()).await;
    assert_eq!(able.one().await.key.step.0, 0);
    assert!(
        rig.handle.waits(run).await.unwrap().unwrap().reason(windlass_core::StepIndex(0)).is_none()
    );
}

#[tokio::test]
async fn what_is_held_is_known_again_after_a_restart() {
    let home = tempfile::tempdir().unwrap();
    let rig = Rig::open(home.path());
    let capacity = [("slots", 4), ("memory", 4 << 30)];
    let (worker, _) = rig.worker_of("w", &capacity, Vec::new()).await;
    rig.create(needing(&[memory(3), memory(2)])).await;
    let grant = worker.one().await;
    worker.report(&grant, AttemptState::Running).await.unwrap();
    rig.stop().await;
    let rig = Rig::open(home.path());
    let kept = vec![held(&grant, AttemptState::Running)];
    let (worker, _) = rig.worker_of("w", &capacity, kept).await;
    assert!(worker.poll(9).await.is_empty());
    worker.report(&grant, AttemptState::Succeeded).await.unwrap();
    assert_eq!(worker.poll(9).await.len(), 1);
}

#[tokio::test]
async fn a_higher_priority_is_served_first_also_after_a_restart() {
    let home = tempfile::tempdir().unwrap();
    let rig = Rig::open(home.path());
    let mut runs = Vec::new();
    for priority in [0, 5, -1, 5] {
        let flow = crate::store::runs::Flow { priority, ..Default::default() };
        let new = new_run(rig.handle.new_run_id(), Uuid::new_v4(), chain(2)).with_flow(flow);
        runs.push(rig.handle.create(new).await.unwrap().run);
    }
    assert_eq!(rig.run(runs[1]).await.priority, 5);
    let worker = rig.worker("w", 1).await;
    let grant = worker.one().await;
    assert_eq!(grant.key.run, runs[1]);
    worker.report(&grant, AttemptState::Succeeded).await.unwrap();
    rig.stop().await;
    let rig = Rig::open(home.path());
    let worker = rig.worker("w", 1).await;
    let mut order = Vec::new();
    while let Some(grant) = worker.poll(1).await.pop() {
        order.push(runs.iter().position(|run| *run == grant.key.run).unwrap());
        worker.report(&grant, AttemptState::Succeeded).await.unwrap();
    }
    assert_eq!(order, [1, 3, 3, 0, 0, 2, 2]);
}
