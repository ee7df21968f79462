use serde_json::json;
use tokio_stream::{StreamExt, iter};
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_types::StatusExt;
use windlass_proto::api::v1::blob_service_client::BlobServiceClient;
use windlass_proto::api::v1::run_service_client::RunServiceClient;
use windlass_proto::api::v1::{DownloadBlobRequest, ListRunsRequest, UploadBlobsRequest};
use windlass_proto::common::v1::{AttemptEnd, AttemptState, EndReason, LogStream, Output};
use windlass_proto::worker::v1::worker_service_client::WorkerServiceClient;
use windlass_proto::worker::v1::{
    AppendLogsRequest, AttemptLease, HeartbeatRequest, HeldAttempt, LeaseAttemptsRequest,
    LeaseProof, OpenSessionRequest, ReportAttemptRequest, directive,
};
use windlass_tests::{SOON, World, step, until};

fn reason(status: &Status) -> String {
    status.get_error_details().error_info().map(|i| i.reason.clone()).unwrap_or_default()
}

pub(super) struct Foreign {
    pub(super) rpc: WorkerServiceClient<Channel>,
    pub(super) session: String,
}

/// A worker written from the proto alone.
impl Foreign {
    pub(super) async fn open(channel: Channel, held: Vec<HeldAttempt>) -> Self {
        let mut rpc = WorkerServiceClient::new(channel);
        let request = OpenSessionRequest {
            worker: "foreign".into(),
            version: "1".into(),
            hostname: "elsewhere".into(),
            capacity: [("slots".to_owned(), 1)].into(),
            executors: vec!["process".into()],
            held,
            ..OpenSessionRequest::default()
        };
        let session = rpc.open_session(request).await.unwrap().into_inner().session_id;
        Self { rpc, session }
    }

    pub(super) async fn lease(&mut self, poll_id: &str) -> Vec<AttemptLease> {
        let request = LeaseAttemptsRequest {
            session_id: self.session.clone(),
            poll_id: poll_id.into(),
            max_attempts: 1,
            wait: Some(prost_types::Duration { seconds: 5, nanos: 0 }),
        };
        self.rpc.lease_attempts(request).await.unwrap().into_inner().leases
    }

    async fn append(
        &mut self,
        lease: &LeaseProof,
        offset: i64,
        data: &[u8],
    ) -> Result<i64, Status> {
        let request = AppendLogsRequest {
            lease: Some(lease.clone()),
            stream: LogStream::Stdout.into(),
            offset,
            data: data.to_vec().into(),
            ..AppendLogsRequest::default()
        };
        let mut answers = self.rpc.append_logs(iter([request])).await?.into_inner();
        let answer = answers.next().await.unwrap()?;
        if answer.refused.is_empty() {
            Ok(answer.durable_offset)
        } else {
            Err(Status::aborted(answer.refused))
        }
    }

    pub(super) fn report(&self, lease: &LeaseProof, outputs: Vec<Output>) -> ReportAttemptRequest {
        let now = prost_types::Timestamp { seconds: 1_700_000_000, nanos: 0 };
        ReportAttemptRequest {
            session_id: self.session.clone(),
            lease: Some(lease.clone()),
            state: AttemptState::Succeeded.into(),
            end: Some(AttemptEnd {
                reason: EndReason::ExitCode.into(),
                exit_code: Some(0),
                start_time: Some(now),
                end_time: Some(now),
                ..AttemptEnd::default()
            }),
            stdout_size: 6,
            outputs,
            executor: "process".into(),
            ..ReportAttemptRequest::default()
        }
    }
}

/// Leaves all work to the foreign worker.
pub(super) fn drain_local(world: &World) {
    until(SOON, "the local worker's session", || {
        (world.w(["workers", "drain", "local"]).code == 0).then_some(())
    });
}

async fn upload(channel: Channel, data: &'static [u8]) -> String {
    let digest = blake3::hash(data).to_hex().to_string();
    let chunk = UploadBlobsRequest {
        digest: digest.clone(),
        size_bytes: i64::try_from(data.len()).unwrap(),
        data: data.into(),
    };
    BlobServiceClient::new(channel).upload_blobs(iter([chunk])).await.unwrap();
    digest
}

