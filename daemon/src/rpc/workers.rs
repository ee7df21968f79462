mod fields;
mod logs;
mod tasks;

use std::{sync::Arc, time::Duration};

use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use windlass_core::Stop;
use windlass_proto::timestamp;
use windlass_proto::worker::v1::{
    AppendLogsRequest, AppendLogsResponse, AttemptLease, CloseSessionRequest, CloseSessionResponse,
    Directive, HeartbeatRequest, HeartbeatResponse, LeaseAttemptsRequest, LeaseAttemptsResponse,
    OpenSessionRequest, OpenSessionResponse, ReportAttemptRequest, ReportAttemptResponse,
    ReportMetricsRequest, ReportMetricsResponse, WatchDirectivesRequest, WatchDirectivesResponse,
    directive::Action, worker_service_server::WorkerService,
};

use self::logs::Intake;
use super::{
    runs::environment::Environments,
    status::invalid,
    streams::{KEEPALIVE, Streams, send},
};
use crate::{
    clock::Clock,
    engine::{EngineError, EngineHandle, Grant, Heartbeat, Ordered, Poll},
    fleet::{HEARTBEAT_INTERVAL, LEASE_TTL, Order},
    logs::Logs,
};

/// Longest that a poll is held open.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// Serves `windlass.worker.v1.WorkerService`.
pub(crate) struct WorkersRpc {
    pub(super) engine: EngineHandle,
    pub(super) environments: Environments,
    pub(super) logs: Logs,
    pub(super) streams: Streams,
    pub(super) clock: Arc<dyn Clock>,
}

impl WorkersRpc {
    async fn leases(&self, grants: &[Arc<Grant>]) -> Result<Vec<AttemptLease>, Status> {
        let mut leases = Vec::with_capacity(grants.len());
        for grant in grants {
            match self.environments.of(&grant.run).await {
                Ok(variables) => leases.push(tasks::lease(grant, &variables)),
                Err(error) => {
                    // The others of the answer can do without it.
                    let why = format!("the caller's environment is gone: {error}; run it again");
                    self.engine.refuse_grant(grant.key, grant.lease, why).await?;
                }
            }
        }
        Ok(leases)
    }
}

#[tonic::async_trait]
impl WorkerService for WorkersRpc {
    async fn open_session(
        &self,
        request: Request<OpenSessionRequest>,
    ) -> Result<Response<OpenSessionResponse>, Status> {
        let open = fields::open(request.into_inner(), &self.engine.leases)?;
        let opened = self.engine.open_session(open).await?;
        Ok(Response::new(OpenSessionResponse {
            session_id: opened.session.to_string(),
            heartbeat_interval: prost_types::Duration::try_from(HEARTBEAT_INTERVAL).ok(),
            lease_ttl: prost_types::Duration::try_from(LEASE_TTL).ok(),
            directives: opened.orders.iter().map(directive).collect(),
            server_version: env!("CARGO_PKG_VERSION").to_owned(),
        }))
    }

    async fn lease_attempts(
        &self,
        request: Request<LeaseAttemptsRequest>,
    ) -> Result<Response<LeaseAttemptsResponse>, Status> {
        let request = request.into_inner();
        let wait = request.wait.map(Duration::try_from).transpose();
        let wait = wait.map_err(|_| invalid("wait", "must not be negative"))?.unwrap_or_default();
        if wait > MAX_WAIT {
            return Err(invalid("wait", format!("at most {} s", MAX_WAIT.as_secs())));
        }
        if request.max_attempts == 0 {
            return Err(invalid("max_attempts", "must be at least 1"));
        }
        let poll = fields::poll_id(request.poll_id)?;
        let session = fields::session(&request.session_id);
        let poll = Poll { session, poll, max: request.max_attempts, wait };
        let grants = self.engine.poll(poll).await?;
        Ok(Response::new(LeaseAttemptsResponse { leases: self.leases(&grants).await? }))
    }

