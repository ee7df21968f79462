//! Thin tonic services, one file each: parse, ask, answer.

pub(crate) mod attempts;
pub(crate) mod blobs;
pub(crate) mod find;
pub(crate) mod logs;
pub(crate) mod routes;
pub(crate) mod status;
pub(crate) mod streams;
pub(crate) mod system;

#[cfg(test)]
mod tests;
