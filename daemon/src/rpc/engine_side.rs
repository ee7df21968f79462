use std::{path::PathBuf, sync::Arc};

use windlass_blobs::Store;
use windlass_core::Home;
use windlass_proto::MAX_MESSAGE_BYTES;
use windlass_proto::api::v1::{
    fleet_service_server::FleetServiceServer, run_service_server::RunServiceServer,
};
use windlass_proto::worker::v1::worker_service_server::WorkerServiceServer;

use super::{
    compile_calls::Compiler,
    fleet::FleetRpc,
    routes::Routes,
    runs::{RunsRpc, environment::Environments},
    streams::Streams,
    workers::WorkersRpc,
};
use crate::{clock::Clock, config::Limits, engine::EngineHandle, logs::Logs, store::Readers};

/// Name of the file with the key of the digests of environment variables, in the home's `run`.
const KEY_FILE: &str = "environment.key";

/// What the services of runs, workers and the fleet stand on.
pub(crate) struct EngineSide {
    pub(crate) engine: EngineHandle,
    pub(crate) readers: Readers,
    pub(crate) blobs: Store,
    pub(crate) logs: Logs,
    pub(crate) streams: Streams,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) limits: Limits,
    pub(crate) home: Home,
}

/// The services that ask the engine. Fails where the home's private files cannot be kept.
pub(crate) fn routes(side: EngineSide) -> std::io::Result<Routes> {
    let EngineSide { engine, readers, blobs, logs, streams, clock, limits, home } = side;
    let key: PathBuf = home.run().join(KEY_FILE);
    let environments = Environments::open(&home.caller_environments(), &key)?;
    let workers = WorkersRpc {
        engine: engine.clone(),
        environments: environments.clone(),
        logs: logs.clone(),
        streams: streams.clone(),
        clock: Arc::clone(&clock),
    };
    let fleet = FleetRpc { engine: engine.clone() };
    let compiler = Compiler::new(blobs.clone());
    let home = home.root().to_owned();
    let runs = RunsRpc {
        engine,
        readers,
        compiler,
        environments,
        blobs,
        logs,
        streams,
        clock,
        limits,
        home,
    };
    let limit = MAX_MESSAGE_BYTES;
    Ok(Routes::default()
        .with(RunServiceServer::new(runs).max_decoding_message_size(limit))
        .with(WorkerServiceServer::new(workers).max_decoding_message_size(limit))
        .with(FleetServiceServer::new(fleet).max_decoding_message_size(limit)))
}
