//! The worker: leases attempts and runs them, through a keeper that owns their processes.

mod attempt;
mod capacity;
mod clock;
pub mod environment;
mod executor;
pub mod keeper;
mod mask;
mod record;
pub mod runner;
mod session;
mod step_file;
mod worker;
#[expect(dead_code, unused_imports, reason = "its tests use more of it")]
mod workspace;

pub use capacity::parse_offer;
pub use clock::{Clock, wall};
pub use executor::KeeperCommand;
pub use worker::{WorkerConfig, WorkerError, run};
