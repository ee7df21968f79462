//! A daemon that tells what it was told to tell.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
};

use tokio_stream::{Stream, StreamExt, iter, pending};
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_types::{ErrorDetails, StatusExt};
use windlass_proto::api::v1::{
    self, blob_service_server::BlobService, log_service_server::LogService,
    run_service_server::RunService,
};

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// What one call for a log is answered, message by message.
type Tail = Vec<Result<v1::TailLogsResponse, Status>>;

/// What the daemon knows, and what it was asked.
#[derive(Default)]
pub(super) struct State {
    /// Newest first.
    pub(super) runs: Vec<v1::Run>,
    /// Answers of one watch after the other; one without an error at its end stays open.
    pub(super) watches: VecDeque<Vec<Result<v1::WatchRunResponse, Status>>>,
    pub(super) watched_after: Vec<u64>,
    /// By step and attempt, one tail after the other.
    pub(super) logs: HashMap<(String, u32), VecDeque<Tail>>,
    pub(super) blobs: BTreeMap<String, Vec<u8>>,
    /// Digests in the order in which they came.
    pub(super) uploaded: Vec<String>,
    pub(super) created: Vec<v1::CreateRunRequest>,
    pub(super) cancelled: Vec<v1::CancelRunRequest>,
    pub(super) pages: Vec<i32>,
    /// Done whenever it is asked what is missing: what others do to the project meanwhile.
    pub(super) meddle: Option<Box<dyn FnMut() + Send>>,
    pub(super) mistakes: Vec<v1::PipelineError>,
    /// What pipelines ask of their caller; none: nobody may ask.
    pub(super) described: Option<v1::DescribePipelineResponse>,
    /// What a plan is.
    pub(super) plan: Option<windlass_proto::common::v1::Plan>,
    pub(super) planned: Vec<v1::PlanRunRequest>,
    pub(super) ranked: Vec<v1::RankRunsRequest>,
    pub(super) reran: Vec<v1::RerunRunRequest>,
    /// Runs that are created one after the other; none: the first of `runs` again and again.
    pub(super) coming: VecDeque<v1::Run>,
}

#[derive(Clone, Default)]
pub(super) struct Fake(Arc<Mutex<State>>);

impl Fake {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn find(&self, name: &str) -> Result<v1::Run, Status> {
        let state = self.state();
        let found = match name {
            "@last" => state.runs.first(),
            _ => state.runs.iter().find(|run| run.name == name || run.run_id == name),
        };
        found
            .cloned()
            .ok_or_else(|| refusal(Code::NotFound, "RUN_NOT_FOUND", &format!("no run `{name}`")))
    }
}

pub(super) fn refusal(code: Code, reason: &str, message: &str) -> Status {
    let details = ErrorDetails::with_error_info(reason, "windlass", []);
    Status::with_error_details(code, message, details)
}

fn told<T: Send + 'static>(answers: Vec<Result<T, Status>>) -> Response<Answers<T>> {
    let ends = answers.last().is_some_and(Result::is_err);
    let answers = iter(answers);
    let stream: Answers<T> =
        if ends { Box::pin(answers) } else { Box::pin(answers.chain(pending())) };
    Response::new(stream)
}

#[tonic::async_trait]
impl RunService for Fake {
    async fn create_run(
        &self,
        request: Request<v1::CreateRunRequest>,
    ) -> Result<Response<v1::CreateRunResponse>, Status> {
        let mut state = self.state();
        state.created.push(request.into_inner());
        if let Some(coming) = state.coming.pop_front() {
            state.runs.insert(0, coming);
        }
        let run = state.runs.first().cloned().map(|run| v1::Run { steps: vec![], ..run });
        Ok(Response::new(v1::CreateRunResponse { run, replayed: false }))
    }

    async fn plan_run(
        &self,
        request: Request<v1::PlanRunRequest>,
    ) -> Result<Response<v1::PlanRunResponse>, Status> {
        let mut state = self.state();
        state.planned.push(request.into_inner());
        Ok(Response::new(v1::PlanRunResponse { plan: state.plan.clone() }))
    }

