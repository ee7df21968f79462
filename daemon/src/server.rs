//! Puts the rooms together and serves them until told to stop.

use std::{sync::Arc, time::Duration};

use tokio::{net::UnixListener, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::transport::Server;
use windlass_blobs::{Store, StoreError};
use windlass_proto::api::v1::{
    blob_service_server::BlobServiceServer, log_service_server::LogServiceServer,
    system_service_server::SystemServiceServer,
};
use windlass_proto::{FILE_DESCRIPTOR_SET, MAX_MESSAGE_BYTES};

use crate::{
    activity::Activity,
    child::{self, Heard},
    clock::Clock,
    config::Config,
    connections,
    logs::Logs,
    rooms,
    rpc::{
        attempts::Attempts,
        blobs::BlobsRpc,
        logs::LogsRpc,
        routes::Routes,
        streams::Streams,
        system::{Standing, SystemRpc},
    },
};

/// Most calls that one connection has open.
pub(crate) const MAX_STREAMS: u32 = 256;

/// Largest HTTP/2 frame taken: a chunk of a log or blob comes in one.
const MAX_FRAME: u32 = 512 << 10;

/// Longest header list taken.
const MAX_HEADERS: u32 = 32 << 10;

/// Bytes that a call may have in flight to us before they are taken.
const STREAM_WINDOW: u32 = 1 << 20;

/// The same for a whole connection.
const CONNECTION_WINDOW: u32 = 4 << 20;

/// How often a silent connection is asked whether it lives, and how long it may take to answer.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(20));

/// Most calls reset by the caller before we saw them, per connection.
const MAX_PENDING_RESETS: usize = 64;

/// How long open calls may take to end once the daemon stops.
const DRAIN: Duration = Duration::from_secs(3);

/// How long tasks may take after that.
const WIND_UP: Duration = Duration::from_secs(2);

/// Shortest wait between two looks at whether the daemon is idle.
const IDLE_LOOK: Duration = Duration::from_millis(10);

/// Why the daemon ended other than by being told to.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    #[error("failed to open the store of blobs")]
    Blobs(#[from] StoreError),
    #[error("failed to start the writers of logs")]
    Logs(#[source] std::io::Error),
    #[error("failed to open the record of runs")]
    Runs(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("failed to serve the socket")]
    Serve(#[from] tonic::transport::Error),
    #[error("failed to describe the API")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// Everything acknowledged is on disk; the next daemon goes on from there.
    #[error("the engine ended by itself; the log says why")]
    EngineDied,
}

/// What the frame needs of the engine.
#[tonic::async_trait]
pub(crate) trait Heart: Attempts + Standing + Heard {
    /// True while a run has not ended.
    async fn has_live_runs(&self) -> bool;

    /// Waits until the engine's thread ends, for whatever reason.
    async fn ended(&self);

    /// Takes no more work, commits what is queued, empties the write-ahead log, ends the thread.
    async fn shut_down(&self);
}

/// Everything behind the services.
pub(crate) struct Rooms {
    pub(crate) engine: Arc<dyn Heart>,
    pub(crate) blobs: Store,
    pub(crate) logs: Logs,
    /// The services that only the engine's side knows.
    pub(crate) services: Routes,
}

/// What every part of the daemon shares.
#[derive(Clone)]
pub(crate) struct Frame {
    pub(crate) clock: Arc<dyn Clock>,
    /// Every task; each is awaited at the end.
    pub(crate) tasks: TaskTracker,
    /// Behind every streamed answer.
    pub(crate) streams: Streams,
    /// Fires when the daemon is to leave.
    pub(crate) stop: CancellationToken,
}

impl Frame {
    pub(crate) fn new(clock: Arc<dyn Clock>, stop: CancellationToken) -> Self {
        let tasks = TaskTracker::new();
        let streams = Streams::new(tasks.clone(), stop.clone());
        Self { clock, tasks, streams, stop }
    }
}

/// Opens everything in the home and serves it on `listener` until `stop`, until nobody needs the
/// daemon, or until it breaks. The home must be prepared and its lock held.
pub async fn run(
    config: Config,
    listener: UnixListener,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
) -> Result<(), DaemonError> {
    let frame = Frame::new(clock, stop);
    let rooms = rooms::open(&config, &frame).await?;
    Box::pin(serve(config, listener, frame, rooms)).await
}

/// Serves `rooms` until `frame.stop`, until nobody needs the daemon, or until the engine dies.
pub(crate) async fn serve(
    config: Config,
    listener: UnixListener,
    frame: Frame,
    rooms: Rooms,
) -> Result<(), DaemonError> {
    let Frame { clock, tasks, stop, .. } = frame.clone();
    let activity = Activity::new(Arc::clone(&clock));
    let leaving = CancellationToken::new();
    let accepted = connections::accept(listener, &tasks, leaving.clone());
    let services = services(&config, &frame, &rooms).await?;
    let server = configured(activity.clone()).serve_with_incoming_shutdown(
        services,
        accepted,
        leaving.clone().cancelled_owned(),
    );
    let mut server = Box::pin(server);

    let worker = config.worker.clone().map(|command| {
        let ears = (Arc::clone(&clock), Arc::clone(&rooms.engine) as Arc<dyn Heard>);
        tasks.spawn(child::keep_alive(command, config.home.clone(), ears, stop.clone()))
    });

    let mut result = tokio::select! {
        () = stop.cancelled() => Ok(()),
        () = idle(config.idle, &activity, &*rooms.engine) => {
            tracing::info!("nothing to do for long; leaving");
            Ok(())
        }
        () = rooms.engine.ended() => Err(DaemonError::EngineDied),
        result = &mut server => result.map_err(DaemonError::from),
    };
    // From here on streams end by themselves, and the worker has its time to say goodbye while
    // it is still served.
    stop.cancel();
    if let Some(worker) = worker {
        tokio::select! {
            ended = worker => if let Err(error) = ended { tracing::error!(%error, "worker task") },
            served = &mut server => result = result.and(served.map_err(DaemonError::from)),
        }
    }
    leaving.cancel();
    match timeout(DRAIN, server).await {
        Ok(served) => result = result.and(served.map_err(DaemonError::from)),
        Err(_) => tracing::warn!("calls that do not end are cut off"),
    }
    wind_up(&tasks, rooms).await;
    result
}

/// Ends everything that is not a call, the engine before the logs that it seals.
async fn wind_up(tasks: &TaskTracker, rooms: Rooms) {
    tasks.close();
    if timeout(WIND_UP, tasks.wait()).await.is_err() {
        tracing::warn!(left = tasks.len(), "tasks that do not end are left");
    }
    rooms.engine.shut_down().await;
    if let Err(error) = tokio::task::spawn_blocking(move || rooms.logs.close()).await {
        tracing::error!(%error, "the logs did not close");
    }
}

/// The server with every limit set. A call has no time limit: uploads, polls and streams may last.
fn configured(
    activity: Activity,
) -> Server<tower::layer::util::Stack<Activity, tower::layer::util::Identity>> {
    Server::builder()
        .accept_http1(false)
        .max_concurrent_streams(MAX_STREAMS)
        .concurrency_limit_per_connection(usize::try_from(MAX_STREAMS).unwrap_or(usize::MAX))
        .max_frame_size(MAX_FRAME)
        .http2_max_header_list_size(MAX_HEADERS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_adaptive_window(Some(false))
        .http2_keepalive_interval(Some(KEEPALIVE.0))
        .http2_keepalive_timeout(Some(KEEPALIVE.1))
        .http2_max_pending_accept_reset_streams(Some(MAX_PENDING_RESETS))
        .http2_max_local_error_reset_streams(Some(MAX_PENDING_RESETS))
        .layer(activity)
}

/// Every service of the daemon.
async fn services(config: &Config, frame: &Frame, rooms: &Rooms) -> Result<Routes, DaemonError> {
    let system = SystemRpc {
        standing: Arc::clone(&rooms.engine) as Arc<dyn Standing>,
        clock: Arc::clone(&frame.clock),
        home: config.home.root().to_owned(),
        started: frame.clock.now(),
        limits: config.limits,
        stop: frame.stop.clone(),
    };
    let attempts = Arc::clone(&rooms.engine) as Arc<dyn Attempts>;
    let logs = LogsRpc::new(attempts, rooms.logs.clone(), frame.streams.clone());
    let blobs = BlobsRpc::new(rooms.blobs.clone(), frame.streams.clone());
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<SystemServiceServer<SystemRpc>>().await;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()?;
    let limit = MAX_MESSAGE_BYTES;
    Ok(rooms
        .services
        .clone()
        .with(SystemServiceServer::new(system).max_decoding_message_size(limit))
        .with(LogServiceServer::new(logs).max_decoding_message_size(limit))
        .with(BlobServiceServer::new(blobs).max_decoding_message_size(limit))
        .with(health_service)
        .with(reflection))
}

/// Waits until nobody has needed the daemon for `limit`; for ever without a limit.
async fn idle(limit: Option<Duration>, activity: &Activity, engine: &dyn Heart) {
    let Some(limit) = limit else { return std::future::pending().await };
    loop {
        let quiet = activity.quiet_for();
        if quiet < limit {
            tokio::time::sleep((limit - quiet).max(IDLE_LOOK)).await;
        } else if engine.has_live_runs().await {
            activity.touch();
        } else {
            return;
        }
    }
}
