use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, Weak, mpsc},
    thread::JoinHandle,
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use uuid::{ContextV7, Uuid};
use windlass_core::{LeaseId, RunId, Timestamp, WorkerName};
use windlass_proto::common::v1::MetricPoint;
use windlass_proto::worker::v1::Directive;

use super::{
    Cancel, Created, EndSink, EngineError, Grant, Heartbeat, NewRun, OpenSession, Opened, Ordered,
    Poll, Proof, Reply, Report, Reported, Waits, Watchers, WorkerView, command::Command,
    questions::Evaluator, thread::Engine,
};
use crate::{
    clock::Clock,
    fleet::{Leases, SessionId},
    store::{self, StoreError, attempts::AttemptKey, runs},
};

/// Most commands that wait for the engine.
pub(super) const QUEUE_LEN: usize = 256;

/// How long a command waits for a place in the queue before its caller is told to come back.
const QUEUE_WAIT: Duration = Duration::from_secs(1);

/// A command and its place in the queue, which it gives back when it is taken out.
pub(super) struct Envelope {
    pub(super) command: Command,
    pub(super) permit: Option<OwnedSemaphorePermit>,
}

/// What an engine is made of.
pub(crate) struct Options {
    pub(crate) database: PathBuf,
    pub(crate) blobs: windlass_blobs::Store,
    /// Directory of the private files with callers' environments.
    pub(crate) environments: PathBuf,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ended: Box<dyn EndSink>,
}

/// Asks the engine. Cheap to clone; the engine stops when the last one is gone.
#[derive(Clone)]
pub(crate) struct EngineHandle {
    sender: Arc<mpsc::SyncSender<Envelope>>,
    places: Arc<Semaphore>,
    alive: watch::Receiver<()>,
    ids: Arc<Mutex<ContextV7>>,
    clock: Arc<dyn Clock>,
    pub(crate) leases: Leases,
    pub(crate) watchers: Watchers,
}

/// The thread itself.
pub(crate) struct EngineThread {
    thread: JoinHandle<()>,
}

impl EngineThread {
    /// Waits for the thread's end; false where it ended by a panic. Blocks.
    pub(crate) fn join(self) -> bool {
        self.thread.join().is_ok()
    }
}

/// Opens the database, brings back every run that has not ended, and starts the thread.
pub(crate) fn start(options: Options) -> Result<(EngineHandle, EngineThread), StoreError> {
    let writer = store::open(&options.database)?;
    let (sender, receiver) = mpsc::sync_channel(QUEUE_LEN + 1);
    let (alive_to, alive) = watch::channel(());
    let ids = ContextV7::new();
    if let Some(newest) = runs::newest(writer.read())?.and_then(|run| run.0.get_timestamp()) {
        // One millisecond later, for within one only a counter orders, and that one is not known.
        let (secs, nanos) = newest.to_unix();
        let later = Duration::new(secs, nanos) + Duration::from_millis(1);
        uuid::Timestamp::from_unix(&ids, later.as_secs(), later.subsec_nanos());
    }
    let (leases, watchers) = (Leases::default(), Watchers::default());
    let clock = Arc::clone(&options.clock);
    let shared = (leases.clone(), watchers.clone());
    let sender = Arc::new(sender);
    let evaluator = evaluator(&options, Arc::downgrade(&sender))?;
    let mut engine = Engine::new(writer, options, shared, evaluator);
    engine.recover()?;
    let run = move || {
        let _alive = alive_to;
        engine.run(&receiver);
    };
    let thread = std::thread::Builder::new().name("engine".to_owned()).spawn(run);
    let thread = thread.map_err(|source| StoreError::File { file: "engine thread", source })?;
    let places = Arc::new(Semaphore::new(QUEUE_LEN));
    let ids = Arc::new(Mutex::new(ids));
    let handle = EngineHandle { sender, places, alive, ids, clock, leases, watchers };
    Ok((handle, EngineThread { thread }))
}

/// The thread that answers what steps ask. One answer at a time has a place of its own in the
/// queue; the thread does not keep the engine alive.
fn evaluator(
    options: &Options,
    sender: Weak<mpsc::SyncSender<Envelope>>,
) -> Result<Evaluator, StoreError> {
    let answer = move |answer| {
        let command = Command::Answer(Box::new(answer));
        let Some(to) = sender.upgrade() else { return };
        if to.send(Envelope { command, permit: None }).is_err() {
            tracing::debug!("an answer came after the engine's end");
        }
    };
    let started = Evaluator::start(&options.database, options.blobs.clone(), answer);
    started.map_err(|source| StoreError::File { file: "evaluator thread", source })
}

impl EngineHandle {
    /// An id for a new run: later than every id before it, also where the clock went back.
    pub(crate) fn new_run_id(&self) -> RunId {
        let Timestamp(micros) = self.clock.now();
        let secs = u64::try_from(micros.div_euclid(1_000_000)).unwrap_or_default();
        let nanos = u32::try_from(micros.rem_euclid(1_000_000) * 1_000).unwrap_or_default();
        let ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        RunId(Uuid::new_v7(uuid::Timestamp::from_unix(&*ids, secs, nanos)))
    }

