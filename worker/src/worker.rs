use std::{collections::BTreeMap, io, path::PathBuf, sync::Arc};

use tokio_util::{sync::CancellationToken, task::TaskTracker};
use windlass_blobs::{Store, StoreError};
use windlass_core::Home;

use crate::{
    Clock, KeeperCommand,
    attempt::{Context, LocalBlobs, LocalInterpreters, Seen, scan},
    capacity,
    executor::{Executor, ProcessExecutor},
    session::{Identity, Service, take_lock},
    workspace::{Mode, WorkspaceError, Workspaces},
};

/// What a worker is told by whoever starts it.
#[derive(Clone, Debug)]
pub struct WorkerConfig {
    pub home: Home,
    /// Unique among the daemon's workers.
    pub name: String,
    /// How many attempts may run at once.
    pub slots: u32,
    /// Amounts of what else it offers, by name; over what is found out about cores, memory and GPUs.
    pub offers: BTreeMap<String, i64>,
    pub daemon_socket: PathBuf,
    pub version: String,
    pub hostname: String,
    /// How to start a keeper: a program, and what comes before `--dir`.
    pub keeper: KeeperCommand,
    /// `overlay`, `overlay-userns` or `copy`, where it is not to be found out.
    pub workspace_mode: Option<String>,
    pub clock: Clock,
}

/// Why a worker could not work.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    #[error("failed to take the worker's lock")]
    Lock(#[source] io::Error),
    #[error("failed to open the store of blobs")]
    Store(#[from] StoreError),
    #[error("failed to read or write {}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("failed to make a place for working directories: {0}")]
    Workspace(String),
    #[error("no such workspace mode: {0:?} (overlay, overlay-userns or copy)")]
    Mode(String),
}

impl From<WorkspaceError> for WorkerError {
    fn from(error: WorkspaceError) -> Self {
        Self::Workspace(error.to_string())
    }
}

/// Works for the daemon at `config.daemon_socket` until `stop`.
///
/// Returns at once where another worker has this home, and after ten minutes without a daemon and
/// without work. Attempts that run are left to the keeper.
pub async fn run(config: WorkerConfig, stop: CancellationToken) -> Result<(), WorkerError> {
    let lock = take_lock(&config.home.worker_lock()).await.map_err(WorkerError::Lock)?;
    // Held to the end.
    let Some(lock) = lock.map(Arc::new) else { return Ok(()) };
    let work = config.home.work();
    let failed = |source| WorkerError::Io { path: work.clone(), source };
    std::fs::create_dir_all(work.join("attempts")).map_err(failed)?;
    std::fs::create_dir_all(config.home.sockets()).map_err(failed)?;
    let mode = workspace_mode(&config)?;
    let store = Store::open(&config.home.blobs())?;
    let workspaces = Arc::new(Workspaces::new(&work, Arc::new(store.clone()), mode)?);
    let userns = mode == Mode::OverlayInUserNamespace;
    let (executor, keeping) = ProcessExecutor::new(&config.home, config.keeper.clone(), userns);
    let tasks = TaskTracker::new();
    let keeping = tasks.spawn(keeping);
    let identity = Identity {
        socket: config.daemon_socket,
        lock: Arc::clone(&lock),
        name: config.name,
        version: config.version,
        hostname: config.hostname,
        slots: config.slots.max(1),
        capacity: capacity::offered(config.slots.max(1), &config.offers),
        labels: BTreeMap::from([("workspace".to_owned(), mode_name(mode).to_owned())]),
    };
    let executor: Arc<dyn Executor> = executor;
    let service = Service::new(identity, config.clock, Arc::clone(&executor));
    let found = scan(&work, &*executor, &workspaces).await.map_err(failed)?;
    let interpreters = LocalInterpreters::new(&config.home, store.clone()).map_err(failed)?;
    let context = Arc::new(Context {
        work: work.clone(),
        clock: config.clock,
        executor,
        daemon: Arc::clone(&service) as _,
        blobs: Arc::new(LocalBlobs(store)),
        workspaces,
        interpreters: Arc::new(interpreters),
        seen: Seen::default(),
        tasks: tasks.clone(),
    });
    service.run(context, found, stop).await;
    keeping.abort();
    tasks.close();
    Ok(())
}

fn workspace_mode(config: &WorkerConfig) -> Result<Mode, WorkerError> {
    match &config.workspace_mode {
        Some(word) => word.parse().map_err(|()| WorkerError::Mode(word.clone())),
        None => {
            let work = config.home.work();
            let mut child = std::process::Command::new(&config.keeper.program);
            child.args(&config.keeper.args).arg("--probe").arg("--dir").arg(&work);
            Ok(Mode::probe(&work, &mut child))
        }
    }
}

/// The word for a mode in settings and labels.
fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::Overlay => "overlay",
        Mode::OverlayInUserNamespace => "overlay-userns",
        Mode::Copy => "copy",
    }
}