    async fn check_pipeline(
        &self,
        _: Request<v1::CheckPipelineRequest>,
    ) -> Result<Response<v1::CheckPipelineResponse>, Status> {
        Ok(Response::new(v1::CheckPipelineResponse { errors: self.state().mistakes.clone() }))
    }

    async fn describe_pipeline(
        &self,
        _: Request<v1::DescribePipelineRequest>,
    ) -> Result<Response<v1::DescribePipelineResponse>, Status> {
        let described = self.state().described.clone();
        described.map(Response::new).ok_or_else(|| Status::unimplemented("describe"))
    }

    async fn rank_runs(
        &self,
        request: Request<v1::RankRunsRequest>,
    ) -> Result<Response<v1::RankRunsResponse>, Status> {
        let mut state = self.state();
        state.ranked.push(request.into_inner());
        Ok(Response::new(v1::RankRunsResponse { runs: state.runs.clone() }))
    }

    async fn get_pipeline_schema(
        &self,
        _: Request<v1::GetPipelineSchemaRequest>,
    ) -> Result<Response<v1::GetPipelineSchemaResponse>, Status> {
        Err(Status::unimplemented("schema"))
    }

    async fn get_run(
        &self,
        request: Request<v1::GetRunRequest>,
    ) -> Result<Response<v1::GetRunResponse>, Status> {
        let request = request.into_inner();
        let mut run = self.find(&request.run)?;
        if request.without_steps {
            run.steps.clear();
        }
        Ok(Response::new(v1::GetRunResponse { run: Some(run) }))
    }

    async fn list_runs(
        &self,
        request: Request<v1::ListRunsRequest>,
    ) -> Result<Response<v1::ListRunsResponse>, Status> {
        let request = request.into_inner();
        let mut state = self.state();
        state.pages.push(request.page_size);
        let from: usize = request.page_token.parse().unwrap_or_default();
        // Never more than two a page, so that listings have to turn it.
        let to = (from + 2.min(usize::try_from(request.page_size).unwrap())).min(state.runs.len());
        let next_page_token = if to < state.runs.len() { to.to_string() } else { String::new() };
        Ok(Response::new(v1::ListRunsResponse {
            runs: state.runs[from..to].to_vec(),
            next_page_token,
        }))
    }

    type WatchRunStream = Answers<v1::WatchRunResponse>;

    async fn watch_run(
        &self,
        request: Request<v1::WatchRunRequest>,
    ) -> Result<Response<Self::WatchRunStream>, Status> {
        let mut state = self.state();
        state.watched_after.push(request.into_inner().after_sequence);
        Ok(told(state.watches.pop_front().unwrap_or_default()))
    }

    async fn cancel_run(
        &self,
        request: Request<v1::CancelRunRequest>,
    ) -> Result<Response<v1::CancelRunResponse>, Status> {
        let request = request.into_inner();
        let run = self.find(&request.run)?;
        self.state().cancelled.push(request);
        Ok(Response::new(v1::CancelRunResponse { run: Some(run) }))
    }

    async fn rerun_run(
        &self,
        request: Request<v1::RerunRunRequest>,
    ) -> Result<Response<v1::RerunRunResponse>, Status> {
        self.state().reran.push(request.into_inner());
        Err(refusal(Code::ResourceExhausted, "LIMIT_EXCEEDED", "the note is too long"))
    }

    async fn delete_run(
        &self,
        request: Request<v1::DeleteRunRequest>,
    ) -> Result<Response<v1::DeleteRunResponse>, Status> {
        let id = request.into_inner().run;
        self.state().runs.retain(|run| run.run_id != id);
        Ok(Response::new(v1::DeleteRunResponse {}))
    }
}

#[tonic::async_trait]
impl LogService for Fake {
    async fn read_logs(
        &self,
        request: Request<v1::ReadLogsRequest>,
    ) -> Result<Response<v1::ReadLogsResponse>, Status> {
        let request = request.into_inner();
        let (stream, attempt) = (request.stream(), request.attempt.unwrap_or_default());
        let state = self.state();
        let tail = state.logs.get(&(attempt.step, attempt.attempt)).and_then(VecDeque::front);
        let mut data = Vec::new();
        for answer in tail.into_iter().flatten().flatten() {
            match &answer.item {
                Some(v1::tail_logs_response::Item::Chunk(chunk)) if chunk.stream() == stream => {
                    data.extend_from_slice(&chunk.data);
                }
                _ => {}
            }
        }
        Ok(Response::new(v1::ReadLogsResponse { data: data.into(), ..Default::default() }))
    }

