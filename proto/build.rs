//! Compiles the proto files with protox, so that nobody needs protoc.
use std::{env, fs, path::PathBuf};

use prost::Message;

const FILES: &[&str] = &[
    "windlass/common/v1/types.proto",
    "windlass/common/v1/spec.proto",
    "windlass/api/v1/run_service.proto",
    "windlass/api/v1/log_service.proto",
    "windlass/api/v1/blob_service.proto",
    "windlass/api/v1/fleet_service.proto",
    "windlass/api/v1/system_service.proto",
    "windlass/worker/v1/worker_service.proto",
];

#[expect(clippy::disallowed_methods, reason = "cargo tells build scripts their place this way")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = protox::compile(FILES, ["."])?;
    let out = PathBuf::from(env::var("OUT_DIR")?).join("windlass.bin");
    fs::write(out, files.encode_to_vec())?;
    tonic_prost_build::configure().bytes(".").compile_fds(files)?;
    println!("cargo:rerun-if-changed=windlass");
    Ok(())
}
