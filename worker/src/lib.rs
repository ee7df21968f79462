//! The worker: leases attempts and runs them, through a keeper that owns their processes.

mod attempt;
mod environment;
mod executor;
pub mod keeper;
mod runner;
mod session;
#[expect(dead_code, unused_imports, reason = "what calls it comes with the attempt")]
mod workspace;
