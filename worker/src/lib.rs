//! The worker: leases attempts and runs them, through a keeper that owns their processes.

mod attempt;
pub mod environment;
mod executor;
pub mod keeper;
pub mod runner;
mod session;
mod workspace;
