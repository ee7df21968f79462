use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, OnceLock},
    time::Duration,
};

use windlass_core::{
    AttemptNumber, Cell, Effect, Event, LeaseId, Machine, Resources, RunGraph, RunId, StepIndex,
    StepState, Timestamp, WorkerName,
};
use windlass_proto::common::v1::{Output, Plan, PlannedStep};
use windlass_proto::worker::v1::TaskArg;

use crate::{
    fleet::capacity,
    store::{
        attempts::AttemptKey,
        details::planned,
        records::{CallerEnvironment, EntryRecord, RunRecord},
        runs::RunRow,
        steps::StepRow,
    },
};

/// What a caller's environment is taken for while it was not read, in bytes.
const UNREAD_ENVIRONMENT: usize = 64 << 10;

/// The environment variables and secrets of a run's caller.
pub(crate) type CallerVariables = Arc<CallerEnvironment>;

/// What never changes of a live run, shared with those who make tasks of it.
pub(crate) struct RunShared {
    pub(crate) run: RunId,
    pub(crate) plan: Plan,
    pub(crate) snapshot: String,
    pub(crate) left_out: String,
    /// There are caller's variables or secrets: in memory, or to be read from the run's private file.
    pub(crate) has_environment: bool,
    pub(crate) environment: OnceLock<CallerVariables>,
    /// What each step of the plan takes of a worker; equal needs are kept once.
    needs: Vec<Arc<Resources>>,
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
            needs: needs(&plan),
            plan,
            snapshot: api.map(|run| run.snapshot.clone()).unwrap_or_default(),
            left_out: record.left_out.clone(),
            has_environment: record.has_private_file
                || api.is_some_and(|run| !run.environment_digests.is_empty()),
            environment: environment.map(OnceLock::from).unwrap_or_default(),
        }
    }

    /// The step of the plan at that place.
    pub(crate) fn template(&self, template: StepIndex) -> Option<&PlannedStep> {
        planned(&self.plan, template)
    }

    /// About how many bytes a task of the step has, without what comes from above.
    pub(super) fn weight(&self, template: StepIndex) -> usize {
        let own = self.template(template).map_or(0, prost::Message::encoded_len);
        let sum = |all: &CallerVariables| all.len();
        let unknown = if self.has_environment { UNREAD_ENVIRONMENT } else { 0 };
        own + self.environment.get().map_or(unknown, sum)
    }

    /// What a step of the plan takes of a worker.
    pub(crate) fn need(&self, template: StepIndex) -> Option<&Arc<Resources>> {
        self.needs.get(usize::try_from(template.0).ok()?)
    }
}

fn needs(plan: &Plan) -> Vec<Arc<Resources>> {
    let mut known: HashSet<Arc<Resources>> = HashSet::new();
    let need = |step: &PlannedStep| {
        let spec = step.spec.as_ref().and_then(|spec| spec.resources.as_ref());
        let need = capacity::need(spec);
        if let Some(shared) = known.get(&need) {
            return Arc::clone(shared);
        }
        let need = Arc::new(need);
        known.insert(Arc::clone(&need));
        need
    };
    plan.steps.iter().map(need).collect()
}

/// An attempt given to a worker, with what its task needs beyond the plan.
pub(crate) struct Grant {
    pub(crate) key: AttemptKey,
    pub(crate) lease: LeaseId,
    pub(crate) run: Arc<RunShared>,
    /// The step of the plan that it is an attempt of.
    pub(crate) template: StepIndex,
    pub(crate) path: String,
    /// It reduces what the instances gave, in place of the step's own work.
    pub(crate) reduces: bool,
    pub(crate) given: FromAbove,
}

/// What an attempt gets that the plan alone does not say.
#[derive(Debug, Default)]
pub(crate) struct FromAbove {
    pub(crate) args: Vec<TaskArg>,
    /// Names of the arguments whose values are secret; their names in the caller's secrets.
    pub(crate) secret_args: Vec<(String, String)>,
    /// What `WINDLASS_INPUTS` holds.
    pub(crate) inputs: Vec<Output>,
    /// Change sets of the steps above, in the order of the plan.
    pub(crate) layers: Vec<String>,
    /// Further environment variables.
    pub(crate) env: Vec<(String, String)>,
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
    /// The worker has named it: the lease was received.
    pub(super) acked: bool,
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
    /// What was found for steps before they started.
    pub(super) entries: HashMap<StepIndex, Arc<EntryRecord>>,
    /// Why steps failed or were skipped without an attempt that says so.
    pub(super) reasons: HashMap<StepIndex, String>,
    pub(super) live: HashMap<StepIndex, LiveAttempt>,
    /// How many steps have rows.
    pub(super) stored: usize,
    /// Changed in this batch, not yet written.
    pub(super) dirty: Vec<StepIndex>,
    pub(super) run_dirty: bool,
    /// Their entries, or their outputs without an attempt, are not yet written.
    pub(super) new_entries: Vec<StepIndex>,
    pub(super) bare_results: Vec<StepIndex>,
}

