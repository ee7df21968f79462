use tonic::Status;
use windlass_core::BadGraph;
use windlass_proto::api::v1::ErrorReason;

use super::status::{internal, invalid, shutting_down, status};
use crate::{engine::EngineError, store::StoreError};

impl From<EngineError> for Status {
    fn from(error: EngineError) -> Self {
        let reason = match &error {
            EngineError::NoSuchRun(_) => ErrorReason::RunNotFound,
            EngineError::RunNotEnded(_) => ErrorReason::RunNotEnded,
            EngineError::NoSuchWorker(_) => ErrorReason::WorkerNotFound,
            EngineError::LeaseFenced => ErrorReason::LeaseFenced,
            EngineError::SessionFenced => ErrorReason::SessionFenced,
            EngineError::ConcurrencyFull { .. } => ErrorReason::ConcurrencyFull,
            EngineError::NoWorkerFits { .. } => ErrorReason::NoWorkerFits,
            EngineError::Limit { .. } => ErrorReason::LimitExceeded,
            EngineError::Busy => ErrorReason::Busy,
            EngineError::Closed => return shutting_down(),
            EngineError::Store(_) if error.is_disk_full() => {
                return status(ErrorReason::Busy, "the disk is full; free some space");
            }
            EngineError::Store(_) => return internal(&error),
        };
        status(reason, error.to_string())
    }
}

impl From<StoreError> for Status {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::TooSlow => status(ErrorReason::Busy, error.to_string()),
            _ => internal(&error),
        }
    }
}

/// A plan whose edges are none, which only a spec sent by hand can have.
pub(super) fn bad_graph(error: &BadGraph) -> Status {
    invalid("source.spec.steps", error.to_string())
}
