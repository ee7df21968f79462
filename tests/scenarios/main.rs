//! Promises of Windlass, each kept by the real thing.
#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod architecture;
mod capture;
mod durability;
mod examples;
mod flow;
mod logs;
mod looking;
mod processes;
mod protocol;
mod refusals;
mod space;
