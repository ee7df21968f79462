//! Structured columns: protobuf messages of the database alone, or of the API.

use std::collections::{BTreeMap, HashMap};

use prost::Message;
use windlass_proto::api::v1::Run;
use windlass_proto::common::v1::{AttemptEnd, CallRecord};

use super::StoreError;

/// What a run is from its creation to its end.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct RunRecord {
    /// Without what has columns of its own: id, name, pipeline, state, times, reason; without spec
    /// and steps.
    #[prost(message, optional, tag = "1")]
    pub(crate) run: Option<Run>,
    /// See `RunSource.left_out`.
    #[prost(string, tag = "2")]
    pub(crate) left_out: String,
}

/// How an attempt ended. Outputs, artifacts, metrics and calls have their own places.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct AttemptRecord {
    #[prost(message, optional, tag = "1")]
    pub(crate) end: Option<AttemptEnd>,
    #[prost(string, repeated, tag = "2")]
    pub(crate) argv: Vec<String>,
    #[prost(string, tag = "3")]
    pub(crate) executor: String,
    #[prost(string, tag = "4")]
    pub(crate) environment_digest: String,
    /// Digest of the change set of the working directory; empty where nothing changed.
    #[prost(string, tag = "5")]
    pub(crate) changes: String,
    #[prost(int64, tag = "6")]
    pub(crate) stdout_size: i64,
    #[prost(int64, tag = "7")]
    pub(crate) stderr_size: i64,
    #[prost(int64, tag = "8")]
    pub(crate) system_size: i64,
}

/// The calls of one attempt.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct CallList {
    #[prost(message, repeated, tag = "1")]
    pub(crate) calls: Vec<CallRecord>,
}

/// What a worker said about itself when it opened its last session.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct WorkerRecord {
    #[prost(string, tag = "1")]
    pub(crate) version: String,
    #[prost(string, tag = "2")]
    pub(crate) hostname: String,
    #[prost(uint32, tag = "3")]
    pub(crate) pid: u32,
    #[prost(btree_map = "string, string", tag = "4")]
    pub(crate) labels: BTreeMap<String, String>,
    #[prost(btree_map = "string, int64", tag = "5")]
    pub(crate) capacity: BTreeMap<String, i64>,
    #[prost(string, repeated, tag = "6")]
    pub(crate) executors: Vec<String>,
}

/// The environment variables of a run's caller: the private file of a live run.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct CallerEnvironment {
    #[prost(map = "string, bytes", tag = "1")]
    pub(crate) variables: HashMap<String, prost::bytes::Bytes>,
    /// Values of the run's secrets and secret parameters.
    #[prost(map = "string, bytes", tag = "2")]
    pub(crate) secrets: HashMap<String, prost::bytes::Bytes>,
}

/// Reads a structured column.
pub(crate) fn decode<M: Message + Default>(
    bytes: &[u8],
    what: &'static str,
) -> Result<M, StoreError> {
    M::decode(bytes).map_err(|_| StoreError::Corrupt { what })
}
