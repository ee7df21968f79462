use super::*;

#[tokio::test]
async fn a_repeated_create_returns_the_first_run() {
    let home = tempfile::tempdir().unwrap();
    let rig = Rig::open(home.path());
    let request = Uuid::new_v4();
    let first = rig.create_as(request, chain(1)).await;
    let again = rig.create_as(request, chain(1)).await;
    assert_eq!((first.run, again.row.is_none()), (again.run, true));
    rig.clock.pass(Duration::from_secs(8 * 24 * 3600));
    assert_ne!(rig.create_as(request, chain(1)).await.run, first.run);
}

#[tokio::test]
async fn a_repeated_poll_gets_the_same_leases_while_they_live() {
    let home = tempfile::tempdir().unwrap();
    let rig = Rig::open(home.path());
    let worker = rig.worker("w", 4).await;
    rig.create(plan(&[&[], &[], &[]])).await;
    let poll = || worker.poll_as("p", 2, Duration::ZERO);
    let first = poll().await.unwrap();
    let leases = |grants: &[Arc<Grant>]| grants.iter().map(|g| g.lease).collect::<Vec<_>>();
    assert_eq!(leases(&poll().await.unwrap()), leases(&first));
    worker.report(&first[0], AttemptState::Succeeded).await.unwrap();
    assert_eq!(leases(&poll().await.unwrap()), leases(&first[1..]));
}

#[tokio::test]
async fn a_repeated_report_has_one_effect_and_the_same_answer() {
    let home = tempfile::tempdir().unwrap();
    let rig = Rig::open(home.path());
    let worker = rig.worker("w", 1).await;
    let run = rig.create(chain(3)).await;
    let grant = worker.one().await;
    let mut report = worker.said(&grant, AttemptState::Succeeded);
    (report.lease_next, report.poll) = (1, "next".into());
    let (one, two) =
        tokio::join!(rig.handle.report(report.clone()), rig.handle.report(report.clone()));
    let three = rig.handle.report(report.clone()).await;
    let leases: Vec<_> =
        [one, two, three].into_iter().map(|r| r.unwrap().grants[0].lease).collect();
    assert_eq!(leases, [leases[0]; 3]);
    let mut other = report.clone();
    other.state = AttemptState::Failed;
    rig.handle.report(other).await.unwrap();
    assert_eq!(rig.states(run).await, ["succeeded", "running", "pending"]);
    report.proof.lease = windlass_core::LeaseId([7; 16]);
    assert!(matches!(rig.handle.report(report).await, Err(EngineError::LeaseFenced)));
}

#[tokio::test]
async fn a_report_is_answered_alike_after_the_run_ended_and_after_a_restart() {
    let home = tempfile::tempdir().unwrap();
    let rig = Rig::open(home.path());
    let worker = rig.worker("w", 1).await;
    let run = rig.create(chain(1)).await;
    let grant = worker.one().await;
    worker.report(&grant, AttemptState::Succeeded).await.unwrap();
    worker.report(&grant, AttemptState::Succeeded).await.unwrap();
    rig.stop().await;
    let rig = Rig::open(home.path());
    let worker = rig.worker("w", 1).await;
    worker.report(&grant, AttemptState::Succeeded).await.unwrap();
    assert_eq!(rig.state(run).await, RunState::Succeeded);
    assert_eq!(rig.ends.0.lock().unwrap().len(), 0);
}

#[tokio::test]
async fn deleting_needs_an_end_and_may_be_repeated() {
    let home = tempfile::tempdir().unwrap();
    let rig = Rig::open(home.path());
    let worker = rig.worker("w", 1).await;
    let run = rig.create(chain(2)).await;
    let refused = rig.handle.delete(run).await;
    assert!(matches!(refused, Err(EngineError::RunNotEnded(_))));
    worker.work(worker.poll(1).await).await;
    rig.handle.delete(run).await.unwrap();
    rig.handle.delete(run).await.unwrap();
    let count = |conn: &rusqlite::Connection| {
        let tables = ["runs", "steps", "attempts", "labels", "trash"];
        let one = |table| {
            let sql = format!("SELECT COUNT(*) FROM {table}");
            conn.query_row(&sql, [], |row| row.get::<_, i64>(0)).unwrap()
        };
        Ok(tables.map(one).iter().sum::<i64>())
    };
    let begin = std::time::Instant::now();
    while rig.readers.read(count).await.unwrap() > 0 {
        assert!(begin.elapsed() < PATIENCE);
        tokio::task::yield_now().await;
    }
}
