use prost::Message;
use tokio_stream::iter;
use windlass_proto::api::v1::{
    DrainWorkerRequest, ListWorkersRequest, ReadLogsRequest, ResumeWorkerRequest, run::State,
    worker,
};
use windlass_proto::common::v1::{
    Artifact, CallRecord, Environment, LogStream, MetricPoint, Output, artifact::Kind,
};
use windlass_proto::worker::v1::{
    AppendLogsRequest, CloseSessionRequest, HeartbeatRequest, HeldAttempt, directive, task,
};

use super::*;

#[tokio::test]
async fn a_worker_runs_a_step_and_everything_it_said_is_shown() {
    let daemon = Daemon::start().await;
    let run = daemon.create(&["a", "b"]).await.run_id;
    let session = daemon.session("w").await;
    let lease = daemon.lease(&session, 2).await.remove(0);
    let task = lease.task.as_ref().unwrap();
    assert!(matches!(&task.action, Some(task::Action::Run(shell)) if shell.script == "true"));
    assert_eq!(task.stop_grace.unwrap().seconds, 5);

    let environment = Environment { python: "3.11.7".into(), ..Environment::default() };
    let described = daemon.blobs.put_bytes(&environment.encode_to_vec()).unwrap().to_string();
    let value = daemon.blobs.put_bytes(b"42").unwrap().to_string();
    let mut report = good(&session, &lease);
    report.environment_digest = described;
    report.outputs = vec![Output {
        name: "y".into(),
        digest: value.clone(),
        size_bytes: 2,
        codec: "json".into(),
    }];
    report.artifacts = vec![Artifact {
        path: "model.pkl".into(),
        kind: Kind::File.into(),
        digest: value.clone(),
        size_bytes: 2,
        executable: false,
    }];
    report.changes = value;
    report.calls = vec![CallRecord { function: "train".into(), ..CallRecord::default() }];
    let point = |sequence, value| MetricPoint {
        name: "acc".into(),
        value,
        sequence,
        ..MetricPoint::default()
    };
    report.metrics = vec![point(1, 0.5), point(2, 0.75)];
    let answer = daemon.workers().report_attempt(report.clone()).await.unwrap().into_inner();
    let again = daemon.workers().report_attempt(report).await.unwrap().into_inner();
    assert_eq!(answer, again);
    let next = &answer.leases[0];
    assert_eq!(next.task.as_ref().unwrap().inputs[0].name, "y");
    assert_eq!(next.task.as_ref().unwrap().layers.len(), 1);
    daemon.finish(&session, next).await;

    let seen = daemon.get(&run).await.unwrap();
    assert_eq!((seen.state(), seen.metrics["acc"]), (State::Succeeded, 0.75));
    let step = &seen.steps[0];
    assert_eq!(step.attempts[0].environment.as_ref().unwrap().python, "3.11.7");
    assert_eq!((step.outputs[0].name.as_str(), step.calls.len()), ("y", 1));
    assert_eq!((step.artifacts[0].path.as_str(), step.metrics["acc"]), ("model.pkl", 0.75));
    assert!(seen.spec.is_some());
}

#[tokio::test]
async fn log_bytes_need_a_lease_and_continue_where_they_ended() {
    let daemon = Daemon::start().await;
    daemon.create(&["a"]).await;
    let session = daemon.session("w").await;
    let lease = daemon.lease(&session, 1).await.remove(0);
    let bytes = |offset, text: &'static str| AppendLogsRequest {
        lease: lease.lease.clone(),
        stream: LogStream::Stdout.into(),
        offset,
        data: text.into(),
        ..AppendLogsRequest::default()
    };
    let mut foreign = bytes(0, "no");
    foreign.lease.as_mut().unwrap().lease_id = vec![1; 16].into();
    let sent = vec![bytes(0, "hello "), foreign, bytes(99, "hole"), bytes(6, "world")];
    let mut answers = daemon.workers().append_logs(iter(sent)).await.unwrap().into_inner();
    let mut heard = Vec::new();
    while let Some(answer) = answers.message().await.unwrap() {
        let word = answer.refused.split(':').next().unwrap().to_owned();
        heard.push((answer.durable_offset, word));
    }
    let expected = [(6, ""), (0, "LEASE_FENCED"), (6, "OFFSET_MISMATCH"), (11, "")];
    assert_eq!(heard, expected.map(|(offset, word)| (offset, word.to_owned())));
    let attempt = lease.lease.clone().unwrap().attempt;
    let read =
        ReadLogsRequest { attempt, stream: LogStream::Stdout.into(), offset: 0, max_bytes: 0 };
    let page = daemon.logs().read_logs(read.clone()).await.unwrap().into_inner();
    assert_eq!((&page.data[..], page.sealed), (&b"hello world"[..], false));
    let mut report = good(&session, &lease);
    report.stdout_size = 11;
    daemon.workers().report_attempt(report).await.unwrap();
    assert!(daemon.logs().read_logs(read).await.unwrap().into_inner().sealed);
}

