//! Figures rather than promises: `cargo test --release -p windlass-daemon measure -- --ignored
//! --nocapture`.

use std::time::Instant;

use super::*;

#[tokio::test]
#[ignore = "measures"]
async fn measure_engine() {
    let home = tempfile::tempdir().unwrap();
    let rig = Rig::open(home.path());
    let worker = rig.worker("w", 2).await;
    let begin = Instant::now();
    let run = rig.create(chain(2_000)).await;
    println!("create of a chain of 2,000: {:?}", begin.elapsed());
    let begin = Instant::now();
    assert_eq!(worker.work(worker.poll(1).await).await, 2_000);
    println!("chain: {:?} a step", begin.elapsed() / 2_000);
    assert_eq!(rig.state(run).await, RunState::Succeeded);
    for queued in [100u32, 10_000, 100, 10_000] {
        let begin = Instant::now();
        let needs: Vec<&[u32]> = vec![&[]; usize::try_from(queued).unwrap()];
        let run = rig.create(plan(&needs)).await;
        let created = begin.elapsed();
        let mut grants = worker.poll(1).await;
        let begin = Instant::now();
        for _ in 0..90 {
            let mut report = worker.said(&grants.pop().unwrap(), AttemptState::Succeeded);
            (report.lease_next, report.poll) = (1, Uuid::new_v4().to_string());
            grants.extend(rig.handle.report(report).await.unwrap().grants);
        }
        println!("{queued} queued: created in {created:?}, {:?} a step", begin.elapsed() / 90);
        let how = windlass_core::Stop::AtOnce;
        rig.handle.cancel(Cancel { run, reason: String::new(), how }).await.unwrap();
        for grant in grants {
            worker.report(&grant, AttemptState::Cancelled).await.unwrap();
        }
    }
    rig.stop().await;
}

/// Fills a database with a million runs of one step each, the newest ten thousand queued.
fn fill(home: &Path) {
    use prost::Message;
    let mut writer = crate::store::open(&home.join("windlass.db")).unwrap();
    let plan = chain(1).encode_to_vec();
    let record = RunRecord { run: Some(Run::default()), ..RunRecord::default() };
    let tx = writer.tx().unwrap();
    let numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n
                   WHERE i < 1000000), r AS (SELECT i, unhex(printf('%032x', i << 20)) AS id FROM n)";
    let insert = |what: &str, params: &[&dyn rusqlite::ToSql]| {
        tx.execute(&format!("{what} FROM ({numbers} SELECT * FROM r)"), params).unwrap();
    };
    insert(
        "INSERT INTO runs (run_id, name, pipeline, state, cancel, sequence, create_us, start_us,
             end_us, reason)
         SELECT id, 'name-' || i, 'pipeline-' || (i % 100),
         CASE WHEN i > 990000 THEN 1 WHEN i % 10 = 0 THEN 5 ELSE 4 END, 0, 3, i, i, i, ''",
        &[],
    );
    insert(
        "INSERT INTO run_records (run_id, record, plan) SELECT id, ?1, ?2",
        &[&record.encode_to_vec(), &plan],
    );
    insert(
        "INSERT INTO steps (run_id, step, state, attempt, retries, losses, not_before_us, sequence)
         SELECT id, 0, CASE WHEN i > 990000 THEN 2 ELSE 5 END,
         i <= 990000, 0, 0, NULL, 3",
        &[],
    );
    insert(
        "INSERT INTO attempts SELECT id, 0, 1, 3, randomblob(16), 'local', i, i, ?1, NULL",
        &[&vec![0u8; 0]],
    );
    tx.execute("DELETE FROM attempts WHERE run_id > unhex(printf('%032x', 990000 << 20))", [])
        .unwrap();
    writer.commit().unwrap();
}

#[tokio::test]
#[ignore = "measures"]
async fn measure_history() {
    use crate::store::listing::{Filter, page};
    let home = tempfile::tempdir().unwrap();
    let begin = Instant::now();
    fill(home.path());
    println!("filled in {:?}", begin.elapsed());
    let begin = Instant::now();
    let rig = Rig::open(home.path());
    rig.settle().await;
    println!("10,000 queued and 1,000,000 in history: ready in {:?}", begin.elapsed());
    let any = Filter::default();
    let pipeline = Filter { pipeline: Some("pipeline-7".into()), ..any.clone() };
    let failed = Filter { states: vec![RunState::Failed], ..any.clone() };
    for (what, filter) in [("newest", any), ("by pipeline", pipeline), ("by state", failed)] {
        for _ in 0..2 {
            let (filter, begin) = (filter.clone(), Instant::now());
            let read = rig.readers.read(move |conn| {
                let found = page(conn, &filter, None, 50)?;
                found
                    .rows
                    .iter()
                    .map(|row| details::of_row(conn, row))
                    .collect::<Result<Vec<_>, _>>()
            });
            assert_eq!(read.await.unwrap().len(), 50);
            println!("{what}: {:?}", begin.elapsed());
        }
    }
    let begin = Instant::now();
    let run = RunId(Uuid::from_u128(500_000 << 20));
    assert_eq!(rig.run(run).await.steps.len(), 1);
    println!("one run with steps: {:?}", begin.elapsed());
    rig.stop().await;
}
