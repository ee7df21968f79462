//! The services over a real socket, with a stand-in for the engine.

mod blobs;
mod lifecycle;
mod logs;

use std::{
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use hyper_util::rt::TokioIo;
use prost::bytes::Bytes;
use tempfile::TempDir;
use tokio::{net::UnixStream, sync::watch, task::JoinHandle};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{
    Code, Status, Streaming,
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt;
use uuid::Uuid;
use windlass_blobs::{Store, digest_of};
use windlass_core::{AttemptNumber, Home, RunId, StepIndex, Timestamp};
use windlass_proto::api::v1::{
    DownloadBlobRequest, ErrorReason, FindMissingRequest, GetServerInfoRequest, ReadLogsRequest,
    StopServerRequest, TailLogsRequest, TailLogsResponse, UploadBlobsRequest, WatchMetricsRequest,
    blob_service_client::BlobServiceClient, log_service_client::LogServiceClient,
    system_service_client::SystemServiceClient, tail_logs_response::Item,
};
use windlass_proto::common::v1::{AttemptRef, LogStream, MetricPoint};

use super::{
    attempts::{Attempts, Changes, Found},
    routes::Routes,
    status::status,
    system::Standing,
};
use crate::{
    child::Heard,
    clock::{Clock, SystemClock},
    config::Config,
    home::{Places, locate_home, prepare},
    lock::HomeLock,
    logs::{Chunk, Logs, Stream},
    server::{DaemonError, Frame, Heart, Rooms, serve},
    store::attempts::AttemptKey,
};

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(10);

const RUN: RunId = RunId(Uuid::from_u128(7));

fn key(attempt: u32) -> AttemptKey {
    AttemptKey { run: RUN, step: StepIndex(0), attempt: AttemptNumber(attempt) }
}

/// One run `7…` with one step `train`, whose attempts the test makes and ends.
struct StandIn {
    state: Mutex<State>,
    changes: watch::Sender<u64>,
    died: CancellationToken,
    live: AtomicBool,
}

#[derive(Default)]
struct State {
    /// For each attempt, whether it has ended.
    attempts: Vec<bool>,
    points: Vec<MetricPoint>,
    shut_down: bool,
}

impl StandIn {
    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap());
        self.changes.send_modify(|sequence| *sequence += 1);
    }
}

#[tonic::async_trait]
impl Attempts for StandIn {
    async fn find(&self, run: &str, step: &str, attempt: u32) -> Result<Found, Status> {
        if run != RUN.to_string() || step != "train" {
            return Err(status(ErrorReason::StepNotFound, "no such step"));
        }
        let state = self.state.lock().unwrap();
        let count = u32::try_from(state.attempts.len()).unwrap();
        if attempt > count {
            return Err(status(ErrorReason::AttemptNotFound, "no such attempt"));
        }
        let number = if attempt == 0 { count } else { attempt };
        let ended = number > 0 && state.attempts[number as usize - 1];
        Ok(Found { run: RUN, attempt: (number > 0).then(|| key(number)), ended })
    }

    fn changes(&self, _: RunId) -> Box<dyn Changes> {
        Box::new(Watched(self.changes.subscribe()))
    }

    async fn metrics(
        &self,
        _: AttemptKey,
        after: u64,
        limit: u32,
    ) -> Result<Vec<MetricPoint>, Status> {
        let state = self.state.lock().unwrap();
        let new = state.points.iter().filter(|point| point.sequence > after);
        Ok(new.take(limit as usize).cloned().collect())
    }
}

struct Watched(watch::Receiver<u64>);

#[tonic::async_trait]
impl Changes for Watched {
    async fn next(&mut self) -> bool {
        self.0.changed().await.is_ok()
    }
}

impl Standing for StandIn {
    fn instance_id(&self) -> String {
        "instance".into()
    }

    fn read_only_reason(&self) -> Option<String> {
        None
    }
}

#[tonic::async_trait]
impl Heard for StandIn {
    async fn silent_for(&self, _: u32) -> Option<Duration> {
        None
    }
}

