//! The pure domain of Windlass: ids, states, graph, binding, retry and scheduling rules.
//!
//! No I/O, no clock, no async: time and facts come in as values, decisions go out.
#![deny(clippy::wildcard_enum_match_arm)]

mod bind;
mod digest;
mod graph;
mod home;
mod id;
mod machine;
mod resources;
mod retry;
mod schedule;
mod state;
mod suggest;

pub use bind::{
    Bound, Fallback, Given, Givens, Hint, Json, Kind, Misfit, Param, Ranged, Slot, Source, Unbound,
    bind,
};
pub use digest::{Digest, InvalidDigest};
pub use graph::{Cycle, Graph, Links, Order};
pub use home::Home;
pub use id::{AttemptNumber, InvalidStepPath, LeaseId, RunId, StepIndex, StepPath, WorkerName};
pub use machine::{
    BadGraph, Cell, Effect, Entry, Event, Join, MAX_NODES, Machine, Mock, NodeKey, Outcome,
    RunGraph, RunRecordState, Spread, StepRules, Stop, Work,
};
pub use resources::{MILLIS_PER_SLOT, Resource, Resources};
pub use retry::{Failure, LOSS_BUDGET, RetryOn, RetryPolicy};
pub use schedule::{ReadyQueue, ReadyStep};
pub use state::{AttemptState, RunState, StepState, Timestamp};
pub use suggest::nearest;
