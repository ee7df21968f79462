use windlass_proto::api::v1::{
    ListWorkersRequest, RankRunsRequest, RankRunsResponse, WatchRunRequest, run::State, step,
};
use windlass_proto::common::v1::{
    ConcurrencySpec, MetricPoint, ResourceSpec, concurrency_spec::WhenFull,
};

use super::*;

impl Daemon {
    async fn make(&self, spec: PipelineSpec) -> Result<Run, Status> {
        let request = CreateRunRequest {
            request_id: Uuid::new_v4().to_string(),
            source: self.source(Target::Spec(spec)),
            ..CreateRunRequest::default()
        };
        Ok(self.runs().create_run(request).await?.into_inner().run.unwrap())
    }

    async fn rank(&self, request: RankRunsRequest) -> Result<Vec<(String, f64)>, Status> {
        let RankRunsResponse { runs } = self.runs().rank_runs(request).await?.into_inner();
        Ok(runs.into_iter().map(|run| (run.run_id, run.metrics["acc"])).collect())
    }
}

#[tokio::test]
async fn a_step_that_no_worker_can_run_says_so_or_is_refused() {
    let daemon = Daemon::start().await;
    let mut spec = shell(&["big"]);
    spec.steps[0].resources = Some(ResourceSpec { gpu: 64, ..ResourceSpec::default() });
    let run = daemon.make(spec.clone()).await.unwrap();
    let told = |run: Run| (run.steps[0].state(), run.steps[0].reason.clone());
    let waits = told(daemon.get(&run.run_id).await.unwrap());
    assert_eq!(waits, (step::State::Ready, "no worker is connected".to_owned()));
    daemon.session("w").await;
    let waits = told(daemon.get(&run.run_id).await.unwrap());
    assert_eq!(waits.1, "no worker offers gpu: 64 (the most is 0)");
    let watch = WatchRunRequest { run: run.run_id, after_sequence: 0 };
    let mut watch = daemon.runs().watch_run(watch).await.unwrap().into_inner();
    let mut told = Vec::new();
    while !told.contains(&waits.1) {
        let heard = tokio::time::timeout(PATIENCE, watch.message()).await.unwrap();
        told.extend(heard.unwrap().unwrap().steps.into_iter().map(|step| step.reason));
    }
    let refused = daemon.make(spec).await.unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::FailedPrecondition, "NO_WORKER_FITS")
    );
    assert!(refused.message().contains("`big` needs gpu: 64"), "{refused}");
    daemon.stop().await;
}

#[tokio::test]
async fn the_fleet_shows_what_is_used() {
    let daemon = Daemon::start().await;
    daemon.create(&["a"]).await;
    let session = daemon.session("w").await;
    daemon.lease(&session, 1).await;
    let listed = daemon.fleet().list_workers(ListWorkersRequest {}).await.unwrap().into_inner();
    let worker = &listed.workers[0];
    let amount = |slots, cpu| [("slots".to_owned(), slots), ("cpu".to_owned(), cpu)].into();
    assert_eq!((&worker.capacity, &worker.used), (&amount(2, 2_000), &amount(1, 1_000)));
    daemon.stop().await;
}

#[tokio::test]
async fn a_full_key_holds_or_refuses() {
    let daemon = Daemon::start().await;
    let spec = |name: &str, when_full: WhenFull| {
        let key = "k".to_owned();
        let concurrency = ConcurrencySpec { key, limit: 1, when_full: when_full.into() };
        PipelineSpec { name: name.into(), concurrency: Some(concurrency), ..shell(&["a"]) }
    };
    let first = daemon.make(spec("p", WhenFull::Queue)).await.unwrap();
    let second = daemon.make(spec("p", WhenFull::Queue)).await.unwrap();
    let why = format!("waits for concurrency `k`: {} goes on", first.name);
    assert_eq!((second.state(), &second.reason), (State::Queued, &why));
    assert_eq!(daemon.get(&second.run_id).await.unwrap().reason, why);
    daemon.make(spec("q", WhenFull::Refuse)).await.unwrap();
    let refused = daemon.make(spec("q", WhenFull::Refuse)).await.unwrap_err();
    assert_eq!(reason(&refused), "CONCURRENCY_FULL");
    assert!(refused.message().contains("concurrency `k` is full"), "{refused}");
    daemon.stop().await;
}

#[tokio::test]
async fn runs_are_ranked_by_what_they_reached() {
    let daemon = Daemon::start().await;
    let session = daemon.session("w").await;
    let mut runs = Vec::new();
    for value in [0.5, 0.9, 0.7] {
        let run = daemon.create(&["a"]).await.run_id;
        let lease = daemon.lease(&session, 1).await.remove(0);
        let mut report = good(&session, &lease);
        let name = "acc".to_owned();
        report.metrics = vec![MetricPoint { name, value, sequence: 1, ..MetricPoint::default() }];
        daemon.workers().report_attempt(report).await.unwrap();
        runs.push((run, value));
    }
    let by = |metric: &str| RankRunsRequest { metric: metric.into(), ..Default::default() };
    let [low, high, mid] = runs.try_into().unwrap();
    let best = daemon.rank(by("acc")).await.unwrap();
    assert_eq!(best, [high.clone(), mid.clone(), low.clone()]);
    let worst = RankRunsRequest { ascending: true, limit: 2, ..by("acc") };
    assert_eq!(daemon.rank(worst).await.unwrap(), [low, mid]);
    let other = RankRunsRequest { pipeline: "other".into(), ..by("acc") };
    assert_eq!(daemon.rank(other).await.unwrap(), []);
    assert_eq!(field(&daemon.rank(by("")).await.unwrap_err()), "metric");
    let many = RankRunsRequest { limit: 1_001, ..by("acc") };
    assert_eq!(field(&daemon.rank(many).await.unwrap_err()), "limit");
    daemon.stop().await;
}
