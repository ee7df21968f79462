use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;
use windlass_proto::{MAX_MESSAGE_BYTES, worker::v1::worker_service_client::WorkerServiceClient};

/// How long one try to connect may take.
const CONNECT_WAIT: Duration = Duration::from_secs(5);

/// A connection on which nothing comes is asked for a sign of life this often, and given up when
/// none comes in time.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(10);
const KEEPALIVE_WAIT: Duration = Duration::from_secs(10);

/// Bytes that the daemon may send without waiting; it sends little.
const RECEIVE_WINDOW: u32 = 1 << 20;

/// Connects to the daemon's socket.
pub(super) async fn connect(
    socket: &Path,
) -> Result<WorkerServiceClient<Channel>, tonic::transport::Error> {
    let socket: PathBuf = socket.to_path_buf();
    let connector = service_fn(move |_| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    // The address is only a name: the connector decides where to go.
    let channel = Endpoint::from_static("http://windlass.local")
        .connect_timeout(CONNECT_WAIT)
        .http2_keep_alive_interval(KEEPALIVE_EVERY)
        .keep_alive_timeout(KEEPALIVE_WAIT)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(RECEIVE_WINDOW)
        .initial_connection_window_size(RECEIVE_WINDOW)
        .connect_with_connector(connector)
        .await?;
    Ok(WorkerServiceClient::new(channel)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES))
}
