//! Structured columns: protobuf messages of the database alone, or of the API.

use std::collections::{BTreeMap, HashMap};

use prost::Message;
use windlass_proto::api::v1::Run;
use windlass_proto::common::v1::{AttemptEnd, CallRecord, Output};

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
    /// The caller gave variables or secrets, which are not recorded.
    #[prost(bool, tag = "3")]
    pub(crate) has_private_file: bool,
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

/// What was found for a step before it started.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct EntryRecord {
    /// Arguments that the plan does not hold themselves.
    #[prost(message, repeated, tag = "1")]
    pub(crate) args: Vec<FoundArg>,
    /// Of what spreads over items: each as JSON.
    #[prost(string, repeated, tag = "2")]
    pub(crate) items: Vec<String>,
}

/// The value of an argument, found while the run goes on.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct FoundArg {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    /// JSON; empty where it is an output, or a secret.
    #[prost(string, tag = "2")]
    pub(crate) json: String,
    #[prost(message, optional, tag = "3")]
    pub(crate) output: Option<Output>,
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

/// The environment variables of a run's caller and its secrets: the private file of a live run.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct CallerEnvironment {
    #[prost(map = "string, bytes", tag = "1")]
    pub(crate) variables: HashMap<String, prost::bytes::Bytes>,
    /// Values of the secrets that the pipeline declares.
    #[prost(map = "string, bytes", tag = "2")]
    pub(crate) secrets: HashMap<String, prost::bytes::Bytes>,
    /// Set in the file alone, and written last: a file that was cut short has it not.
    #[prost(bool, tag = "15")]
    pub(crate) whole: bool,
}

impl CallerEnvironment {
    /// About how many bytes it has.
    pub(crate) fn len(&self) -> usize {
        self.variables.iter().chain(&self.secrets).map(|(name, v)| name.len() + v.len()).sum()
    }

    /// True where there is nothing to keep.
    pub(crate) fn is_empty(&self) -> bool {
        self.variables.is_empty() && self.secrets.is_empty()
    }
}

/// Reads a structured column.
pub(crate) fn decode<M: Message + Default>(
    bytes: &[u8],
    what: &'static str,
) -> Result<M, StoreError> {
    M::decode(bytes).map_err(|_| StoreError::Corrupt { what })
}
