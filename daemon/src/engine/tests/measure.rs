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
