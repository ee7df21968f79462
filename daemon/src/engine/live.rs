use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
    time::Duration,
};

use prost::bytes::Bytes;
use windlass_core::{
    AttemptNumber, BadGraph, Cell, Effect, Event, LeaseId, Machine, RetryOn, RetryPolicy, RunGraph,
    RunId, StepIndex, StepRules, Timestamp, WorkerName,
};
use windlass_proto::common::v1::{
    Output, Plan, RetrySpec, StepSpec, retry_spec::On, step_spec::Action,
};

use crate::store::{
    attempts::AttemptKey, details::planned, records::RunRecord, runs::RunRow, steps::StepRow,
};

/// Wait before the first retry, growth of the waits and their bound, where a pipeline names none.
const DEFAULT_BACKOFF: Duration = Duration::from_secs(1);
const DEFAULT_FACTOR: f64 = 2.0;
const DEFAULT_MAX_BACKOFF: Duration = Duration::from_secs(60);

/// What a caller's environment is taken for while it was not read, in bytes.
const UNREAD_ENVIRONMENT: usize = 64 << 10;

/// Thousandths of a core in one slot.
const MILLIS_PER_SLOT: u32 = 1_000;

/// The environment variables of a run's caller.
pub(crate) type CallerVariables = Arc<HashMap<String, Bytes>>;

/// What never changes of a live run, shared with those who make tasks of it.
pub(crate) struct RunShared {
    pub(crate) run: RunId,
    pub(crate) plan: Plan,
    pub(crate) snapshot: String,
    pub(crate) left_out: String,
    /// There are caller's variables: in memory, or to be read from the run's private file.
    pub(crate) has_environment: bool,
    pub(crate) environment: OnceLock<CallerVariables>,
}

impl RunShared {
    /// The parts of a run as created or as loaded; `environment` where it is at hand.
    pub(super) fn new(
        run: RunId,
        plan: Plan,
        record: &RunRecord,
        environment: Option<CallerVariables>,
    ) -> Self {
        let api = record.run.as_ref();
        Self {
            run,
            plan,
            snapshot: api.map(|run| run.snapshot.clone()).unwrap_or_default(),
            left_out: record.left_out.clone(),
            has_environment: api.is_some_and(|run| !run.environment_digests.is_empty()),
            environment: environment.map(OnceLock::from).unwrap_or_default(),
        }
    }

    /// The spec of a step.
    pub(crate) fn spec(&self, step: StepIndex) -> Option<&StepSpec> {
        planned(&self.plan, step)?.spec.as_ref()
    }

    /// The path of a step.
    pub(crate) fn path(&self, step: StepIndex) -> &str {
        planned(&self.plan, step).map_or("", |planned| &planned.path)
    }

    /// About how many bytes a task of the step has, without what comes from above.
    pub(super) fn weight(&self, step: StepIndex) -> usize {
        let own = planned(&self.plan, step).map_or(0, prost::Message::encoded_len);
        let sum = |all: &CallerVariables| all.iter().map(|(name, v)| name.len() + v.len()).sum();
        let unknown = if self.has_environment { UNREAD_ENVIRONMENT } else { 0 };
        own + self.environment.get().map_or(unknown, sum)
    }

    /// Slots that a step takes.
    pub(super) fn slots(&self, step: StepIndex) -> u32 {
        let resources = self.spec(step).and_then(|spec| spec.resources.as_ref());
        resources.map_or(1, |r| r.cpu_millis.div_ceil(MILLIS_PER_SLOT).max(1))
    }
}

/// An attempt given to a worker, with what its task needs beyond the plan.
pub(crate) struct Grant {
    pub(crate) key: AttemptKey,
    pub(crate) lease: LeaseId,
    pub(crate) run: Arc<RunShared>,
    /// What `WINDLASS_INPUTS` holds.
    pub(crate) inputs: Vec<Output>,
    /// The outputs that arguments are bound to, by place in the step's arguments.
    pub(crate) bound: Vec<(usize, Output)>,
    /// Change sets of the steps above, in the order of the plan.
    pub(crate) layers: Vec<String>,
}

impl std::fmt::Debug for Grant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Grant").field("key", &self.key).finish_non_exhaustive()
    }
}

/// What a step that ended well left for those below it.
#[derive(Clone, Debug, Default)]
pub(super) struct StepResult {
    pub(super) outputs: Vec<Output>,
    pub(super) changes: String,
}

