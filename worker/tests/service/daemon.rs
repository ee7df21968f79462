//! A daemon in memory: gives leases, keeps what is reported, and can be told to misbehave.
use std::{
    collections::{HashMap, VecDeque},
    path::Path,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use prost_types::Duration as ProtoDuration;
use tokio::{
    net::UnixListener,
    runtime::Builder,
    sync::{Notify, mpsc, oneshot},
    time::timeout,
};
use tokio_stream::{
    Stream,
    wrappers::{ReceiverStream, UnixListenerStream},
};
use tonic::{Code, Request, Response, Status, Streaming, transport::Server};
use tonic_types::{ErrorDetails, StatusExt};
use windlass_proto::{
    common::v1::{AttemptRef, LogStream, MetricPoint},
    worker::v1::{
        worker_service_server::{WorkerService, WorkerServiceServer},
        *,
    },
};

/// How long a test waits for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Default)]
pub(crate) struct State {
    pub(crate) queue: VecDeque<Task>,
    pub(crate) leased: HashMap<Vec<u8>, AttemptLease>,
    next: u32,
    session: u32,
    pub(crate) opened: Vec<OpenSessionRequest>,
    pub(crate) polls: Vec<String>,
    pub(crate) reports: Vec<ReportAttemptRequest>,
    pub(crate) logs: HashMap<(AttemptRef, i32), Vec<u8>>,
    pub(crate) points: Vec<MetricPoint>,
    pub(crate) returned: Vec<LeaseProof>,
    pub(crate) closed: usize,
    /// Sent once, by the stream.
    directives: Vec<Directive>,
    /// What a new session is told about what is held.
    pub(crate) on_open: Option<directive::Action>,
    /// Polls and final reports that get an error although they took effect.
    pub(crate) lose_answers: usize,
    /// Calls answered with SESSION_FENCED.
    pub(crate) fence_calls: usize,
    /// Log bytes are taken, but not acknowledged.
    pub(crate) hold_acks: bool,
    poll_answers: HashMap<String, Vec<AttemptLease>>,
}

#[derive(Clone, Default)]
pub(crate) struct Daemon {
    state: Arc<Mutex<State>>,
    changed: Arc<Notify>,
    work: Arc<Notify>,
}

impl Daemon {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Serves on `socket` until the returned guard is dropped.
    pub(crate) fn listen(&self, socket: &Path) -> Listening {
        std::fs::remove_file(socket).ok();
        let listener = std::os::unix::net::UnixListener::bind(socket).unwrap();
        listener.set_nonblocking(true).unwrap();
        let service = WorkerServiceServer::new(self.clone());
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::spawn(|| {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let incoming = UnixListenerStream::new(UnixListener::from_std(listener).unwrap());
                let serving = Server::builder()
                    .initial_stream_window_size(4 << 20)
                    .initial_connection_window_size(8 << 20)
                    .serve_with_incoming(service, incoming);
                tokio::select! {
                    served = serving => served.unwrap(),
                    _ = stopped => {}
                }
            });
        });
        Listening { stop: Some(stop), thread: Some(thread) }
    }

    /// Queues a task and returns nothing yet: `ended` tells how it went.
    pub(crate) fn submit(&self, task: Task) {
        self.state().queue.push_back(task);
        self.work.notify_waiters();
    }

    pub(crate) fn direct(&self, lease: &LeaseProof, action: directive::Action) {
        let directive =
            Directive { lease: Some(lease.clone()), action: action.into(), reason: String::new() };
        self.state().directives.push(directive);
        self.changed.notify_waiters();
    }

    /// Waits until `find` finds something in the state.
    pub(crate) async fn wait<T>(&self, find: impl Fn(&State) -> Option<T>) -> T {
        let waiting = async {
            loop {
                let changed = self.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if let Some(found) = find(&self.state()) {
                    return found;
                }
                changed.await;
            }
        };
        match timeout(PATIENCE, waiting).await {
            Ok(found) => found,
            Err(_) => panic!("did not come; reports: {:#?}", self.state().reports),
        }
    }

    /// The `n`th final report, from 0.
    pub(crate) async fn end(&self, n: usize) -> ReportAttemptRequest {
        self.wait(|state| state.reports.iter().filter(|r| r.end.is_some()).nth(n).cloned()).await
    }

    /// The lease of the first attempt reported as running.
    pub(crate) async fn running(&self) -> LeaseProof {
        self.wait(|state| state.reports.iter().find(|r| r.end.is_none())?.lease.clone()).await
    }

    /// All of a log so far, of the first attempt.
    pub(crate) fn log(&self, report: &ReportAttemptRequest, stream: LogStream) -> Vec<u8> {
        let attempt = report.lease.clone().unwrap().attempt.unwrap();
        self.state().logs.get(&(attempt, stream.into())).cloned().unwrap_or_default()
    }

    fn check(&self, session: &str) -> Result<(), Status> {
        let mut state = self.state();
        if state.fence_calls > 0 {
            state.fence_calls -= 1;
            return Err(reason(Code::FailedPrecondition, "SESSION_FENCED"));
        }
        if session == state.session.to_string() {
            return Ok(());
        }
        Err(reason(Code::FailedPrecondition, "SESSION_FENCED"))
    }

    fn grant(&self, most: u32) -> Vec<AttemptLease> {
        let mut state = self.state();
        let mut leases = Vec::new();
        while leases.len() < most as usize {
            let Some(task) = state.queue.pop_front() else { break };
            state.next += 1;
            let attempt = AttemptRef {
                run_id: "01900000-0000-7000-8000-000000000000".into(),
                step: format!("step{}", state.next),
                attempt: 1,
            };
            let id = uuid::Uuid::new_v4().as_bytes().to_vec();
            let proof = LeaseProof { attempt: Some(attempt), lease_id: id.clone().into() };
            let lease = AttemptLease { lease: Some(proof), task: Some(task) };
            state.leased.insert(id, lease.clone());
            leases.push(lease);
        }
        leases
    }

    fn lost(&self) -> Result<(), Status> {
        let mut state = self.state();
        if state.lose_answers == 0 {
            return Ok(());
        }
        state.lose_answers -= 1;
        Err(Status::new(Code::DeadlineExceeded, "an answer is lost"))
    }
}