    type TailLogsStream = Answers<v1::TailLogsResponse>;

    async fn tail_logs(
        &self,
        request: Request<v1::TailLogsRequest>,
    ) -> Result<Response<Self::TailLogsStream>, Status> {
        let attempt = request.into_inner().attempt.unwrap_or_default();
        let mut state = self.state();
        let tails = state.logs.get_mut(&(attempt.step, attempt.attempt));
        Ok(told(tails.and_then(VecDeque::pop_front).unwrap_or_else(|| vec![Ok(end())])))
    }

    type WatchMetricsStream = Answers<v1::WatchMetricsResponse>;

    async fn watch_metrics(
        &self,
        _: Request<v1::WatchMetricsRequest>,
    ) -> Result<Response<Self::WatchMetricsStream>, Status> {
        Err(Status::unimplemented("metrics"))
    }
}

#[tonic::async_trait]
impl BlobService for Fake {
    async fn find_missing(
        &self,
        request: Request<v1::FindMissingRequest>,
    ) -> Result<Response<v1::FindMissingResponse>, Status> {
        let mut state = self.state();
        if let Some(meddle) = &mut state.meddle {
            meddle();
        }
        let mut missing = request.into_inner().digests;
        missing.retain(|digest| !state.blobs.contains_key(digest));
        Ok(Response::new(v1::FindMissingResponse { missing }))
    }

    async fn upload_blobs(
        &self,
        request: Request<Streaming<v1::UploadBlobsRequest>>,
    ) -> Result<Response<v1::UploadBlobsResponse>, Status> {
        let mut chunks = request.into_inner();
        let mut digest = String::new();
        while let Some(chunk) = chunks.message().await? {
            let mut state = self.state();
            if !chunk.digest.is_empty() {
                digest = chunk.digest;
                state.uploaded.push(digest.clone());
            }
            state.blobs.entry(digest.clone()).or_default().extend_from_slice(&chunk.data);
        }
        let mut state = self.state();
        let unsound = |(digest, bytes): &(&String, &Vec<u8>)| {
            windlass_blobs::digest_of(bytes).to_string() != **digest
        };
        if let Some(digest) = state.blobs.iter().find(unsound).map(|(digest, _)| digest.clone()) {
            state.blobs.remove(&digest);
            let told = format!("expected blob {digest}, got another");
            return Err(refusal(Code::DataLoss, "BLOB_CORRUPT", &told));
        }
        drop(state);
        Ok(Response::new(v1::UploadBlobsResponse { stored: 0 }))
    }

    type DownloadBlobStream = Answers<v1::DownloadBlobResponse>;

    async fn download_blob(
        &self,
        request: Request<v1::DownloadBlobRequest>,
    ) -> Result<Response<Self::DownloadBlobStream>, Status> {
        let digest = request.into_inner().digest;
        let state = self.state();
        let blob = state.blobs.get(&digest).ok_or_else(|| {
            refusal(Code::NotFound, "BLOB_NOT_FOUND", &format!("no blob {digest}"))
        })?;
        let chunks: Vec<_> = blob
            .chunks(3)
            .map(|data| Ok(v1::DownloadBlobResponse { data: data.to_vec().into(), size_bytes: 0 }))
            .collect();
        Ok(Response::new(Box::pin(iter(chunks))))
    }
}

/// Bytes of a log.
pub(super) fn chunk(
    stream: windlass_proto::common::v1::LogStream,
    offset: i64,
    data: &'static str,
) -> v1::TailLogsResponse {
    let chunk = v1::LogChunk { stream: stream.into(), offset, data: data.into(), time: None };
    v1::TailLogsResponse { item: Some(v1::tail_logs_response::Item::Chunk(chunk)) }
}

/// The end of a log.
pub(super) fn end() -> v1::TailLogsResponse {
    v1::TailLogsResponse {
        item: Some(v1::tail_logs_response::Item::End(v1::LogEnd { size_bytes: 0 })),
    }
}
