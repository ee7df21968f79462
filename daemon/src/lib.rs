//! The daemon: understands pipelines, decides what runs, records every run.

pub mod clock;
mod compile;
pub mod config;
mod engine;
mod fleet;
pub mod home;
pub mod lock;
mod logs;
mod rpc;
mod server;
mod store;