/// An attempt that a worker holds.
pub(super) struct LiveAttempt {
    pub(super) attempt: AttemptNumber,
    pub(super) lease: LeaseId,
    pub(super) worker: WorkerName,
    /// By the monotonic clock.
    pub(super) expires: Duration,
    /// Known once metrics came.
    pub(super) metrics: Option<super::metrics::Extent>,
}

/// A run that has not ended, with everything that decisions need.
pub(super) struct LiveRun {
    pub(super) shared: Arc<RunShared>,
    pub(super) machine: Machine,
    pub(super) row: RunRow,
    /// Of the last batch that changed anything.
    pub(super) sequence: i64,
    pub(super) results: HashMap<StepIndex, StepResult>,
    pub(super) live: HashMap<StepIndex, LiveAttempt>,
    /// Changed in this batch, not yet written.
    pub(super) dirty: Vec<StepIndex>,
    pub(super) run_dirty: bool,
}

impl LiveRun {
    /// A new run of which nothing happened.
    pub(super) fn new(shared: Arc<RunShared>, graph: Arc<RunGraph>, row: RunRow) -> Self {
        Self {
            shared,
            machine: Machine::new(graph),
            sequence: row.sequence,
            row,
            results: HashMap::new(),
            live: HashMap::new(),
            dirty: Vec::new(),
            run_dirty: false,
        }
    }

    /// Lets the machine decide; notes what is to be written and hands on the other effects.
    pub(super) fn apply(&mut self, event: Event, now: Timestamp, effects: &mut Vec<Effect>) {
        let first = effects.len();
        self.machine.apply(event, now, effects);
        for effect in &effects[first..] {
            match effect {
                Effect::StepChanged(step) => self.dirty.push(*step),
                Effect::RunChanged => self.run_dirty = true,
                Effect::Enqueue(_) | Effect::Wait { .. } | Effect::Stop { .. } => {}
            }
        }
    }

    /// The live attempt of that key and lease.
    pub(super) fn held(&self, key: AttemptKey, lease: LeaseId) -> Option<&LiveAttempt> {
        self.live.get(&key.step).filter(|live| live.attempt == key.attempt && live.lease == lease)
    }

    /// The row of a step as it is now.
    pub(super) fn step_row(&self, step: StepIndex) -> Option<StepRow> {
        let cell = *self.machine.cell(step)?;
        Some(StepRow { step, cell, sequence: self.sequence })
    }

    /// Puts the machine's state into the run's row.
    pub(super) fn refresh_row(&mut self) {
        self.row.machine = self.machine.run();
        self.row.sequence = self.sequence;
    }

    /// Where a step stands.
    pub(super) fn cell(&self, step: StepIndex) -> Cell {
        self.machine.cell(step).copied().unwrap_or(Cell::NEW)
    }
}

/// The graph of a plan, with each step's rules.
pub(super) fn graph(plan: &Plan) -> Result<RunGraph, BadGraph> {
    let rules = plan.steps.iter().map(|step| rules(step.spec.as_ref())).collect();
    RunGraph::new(plan.steps.iter().map(|step| step.needs.as_slice()), rules)
}

fn rules(spec: Option<&StepSpec>) -> StepRules {
    let Some(spec) = spec else {
        return StepRules { retry: RetryPolicy::NEVER, stub: false };
    };
    let stub = matches!(spec.action, Some(Action::Stub(_)));
    let mut retry = spec.retry.as_ref().map_or(RetryPolicy::NEVER, policy);
    retry.on.lost |= spec.idempotent;
    StepRules { retry, stub }
}

fn policy(spec: &RetrySpec) -> RetryPolicy {
    let duration = |given: Option<&prost_types::Duration>, default| {
        given.map_or(default, |given| Duration::try_from(*given).unwrap_or(default))
    };
    let on = |kind: On| spec.on.contains(&kind.into());
    let all = spec.on.is_empty();
    RetryPolicy {
        times: spec.times,
        backoff: duration(spec.backoff.as_ref(), DEFAULT_BACKOFF),
        factor: if spec.factor > 0.0 { spec.factor } else { DEFAULT_FACTOR },
        max: duration(spec.max.as_ref(), DEFAULT_MAX_BACKOFF),
        on: RetryOn {
            exit: all || on(On::Exit),
            timeout: all || on(On::Timeout),
            oom: all || on(On::Oom),
            lost: on(On::Lost),
        },
    }
}
