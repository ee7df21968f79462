//! Thin tonic services, one file each: parse, ask, answer.

pub(crate) mod attempts;
pub(crate) mod blobs;
mod compile_calls;
pub(crate) mod engine_side;
mod engine_status;
pub(crate) mod find;
mod fleet;
pub(crate) mod logs;
pub(crate) mod routes;
mod runs;
pub(crate) mod status;
pub(crate) mod streams;
pub(crate) mod system;
mod workers;

#[cfg(test)]
mod tests;