impl LiveRun {
    /// A new run of which nothing happened.
    pub(super) fn new(shared: Arc<RunShared>, graph: Arc<RunGraph>, row: RunRow) -> Self {
        let machine = Machine::new(graph);
        Self {
            shared,
            stored: machine.cells().len(),
            machine,
            sequence: row.sequence,
            row,
            results: HashMap::new(),
            entries: HashMap::new(),
            reasons: HashMap::new(),
            live: HashMap::new(),
            dirty: Vec::new(),
            run_dirty: false,
            new_entries: Vec::new(),
            bare_results: Vec::new(),
        }
    }

    /// Lets the machine decide; notes what is to be written and hands on the other effects.
    pub(super) fn apply(&mut self, event: Event, now: Timestamp, effects: &mut Vec<Effect>) {
        let first = effects.len();
        self.machine.apply(event, now, effects);
        for effect in &effects[first..] {
            match effect {
                Effect::StepChanged(step) => {
                    self.dirty.push(*step);
                    self.keep_mocked(*step);
                }
                Effect::RunChanged => self.run_dirty = true,
                Effect::TooManySteps(step) => {
                    let told = format!("a run has at most {} instances", windlass_core::MAX_NODES);
                    self.reasons.insert(*step, told);
                }
                Effect::Evaluate { .. }
                | Effect::Enqueue(_)
                | Effect::Wait { .. }
                | Effect::Stop { .. } => {}
            }
        }
    }

    /// Gives a mock that has ended what it stands for.
    fn keep_mocked(&mut self, step: StepIndex) {
        let mock = self.template(step).and_then(|planned| planned.mock.clone());
        let Some(mock) = mock else { return };
        match self.cell(step).state {
            StepState::Succeeded => {
                let (outputs, changes) = (mock.outputs, String::new());
                self.keep_bare(step, StepResult { outputs, changes });
            }
            StepState::Failed => {
                let message = mock.fail.filter(|message| !message.is_empty());
                let message = message.unwrap_or_else(|| "mocked to fail".to_owned());
                self.reasons.insert(step, message);
            }
            _ => {}
        }
    }

    /// Keeps what a step has without an attempt.
    pub(super) fn keep_bare(&mut self, step: StepIndex, result: StepResult) {
        self.keep_result(step, result);
        self.bare_results.push(step);
    }

    /// The live attempt of that key and lease.
    pub(super) fn held(&self, key: AttemptKey, lease: LeaseId) -> Option<&LiveAttempt> {
        self.live.get(&key.step).filter(|live| live.attempt == key.attempt && live.lease == lease)
    }

    /// The row of a step as it is now.
    pub(super) fn step_row(&self, step: StepIndex) -> Option<StepRow> {
        let (cell, key) = (*self.machine.cell(step)?, self.machine.key(step)?);
        let path = (key.parent.is_some() && self.is_new(step)).then(|| self.path(step));
        let reason = self.reasons.get(&step).cloned();
        Some(StepRow { step, cell, sequence: self.sequence, key, path, reason })
    }

    /// True where nothing is to be written.
    pub(super) fn is_clean(&self) -> bool {
        self.dirty.is_empty()
            && !self.run_dirty
            && self.new_entries.is_empty()
            && self.bare_results.is_empty()
    }

    /// True where the step has no row yet.
    pub(super) fn is_new(&self, step: StepIndex) -> bool {
        usize::try_from(step.0).is_ok_and(|place| place >= self.stored)
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

    /// The step of the plan that `step` was made of.
    pub(super) fn template(&self, step: StepIndex) -> Option<&PlannedStep> {
        self.shared.template(self.machine.key(step)?.template)
    }

    /// What a step takes of a worker.
    pub(super) fn need(&self, step: StepIndex) -> Arc<Resources> {
        let known = self.machine.key(step).and_then(|key| self.shared.need(key.template));
        known.cloned().unwrap_or_default()
    }
}
