//! A whole daemon process, from the lock to the last line of its log. What mains call.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use tokio::{
    runtime,
    signal::unix::{Signal, SignalKind, signal},
};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;
use windlass_core::Home;

use crate::{
    clock::SystemClock,
    config::Config,
    home::{HomeError, prepare},
    lock::{HomeLock, LockError},
    server::{self, DaemonError},
    store,
};

/// Size from which the log of a daemon in the background is put aside at its start.
const MAX_LOG_BYTES: u64 = 8 << 20;

/// Most threads for work that may block.
const MAX_BLOCKING_THREADS: usize = 32;

/// How long work that may block is waited for at the very end.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// What is logged where `WINDLASS_LOG` does not say.
const DEFAULT_FILTER: &str = "info";

/// Why there was no daemon, or why it ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    #[error(transparent)]
    Home(#[from] HomeError),
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error("cannot use the log file {path}")]
    LogFile {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot leave the terminal")]
    Detach(#[source] io::Error),
    #[error("cannot start the asynchronous runtime")]
    Runtime(#[source] io::Error),
    #[error("the log filter in WINDLASS_LOG is not one: {filter:?}")]
    Filter {
        filter: String,
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    #[error(transparent)]
    Daemon(#[from] DaemonError),
}

/// Runs a daemon in this process until it is told to stop; `filter` is the value of `WINDLASS_LOG`.
///
/// In the background, it is no error that the home has a daemon already.
pub fn run(config: Config, filter: Option<&str>) -> Result<ExitCode, ProcessError> {
    let home = config.home.clone();
    prepare(&home)?;
    let lock = match HomeLock::acquire(&home) {
        Err(LockError::Held { .. }) if config.background => return Ok(ExitCode::SUCCESS),
        acquired => acquired?,
    };
    if config.background {
        detach(&home)?;
    }
    trace(filter.filter(|filter| !filter.is_empty()).unwrap_or(DEFAULT_FILTER))?;
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(MAX_BLOCKING_THREADS)
        .build()
        .map_err(ProcessError::Runtime)?;
    let result = runtime.block_on(serve(config, &lock));
    runtime.shutdown_timeout(LAST_WAIT);
    lock.release();
    match &result {
        Ok(()) => tracing::info!("stopped"),
        Err(error) => tracing::error!(error = error as &dyn std::error::Error, "ended"),
    }
    result.map(|()| ExitCode::SUCCESS)
}

async fn serve(config: Config, lock: &HomeLock) -> Result<(), ProcessError> {
    // Whoever can connect finds a daemon that will serve.
    store::check_version(&config.home.database())
        .map_err(|error| DaemonError::Runs(Box::new(error)))?;
    let listener = lock.listen()?;
    let stop = CancellationToken::new();
    let version = env!("CARGO_PKG_VERSION");
    tracing::info!(version, pid = std::process::id(), home = %config.home.root().display(), "started");
    let (terminate, interrupt) =
        (caught(SignalKind::terminate())?, caught(SignalKind::interrupt())?);
    let served =
        Box::pin(server::run(config, listener, Arc::new(SystemClock::new()), stop.clone()));
    let evict = stop.clone();
    let signals = async move {
        stop_at_signal(terminate, interrupt, &stop).await;
        std::future::pending().await
    };
    let evicted = async {
        lock.lost().await;
        tracing::error!("the home was removed: stopping");
        evict.cancel();
        std::future::pending().await
    };
    tokio::select! {
        result = served => Ok(result?),
        never = signals => never,
        never = evicted => never,
    }
}

fn caught(kind: SignalKind) -> Result<Signal, ProcessError> {
    signal(kind).map_err(ProcessError::Runtime)
}

async fn stop_at_signal(mut terminate: Signal, mut interrupt: Signal, stop: &CancellationToken) {
    let name = tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    };
    tracing::info!("{name}: stopping");
    stop.cancel();
}

/// Leaves the terminal, the caller's directory and its files; from here on standard output and
/// error go to the home's own log.
fn detach(home: &Home) -> Result<(), ProcessError> {
    let path = home.logs().join("daemon.log");
    let log = open_log(&path).map_err(|source| ProcessError::LogFile { path, source })?;
    match rustix::process::setsid() {
        // A leader of a process group has none to leave.
        Ok(_) | Err(rustix::io::Errno::PERM) => {}
        Err(errno) => return Err(ProcessError::Detach(errno.into())),
    }
    File::open("/dev/null")
        .and_then(|null| Ok(rustix::stdio::dup2_stdin(null)?))
        .and_then(|()| Ok(rustix::stdio::dup2_stdout(&log)?))
        .and_then(|()| Ok(rustix::stdio::dup2_stderr(&log)?))
        .and_then(|()| std::env::set_current_dir(home.root()))
        .map_err(ProcessError::Detach)
}

/// Opens the log to be appended to; a long one makes room first.
fn open_log(path: &std::path::Path) -> io::Result<File> {
    if fs::metadata(path).is_ok_and(|found| found.len() > MAX_LOG_BYTES) {
        fs::rename(path, path.with_extension("log.1"))?;
    }
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

fn trace(filter: &str) -> Result<(), ProcessError> {
    let bad = |source| ProcessError::Filter { filter: filter.to_owned(), source };
    let filter = EnvFilter::builder().parse(filter).map_err(bad)?;
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(false)
        .finish();
    // A process has one subscriber; a second daemon in it, as in tests, shares the first's.
    tracing::subscriber::set_global_default(subscriber).ok();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_log_makes_room_and_a_short_one_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("daemon.log");
        fs::write(&path, "before").unwrap();
        open_log(&path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"before");
        File::options().write(true).open(&path).unwrap().set_len(MAX_LOG_BYTES + 1).unwrap();
        open_log(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), 0);
        assert_eq!(fs::metadata(dir.path().join("daemon.log.1")).unwrap().len(), MAX_LOG_BYTES + 1);
    }
}