#[tokio::test]
async fn attempts_outlive_the_daemon() {
    let daemon = Daemon::start().await;
    let run = daemon.create(&["a"]).await.run_id;
    let session = daemon.session("w").await;
    let lease = daemon.lease(&session, 1).await.remove(0);

    let daemon = Daemon::start_in(daemon.stop().await).await;
    let fenced = daemon.workers().report_attempt(good(&session, &lease)).await.unwrap_err();
    assert_eq!(reason(&fenced), "SESSION_FENCED");
    let held = HeldAttempt {
        lease: lease.lease.clone(),
        state: AttemptState::Running.into(),
        usage: None,
    };
    let open = OpenSessionRequest {
        worker: "w".into(),
        held: vec![held.clone()],
        ..OpenSessionRequest::default()
    };
    let opened = daemon.workers().open_session(open).await.unwrap().into_inner();
    assert_eq!(opened.directives[0].action(), directive::Action::Continue);
    let beat = HeartbeatRequest { session_id: opened.session_id.clone(), held: vec![held] };
    let told = daemon.workers().heartbeat(beat).await.unwrap().into_inner();
    assert_eq!(told.directives[0].action(), directive::Action::Continue);
    daemon.finish(&opened.session_id, &lease).await;
    assert_eq!(daemon.get(&run).await.unwrap().state(), State::Succeeded);
}

#[tokio::test]
async fn what_a_worker_says_wrongly_is_refused_by_name() {
    let daemon = Daemon::start().await;
    daemon.create(&["a"]).await;
    let session = daemon.session("w").await;
    let lease = daemon.lease(&session, 1).await.remove(0);
    let mut report = good(&session, &lease);
    report.state = AttemptState::Leased.into();
    let refused = daemon.workers().report_attempt(report).await.unwrap_err();
    assert_eq!(field(&refused), "state");
    let mut report = good(&session, &lease);
    report.changes = "x".into();
    let refused = daemon.workers().report_attempt(report).await.unwrap_err();
    assert_eq!(field(&refused), "changes");
    let mut report = good(&session, &lease);
    report.calls = vec![CallRecord::default(); 1_001];
    let refused = daemon.workers().report_attempt(report).await.unwrap_err();
    assert_eq!(reason(&refused), "LIMIT_EXCEEDED");
    let open = OpenSessionRequest { worker: "../w".into(), ..OpenSessionRequest::default() };
    assert_eq!(field(&daemon.workers().open_session(open).await.unwrap_err()), "worker");
    let poll = LeaseAttemptsRequest { session_id: session, ..LeaseAttemptsRequest::default() };
    let refused = daemon.workers().lease_attempts(poll).await.unwrap_err();
    assert_eq!(field(&refused), "max_attempts");
    assert_eq!(daemon.get("@last").await.unwrap().state(), State::Running);
}

#[tokio::test]
async fn the_fleet_is_listed_drained_and_resumed() {
    let daemon = Daemon::start().await;
    let session = daemon.session("w").await;
    let list = || async {
        let listed = daemon.fleet().list_workers(ListWorkersRequest {}).await.unwrap();
        listed.into_inner().workers.remove(0)
    };
    assert_eq!(list().await.state(), worker::State::Active);
    let name = || "w".to_owned();
    daemon.fleet().drain_worker(DrainWorkerRequest { worker: name() }).await.unwrap();
    assert_eq!(list().await.state(), worker::State::Draining);
    daemon.create(&["a"]).await;
    assert!(daemon.lease(&session, 1).await.is_empty());
    daemon.fleet().resume_worker(ResumeWorkerRequest { worker: name() }).await.unwrap();
    let lease = daemon.lease(&session, 1).await.remove(0);
    assert_eq!(list().await.running_attempts, 1);
    let returned = vec![lease.lease.unwrap()];
    let close = CloseSessionRequest { session_id: session, returned };
    for _ in 0..2 {
        daemon.workers().close_session(close.clone()).await.unwrap();
    }
    let closed = list().await;
    assert_eq!((closed.state(), closed.running_attempts), (worker::State::Offline, 0));
    let nobody = DrainWorkerRequest { worker: "x".into() };
    let refused = daemon.fleet().drain_worker(nobody).await.unwrap_err();
    assert_eq!(reason(&refused), "WORKER_NOT_FOUND");
}
