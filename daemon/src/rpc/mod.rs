//! Thin tonic services, one file each: parse, ask, answer.

pub(crate) mod status;
