use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;
use windlass_core::{
    AttemptNumber, AttemptState, BadGraph, LeaseId, Resources, RunGraph, RunId, StepPath, Stop,
    WorkerName,
};
use windlass_proto::common::v1::{Artifact, AttemptEnd, CallRecord, MetricPoint, Output, Plan};
use windlass_proto::worker::v1::Directive;

use super::{
    EngineError, Waits,
    live::{CallerVariables, Grant, RunShared},
    questions::Answer,
    rules::graph,
};
use crate::{
    fleet::{Order, SessionId},
    store::{
        attempts::AttemptKey,
        records::{RunRecord, WorkerRecord},
        runs::{Flow, RunRow},
    },
};

/// Where an answer goes. The caller may have left.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, EngineError>>;

/// Everything the engine can be asked.
pub(super) enum Command {
    Create(Box<NewRun>, Reply<Created>),
    Cancel(Cancel, Reply<()>),
    Delete(RunId, Reply<()>),
    OpenSession(Box<OpenSession>, Reply<Opened>),
    CloseSession(SessionId, Vec<Proof>, Reply<()>),
    Poll(Poll, Reply<Vec<Arc<Grant>>>),
    Heartbeat(Heartbeat, Reply<Vec<Ordered>>),
    WatchDirectives(SessionId, Reply<mpsc::Receiver<Vec<Directive>>>),
    Report(Box<Report>, Reply<Reported>),
    RefuseGrant(AttemptKey, LeaseId, String, Reply<()>),
    Metrics(SessionId, Proof, Vec<MetricPoint>, Reply<u64>),
    Workers(Reply<Vec<WorkerView>>),
    Drain(WorkerName, bool, Reply<WorkerView>),
    Waits(RunId, Reply<Option<Waits>>),
    Stop(Reply<()>),
    /// What the evaluator found.
    Answer(Box<Answer>),
}

/// A run to be created, made ready off the engine's thread.
pub(crate) struct NewRun {
    pub(super) request: Uuid,
    pub(super) name: Option<String>,
    pub(super) pipeline: String,
    pub(super) labels: HashMap<String, String>,
    pub(super) record: Vec<u8>,
    pub(super) plan: Vec<u8>,
    pub(super) graph: Arc<RunGraph>,
    pub(super) shared: Arc<RunShared>,
    pub(super) flow: Flow,
}

impl NewRun {
    /// Makes a run ready for its creation. `name` is the caller's; without one a name is found.
    pub(crate) fn new(
        (run, request): (RunId, Uuid),
        name: Option<String>,
        record: RunRecord,
        plan: Plan,
        environment: Option<CallerVariables>,
    ) -> Result<Self, BadGraph> {
        use prost::Message;
        let api = record.run.as_ref();
        let labels = api.map(|run| run.labels.clone()).unwrap_or_default();
        let pipeline = plan.spec.as_ref().map(|spec| spec.name.clone()).unwrap_or_default();
        let (record_bytes, plan_bytes) = (record.encode_to_vec(), plan.encode_to_vec());
        let graph = Arc::new(graph(&plan)?);
        let shared = Arc::new(RunShared::new(run, plan, &record, environment));
        let (record, plan) = (record_bytes, plan_bytes);
        let flow = Flow::default();
        Ok(Self { request, name, pipeline, labels, record, plan, graph, shared, flow })
    }

    /// The same with what decides when it goes on.
    pub(crate) fn with_flow(self, flow: Flow) -> Self {
        Self { flow, ..self }
    }
}

/// A run that was created, now or by an earlier request of the same id.
#[derive(Clone, Debug)]
pub(crate) struct Created {
    pub(crate) run: RunId,
    /// As it was right after its creation; `None` for an earlier request's.
    pub(crate) row: Option<RunRow>,
}

/// A run to be cancelled.
#[derive(Clone, Debug)]
pub(crate) struct Cancel {
    pub(crate) run: RunId,
    pub(crate) reason: String,
    pub(crate) how: Stop,
}

/// Who holds an attempt, as the worker says; `key` where a live lease was found for it.
#[derive(Clone, Debug)]
pub(crate) struct Proof {
    pub(crate) run: RunId,
    pub(crate) path: StepPath,
    pub(crate) attempt: AttemptNumber,
    pub(crate) lease: LeaseId,
    pub(crate) key: Option<AttemptKey>,
}

/// An attempt that a worker still has.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) proof: Proof,
    pub(crate) state: AttemptState,
}

/// A worker that wants a session.
pub(crate) struct OpenSession {
    pub(crate) worker: WorkerName,
    pub(crate) record: WorkerRecord,
    pub(crate) held: Vec<Held>,
}

/// What to do with a held attempt.
#[derive(Clone, Debug)]
pub(crate) struct Ordered {
    pub(crate) proof: Proof,
    pub(crate) order: Order,
    pub(crate) reason: String,
}

/// A session that was opened.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) session: SessionId,
    pub(crate) orders: Vec<Ordered>,
}

/// A worker that wants work.
#[derive(Clone, Debug)]
pub(crate) struct Poll {
    pub(crate) session: SessionId,
    pub(crate) poll: String,
    pub(crate) max: u32,
    pub(crate) wait: Duration,
}

/// A worker that lives and what it holds.
pub(crate) struct Heartbeat {
    pub(crate) session: SessionId,
    pub(crate) held: Vec<Held>,
}

/// What a worker says about an attempt.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    pub(crate) session: SessionId,
    pub(crate) proof: Proof,
    pub(crate) state: AttemptState,
    pub(crate) end: AttemptEnd,
    /// Of stdout, stderr and the system's log.
    pub(crate) log_sizes: [i64; 3],
    pub(crate) outputs: Vec<Output>,
    pub(crate) artifacts: Vec<Artifact>,
    pub(crate) changes: String,
    pub(crate) metrics: Vec<MetricPoint>,
    pub(crate) calls: Vec<CallRecord>,
    pub(crate) argv: Vec<String>,
    pub(crate) executor: String,
    pub(crate) environment_digest: String,
    pub(crate) lease_next: u32,
    pub(crate) poll: String,
}

/// The answer to a report.
#[derive(Debug)]
pub(crate) struct Reported {
    pub(crate) order: Order,
    pub(crate) grants: Vec<Arc<Grant>>,
}

/// A worker as an operator sees it.
#[derive(Clone, Debug)]
pub(crate) struct WorkerView {
    pub(crate) name: WorkerName,
    pub(crate) record: WorkerRecord,
    pub(crate) draining: bool,
    /// Time since it was last heard; `None` where it has no session.
    pub(crate) silent_for: Option<Duration>,
    pub(crate) seen: windlass_core::Timestamp,
    pub(crate) running: usize,
    pub(crate) capacity: Resources,
    pub(crate) used: Resources,
}