#[tokio::test]
async fn a_worker_written_from_the_proto_alone() {
    let world = World::new();
    world.put("p.yaml", "version: 1\nsteps:\n  a: {run: 'echo hi', out: x}\n  b: {stub: true}\n");
    let channel = world.channel().await;
    drain_local(&world);
    let mut worker = Foreign::open(channel.clone(), vec![]).await;
    let run = world.submit(&["p.yaml"]);

    let leases = worker.lease("poll-1").await;
    let again = worker.lease("poll-1").await;
    assert_eq!(leases, again, "a repeated poll gives the same leases");
    let lease = leases[0].lease.clone().unwrap();
    let task = leases[0].task.clone().unwrap();
    let ask = DownloadBlobRequest { digest: task.snapshot.clone(), offset: 0 };
    let mut tree =
        BlobServiceClient::new(channel.clone()).download_blob(ask).await.unwrap().into_inner();
    let tree = tree.next().await.unwrap().unwrap().data;
    assert!(String::from_utf8_lossy(&tree).contains("\"p.yaml\""), "{tree:?}");

    let hole = worker.append(&lease, 100, b"x").await.unwrap_err();
    assert!(hole.message().starts_with("OFFSET_MISMATCH"), "{hole:?}");
    assert_eq!(worker.append(&lease, 0, b"hi\n").await.unwrap(), 3);
    assert_eq!(worker.append(&lease, 0, b"hi\nyou").await.unwrap(), 6, "known bytes are ignored");

    let forged = LeaseProof { lease_id: vec![7; 16].into(), ..lease.clone() };
    let request = worker.report(&forged, vec![]);
    let fenced = worker.rpc.report_attempt(request).await.unwrap_err();
    assert_eq!(reason(&fenced), "LEASE_FENCED");

    let beat = HeartbeatRequest {
        session_id: worker.session.clone(),
        held: vec![HeldAttempt {
            lease: Some(lease.clone()),
            state: AttemptState::Running.into(),
            usage: None,
        }],
    };
    let told = worker.rpc.heartbeat(beat).await.unwrap().into_inner().directives;
    assert_eq!(told[0].action(), directive::Action::Continue);

    let digest = upload(channel.clone(), b"[1, 2]").await;
    let output = Output { name: "x".into(), digest, size_bytes: 6, codec: "json".into() };
    let request = worker.report(&lease, vec![output]);
    worker.rpc.report_attempt(request.clone()).await.unwrap();
    worker.rpc.report_attempt(request).await.unwrap();

    world.w(["wait", &run]).exits(0);
    let shown = world.show(&run);
    assert_eq!(step(&shown, "a")["attempts"][0]["worker"], "foreign");
    assert_eq!(
        world.w(["outputs", "get", &format!("{run}/a"), "x"]).exits(0).json(),
        json!([1, 2])
    );
    assert_eq!(world.w(["logs", &format!("{run}/a")]).exits(0).text(), "hi\nyou");
}

/// A second session of the same worker fences the first; leases that nobody holds go out again.
#[tokio::test]
async fn a_new_session_takes_over() {
    let world = World::new();
    world.put("p.yaml", "version: 1\nsteps:\n  a: {run: 'echo hi'}\n");
    let channel = world.channel().await;
    drain_local(&world);
    let mut old = Foreign::open(channel.clone(), vec![]).await;
    world.submit(&["p.yaml"]);
    let first = old.lease("p").await;

    let mut new = Foreign::open(channel, vec![]).await;
    let second = new.lease("q").await;
    let (first, second) = (first[0].lease.clone().unwrap(), second[0].lease.clone().unwrap());
    assert_eq!(first.attempt, second.attempt, "never started: the same attempt");
    assert_ne!(first.lease_id, second.lease_id);
    let request = old.report(&first, vec![]);
    let status = old.rpc.report_attempt(request).await.unwrap_err();
    assert!(["LEASE_FENCED", "SESSION_FENCED"].contains(&&*reason(&status)), "{status:?}");
}

/// A worker that falls silent loses its attempts, and what it says later is fenced.
#[tokio::test]
async fn a_silent_worker_loses_its_attempts() {
    let world = World::new();
    world.put("p.yaml", "version: 1\nsteps:\n  a: {run: 'true', idempotent: true}\n");
    let channel = world.channel().await;
    drain_local(&world);
    let mut silent = Foreign::open(channel, vec![]).await;
    let run = world.submit(&["p.yaml"]);
    let lease = silent.lease("p").await[0].lease.clone().unwrap();
    world.w(["workers", "resume", "local"]).exits(0);
    world.w(["wait", &run]).exits(0);
    let shown = world.show(&run);
    let states: Vec<_> = step(&shown, "a")["attempts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| t["state"].clone())
        .collect();
    assert_eq!(states, ["lost", "succeeded"], "{shown:#}");
    let request = silent.report(&lease, vec![]);
    let status = silent.rpc.report_attempt(request).await.unwrap_err();
    assert!(["LEASE_FENCED", "SESSION_FENCED"].contains(&&*reason(&status)), "{status:?}");
}

/// Hostile fields are refused by name, and change nothing.
#[tokio::test]
async fn forged_requests_are_refused_by_name() {
    let world = World::new();
    let channel = world.channel().await;
    let mut runs = RunServiceClient::new(channel.clone());
    for token in ["x", "AAAA", "../../etc/passwd", &"f".repeat(10_000)] {
        let request = ListRunsRequest { page_token: token.into(), ..ListRunsRequest::default() };
        let status = runs.list_runs(request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(reason(&status), "PAGE_TOKEN_INVALID", "{token}");
    }
    let mut blobs = BlobServiceClient::new(channel);
    for digest in ["", "zz", "../../../windlass.db", &"A".repeat(64)] {
        let ask = DownloadBlobRequest { digest: digest.into(), offset: 0 };
        let status = blobs.download_blob(ask).await.err().unwrap();
        assert_eq!(reason(&status), "INVALID_FIELD", "{digest}");
    }
    let wrong =
        UploadBlobsRequest { digest: "0".repeat(64), size_bytes: 1, data: b"x".as_ref().into() };
    let status = blobs.upload_blobs(iter([wrong])).await.unwrap_err();
    assert_eq!(reason(&status), "BLOB_CORRUPT");
}
