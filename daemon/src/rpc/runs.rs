mod create;
pub(crate) mod environment;
mod fields;
mod rank;
#[cfg(test)]
mod tests;
mod tokens;
mod view;
mod waits;
mod watch;

use std::{collections::HashMap, path::PathBuf, sync::Arc};

use prost::Message;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use uuid::Uuid;
use windlass_blobs::Store;
use windlass_core::{RunId, RunState, Stop};
use windlass_proto::api::v1::{
    CancelRunRequest, CancelRunResponse, CheckPipelineRequest, CheckPipelineResponse,
    CreateRunRequest, CreateRunResponse, DeleteRunRequest, DeleteRunResponse,
    DescribePipelineRequest, DescribePipelineResponse, GetPipelineSchemaRequest,
    GetPipelineSchemaResponse, GetRunRequest, GetRunResponse, ListRunsRequest, ListRunsResponse,
    PlanRunRequest, PlanRunResponse, RankRunsRequest, RankRunsResponse, RerunRunRequest,
    RerunRunResponse, WatchRunRequest, WatchRunResponse, run_service_server::RunService,
};

use self::{environment::Environments, watch::Watch};
use super::{
    compile_calls::{Compiler, Offered},
    find,
    status::{internal, invalid},
    streams::Streams,
};
use crate::{
    clock::Clock,
    config::Limits,
    engine::{Cancel, EngineError, EngineHandle},
    logs::Logs,
    store::{
        Readers, details, keys,
        listing::{self, Filter},
        names, runs,
        runs::RunRow,
    },
};

/// Runs on a page where the caller does not say.
const DEFAULT_PAGE: usize = 50;

/// Bytes of runs after which a page takes no more.
const MAX_PAGE_BYTES: usize = 1 << 20;

/// Most labels that a listing asks for.
const MAX_FILTER_LABELS: usize = 16;

/// Longest reason for a cancellation, in characters.
const MAX_REASON: usize = 1_000;

/// Longest text that names a run, in bytes.
const MAX_RUN_TEXT: usize = 512;

/// Serves `windlass.api.v1.RunService`.
pub(crate) struct RunsRpc {
    pub(super) engine: EngineHandle,
    pub(super) readers: Readers,
    pub(super) compiler: Compiler,
    pub(super) environments: Environments,
    pub(super) blobs: Store,
    pub(super) logs: Logs,
    pub(super) streams: Streams,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) limits: Limits,
    /// Where the disk must have space.
    pub(super) home: PathBuf,
}

impl RunsRpc {
    /// The run that `text` names.
    async fn resolve(&self, text: String) -> Result<RunRow, Status> {
        let text = run_text(text)?;
        let found = self.readers.read(move |conn| {
            let named = names::resolve(conn, &text)?;
            Ok(find::run(named, &text))
        });
        found.await?
    }

    /// The filter, and how many runs a page of it has.
    fn filter(&self, request: &ListRunsRequest) -> Result<(Filter, usize), Status> {
        let max = usize::try_from(self.limits.max_page_size).unwrap_or(usize::MAX);
        let size = match usize::try_from(request.page_size) {
            Ok(0) => DEFAULT_PAGE,
            Ok(size) if size <= max => size,
            Ok(_) | Err(_) => {
                return Err(invalid("page_size", format!("must be from 0 to {max}")));
            }
        };
        let mut states = Vec::new();
        for (place, code) in request.states.iter().enumerate() {
            let state = RunState::from_code(i64::from(*code))
                .ok_or_else(|| invalid(format!("states[{place}]"), "is no state of a run"))?;
            if !states.contains(&state) {
                states.push(state);
            }
        }
        let labels = filter_labels(request.labels.clone())?;
        let pipeline = Some(request.pipeline.clone()).filter(|pipeline| !pipeline.is_empty());
        Ok((Filter { pipeline, states, labels }, size))
    }
}

#[tonic::async_trait]
impl RunService for RunsRpc {
    async fn create_run(
        &self,
        request: Request<CreateRunRequest>,
    ) -> Result<Response<CreateRunResponse>, Status> {
        Ok(Response::new(Box::pin(self.create(request.into_inner())).await?))
    }

    async fn plan_run(
        &self,
        request: Request<PlanRunRequest>,
    ) -> Result<Response<PlanRunResponse>, Status> {
        let PlanRunRequest { source, params, substitutes } = request.into_inner();
        let (source, _) = fields::source(source)?;
        let offered = Offered {
            values: params.unwrap_or_default(),
            substitutes: substitutes.unwrap_or_default(),
            secrets: None,
        };
        let plan = self.compiler.compile(source, offered).await?.plan;
        Ok(Response::new(PlanRunResponse { plan: Some(plan) }))
    }

    async fn check_pipeline(
        &self,
        request: Request<CheckPipelineRequest>,
    ) -> Result<Response<CheckPipelineResponse>, Status> {
        let (source, _) = fields::source(request.into_inner().source)?;
        let errors = self.compiler.check(source).await?;
        Ok(Response::new(CheckPipelineResponse { errors }))
    }

    async fn describe_pipeline(
        &self,
        request: Request<DescribePipelineRequest>,
    ) -> Result<Response<DescribePipelineResponse>, Status> {
        let DescribePipelineRequest { source, module } = request.into_inner();
        if !module.is_empty() {
            let snapshot = source.unwrap_or_default().snapshot;
            return Ok(Response::new(self.compiler.functions(snapshot, module).await?));
        }
        let (source, _) = fields::source(source)?;
        Ok(Response::new(self.compiler.describe(source).await?))
    }