    async fn heartbeat(
        &self,
        request: Request<HeartbeatRequest>,
    ) -> Result<Response<HeartbeatResponse>, Status> {
        let request = request.into_inner();
        let held = fields::held(&request.held, &self.engine.leases)?;
        let session = fields::session(&request.session_id);
        let orders = self.engine.heartbeat(Heartbeat { session, held }).await?;
        Ok(Response::new(HeartbeatResponse {
            directives: orders.iter().map(directive).collect(),
            server_time: Some(timestamp(self.clock.now())),
        }))
    }

    type WatchDirectivesStream = ReceiverStream<Result<WatchDirectivesResponse, Status>>;

    async fn watch_directives(
        &self,
        request: Request<WatchDirectivesRequest>,
    ) -> Result<Response<Self::WatchDirectivesStream>, Status> {
        let session = fields::session(&request.into_inner().session_id);
        let mut coming = self.engine.watch_directives(session).await?;
        Ok(Response::new(self.streams.start(async move |items| {
            loop {
                let directives = match timeout(KEEPALIVE, coming.recv()).await {
                    Ok(Some(directives)) => directives,
                    // The session is over.
                    Ok(None) => return Ok(()),
                    Err(_) => Vec::new(),
                };
                send(&items, WatchDirectivesResponse { directives }).await?;
            }
        })))
    }

    async fn report_attempt(
        &self,
        request: Request<ReportAttemptRequest>,
    ) -> Result<Response<ReportAttemptResponse>, Status> {
        let report = fields::report(request.into_inner(), &self.engine.leases)?;
        let proof = report.proof.clone();
        let reported = self.engine.report(report).await?;
        let ordered = Ordered { proof, order: reported.order, reason: String::new() };
        let leases = self.leases(&reported.grants).await?;
        Ok(Response::new(ReportAttemptResponse { directive: Some(directive(&ordered)), leases }))
    }

    type AppendLogsStream = ReceiverStream<Result<AppendLogsResponse, Status>>;

    async fn append_logs(
        &self,
        request: Request<Streaming<AppendLogsRequest>>,
    ) -> Result<Response<Self::AppendLogsStream>, Status> {
        let (leases, logs) = (self.engine.leases.clone(), self.logs.clone());
        let intake = Intake { leases, logs, clock: Arc::clone(&self.clock) };
        let chunks = request.into_inner();
        Ok(Response::new(self.streams.start(move |items| intake.run(chunks, items))))
    }

    async fn report_metrics(
        &self,
        request: Request<ReportMetricsRequest>,
    ) -> Result<Response<ReportMetricsResponse>, Status> {
        let request = request.into_inner();
        fields::points(&request.points)?;
        let proof = fields::proof(request.lease.as_ref(), &self.engine.leases)?;
        let session = fields::session(&request.session_id);
        let durable_sequence = self.engine.metrics(session, proof, request.points).await?;
        Ok(Response::new(ReportMetricsResponse { durable_sequence }))
    }

    async fn close_session(
        &self,
        request: Request<CloseSessionRequest>,
    ) -> Result<Response<CloseSessionResponse>, Status> {
        let request = request.into_inner();
        let proof = |lease| fields::proof(Some(lease), &self.engine.leases);
        let returned = request.returned.iter().map(proof).collect::<Result<_, _>>()?;
        match self.engine.close_session(fields::session(&request.session_id), returned).await {
            // A session that is over is closed: the answer of the first time was lost.
            Ok(()) | Err(EngineError::SessionFenced) => Ok(Response::new(CloseSessionResponse {})),
            Err(error) => Err(error.into()),
        }
    }
}

fn directive(ordered: &Ordered) -> Directive {
    let action = match ordered.order {
        Order::Continue => Action::Continue,
        Order::Stop(Stop::Politely) => Action::Stop,
        Order::Stop(Stop::AtOnce) => Action::Kill,
        Order::Abandon => Action::Abandon,
    };
    let lease = Some(tasks::proof(&ordered.proof));
    Directive { lease, action: action.into(), reason: ordered.reason.clone() }
}
