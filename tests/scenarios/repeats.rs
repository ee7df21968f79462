use tonic::transport::Channel;
use windlass_proto::api::v1::fleet_service_client::FleetServiceClient;
use windlass_proto::api::v1::run_service_client::RunServiceClient;
use windlass_proto::api::v1::{DeleteRunRequest, DrainWorkerRequest, RerunRunRequest};
use windlass_proto::common::v1::MetricPoint;
use windlass_proto::worker::v1::{CloseSessionRequest, ReportMetricsRequest};
use windlass_tests::World;

use crate::protocol::{Foreign, drain_local};

/// What is asked twice, since an answer was lost, has one effect.
#[tokio::test]
async fn what_is_asked_twice_happens_once() {
    let world = World::new();
    world.put("p.yaml", "version: 1\nsteps:\n  a: {run: 'true'}\n");
    let old = world.run(&["p.yaml"])["run_id"].as_str().unwrap().to_owned();
    let channel = world.channel().await;
    let mut runs = RunServiceClient::new(channel.clone());

    let request = RerunRunRequest {
        request_id: uuid::Uuid::new_v4().to_string(),
        run: old.clone(),
        ..RerunRunRequest::default()
    };
    let mut other = runs.clone();
    let (one, two) =
        tokio::join!(runs.rerun_run(request.clone()), other.rerun_run(request.clone()));
    let (one, two) = (one.unwrap().into_inner(), two.unwrap().into_inner());
    let id = one.run.unwrap().run_id;
    assert_eq!(id, two.run.unwrap().run_id);
    assert!(one.replayed != two.replayed);
    assert!(runs.rerun_run(request).await.unwrap().into_inner().replayed);
    world.w(["wait", &id]).exits(0);
    assert_eq!(world.w(["ls", "--json"]).json().as_array().unwrap().len(), 2);

    for _ in 0..2 {
        runs.delete_run(DeleteRunRequest { run: old.clone() }).await.unwrap();
    }
    world.w(["rm", &old]).exits(0);
    assert_eq!(world.w(["ls", "--json"]).json().as_array().unwrap().len(), 1);

    drain_local(&world);
    drained_twice(channel.clone()).await;
    metrics_and_goodbye(&world, channel).await;
}

async fn drained_twice(channel: Channel) {
    let mut fleet = FleetServiceClient::new(channel);
    let request = DrainWorkerRequest { worker: "local".into() };
    let one = fleet.drain_worker(request.clone()).await.unwrap().into_inner().worker.unwrap();
    let two = fleet.drain_worker(request).await.unwrap().into_inner().worker.unwrap();
    assert_eq!(one.state, two.state);
}

/// Points that are sent again are there once; a session that was closed may be closed again.
async fn metrics_and_goodbye(world: &World, channel: Channel) {
    let mut worker = Foreign::open(channel, vec![]).await;
    let run = world.submit(&["p.yaml"]);
    let lease = worker.lease("p").await[0].lease.clone().unwrap();
    let point = |sequence: u64| MetricPoint {
        name: "loss".into(),
        value: 0.5,
        step: Some(i64::try_from(sequence).unwrap()),
        time: None,
        sequence,
    };
    let request = ReportMetricsRequest {
        session_id: worker.session.clone(),
        lease: Some(lease.clone()),
        points: vec![point(1), point(2)],
    };
    for _ in 0..2 {
        let told = worker.rpc.report_metrics(request.clone()).await.unwrap().into_inner();
        assert_eq!(told.durable_sequence, 2);
    }
    let told = world.w(["metrics", &format!("{run}/a"), "loss", "--json"]).exits(0).json();
    assert_eq!(told[0]["points"].as_array().unwrap().len(), 2, "{told}");
    assert_eq!(told[0]["points"][1]["step"], 2, "{told}");

    let report = worker.report(&lease, vec![]);
    worker.rpc.report_attempt(report).await.unwrap();
    let goodbye = CloseSessionRequest { session_id: worker.session.clone(), returned: vec![] };
    worker.rpc.close_session(goodbye.clone()).await.unwrap();
    worker.rpc.close_session(goodbye).await.unwrap();
    world.w(["wait", &run]).exits(0);
}