    async fn rank_runs(
        &self,
        request: Request<RankRunsRequest>,
    ) -> Result<Response<RankRunsResponse>, Status> {
        Ok(Response::new(self.rank(request.into_inner()).await?))
    }

    async fn get_pipeline_schema(
        &self,
        _: Request<GetPipelineSchemaRequest>,
    ) -> Result<Response<GetPipelineSchemaResponse>, Status> {
        Ok(Response::new(GetPipelineSchemaResponse { json_schema: Compiler::schema() }))
    }

    async fn get_run(
        &self,
        request: Request<GetRunRequest>,
    ) -> Result<Response<GetRunResponse>, Status> {
        let GetRunRequest { run: text, without_steps } = request.into_inner();
        let text = run_text(text)?;
        let read = self.readers.read(move |conn| view::read(conn, &text, !without_steps));
        let (mut run, bound) = read.await??;
        if let Some(bound) = bound {
            let blobs = self.blobs.clone();
            let completed = tokio::task::spawn_blocking(move || {
                view::complete(&mut run, &bound, &blobs);
                run
            });
            run = completed.await.map_err(|error| internal(&error))?;
        }
        if let Ok(id) = Uuid::try_parse(&run.run_id) {
            waits::explain(&self.engine, RunId(id), &mut run.steps).await;
        }
        Ok(Response::new(GetRunResponse { run: Some(run) }))
    }

    async fn list_runs(
        &self,
        request: Request<ListRunsRequest>,
    ) -> Result<Response<ListRunsResponse>, Status> {
        let request = request.into_inner();
        let (filter, size) = self.filter(&request)?;
        let read = self.readers.read(move |conn| {
            let key = keys::page_key(conn)?;
            let before = match tokens::read(&key, &filter, &request.page_token) {
                Ok(before) => before,
                Err(refused) => return Ok(Err(refused)),
            };
            let mut page = listing::page(conn, &filter, before, size)?;
            let (mut runs, mut bytes) = (Vec::with_capacity(page.rows.len()), 0);
            for (place, row) in page.rows.iter().enumerate() {
                let mut run = details::of_row(conn, row)?;
                run.environment_digests.clear();
                bytes += run.encoded_len();
                runs.push(run);
                if bytes > MAX_PAGE_BYTES && place + 1 < page.rows.len() {
                    page.next = Some(row.run);
                    break;
                }
            }
            let next = page.next.map(|run| tokens::make(&key, &filter, run));
            Ok(Ok(ListRunsResponse { runs, next_page_token: next.unwrap_or_default() }))
        });
        Ok(Response::new(read.await??))
    }

    type WatchRunStream = ReceiverStream<Result<WatchRunResponse, Status>>;

    async fn watch_run(
        &self,
        request: Request<WatchRunRequest>,
    ) -> Result<Response<Self::WatchRunStream>, Status> {
        let WatchRunRequest { run, after_sequence } = request.into_inner();
        let after = i64::try_from(after_sequence)
            .map_err(|_| invalid("after_sequence", "is beyond every sequence"))?;
        let run = self.resolve(run).await?.run;
        let (readers, engine) = (self.readers.clone(), self.engine.clone());
        let watch = Watch { run, after, readers, engine };
        Ok(Response::new(self.streams.start(move |items| watch.follow(items))))
    }

    async fn cancel_run(
        &self,
        request: Request<CancelRunRequest>,
    ) -> Result<Response<CancelRunResponse>, Status> {
        let CancelRunRequest { run, reason, force } = request.into_inner();
        let run = self.resolve(run).await?.run;
        let reason = reason.chars().filter(|c| !c.is_control()).take(MAX_REASON).collect();
        let how = if force { Stop::AtOnce } else { Stop::Politely };
        self.engine.cancel(Cancel { run, reason, how }).await?;
        Ok(Response::new(CancelRunResponse { run: Some(self.by_id(run).await?) }))
    }

    async fn rerun_run(
        &self,
        request: Request<RerunRunRequest>,
    ) -> Result<Response<RerunRunResponse>, Status> {
        Ok(Response::new(Box::pin(self.rerun(request.into_inner())).await?))
    }

    async fn delete_run(
        &self,
        request: Request<DeleteRunRequest>,
    ) -> Result<Response<DeleteRunResponse>, Status> {
        let text = request.into_inner().run;
        // Deleting twice is no error, so an id need not be there any more.
        let run = match Uuid::try_parse(&text) {
            Ok(id) => RunId(id),
            Err(_) => self.resolve(text).await?.run,
        };
        let live = self.readers.read(move |conn| {
            Ok(runs::get(conn, run)?.is_some_and(|row| !row.machine.state.is_terminal()))
        });
        if live.await? {
            return Err(EngineError::RunNotEnded(run).into());
        }
        // The logs first: as long as the run is there, its deletion can be asked for again.
        self.logs.delete_run(run).await.map_err(|error| internal(&error))?;
        self.engine.delete(run).await?;
        Ok(Response::new(DeleteRunResponse {}))
    }
}

/// Labels that a run must have, in order.
fn filter_labels(labels: HashMap<String, String>) -> Result<Vec<(String, String)>, Status> {
    if labels.len() > MAX_FILTER_LABELS {
        return Err(invalid("labels", format!("at most {MAX_FILTER_LABELS}")));
    }
    let mut labels: Vec<_> = labels.into_iter().collect();
    labels.sort_unstable();
    Ok(labels)
}

fn run_text(text: String) -> Result<String, Status> {
    if text.is_empty() || text.len() > MAX_RUN_TEXT {
        return Err(invalid("run", "must name a run: an id, a prefix of one, a name, or `@last`"));
    }
    Ok(text)
}
