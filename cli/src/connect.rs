//! Finds the daemon of a home, or starts it.

mod starter;

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use hyper_util::rt::TokioIo;
use tokio::{
    net::UnixStream,
    time::{sleep, timeout},
};
use tonic::{
    Response, Status,
    transport::{Channel, Endpoint, Uri},
};
use windlass_core::Home;
use windlass_proto::api::v1::{
    blob_service_client::BlobServiceClient, fleet_service_client::FleetServiceClient,
    log_service_client::LogServiceClient, run_service_client::RunServiceClient,
    system_service_client::SystemServiceClient,
};

use self::starter::Starter;
use crate::{
    config::Config,
    error::{CliError, connection_lost, reason, shutting_down},
};

/// Tries of a call that the daemon could not take, and the first pause between two.
const TRIES: u32 = 6;
const PAUSE: Duration = Duration::from_millis(20);

/// How long one call with one answer may take; long ones are streams.
const CALL_LIMIT: Duration = Duration::from_secs(60);

/// Largest answer taken: a run of many steps with all their records.
const MAX_ANSWER: usize = 256 << 20;

/// Bytes of one stream that the daemon may send ahead of a slow terminal.
const STREAM_WINDOW: u32 = 512 << 10;

/// A connection to the daemon that mends itself: cheap to clone.
#[derive(Clone)]
pub(crate) struct Link {
    home: Home,
    channel: Channel,
    starter: Option<Starter>,
}

impl Link {
    /// Connects to the daemon, after starting one where none answers.
    pub(crate) async fn open(config: &Config) -> Result<Self, CliError> {
        let starter = Starter::of(config);
        let stream = match connect(&config.home).await {
            Ok(stream) => stream,
            Err(_) => starter.start(&config.home).await?,
        };
        Self::over(&config.home, stream, Some(starter)).await
    }

    /// Connects to a daemon that is already there; `None` where none answers.
    pub(crate) async fn existing(config: &Config) -> Result<Option<Self>, CliError> {
        match connect(&config.home).await {
            Ok(stream) => Ok(Some(Self::over(&config.home, stream, None).await?)),
            Err(_) => Ok(None),
        }
    }

    async fn over(
        home: &Home,
        stream: UnixStream,
        starter: Option<Starter>,
    ) -> Result<Self, CliError> {
        let first = Arc::new(Mutex::new(Some(stream)));
        let socket = home.daemon_socket();
        let connector = tower::service_fn(move |_: Uri| {
            let ready = first.lock().unwrap_or_else(PoisonError::into_inner).take();
            let socket = socket.clone();
            async move {
                let stream = match ready {
                    Some(stream) => stream,
                    None => UnixStream::connect(socket).await?,
                };
                Ok::<_, io::Error>(TokioIo::new(stream))
            }
        });
        let channel = Endpoint::from_static("http://localhost")
            .initial_stream_window_size(STREAM_WINDOW)
            .connect_with_connector(connector)
            .await
            .map_err(|error| {
                CliError::Unreachable(format!("cannot talk to the daemon: {error}"))
            })?;
        Ok(Self { home: home.clone(), channel, starter })
    }

    /// Sees that a daemon answers again after one went away: starts another unless this link must
    /// not. The channel finds the new one by itself.
    pub(crate) async fn revive(&self) -> Result<(), CliError> {
        match (connect(&self.home).await, &self.starter) {
            (Ok(_), _) => Ok(()),
            (Err(_), Some(starter)) => starter.start(&self.home).await.map(drop),
            (Err(error), None) => Err(unreachable_at(&self.home, &error)),
        }
    }

    /// True where something answers at the socket.
    pub(crate) async fn answers(&self) -> bool {
        connect(&self.home).await.is_ok()
    }

    pub(crate) fn runs(&self) -> RunServiceClient<Channel> {
        RunServiceClient::new(self.channel.clone()).max_decoding_message_size(MAX_ANSWER)
    }

    pub(crate) fn logs(&self) -> LogServiceClient<Channel> {
        LogServiceClient::new(self.channel.clone())
    }

    pub(crate) fn blobs(&self) -> BlobServiceClient<Channel> {
        BlobServiceClient::new(self.channel.clone())
    }

    pub(crate) fn fleet(&self) -> FleetServiceClient<Channel> {
        FleetServiceClient::new(self.channel.clone())
    }

    pub(crate) fn system(&self) -> SystemServiceClient<Channel> {
        SystemServiceClient::new(self.channel.clone())
    }
}

/// The answer of a call, within [`CALL_LIMIT`].
pub(crate) async fn answer<T>(
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, CliError> {
    let limit = CALL_LIMIT.as_secs();
    let late = |_| CliError::Unreachable(format!("the daemon gave no answer for {limit} s"));
    Ok(Box::pin(timeout(CALL_LIMIT, call)).await.map_err(late)??.into_inner())
}

/// Calls again where the daemon went away or had too much to do; every such call carries an id
/// or may be repeated.
pub(crate) async fn insist<T, F>(link: &Link, mut call: impl FnMut() -> F) -> Result<T, CliError>
where
    F: Future<Output = Result<Response<T>, Status>>,
{
    let mut pause = PAUSE;
    for _ in 1..TRIES {
        let error = match call().await {
            Ok(answer) => return Ok(answer.into_inner()),
            Err(error) => error,
        };
        let busy = reason(&error).is_some_and(|reason| reason == "BUSY");
        let away = connection_lost(&error) || shutting_down(&error);
        if !(busy || away) {
            return Err(error.into());
        }
        sleep(pause).await;
        pause *= 2;
        if away {
            link.revive().await?;
        }
    }
    Ok(call().await?.into_inner())
}

/// Says that nobody answers at this home's socket.
pub(crate) fn unreachable_at(home: &Home, error: &io::Error) -> CliError {
    let socket = home.daemon_socket();
    CliError::Unreachable(format!("no daemon answers at {}: {error}", socket.display()))
}

async fn connect(home: &Home) -> io::Result<UnixStream> {
    UnixStream::connect(home.daemon_socket()).await
}
