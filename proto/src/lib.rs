//! The API of Windlass as generated from `proto/windlass`, and the conversions between its
//! messages and the types of `windlass-core`.

/// Messages that API and worker protocol share.
pub mod common {
    pub mod v1 {
        tonic::include_proto!("windlass.common.v1");
    }
}

/// What CLI and SDKs call.
#[expect(clippy::too_many_lines, clippy::allow_attributes, reason = "generated")]
pub mod api {
    pub mod v1 {
        tonic::include_proto!("windlass.api.v1");
    }
}

/// What workers call.
#[expect(clippy::too_many_lines, clippy::allow_attributes, reason = "generated")]
pub mod worker {
    pub mod v1 {
        tonic::include_proto!("windlass.worker.v1");
    }
}

mod convert;
pub mod limits;

pub use convert::{
    InvalidId, attempt_ref, parse_attempt_ref, parse_lease, timestamp, to_timestamp,
};

/// The proto files as an encoded `FileDescriptorSet`, for reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/windlass.bin"));

/// Largest message either side accepts.
pub const MAX_MESSAGE_BYTES: usize = 4 << 20;

/// Longest pipeline file or spec.
pub const MAX_SPEC_BYTES: u64 = 1 << 20;

/// Most bytes of the files that give a run its parameters and mocks.
pub const MAX_GIVEN_BYTES: u64 = 2 << 20;

/// Largest chunk of a blob or a log in one message.
pub const MAX_CHUNK_BYTES: usize = 1 << 20;
