//! The services over a real socket, with a stand-in for the engine.

use std::{
    path::Path,
    sync::{Arc, Mutex},
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
    live: bool,
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
impl Heart for StandIn {
    async fn has_live_runs(&self) -> bool {
        self.live
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
            live,
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

fn upload(bytes: &[u8], size: usize) -> UploadBlobsRequest {
    UploadBlobsRequest {
        digest: digest_of(bytes).to_string(),
        size_bytes: i64::try_from(size).unwrap(),
        data: Bytes::copy_from_slice(bytes),
    }
}

/// Names of everything in the store of blobs.
fn stored(home: &Home) -> Vec<String> {
    let mut found = vec![];
    let mut dirs = vec![home.blobs()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else {
                found.push(path.display().to_string());
            }
        }
    }
    found
}

#[tokio::test]
async fn blobs_go_up_in_pieces_and_come_down_from_anywhere() {
    let daemon = Daemon::start().await;
    let big: Vec<u8> =
        (0..3_000_000_u32).map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[1]).collect();
    let mut chunks: Vec<_> = big
        .chunks(1 << 20)
        .map(|data| UploadBlobsRequest { data: Bytes::copy_from_slice(data), ..Default::default() })
        .collect();
    chunks[0].digest = digest_of(&big).to_string();
    chunks[0].size_bytes = 3_000_000;
    chunks.extend([upload(b"small", 5), upload(b"", 0), upload(b"small", 5)]);
    let answer = daemon.blobs().upload_blobs(tokio_stream::iter(chunks)).await.unwrap();
    assert_eq!(answer.into_inner().stored, 3, "the second time costs nothing");

    let none = "0".repeat(64);
    let digests = vec![digest_of(&big).to_string(), none.clone(), digest_of(b"").to_string()];
    let missing = daemon.blobs().find_missing(FindMissingRequest { digests }).await.unwrap();
    assert_eq!(missing.into_inner().missing, [none]);

    for (bytes, offset) in [(&big[..], 0), (&big[..], 2_999_000), (b"small", 5), (b"", 0)] {
        let digest = digest_of(bytes).to_string();
        let request = DownloadBlobRequest { digest, offset: i64::try_from(offset).unwrap() };
        let mut stream = daemon.blobs().download_blob(request).await.unwrap().into_inner();
        let (mut got, mut messages) = (vec![], 0);
        while let Some(message) = stream.message().await.unwrap() {
            assert_eq!(message.size_bytes, i64::try_from(bytes.len()).unwrap());
            got.extend_from_slice(&message.data);
            messages += 1;
        }
        assert!(messages > 0 && got == bytes[offset..]);
    }
    daemon.stop().await;
}

#[tokio::test]
async fn bytes_that_are_not_what_they_claim_leave_nothing() {
    let daemon = Daemon::start().await;
    let mut forged = upload(b"truth", 5);
    forged.data = Bytes::from_static(b"a lie");
    for (bad, expected) in [
        (vec![forged], "BLOB_CORRUPT"),
        (vec![upload(b"longer than said", 3)], "BLOB_CORRUPT"),
        (vec![upload(b"shorter", 30)], "BLOB_CORRUPT"),
        (vec![UploadBlobsRequest::default()], "INVALID_FIELD"),
        (vec![UploadBlobsRequest { digest: "../../x".into(), ..upload(b"x", 1) }], "INVALID_FIELD"),
        (vec![UploadBlobsRequest { size_bytes: -1, ..upload(b"x", 1) }], "INVALID_FIELD"),
        (vec![upload(&vec![0; (1 << 20) + 1], (1 << 20) + 1)], "LIMIT_EXCEEDED"),
    ] {
        let error = daemon.blobs().upload_blobs(tokio_stream::iter(bad)).await.unwrap_err();
        assert_eq!(reason(&error), expected, "{error}");
        assert_eq!(stored(&daemon.home), [""; 0]);
    }
    daemon.stop().await;
}

#[tokio::test]
async fn an_upload_cut_in_the_middle_leaves_nothing() {
    let daemon = Daemon::start().await;
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let chunks = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let mut blobs = daemon.blobs();
    let call = TaskTracker::new().spawn(async move { blobs.upload_blobs(chunks).await });
    sender.send(upload(b"half", 8)).await.unwrap();
    let begun = async {
        while stored(&daemon.home).is_empty() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, begun).await.unwrap();
    call.abort();
    let gone = async {
        while !stored(&daemon.home).is_empty() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.unwrap();
    daemon.stop().await;
}

#[tokio::test]
async fn questions_about_blobs_are_checked() {
    let daemon = Daemon::start().await;
    let digests = vec!["0".repeat(64), "short".into()];
    let error = daemon.blobs().find_missing(FindMissingRequest { digests }).await.unwrap_err();
    let details = error.get_error_details();
    assert_eq!(details.bad_request().unwrap().field_violations[0].field, "digests[1]");
    let digests = vec!["0".repeat(64); 10_001];
    let error = daemon.blobs().find_missing(FindMissingRequest { digests }).await.unwrap_err();
    assert_eq!(reason(&error), "LIMIT_EXCEEDED");
    let request = DownloadBlobRequest { digest: "0".repeat(64), offset: 0 };
    let error = daemon.blobs().download_blob(request).await.unwrap_err();
    assert_eq!((error.code(), reason(&error)), (Code::NotFound, "BLOB_NOT_FOUND".into()));
    daemon.blobs().upload_blobs(tokio_stream::iter([upload(b"small", 5)])).await.unwrap();
    for offset in [-1, 6] {
        let request = DownloadBlobRequest { digest: digest_of(b"small").to_string(), offset };
        let error = daemon.blobs().download_blob(request).await.unwrap_err();
        assert_eq!(reason(&error), "INVALID_FIELD");
    }
    daemon.stop().await;
}

#[tokio::test]
async fn a_follower_waits_for_the_attempt_sees_bytes_at_once_and_is_told_the_end() {
    let daemon = Daemon::start().await;
    let mut tail = daemon.tail(0, true).await;
    daemon.engine.change(|state| state.attempts.push(false));
    daemon.append(1, Stream::Stdout, 0, "one\n").await;
    assert_eq!(chunk(next(&mut tail).await), (1, 0, "one\n".into()));
    daemon.append(1, Stream::Stderr, 0, "oops\n").await;
    assert_eq!(chunk(next(&mut tail).await), (2, 0, "oops\n".into()));
    daemon.append(1, Stream::Stdout, 4, "two\n").await;
    daemon.engine.change(|state| state.attempts[0] = true);
    daemon.logs.seal(key(1), [8, 5, 0]);
    assert_eq!(chunk(next(&mut tail).await), (1, 4, "two\n".into()));
    assert!(matches!(next(&mut tail).await, Some(Item::End(end)) if end.size_bytes == 13));
    assert!(next(&mut tail).await.is_none());

    // Who comes later is told the same, of the last attempt or of the one that is named.
    for attempt in [0, 1] {
        let mut tail = daemon.tail(attempt, true).await;
        assert_eq!(chunk(next(&mut tail).await), (1, 0, "one\n".into()));
        assert_eq!(chunk(next(&mut tail).await), (2, 0, "oops\n".into()));
        assert_eq!(chunk(next(&mut tail).await), (1, 4, "two\n".into()));
        assert!(matches!(next(&mut tail).await, Some(Item::End(_))));
    }
    daemon.stop().await;
}

#[tokio::test]
async fn a_page_says_whether_more_can_come() {
    let daemon = Daemon::start().await;
    daemon.engine.change(|state| state.attempts.push(false));
    daemon.append(1, Stream::Stdout, 0, "0123456789").await;
    let read = |offset, stream| {
        let request = ReadLogsRequest { attempt: Some(named(1)), stream, offset, max_bytes: 4 };
        let mut logs = daemon.log_service();
        async move { logs.read_logs(request).await.map(tonic::Response::into_inner) }
    };
    let page = read(-3, LogStream::Stdout.into()).await.unwrap();
    assert_eq!((&page.data[..], page.offset, page.next_offset), (&b"789"[..], 7, 10));
    assert_eq!((page.size_bytes, page.sealed), (10, false));
    daemon.engine.change(|state| state.attempts[0] = true);
    assert!(read(0, LogStream::Stderr.into()).await.unwrap().sealed);
    assert_eq!(reason(&read(0, 0).await.unwrap_err()), "INVALID_FIELD");
    assert_eq!(reason(&read(0, 9).await.unwrap_err()), "INVALID_FIELD");
    daemon.stop().await;
}

#[tokio::test]
async fn requests_for_logs_are_checked() {
    let daemon = Daemon::start().await;
    let tail = |attempt, stream, offset| {
        let mut logs = daemon.log_service();
        let request = TailLogsRequest { attempt, stream, offset, follow: false };
        async move { reason(&logs.tail_logs(request).await.unwrap_err()) }
    };
    assert_eq!(tail(None, 0, 0).await, "INVALID_FIELD");
    assert_eq!(tail(Some(named(0)), 0, 5).await, "INVALID_FIELD");
    assert_eq!(tail(Some(named(3)), 0, 0).await, "ATTEMPT_NOT_FOUND");
    let no_step = AttemptRef { step: String::new(), ..named(0) };
    assert_eq!(tail(Some(no_step), 0, 0).await, "INVALID_FIELD");
    daemon.stop().await;
}

#[tokio::test]
async fn a_stuck_follower_stops_nobody() {
    let daemon = Daemon::start().await;
    daemon.engine.change(|state| state.attempts.push(false));
    let stuck = daemon.tail(1, true).await;
    let line = "x".repeat(1 << 20);
    for mebibyte in 0..32 {
        let write = daemon.append(1, Stream::Stdout, mebibyte << 20, &line);
        tokio::time::timeout(PATIENCE, write).await.unwrap();
    }
    let request = ReadLogsRequest {
        attempt: Some(named(1)),
        stream: LogStream::Stdout.into(),
        offset: -1,
        max_bytes: 1,
    };
    let page = daemon.log_service().read_logs(request).await.unwrap().into_inner();
    assert_eq!(page.size_bytes, 32 << 20);
    drop(stuck);
    daemon.stop().await;
}

#[tokio::test]
async fn metrics_are_told_once_each_until_the_attempt_ends() {
    let daemon = Daemon::start().await;
    let request = WatchMetricsRequest { attempt: Some(named(0)), after_sequence: 1, follow: true };
    let mut stream = daemon.log_service().watch_metrics(request).await.unwrap().into_inner();
    let point = |sequence| MetricPoint { sequence, name: "loss".into(), ..Default::default() };
    daemon.engine.change(|state| {
        state.attempts.push(false);
        state.points = vec![point(1), point(2)];
    });
    let mut seen = vec![];
    for (sequence, ended) in [(3, false), (4, true)] {
        let message = tokio::time::timeout(PATIENCE, stream.message()).await.unwrap().unwrap();
        seen.extend(message.unwrap().points.iter().map(|point| point.sequence));
        daemon.engine.change(|state| {
            state.points.push(point(sequence));
            state.attempts[0] = ended;
        });
    }
    while let Some(message) = stream.message().await.unwrap() {
        seen.extend(message.points.iter().map(|point| point.sequence));
    }
    assert_eq!(seen, [2, 3, 4]);
    daemon.stop().await;
}

#[tokio::test]
async fn the_daemon_describes_itself_and_stops_when_asked() {
    let daemon = Daemon::start().await;
    // An open stream must not hold it up.
    let mut tail = daemon.tail(0, true).await;
    let mut system = SystemServiceClient::new(daemon.channel.clone());
    let info = system.get_server_info(GetServerInfoRequest {}).await.unwrap().into_inner();
    assert_eq!((info.pid, info.instance_id.as_str()), (std::process::id(), "instance"));
    assert_eq!(info.home, daemon.home.root().display().to_string());
    assert!(info.limits.unwrap().max_message_bytes == 4 << 20 && info.server_time.is_some());
    system.stop_server(StopServerRequest {}).await.unwrap();
    let told = tokio::time::timeout(PATIENCE, tail.message()).await.unwrap().unwrap_err();
    assert_eq!(reason(&told), "SHUTTING_DOWN");
    daemon.ended().await.unwrap();
}

#[tokio::test]
async fn a_service_that_is_not_there_is_said_so() {
    let daemon = Daemon::start().await;
    let mut runs =
        windlass_proto::api::v1::run_service_client::RunServiceClient::new(daemon.channel.clone());
    let request = windlass_proto::api::v1::GetPipelineSchemaRequest {};
    let error = runs.get_pipeline_schema(request).await.unwrap_err();
    assert_eq!(error.code(), Code::Unimplemented);
    daemon.stop().await;
}

#[tokio::test]
async fn an_idle_daemon_leaves_but_not_while_it_is_used() {
    let idle = Some(Duration::from_millis(50));
    let daemon = Daemon::start_with(idle, false).await;
    let tail = daemon.tail(0, true).await;
    let early = tokio::time::timeout(Duration::from_millis(200), daemon.stop.cancelled()).await;
    assert!(early.is_err(), "somebody follows a log");
    drop(tail);
    daemon.ended().await.unwrap();

    let busy = Daemon::start_with(idle, true).await;
    let early = tokio::time::timeout(Duration::from_millis(200), busy.stop.cancelled()).await;
    assert!(early.is_err(), "a run is live");
    busy.stop().await;
}

#[tokio::test]
async fn a_daemon_without_its_engine_ends_with_an_error() {
    let daemon = Daemon::start().await;
    daemon.engine.died.cancel();
    assert!(matches!(daemon.ended().await, Err(DaemonError::EngineDied)));
}

/// Kilobytes of memory that this process has in RAM.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// `cargo test --release -p windlass-daemon over_the_socket -- --ignored --nocapture`
#[tokio::test]
#[ignore = "a measurement"]
async fn followers_over_the_socket_measured() {
    const BLOCK: u64 = 256 << 10;
    const BLOCKS: u64 = 800;
    let daemon = Daemon::start().await;
    daemon.engine.change(|state| state.attempts.push(false));
    let mut stuck = daemon.tail(1, true).await;
    let before = resident();
    let line = "x".repeat(usize::try_from(BLOCK).unwrap());
    let data = Bytes::from(line);
    let begin = std::time::Instant::now();
    let mut last = None;
    for block in 0..BLOCKS {
        let offset = block * BLOCK;
        let data = data.clone();
        let chunk = Chunk { stream: Stream::Stdout, offset, data, time: Timestamp(1), lost: None };
        last = Some(daemon.logs.append(key(1), chunk).await.unwrap());
    }
    last.unwrap().durable().await.unwrap();
    println!("200 MiB appended beside a stuck follower in {:?}", begin.elapsed());
    println!("memory grew by {} KiB, both ends", resident() - before);
    let (begin, mut got) = (std::time::Instant::now(), 0);
    while got < BLOCK * BLOCKS {
        let (_, _, text) = chunk(next(&mut stuck).await);
        got += u64::try_from(text.len()).unwrap();
    }
    println!("followed in {:?}, memory +{} KiB", begin.elapsed(), resident() - before);
    let mut waits = vec![];
    for line in 0..1_000 {
        let begin = std::time::Instant::now();
        daemon.append(1, Stream::Stdout, BLOCK * BLOCKS + line, "\n").await;
        chunk(next(&mut stuck).await);
        waits.push(begin.elapsed());
    }
    waits.sort();
    println!("a line written and shown: median {:?}, p99 {:?}", waits[500], waits[990]);
    daemon.stop().await;
}
