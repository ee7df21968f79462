//! The daemon: understands pipelines, decides what runs, records every run.

mod activity;
mod child;
pub mod clock;
mod compile;
pub mod config;
mod connections;
mod engine;
mod eval;
mod expr;
mod fleet;
pub mod home;
pub mod lock;
mod logs;
pub mod process;
mod rooms;
mod rpc;
pub mod server;
mod space;
mod store;
