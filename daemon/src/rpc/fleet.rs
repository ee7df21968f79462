use std::collections::HashMap;

use tonic::{Request, Response, Status};
use windlass_core::{Resource, Resources, WorkerName};
use windlass_proto::api::v1::{
    DrainWorkerRequest, DrainWorkerResponse, ListWorkersRequest, ListWorkersResponse,
    ResumeWorkerRequest, ResumeWorkerResponse, Worker, fleet_service_server::FleetService,
    worker::State,
};
use windlass_proto::timestamp;

use crate::{
    engine::{EngineHandle, WorkerView},
    fleet::{LEASE_TTL, UNREACHABLE_AFTER, capacity::name},
};

/// Serves `windlass.api.v1.FleetService`.
pub(crate) struct FleetRpc {
    pub(super) engine: EngineHandle,
}

#[tonic::async_trait]
impl FleetService for FleetRpc {
    async fn list_workers(
        &self,
        _: Request<ListWorkersRequest>,
    ) -> Result<Response<ListWorkersResponse>, Status> {
        let workers = self.engine.workers().await?.into_iter().map(worker).collect();
        Ok(Response::new(ListWorkersResponse { workers }))
    }

    async fn drain_worker(
        &self,
        request: Request<DrainWorkerRequest>,
    ) -> Result<Response<DrainWorkerResponse>, Status> {
        let name = WorkerName(request.into_inner().worker.into());
        let view = self.engine.drain(name, true).await?;
        Ok(Response::new(DrainWorkerResponse { worker: Some(worker(view)) }))
    }

    async fn resume_worker(
        &self,
        request: Request<ResumeWorkerRequest>,
    ) -> Result<Response<ResumeWorkerResponse>, Status> {
        let name = WorkerName(request.into_inner().worker.into());
        let view = self.engine.drain(name, false).await?;
        Ok(Response::new(ResumeWorkerResponse { worker: Some(worker(view)) }))
    }
}

fn worker(view: WorkerView) -> Worker {
    let state = match view.silent_for {
        None => State::Offline,
        Some(silent) if silent >= LEASE_TTL => State::Offline,
        Some(silent) if silent >= UNREACHABLE_AFTER => State::Unreachable,
        Some(_) if view.draining => State::Draining,
        Some(_) => State::Active,
    };
    Worker {
        worker: view.name.to_string(),
        state: state.into(),
        labels: view.record.labels.into_iter().collect(),
        capacity: amounts(&view.capacity, |of| view.capacity.amount(of)),
        used: amounts(&view.capacity, |of| view.used.amount(of)),
        executors: view.record.executors,
        version: view.record.version,
        last_heartbeat_time: Some(timestamp(view.seen)),
        running_attempts: u32::try_from(view.running).unwrap_or(u32::MAX),
        hostname: view.record.hostname,
        pid: view.record.pid,
    }
}

/// Amounts of what a worker is known to have.
fn amounts(capacity: &Resources, amount: impl Fn(Resource<'_>) -> u64) -> HashMap<String, i64> {
    let known = |of: &Resource<'_>| !matches!(capacity.amount(*of), 0 | u64::MAX);
    let amount = |of: Resource<'_>| i64::try_from(amount(of)).unwrap_or(i64::MAX);
    capacity.kinds().filter(known).map(|of| (name(of).to_owned(), amount(of))).collect()
}
