use std::{path::PathBuf, sync::Arc};

use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use windlass_core::Timestamp;
use windlass_proto::api::v1::{
    GetServerInfoRequest, GetServerInfoResponse, Limits, StopServerRequest, StopServerResponse,
    system_service_server::SystemService,
};
use windlass_proto::{MAX_MESSAGE_BYTES, timestamp};

use crate::{clock::Clock, config, server::MAX_STREAMS};

/// What this daemon can do beyond the first version of the API; SDKs ask before they use it.
const CAPABILITIES: &[&str] = &["process"];

/// What the daemon as a whole tells about itself. The engine's handle knows it.
pub(crate) trait Standing: Send + Sync + 'static {
    /// New with each database.
    fn instance_id(&self) -> String;

    /// Why new runs are refused, where they are.
    fn read_only_reason(&self) -> Option<String>;
}

/// Serves `windlass.api.v1.SystemService`.
pub(crate) struct SystemRpc {
    pub(crate) standing: Arc<dyn Standing>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) home: PathBuf,
    pub(crate) started: Timestamp,
    pub(crate) limits: config::Limits,
    pub(crate) stop: CancellationToken,
}

#[tonic::async_trait]
impl SystemService for SystemRpc {
    async fn get_server_info(
        &self,
        _request: Request<GetServerInfoRequest>,
    ) -> Result<Response<GetServerInfoResponse>, Status> {
        let limits = Limits {
            max_message_bytes: i64::try_from(MAX_MESSAGE_BYTES).unwrap_or(i64::MAX),
            max_spec_bytes: i64::try_from(self.limits.max_spec_bytes).unwrap_or(i64::MAX),
            max_steps: self.limits.max_steps,
            max_page_size: self.limits.max_page_size,
            max_streams_per_connection: MAX_STREAMS,
        };
        Ok(Response::new(GetServerInfoResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            instance_id: self.standing.instance_id(),
            pid: std::process::id(),
            home: self.home.to_string_lossy().into_owned(),
            start_time: Some(timestamp(self.started)),
            server_time: Some(timestamp(self.clock.now())),
            limits: Some(limits),
            read_only_reason: self.standing.read_only_reason().unwrap_or_default(),
            capabilities: CAPABILITIES.iter().map(|name| (*name).to_owned()).collect(),
        }))
    }

    async fn stop_server(
        &self,
        _request: Request<StopServerRequest>,
    ) -> Result<Response<StopServerResponse>, Status> {
        tracing::info!("asked to stop");
        self.stop.cancel();
        Ok(Response::new(StopServerResponse {}))
    }
}