/// Serves as long as it lives; then every connection breaks.
pub(crate) struct Listening {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        drop(self.stop.take());
        self.thread.take().into_iter().for_each(|thread| thread.join().unwrap());
    }
}

fn reason(code: Code, reason: &str) -> Status {
    Status::with_error_details(code, reason, ErrorDetails::with_error_info(reason, "windlass", []))
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl WorkerService for Daemon {
    type WatchDirectivesStream = Answers<WatchDirectivesResponse>;
    type AppendLogsStream = Answers<AppendLogsResponse>;

    async fn open_session(
        &self,
        request: Request<OpenSessionRequest>,
    ) -> Result<Response<OpenSessionResponse>, Status> {
        let mut state = self.state();
        let request = request.into_inner();
        let action = state.on_open.unwrap_or(directive::Action::Continue);
        let directives = request.held.iter().map(|held| Directive {
            lease: held.lease.clone(),
            action: action.into(),
            reason: String::new(),
        });
        let directives = directives.collect();
        state.opened.push(request);
        state.session += 1;
        let session_id = state.session.to_string();
        drop(state);
        self.changed.notify_waiters();
        Ok(Response::new(OpenSessionResponse {
            session_id,
            heartbeat_interval: Some(ProtoDuration { seconds: 0, nanos: 200_000_000 }),
            directives,
            ..OpenSessionResponse::default()
        }))
    }

    async fn lease_attempts(
        &self,
        request: Request<LeaseAttemptsRequest>,
    ) -> Result<Response<LeaseAttemptsResponse>, Status> {
        let request = request.into_inner();
        loop {
            self.check(&request.session_id)?;
            let work = self.work.notified();
            tokio::pin!(work);
            work.as_mut().enable();
            let known = self.state().poll_answers.get(&request.poll_id).cloned();
            let leases = known.unwrap_or_else(|| self.grant(request.max_attempts));
            if !leases.is_empty() {
                let mut state = self.state();
                state.polls.push(request.poll_id.clone());
                state.poll_answers.insert(request.poll_id, leases.clone());
                drop(state);
                self.lost()?;
                self.changed.notify_waiters();
                return Ok(Response::new(LeaseAttemptsResponse { leases }));
            }
            work.await;
        }
    }

    async fn heartbeat(
        &self,
        request: Request<HeartbeatRequest>,
    ) -> Result<Response<HeartbeatResponse>, Status> {
        self.check(&request.get_ref().session_id)?;
        Ok(Response::new(HeartbeatResponse::default()))
    }

    async fn watch_directives(
        &self,
        request: Request<WatchDirectivesRequest>,
    ) -> Result<Response<Self::WatchDirectivesStream>, Status> {
        self.check(&request.get_ref().session_id)?;
        let (sender, receiver) = mpsc::channel(8);
        let daemon = self.clone();
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(async move {
            while !sender.is_closed() {
                let changed = daemon.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                let directives = std::mem::take(&mut daemon.state().directives);
                if !directives.is_empty() {
                    sender.send(Ok(WatchDirectivesResponse { directives })).await.ok();
                }
                changed.await;
            }
        });
        tasks.detach_all();
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn report_attempt(
        &self,
        request: Request<ReportAttemptRequest>,
    ) -> Result<Response<ReportAttemptResponse>, Status> {
        let request = request.into_inner();
        self.check(&request.session_id)?;
        let same = |known: &ReportAttemptRequest| {
            known.lease == request.lease && known.end.is_some() && request.end.is_some()
        };
        let repeated = self.state().reports.iter().any(same);
        if !repeated {
            self.state().reports.push(request.clone());
        }
        self.changed.notify_waiters();
        let mut leases = Vec::new();
        if request.lease_next > 0 {
            let known = self.state().poll_answers.get(&request.poll_id).cloned();
            leases = known.unwrap_or_else(|| self.grant(request.lease_next));
            self.state().poll_answers.insert(request.poll_id, leases.clone());
        }
        if request.end.is_some() {
            self.lost()?;
        }
        Ok(Response::new(ReportAttemptResponse { directive: None, leases }))
    }

    async fn append_logs(
        &self,
        request: Request<Streaming<AppendLogsRequest>>,
    ) -> Result<Response<Self::AppendLogsStream>, Status> {
        let mut chunks = request.into_inner();
        let (sender, receiver) = mpsc::channel(64);
        let daemon = self.clone();
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(async move {
            while let Ok(Some(chunk)) = chunks.message().await {
                let answer = daemon.append(chunk);
                let failed = answer.is_err();
                if !daemon.state().hold_acks {
                    sender.send(answer).await.ok();
                }
                if failed {
                    return;
                }
            }
        });
        tasks.detach_all();
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn report_metrics(
        &self,
        request: Request<ReportMetricsRequest>,
    ) -> Result<Response<ReportMetricsResponse>, Status> {
        let request = request.into_inner();
        self.check(&request.session_id)?;
        self.state().points.extend(request.points);
        self.changed.notify_waiters();
        Ok(Response::new(ReportMetricsResponse::default()))
    }

    async fn close_session(
        &self,
        request: Request<CloseSessionRequest>,
    ) -> Result<Response<CloseSessionResponse>, Status> {
        let mut state = self.state();
        state.returned.extend(request.into_inner().returned);
        state.closed += 1;
        drop(state);
        self.changed.notify_waiters();
        Ok(Response::new(CloseSessionResponse {}))
    }
}

impl Daemon {
    fn append(&self, chunk: AppendLogsRequest) -> Result<AppendLogsResponse, Status> {
        let attempt = chunk.lease.unwrap_or_default().attempt;
        let mut state = self.state();
        let log = state.logs.entry((attempt.clone().unwrap(), chunk.stream)).or_default();
        let offset = usize::try_from(chunk.offset).unwrap();
        if offset > log.len() {
            return Err(reason(Code::FailedPrecondition, "OFFSET_MISMATCH"));
        }
        let known = log.len() - offset;
        log.extend_from_slice(chunk.data.get(known..).unwrap_or_default());
        let durable_offset = i64::try_from(log.len()).unwrap();
        drop(state);
        self.changed.notify_waiters();
        Ok(AppendLogsResponse {
            attempt,
            stream: chunk.stream,
            durable_offset,
            refused: String::new(),
        })
    }
}