    /// Returns once the engine's thread is gone, for whatever reason.
    pub(crate) async fn closed(&self) {
        let mut alive = self.alive.clone();
        while alive.changed().await.is_ok() {}
    }

    async fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, EngineError> {
        let place = Arc::clone(&self.places).acquire_owned();
        let permit = match tokio::time::timeout(QUEUE_WAIT, place).await {
            Ok(permit) => permit.map_err(|_| EngineError::Closed)?,
            Err(_) => return Err(EngineError::Busy),
        };
        let (reply, answer) = oneshot::channel();
        let envelope = Envelope { command: command(reply), permit: Some(permit) };
        self.sender.try_send(envelope).map_err(|error| match error {
            mpsc::TrySendError::Full(_) => EngineError::Busy,
            mpsc::TrySendError::Disconnected(_) => EngineError::Closed,
        })?;
        answer.await.map_err(|_| EngineError::Closed)?
    }

    /// Creates a run, unless its request has made one already.
    pub(crate) async fn create(&self, run: NewRun) -> Result<Created, EngineError> {
        let run = Box::new(run);
        self.ask(|reply| Command::Create(run, reply)).await
    }

    /// Asks for cancellation. Repeats and ended runs are no error.
    pub(crate) async fn cancel(&self, cancel: Cancel) -> Result<(), EngineError> {
        self.ask(|reply| Command::Cancel(cancel, reply)).await
    }

    /// Deletes an ended run; one that is not there is no error.
    pub(crate) async fn delete(&self, run: RunId) -> Result<(), EngineError> {
        self.ask(|reply| Command::Delete(run, reply)).await
    }

    /// Opens a session, fencing the one before.
    pub(crate) async fn open_session(&self, open: OpenSession) -> Result<Opened, EngineError> {
        let open = Box::new(open);
        self.ask(|reply| Command::OpenSession(open, reply)).await
    }

    /// Ends a session, and takes back what was not started.
    pub(crate) async fn close_session(
        &self,
        session: SessionId,
        returned: Vec<Proof>,
    ) -> Result<(), EngineError> {
        self.ask(|reply| Command::CloseSession(session, returned, reply)).await
    }

    /// Leases attempts; waits for some, as long as the poll says.
    pub(crate) async fn poll(&self, poll: Poll) -> Result<Vec<Arc<Grant>>, EngineError> {
        self.ask(|reply| Command::Poll(poll, reply)).await
    }

    /// Renews leases and says what to do with each.
    pub(crate) async fn heartbeat(&self, beat: Heartbeat) -> Result<Vec<Ordered>, EngineError> {
        self.ask(|reply| Command::Heartbeat(beat, reply)).await
    }

    /// Directives as they come up, until the session ends.
    pub(crate) async fn watch_directives(
        &self,
        session: SessionId,
    ) -> Result<tokio::sync::mpsc::Receiver<Vec<Directive>>, EngineError> {
        self.ask(|reply| Command::WatchDirectives(session, reply)).await
    }

    /// Takes in what a worker says about an attempt.
    pub(crate) async fn report(&self, report: Report) -> Result<Reported, EngineError> {
        let report = Box::new(report);
        self.ask(|reply| Command::Report(report, reply)).await
    }

    /// Ends a granted attempt that cannot be handed out.
    pub(crate) async fn refuse_grant(
        &self,
        key: AttemptKey,
        lease: LeaseId,
        why: String,
    ) -> Result<(), EngineError> {
        self.ask(|reply| Command::RefuseGrant(key, lease, why, reply)).await
    }

    /// Adds metric points; returns the highest sequence that is kept.
    pub(crate) async fn metrics(
        &self,
        session: SessionId,
        proof: Proof,
        points: Vec<MetricPoint>,
    ) -> Result<u64, EngineError> {
        self.ask(|reply| Command::Metrics(session, proof, points, reply)).await
    }

    /// Every known worker, by name.
    pub(crate) async fn workers(&self) -> Result<Vec<WorkerView>, EngineError> {
        self.ask(Command::Workers).await
    }

    /// Stops or resumes leases to a worker.
    pub(crate) async fn drain(
        &self,
        worker: WorkerName,
        draining: bool,
    ) -> Result<WorkerView, EngineError> {
        self.ask(|reply| Command::Drain(worker, draining, reply)).await
    }

    /// Why the ready steps of a run wait; `None` for a run that has ended.
    pub(crate) async fn waits(&self, run: RunId) -> Result<Option<Waits>, EngineError> {
        self.ask(|reply| Command::Waits(run, reply)).await
    }

    /// Stops the engine after what is already in its queue.
    pub(crate) async fn stop(&self) -> Result<(), EngineError> {
        self.ask(Command::Stop).await
    }
}
