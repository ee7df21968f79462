//! Opens the rooms behind the services and connects them: the one place that knows them all.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::broadcast::{self, error::RecvError};
use tonic::Status;
use windlass_blobs::Store;
use windlass_core::{RunId, RunState};
use windlass_proto::common::v1::MetricPoint;

use crate::{
    child::Heard,
    config::Config,
    engine::{self, AttemptEnded, Change, EndSink, EngineHandle, EngineThread, Watchers},
    logs::Logs,
    rpc::{
        attempts::{Attempts, Changes, Found},
        engine_side::{EngineSide, routes},
        find,
        system::Standing,
    },
    server::{DaemonError, Frame, Heart, Rooms},
    space,
    store::{self, Readers, attempts::AttemptKey, keys, listing, metrics},
};

/// Opens everything in the home.
pub(crate) async fn open(config: &Config, frame: &Frame) -> Result<Rooms, DaemonError> {
    let home = &config.home;
    let blobs = Store::open(&home.blobs())?;
    let logs = Logs::open(home.logs()).map_err(DaemonError::Logs)?;
    let options = engine::Options {
        database: home.database(),
        blobs: blobs.clone(),
        environments: home.caller_environments(),
        clock: Arc::clone(&frame.clock),
        ended: Box::new(SealLogs(logs.clone())),
    };
    let runs = |error| DaemonError::Runs(Box::new(error));
    let started = tokio::task::spawn_blocking(|| engine::start(options)).await;
    let started = started.map_err(|error| DaemonError::Runs(Box::new(error)))?;
    let (handle, thread) = started.map_err(runs)?;
    let readers = Readers::new(&home.database());
    let instance = readers.read(keys::instance_id).await.map_err(runs)?;
    let side = EngineSide {
        engine: handle.clone(),
        readers: readers.clone(),
        blobs: blobs.clone(),
        logs: logs.clone(),
        streams: frame.streams.clone(),
        clock: Arc::clone(&frame.clock),
        limits: config.limits,
        home: home.clone(),
    };
    let services = routes(side).map_err(|error| DaemonError::Runs(Box::new(error)))?;
    let engine = Arc::new(EngineRoom {
        handle,
        thread: Mutex::new(Some(thread)),
        readers,
        instance,
        home: home.root().to_owned(),
        database: home.database(),
    });
    Ok(Rooms { engine, blobs, logs, services })
}

/// Tells followers of logs which attempts have ended.
struct SealLogs(Logs);

impl EndSink for SealLogs {
    fn ended(&mut self, ended: AttemptEnded) {
        // Of a lost attempt nobody knows the sizes: what is here is what there is.
        let sizes = ended.log_sizes.unwrap_or_default();
        self.0.seal(ended.key, sizes.map(|size| u64::try_from(size).unwrap_or_default()));
    }
}

/// The engine, as the frame sees it.
struct EngineRoom {
    handle: EngineHandle,
    thread: Mutex<Option<EngineThread>>,
    readers: Readers,
    instance: String,
    home: PathBuf,
    database: PathBuf,
}

#[tonic::async_trait]
impl Attempts for EngineRoom {
    async fn find(&self, run: &str, step: &str, attempt: u32) -> Result<Found, Status> {
        let (run, step) = (run.to_owned(), step.to_owned());
        let read = self.readers.read(move |conn| find::attempt(conn, (&run, &step, attempt)));
        read.await?
    }

    fn changes(&self, run: RunId) -> Box<dyn Changes> {
        let watchers = self.handle.watchers.clone();
        Box::new(RunChanges { changes: Some(watchers.subscribe(run)), watchers, run })
    }

    async fn metrics(
        &self,
        attempt: AttemptKey,
        after: u64,
        limit: u32,
    ) -> Result<Vec<MetricPoint>, Status> {
        let read = self.readers.read(move |conn| metrics::after(conn, attempt, after, limit));
        Ok(read.await?)
    }
}

/// Changes of one run, for as long as somebody waits for them.
struct RunChanges {
    changes: Option<broadcast::Receiver<Change>>,
    watchers: Watchers,
    run: RunId,
}

#[tonic::async_trait]
impl Changes for RunChanges {
    async fn next(&mut self) -> bool {
        let Some(changes) = &mut self.changes else { return false };
        // Who missed some looks at the record all the same.
        !matches!(changes.recv().await, Err(RecvError::Closed))
    }
}

impl Drop for RunChanges {
    fn drop(&mut self) {
        self.changes = None;
        self.watchers.forget_unwatched(self.run);
    }
}

impl Standing for EngineRoom {
    fn instance_id(&self) -> String {
        self.instance.clone()
    }

    fn read_only_reason(&self) -> Option<String> {
        space::read_only_reason(&self.home)
    }
}

#[tonic::async_trait]
impl Heard for EngineRoom {
    async fn silent_for(&self, pid: u32) -> Option<Duration> {
        // An engine that cannot answer hears nobody; that is no worker's fault.
        let workers = self.handle.workers().await.ok()?;
        let same = workers.iter().filter(|worker| worker.record.pid == pid);
        same.filter_map(|worker| worker.silent_for).min()
    }
}

#[tonic::async_trait]
impl Heart for EngineRoom {
    async fn has_live_runs(&self) -> bool {
        let states = vec![RunState::Queued, RunState::Running, RunState::Cancelling];
        let filter = listing::Filter { states, ..listing::Filter::default() };
        let read = self.readers.read(move |conn| listing::page(conn, &filter, None, 1));
        // One that cannot be asked is not known to be idle.
        read.await.map_or(true, |page| !page.rows.is_empty())
    }

    async fn ended(&self) {
        self.handle.closed().await;
    }

    async fn shut_down(&self) {
        if let Err(error) = self.handle.stop().await {
            tracing::debug!(%error, "the engine had stopped");
        }
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let database = self.database.clone();
        let work = move || {
            if !thread.is_none_or(EngineThread::join) {
                tracing::error!("the engine panicked");
            }
            store::checkpoint(&database)
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the write-ahead log stays as it is"),
            Err(error) => tracing::error!(%error, "the engine's end was not seen"),
        }
    }
}