#[tonic::async_trait]
impl Heart for StandIn {
    async fn has_live_runs(&self) -> bool {
        self.live.load(Ordering::SeqCst)
    }

    async fn ended(&self) {
        self.died.cancelled().await;
    }

    async fn shut_down(&self) {
        self.state.lock().unwrap().shut_down = true;
    }
}

struct Daemon {
    _dir: TempDir,
    home: Home,
    engine: Arc<StandIn>,
    logs: Logs,
    stop: CancellationToken,
    served: JoinHandle<Result<(), DaemonError>>,
    channel: Channel,
}

impl Daemon {
    async fn start() -> Self {
        Self::start_with(None, false).await
    }

    async fn start_with(idle: Option<Duration>, live: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let home = locate_home(Some(dir.path().join("home")), &Places::default()).unwrap();
        prepare(&home).unwrap();
        let lock = HomeLock::acquire(&home).unwrap();
        let listener = lock.listen().unwrap();
        let engine = Arc::new(StandIn {
            state: Mutex::default(),
            changes: watch::Sender::new(0),
            died: CancellationToken::new(),
            live: AtomicBool::new(live),
        });
        let logs = Logs::open(home.logs()).unwrap();
        let rooms = Rooms {
            engine: Arc::clone(&engine) as Arc<dyn Heart>,
            blobs: Store::open(&home.blobs()).unwrap(),
            logs: logs.clone(),
            services: Routes::default(),
        };
        let stop = CancellationToken::new();
        let clock = Arc::new(SystemClock::new());
        let frame = Frame::new(clock as Arc<dyn Clock>, stop.clone());
        let config = Config { idle, ..Config::new(home.clone()) };
        let served = TaskTracker::new().spawn(async move {
            let result = Box::pin(serve(config, listener, frame, rooms)).await;
            lock.release();
            result
        });
        let channel = connect(&home.daemon_socket()).await;
        Self { _dir: dir, home, engine, logs, stop, served, channel }
    }

    fn blobs(&self) -> BlobServiceClient<Channel> {
        BlobServiceClient::new(self.channel.clone())
    }

    fn log_service(&self) -> LogServiceClient<Channel> {
        LogServiceClient::new(self.channel.clone())
    }

    async fn append(&self, attempt: u32, stream: Stream, offset: u64, text: &str) {
        let data = Bytes::copy_from_slice(text.as_bytes());
        let chunk = Chunk { stream, offset, data, time: Timestamp(1), lost: None };
        self.logs.append(key(attempt), chunk).await.unwrap().durable().await.unwrap();
    }

    async fn tail(&self, attempt: u32, follow: bool) -> Streaming<TailLogsResponse> {
        let attempt = Some(named(attempt));
        let request = TailLogsRequest { attempt, stream: 0, offset: 0, follow };
        self.log_service().tail_logs(request).await.unwrap().into_inner()
    }

    /// Stops the daemon; every thread and task has ended in time.
    async fn ended(self) -> Result<(), DaemonError> {
        let result = tokio::time::timeout(PATIENCE, self.served).await.unwrap().unwrap();
        assert!(!self.home.daemon_socket().exists());
        assert!(self.engine.state.lock().unwrap().shut_down);
        result
    }

    async fn stop(self) {
        self.stop.cancel();
        self.ended().await.unwrap();
    }
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

fn named(attempt: u32) -> AttemptRef {
    AttemptRef { run_id: RUN.to_string(), step: "train".into(), attempt }
}

fn reason(status: &Status) -> String {
    status.get_error_details().error_info().unwrap().reason.clone()
}

async fn next(tail: &mut Streaming<TailLogsResponse>) -> Option<Item> {
    let message = tokio::time::timeout(PATIENCE, tail.message()).await.unwrap().unwrap();
    message.map(|message| message.item.unwrap())
}

fn chunk(item: Option<Item>) -> (i32, i64, String) {
    match item {
        Some(Item::Chunk(chunk)) => {
            (chunk.stream, chunk.offset, String::from_utf8(chunk.data.to_vec()).unwrap())
        }
        other => panic!("no chunk but {other:?}"),
    }
}
