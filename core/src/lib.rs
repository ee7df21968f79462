//! The pure domain of Windlass: ids, states, graph, binding, retry and scheduling rules.
//!
//! No I/O, no clock, no async: time and facts come in as values, decisions go out.
#![deny(clippy::wildcard_enum_match_arm)]

mod digest;
mod home;
mod id;
mod machine;
mod retry;
mod schedule;
mod state;
mod suggest;

pub use digest::{Digest, InvalidDigest};
pub use home::Home;
pub use id::{AttemptNumber, InvalidStepPath, LeaseId, RunId, StepIndex, StepPath, WorkerName};
pub use machine::{
    BadGraph, Cell, Effect, Event, Graph, Machine, Outcome, RunRecordState, StepRules, Stop,
};
pub use retry::{Failure, LOSS_BUDGET, RetryOn, RetryPolicy};
pub use schedule::{ReadyQueue, ReadyStep};
pub use state::{AttemptState, RunState, StepState, Timestamp};
pub use suggest::nearest;
