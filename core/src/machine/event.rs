use crate::{AttemptNumber, Failure, RunState, StepIndex, StepState, Timestamp};

/// How a running attempt is to be ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stop {
    /// Ask, wait the grace period, kill.
    Politely,
    AtOnce,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Succeeded,
    /// For good or for the retry policy to say.
    Failed(Failure),
    /// Stopped, as the worker says; without a cancellation of the run it counts as a loss.
    Cancelled,
}

/// What an evaluation says of a step whose needs are met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Its `when` is false.
    Skip,
    Go,
    /// Goes on as that many instances.
    Spread(u32),
    /// An expression has no value, or not one of the right kind.
    Fail,
}

/// What an evaluation says of a step whose last child has ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Join {
    /// Its outputs are there.
    Done,
    /// Whether the condition of a loop holds.
    Until(bool),
    /// A function is to be run over the outputs of the instances.
    Reduce,
    Fail,
}

/// What happens to a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Event {
    /// Once, before all else.
    Begin,
    /// The answer to [`Effect::Evaluate`] for a step that is about to start.
    Entered {
        step: StepIndex,
        entry: Entry,
    },
    /// The answer to [`Effect::Evaluate`] for a step whose children have ended; `made` is how many
    /// they were.
    Joined {
        step: StepIndex,
        made: usize,
        join: Join,
    },
    /// A ready step was given to a worker, as the attempt with the next number.
    Granted {
        step: StepIndex,
    },
    /// The worker says that the attempt runs.
    Started {
        step: StepIndex,
        attempt: AttemptNumber,
    },
    /// The attempt ended; `jitter` in 0..1 is for the wait before the next.
    Ended {
        step: StepIndex,
        attempt: AttemptNumber,
        outcome: Outcome,
        jitter: f64,
    },
    /// The worker never got the attempt or did not start it: its number is free again.
    GivenBack {
        step: StepIndex,
        attempt: AttemptNumber,
    },
    /// The wait of [`Effect::Wait`] is over.
    WaitOver {
        step: StepIndex,
        attempt: AttemptNumber,
    },
    /// The run has taken longer than it may: it is stopped like a cancelled one, and has failed.
    RunTimeUp,
    CancelRequested {
        how: Stop,
    },
}

/// What follows. Effects lost in a crash are derived again by [`Machine::derive`](super::Machine::derive).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Effect {
    /// The step's cell is to be stored and shown. May come twice; steps that are new come too.
    StepChanged(StepIndex),
    /// The run's own state is to be stored and shown.
    RunChanged,
    /// Evaluate what the step asks before it starts, or with `join` after its last child has
    /// ended, and send [`Event::Entered`] or [`Event::Joined`].
    Evaluate { step: StepIndex, join: bool },
    /// The step waits for a worker.
    Enqueue(StepIndex),
    /// Send [`Event::WaitOver`] then.
    Wait { step: StepIndex, attempt: AttemptNumber, until: Timestamp },
    /// The worker that has the attempt must end it.
    Stop { step: StepIndex, attempt: AttemptNumber, how: Stop },
    /// The step failed since the run would have more than [`MAX_NODES`](super::MAX_NODES) steps.
    TooManySteps(StepIndex),
}

/// Where one step stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    pub state: StepState,
    /// Number of the last attempt; 0 before the first.
    pub attempt: u32,
    /// The last attempt is known to run.
    pub started: bool,
    /// Retries used, without those after losses.
    pub retries: u32,
    /// Retries used after losses.
    pub losses: u32,
    /// When a step that backs off is ready again, or a mock that sleeps ends.
    pub not_before: Option<Timestamp>,
    /// When the first child of a container, or a mock, began.
    pub start: Option<Timestamp>,
    /// When a step that ended without an attempt did.
    pub end: Option<Timestamp>,
}

impl Cell {
    /// A step of which nothing happened yet.
    pub const NEW: Self = Self {
        state: StepState::Pending,
        attempt: 0,
        started: false,
        retries: 0,
        losses: 0,
        not_before: None,
        start: None,
        end: None,
    };
}

/// Where the run itself stands; with the cells, all there is to store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunRecordState {
    pub state: RunState,
    pub cancel: Option<Stop>,
    /// It is being stopped, or was, since its time was up.
    pub timed_out: bool,
    pub start: Option<Timestamp>,
    pub end: Option<Timestamp>,
}
