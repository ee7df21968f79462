//! The services in this binary: daemon, worker, keeper.

use std::{error::Error, num::NonZero};

use tokio::{
    runtime::Builder,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;
use windlass_daemon::{
    config::{Config as DaemonConfig, DEFAULT_IDLE, WorkerCommand},
    process,
};
use windlass_worker::{
    KeeperCommand, WorkerConfig,
    keeper::{self, KeeperConfig, KeeperTask},
    wall,
};

use crate::{
    commands::service::{Keeper, Worker},
    config::Config,
    error::{CliError, Exit},
};

/// How the home's own worker makes working directories, where it is not to find out: `overlay`,
/// `overlay-userns` or `copy`.
const WORKSPACE: &str = "WINDLASS_WORKSPACE";

/// What each service logs, as for the daemon.
const LOG: &str = "WINDLASS_LOG";

/// Runs the daemon of the home until it is told to stop.
pub(crate) fn daemon(config: Config, background: bool) -> Result<Exit, CliError> {
    let filter = config.var(LOG).map(|filter| filter.to_string_lossy().into_owned());
    let worker = WorkerCommand { program: config.exe, args: vec!["worker".into(), "--local".into()] };
    let daemon = DaemonConfig {
        background,
        idle: background.then_some(DEFAULT_IDLE),
        worker: Some(worker),
        ..DaemonConfig::new(config.home)
    };
    process::run(daemon, filter.as_deref()).map_err(|error| unreachable(&error))?;
    Ok(Exit::Ok)
}

/// Runs a worker for the home's daemon until a signal.
pub(crate) fn worker(config: Config, worker: &Worker) -> Result<Exit, CliError> {
    trace();
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let slots = worker.slots.unwrap_or_else(|| u32::try_from(cores).unwrap_or(u32::MAX));
    let work = WorkerConfig {
        name: "local".to_owned(),
        slots,
        daemon_socket: config.home.daemon_socket(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        hostname: config.host(),
        workspace_mode: config.var(WORKSPACE).map(|mode| mode.to_string_lossy().into_owned()),
        keeper: KeeperCommand { program: config.exe, args: vec!["keeper".into()] },
        home: config.home,
        clock: wall,
    };
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(CliError::io("cannot start"))?;
    runtime.block_on(async {
        let caught = |kind| signal(kind).map_err(CliError::io("cannot catch signals"));
        let mut terminate = caught(SignalKind::terminate())?;
        let mut interrupt = caught(SignalKind::interrupt())?;
        let stop = CancellationToken::new();
        let mut running = Box::pin(windlass_worker::run(work, stop.clone()));
        let ended = tokio::select! {
            ended = &mut running => Some(ended),
            _ = terminate.recv() => None,
            _ = interrupt.recv() => None,
        };
        stop.cancel();
        let ended = match ended {
            Some(ended) => ended,
            None => running.await,
        };
        ended.map_err(|error| unreachable(&error))
    })?;
    Ok(Exit::Ok)
}

/// Runs a keeper until it has nothing to keep.
pub(crate) fn keeper(keeper: Keeper) -> Result<Exit, CliError> {
    trace();
    let task = match (keeper.probe, keeper.user_namespace) {
        (true, _) => KeeperTask::Probe,
        (false, true) => KeeperTask::KeepInUserNamespace,
        (false, false) => KeeperTask::Keep,
    };
    let config = KeeperConfig { work: keeper.dir, task, clock: wall };
    keeper::run(config).map_err(|error| unreachable(&error))?;
    Ok(Exit::Ok)
}

/// Logs to standard error, which a daemon in the background has turned into its log file.
fn trace() {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_max_level(tracing::Level::INFO)
        .init();
}

/// A service that could not serve, with every cause.
fn unreachable(error: &dyn Error) -> CliError {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    CliError::Unreachable(text)
}
