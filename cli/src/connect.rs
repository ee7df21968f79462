//! Finds the daemon of a home, or starts it.

use std::{
    fs::{self, OpenOptions},
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use hyper_util::rt::TokioIo;
use tokio::{
    net::UnixStream,
    time::{Instant, sleep, timeout},
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

use crate::{
    config::Config,
    error::{CliError, connection_lost, reason, shutting_down},
};

/// Tries of a call that the daemon could not take, and the first pause between two.
const TRIES: u32 = 6;
const PAUSE: Duration = Duration::from_millis(20);

/// How long a daemon may take from its start to its first answer.
const START_LIMIT: Duration = Duration::from_secs(10);

/// First and longest pause between two looks for a daemon that is starting.
const FIRST_LOOK: Duration = Duration::from_millis(1);
const LAST_LOOK: Duration = Duration::from_millis(20);

/// How long one call with one answer may take; long ones are streams.
const CALL_LIMIT: Duration = Duration::from_secs(60);

/// Largest answer taken: a run of many steps with all their records.
const MAX_ANSWER: usize = 256 << 20;

/// Bytes of one stream that the daemon may send ahead of a slow terminal.
const STREAM_WINDOW: u32 = 512 << 10;

/// How much of the daemon's log an error shows.
const LOG_TAIL: u64 = 2_000;

/// What of the caller's environment a daemon started on the way gets: what finds programs, places
/// and packages. Other variables belong to the run and travel with it.
const DAEMON_VARIABLES: &[&str] = &[
    "HOME",
    "LANG",
    "LANGUAGE",
    "LOGNAME",
    "PATH",
    "SHELL",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "TMPDIR",
    "TZ",
    "USER",
    "WINDLASS_HOME",
    "WINDLASS_LOG",
    "WINDLASS_IDLE_SECS",
    "WINDLASS_SLOTS",
    "WINDLASS_WORKSPACE",
    "REQUESTS_CA_BUNDLE",
    "NO_PROXY",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
];
const DAEMON_PREFIXES: &[&str] = &["LC_", "XDG_", "PIP_", "UV_"];

/// How to start a daemon where none answers.
#[derive(Clone)]
struct Starter {
    exe: PathBuf,
    env: Vec<(std::ffi::OsString, std::ffi::OsString)>,
}

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

impl Starter {
    fn of(config: &Config) -> Self {
        let wanted = |name: &std::ffi::OsStr| {
            let name = name.to_string_lossy();
            DAEMON_VARIABLES.contains(&&*name)
                || DAEMON_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        };
        let env = config.env.iter().filter(|(name, _)| wanted(name));
        let env = env.map(|(name, value)| (name.clone(), value.clone())).collect();
        Self { exe: config.exe.clone(), env }
    }

    /// Starts a daemon and waits for its first answer. Where several commands do this at once,
    /// the home's lock lets one daemon live and all of them find it.
    async fn start(&self, home: &Home) -> Result<UnixStream, CliError> {
        let mut child = self.spawn(home).map_err(CliError::io(format!(
            "cannot start a daemon for {}",
            home.root().display()
        )))?;
        let deadline = Instant::now() + START_LIMIT;
        let mut pause = FIRST_LOOK;
        loop {
            let error = match connect(home).await {
                Ok(stream) => return Ok(stream),
                Err(error) => error,
            };
            let failed = matches!(child.try_wait(), Ok(Some(status)) if !status.success());
            if failed || Instant::now() >= deadline {
                let why = last_words(home);
                let home = home.root().display();
                let text = format!("no daemon could be started for {home} ({error})\n{why}");
                return Err(CliError::Unreachable(text.trim_end().to_owned()));
            }
            sleep(pause).await;
            pause = (pause * 5 / 4).min(LAST_LOOK);
        }
    }

    /// The child leaves our session by itself.
    fn spawn(&self, home: &Home) -> io::Result<Child> {
        for dir in [home.root().to_owned(), home.logs()] {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        }
        let path = home.logs().join("daemon.log");
        let log = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        Command::new(&self.exe)
            .args(["daemon", "--background", "--home"])
            .arg(home.root())
            .env_clear()
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
    }
}

/// The end of the daemon's log, for an error message.
fn tail(home: &Home) -> String {
    let read = || -> io::Result<Vec<u8>> {
        let mut file = fs::File::open(home.logs().join("daemon.log"))?;
        let len = file.metadata()?.len();
        file.seek(SeekFrom::Start(len.saturating_sub(LOG_TAIL)))?;
        let mut bytes = Vec::new();
        file.take(LOG_TAIL).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().unwrap_or_default();
    bytes.split(|b| *b == b'\n').map(crate::render::bare_line).collect::<Vec<_>>().join("\n")
}

/// What a daemon that would not start said last.
fn last_words(home: &Home) -> String {
    let tail = tail(home);
    let mut lines: Vec<_> = tail.lines().rev().filter(|line| !line.is_empty()).take(5).collect();
    lines.reverse();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use windlass_core::Home;

    use super::{Starter, last_words};
    use crate::error::CliError;

    #[tokio::test]
    async fn a_daemon_that_cannot_start_is_quoted() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::new(dir.path().join("home"), Path::new("/tmp"), "key");
        let exe = dir.path().join("windlass");
        std::fs::write(&exe, "#!/bin/sh\necho \"cannot open the database: $2\"; exit 1\n").unwrap();
        std::fs::set_permissions(&exe, std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .unwrap();
        let error = Starter { exe, env: vec![] }.start(&home).await.unwrap_err();
        let CliError::Unreachable(text) = error else { panic!("{error:?}") };
        assert!(text.ends_with("\ncannot open the database: --background"), "{text}");
        assert_eq!(last_words(&home), "cannot open the database: --background");
    }
}
