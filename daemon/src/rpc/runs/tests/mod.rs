//! The services of runs, workers and the fleet over a real socket, with the real engine.

mod limits;
mod making;
mod reading;
mod working;

use std::{path::Path, sync::Arc, time::Duration};

use hyper_util::rt::TokioIo;
use tempfile::TempDir;
use tokio::{net::UnixStream, task::JoinHandle};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt;
use uuid::Uuid;
use windlass_blobs::{FileNode, Node, Store, Tree};
use windlass_proto::api::v1::{
    CreateRunRequest, GetRunRequest, ListRunsRequest, Run, RunSource,
    fleet_service_client::FleetServiceClient, log_service_client::LogServiceClient,
    run_service_client::RunServiceClient, run_source::Target,
};
use windlass_proto::common::v1::{
    AttemptState, CommandAction, PipelineSpec, ShellAction, StepSpec, step_spec::Action,
};
use windlass_proto::worker::v1::{
    AttemptLease, LeaseAttemptsRequest, OpenSessionRequest, ReportAttemptRequest,
    worker_service_client::WorkerServiceClient,
};

use crate::{
    clock::SystemClock,
    config::Config,
    home::{Places, locate_home, prepare},
    lock::HomeLock,
    server::{DaemonError, run},
};

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(10);

/// A daemon without a worker of its own.
struct Daemon {
    dir: TempDir,
    stop: CancellationToken,
    served: JoinHandle<Result<(), DaemonError>>,
    channel: Channel,
    blobs: Store,
}

impl Daemon {
    async fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap()).await
    }

    async fn start_in(dir: TempDir) -> Self {
        let home = locate_home(Some(dir.path().join("home")), &Places::default()).unwrap();
        prepare(&home).unwrap();
        let lock = HomeLock::acquire(&home).unwrap();
        let listener = lock.listen().unwrap();
        let stop = CancellationToken::new();
        let (config, token) = (Config::new(home.clone()), stop.clone());
        let served = TaskTracker::new().spawn(async move {
            let clock = Arc::new(SystemClock::new());
            let result = Box::pin(run(config, listener, clock, token)).await;
            lock.release();
            result
        });
        let channel = connect(&home.daemon_socket()).await;
        let blobs = Store::open(&home.blobs()).unwrap();
        Self { dir, stop, served, channel, blobs }
    }

    async fn stop(self) -> TempDir {
        self.stop.cancel();
        tokio::time::timeout(PATIENCE, self.served).await.unwrap().unwrap().unwrap();
        self.dir
    }

    fn runs(&self) -> RunServiceClient<Channel> {
        RunServiceClient::new(self.channel.clone())
    }

    fn logs(&self) -> LogServiceClient<Channel> {
        LogServiceClient::new(self.channel.clone())
    }

    fn fleet(&self) -> FleetServiceClient<Channel> {
        FleetServiceClient::new(self.channel.clone())
    }

    fn workers(&self) -> WorkerServiceClient<Channel> {
        WorkerServiceClient::new(self.channel.clone())
    }

    /// The digest of a snapshot of these files.
    fn snapshot(&self, files: &[(&str, &str)]) -> String {
        let mut tree = Tree::default();
        for (path, text) in files {
            let digest = self.blobs.put_bytes(text.as_bytes()).unwrap();
            let size = u64::try_from(text.len()).unwrap();
            let node = Node::File(FileNode { digest, size, executable: false });
            tree.insert(path, node).unwrap();
        }
        self.blobs.put_bytes(&tree.encode()).unwrap().to_string()
    }

    fn source(&self, target: Target) -> Option<RunSource> {
        let snapshot = self.snapshot(&[]);
        Some(RunSource { target: Some(target), snapshot, left_out: String::new() })
    }

    /// A request for a chain of shell steps.
    fn request(&self, steps: &[&str]) -> CreateRunRequest {
        CreateRunRequest {
            request_id: Uuid::new_v4().to_string(),
            source: self.source(Target::Spec(shell(steps))),
            ..CreateRunRequest::default()
        }
    }

    async fn create(&self, steps: &[&str]) -> Run {
        let created = self.runs().create_run(self.request(steps)).await.unwrap();
        created.into_inner().run.unwrap()
    }

    async fn get(&self, run: &str) -> Result<Run, Status> {
        let request = GetRunRequest { run: run.to_owned(), without_steps: false };
        Ok(self.runs().get_run(request).await?.into_inner().run.unwrap())
    }

    async fn session(&self, worker: &str) -> String {
        let open = OpenSessionRequest {
            worker: worker.to_owned(),
            capacity: [("slots".to_owned(), 2)].into(),
            ..OpenSessionRequest::default()
        };
        self.workers().open_session(open).await.unwrap().into_inner().session_id
    }

    async fn lease(&self, session: &str, max: u32) -> Vec<AttemptLease> {
        let poll = LeaseAttemptsRequest {
            session_id: session.to_owned(),
            poll_id: Uuid::new_v4().to_string(),
            max_attempts: max,
            wait: None,
        };
        self.workers().lease_attempts(poll).await.unwrap().into_inner().leases
    }

    /// Ends an attempt well and returns the next.
    async fn finish(&self, session: &str, lease: &AttemptLease) -> Vec<AttemptLease> {
        let answer = self.workers().report_attempt(good(session, lease)).await.unwrap();
        answer.into_inner().leases
    }
}

fn good(session: &str, lease: &AttemptLease) -> ReportAttemptRequest {
    ReportAttemptRequest {
        session_id: session.to_owned(),
        lease: lease.lease.clone(),
        state: AttemptState::Succeeded.into(),
        argv: vec!["true".to_owned()],
        executor: "process".to_owned(),
        lease_next: 1,
        poll_id: Uuid::new_v4().to_string(),
        ..ReportAttemptRequest::default()
    }
}

fn shell(steps: &[&str]) -> PipelineSpec {
    let step = |name: &&str| StepSpec {
        name: (*name).to_owned(),
        action: Some(Action::Run(ShellAction { script: "true".into() })),
        ..StepSpec::default()
    };
    let steps = steps.iter().map(step).collect();
    PipelineSpec { name: "churn".into(), steps, ..PipelineSpec::default() }
}

fn command() -> Target {
    Target::Command(CommandAction { argv: vec!["echo".into(), "hi".into()] })
}

async fn connect(socket: &Path) -> Channel {
    let socket = socket.to_owned();
    let connector = tower::service_fn(move |_| {
        let socket = socket.clone();
        async move { Ok::<_, std::io::Error>(TokioIo::new(UnixStream::connect(socket).await?)) }
    });
    let endpoint = Endpoint::from_static("http://windlass.invalid");
    endpoint.connect_with_connector(connector).await.unwrap()
}

fn reason(status: &Status) -> String {
    status.get_error_details().error_info().unwrap().reason.clone()
}

/// The field that an INVALID_ARGUMENT names.
fn field(status: &Status) -> String {
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    status.get_error_details().bad_request().unwrap().field_violations[0].field.clone()
}
