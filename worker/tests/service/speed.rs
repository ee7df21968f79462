use std::time::Instant;

use windlass_proto::common::v1::AttemptState;

use crate::worker::Stage;

/// Not a promise, which only a release build could hold: prints what a step costs.
#[tokio::test]
async fn chain_of_no_ops() {
    let stage = Stage::with_slots(1);
    let steps = 100;
    stage.daemon.submit(stage.command(&["true"]));
    stage.daemon.end(0).await;
    let task = stage.command(&["sh", "-c", "true"]);
    let began = Instant::now();
    stage.daemon.state().queue.extend(std::iter::repeat_n(task.clone(), steps - 1));
    stage.daemon.submit(task);

    let last = stage.daemon.end(steps).await;

    assert_eq!(last.state(), AttemptState::Succeeded);
    println!("{:?} a step", began.elapsed() / u32::try_from(steps).unwrap());
}
