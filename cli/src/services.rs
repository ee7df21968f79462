//! The services in this binary: daemon, worker, keeper. Each has a process of its own.

use std::{io, thread, time::Duration};

use tokio::{
    runtime::Builder,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;
use windlass_daemon::{
    config::{Config as DaemonConfig, DEFAULT_IDLE, WorkerCommand},
    lock::LockError,
    process::{self, ProcessError},
};
use windlass_worker::{
    KeeperCommand, WorkerConfig,
    keeper::{self, KeeperConfig},
    wall,
};

use crate::{
    commands::service::{Keeper, Worker},
    config::Config,
    error::{CliError, Exit, causes},
};

/// Variable that says what the services log.
const LOG_VARIABLE: &str = "WINDLASS_LOG";

/// Variable that says after how many seconds with nothing to do a daemon in the background leaves.
const IDLE_VARIABLE: &str = "WINDLASS_IDLE_SECS";

/// What is logged where [`LOG_VARIABLE`] does not say.
const DEFAULT_FILTER: &str = "info";

/// Runs the daemon until it is told to stop.
pub(crate) fn daemon(config: Config, background: bool) -> Result<Exit, CliError> {
    let secs = config.var(IDLE_VARIABLE).and_then(|secs| secs.to_str()?.parse().ok());
    let idle = background.then(|| secs.map_or(DEFAULT_IDLE, Duration::from_secs));
    let args = ["worker", "--local"].map(Into::into).into();
    let worker = WorkerCommand { program: config.exe.clone(), args };
    let filter = config.var(LOG_VARIABLE).map(|filter| filter.to_string_lossy().into_owned());
    let daemon =
        DaemonConfig { background, idle, worker: Some(worker), ..DaemonConfig::new(config.home) };
    match process::run(daemon, filter.as_deref()) {
        Ok(_) => Ok(Exit::Ok),
        Err(ProcessError::Lock(error @ LockError::Held { .. })) => {
            Err(CliError::refused(error.to_string()))
        }
        Err(error) => Err(CliError::Unreachable(causes(&error))),
    }
}

/// Runs a worker until it is told to leave.
pub(crate) fn worker(config: Config, options: Worker) -> Result<Exit, CliError> {
    let filter = config.var(LOG_VARIABLE).map(|filter| filter.to_string_lossy());
    let filter = EnvFilter::try_new(filter.as_deref().unwrap_or(DEFAULT_FILTER));
    let filter = filter.map_err(|error| CliError::refused(format!("{LOG_VARIABLE}: {error}")))?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false);
    log.with_writer(io::stderr).init();
    let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let worker = WorkerConfig {
        name: options.name,
        slots: options.slots.unwrap_or_else(|| u32::try_from(cores).unwrap_or(u32::MAX)),
        offers: options.offers.into_iter().collect(),
        daemon_socket: options.socket.unwrap_or_else(|| config.home.daemon_socket()),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        hostname: config.host(),
        keeper: KeeperCommand { program: config.exe, args: vec!["keeper".into()] },
        workspace_mode: options.workspace,
        clock: wall,
        home: config.home,
    };
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(CliError::io("cannot start"))?;
    runtime.block_on(async {
        let caught = |kind| signal(kind).map_err(CliError::io("cannot listen to signals"));
        let mut terminate = caught(SignalKind::terminate())?;
        let mut interrupt = caught(SignalKind::interrupt())?;
        let stop = CancellationToken::new();
        let mut running = Box::pin(windlass_worker::run(worker, stop.clone()));
        let ended = tokio::select! {
            ended = &mut running => ended,
            _ = terminate.recv() => { stop.cancel(); running.await }
            _ = interrupt.recv() => { stop.cancel(); running.await }
        };
        ended.map_err(|error| CliError::Unreachable(causes(&error)))
    })?;
    Ok(Exit::Ok)
}

/// Runs a keeper until it has nothing to keep. The process must have a single thread.
pub(crate) fn keeper(keeper: Keeper) -> Result<Exit, CliError> {
    let config = KeeperConfig::parse(keeper.args, wall)
        .ok_or_else(|| CliError::refused("a keeper is started by its worker"))?;
    keeper::run(config).map_err(|error| CliError::Unreachable(causes(&error)))?;
    Ok(Exit::Ok)
}
