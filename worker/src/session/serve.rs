use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, interval, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use windlass_core::LeaseId;
use windlass_proto::{
    common::v1::{AttemptState, LogStream, MetricPoint},
    worker::v1::{
        CloseSessionRequest, HeartbeatRequest, LeaseProof, OpenSessionRequest,
        ReportAttemptRequest, ReportAttemptResponse, ReportMetricsRequest, WatchDirectivesRequest,
    },
};

use super::{
    Daemon, LogSizes, Refused,
    connect::connect,
    link::{Link, Reaction, Session, react},
    lock::WorkerLock,
    logs::Logs,
    poll::{PollId, Runner},
    registry::Registry,
    shipping::ship,
};
use crate::{
    Clock,
    attempt::{AttemptDir, Context, Found, From},
    executor::Executor,
};

/// Pauses between tries to reach the daemon.
const RETRY_FIRST: Duration = Duration::from_millis(5);
const RETRY_LAST: Duration = Duration::from_millis(250);

/// A worker that holds nothing and reaches no daemon for this long leaves.
const LONELY: Duration = Duration::from_secs(600);

/// Heartbeats where the daemon does not say, and how much longer than their interval they may take.
const HEARTBEAT: Duration = Duration::from_secs(2);
const HEARTBEAT_WAIT: Duration = Duration::from_secs(10);

/// The daemon says something on the stream of directives every 15 s.
const DIRECTIVES_SILENCE: Duration = Duration::from_secs(40);

/// How long saying goodbye may take.
const GOODBYE: Duration = Duration::from_secs(1);

/// Who this worker says it is.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) socket: PathBuf,
    /// When it is lost, so is the home.
    pub(crate) lock: Arc<WorkerLock>,
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) hostname: String,
    pub(crate) slots: u32,
    /// Amounts by name.
    pub(crate) capacity: BTreeMap<String, i64>,
    pub(crate) labels: BTreeMap<String, String>,
}

/// The session with the daemon, and everything that goes over it.
pub(crate) struct Service {
    identity: Identity,
    link: Link,
    session: watch::Sender<Option<Session>>,
    logs: Logs,
    registry: Arc<Registry>,
}

impl Service {
    pub(crate) fn new(identity: Identity, clock: Clock, executor: Arc<dyn Executor>) -> Arc<Self> {
        let (session, receiver) = watch::channel(None);
        let registry = Arc::new(Registry::new(identity.slots));
        let logs = Logs::new(clock, executor);
        Arc::new(Self { identity, link: Link::new(receiver), session, logs, registry })
    }

    /// Serves until `stop`, or until there is nothing to serve: takes up `found`, keeps a session
    /// open, polls and runs.
    pub(crate) async fn run(
        self: &Arc<Self>,
        context: Arc<Context>,
        found: Vec<Found>,
        stop: CancellationToken,
    ) {
        let (registry, link) = (Arc::clone(&self.registry), self.link.clone());
        let runner = Arc::new(Runner { context, registry, link, stop: stop.clone() });
        for attempt in found {
            if let Some(held) = self.registry.add(attempt.proof.clone(), attempt.lease) {
                held.set_started();
                held.set_state(AttemptState::Running);
                runner.begin_held(held, From::Found(attempt), self.registry.take_slot());
            }
        }
        tokio::select! {
            () = self.keep_session() => {}
            result = runner.poll() => if let Err(error) = result {
                tracing::error!(%error, "the daemon refuses to give work");
                stop.cancelled().await;
            },
            () = self.identity.lock.lost() => {
                tracing::warn!("the home was removed: leaving");
            }
            () = stop.cancelled() => {}
        }
        self.say_goodbye(&runner).await;
        stop.cancel();
    }

    /// Opens sessions, one after the other; returns when nobody needs one any more.
    async fn keep_session(&self) {
        loop {
            let Some((session, heartbeat)) = self.open().await else { return };
            self.session.send_replace(Some(session.clone()));
            let status = tokio::select! {
                status = self.beat(session.clone(), heartbeat) => status,
                status = self.watch_directives(session.clone()) => status,
                status = ship(&self.logs, session.clone()) => status,
                () = session.broken.cancelled() => Status::unavailable("a call failed"),
            };
            tracing::info!(%status, "session lost");
            session.broken.cancel();
            self.session.send_replace(None);
        }
    }

    /// Tries until a session is open; `None` where the daemon stays away.
    async fn open(&self) -> Option<(Session, Duration)> {
        let mut pause = RETRY_FIRST;
        let began = Instant::now();
        loop {
            // The daemon of a home made anew has a worker of its own, which is not to be fenced.
            if !self.identity.lock.is_ours() {
                return None;
            }
            match self.try_open().await {
                Ok(opened) => return Some(opened),
                Err(error) => tracing::debug!(%error, "no session yet"),
            }
            let lonely = began.elapsed() > LONELY && self.registry.is_empty();
            if lonely {
                tracing::info!("no daemon: leaving");
                return None;
            }
            sleep(pause).await;
            pause = (pause * 2).min(RETRY_LAST);
        }
    }

    async fn try_open(
        &self,
    ) -> Result<(Session, Duration), Box<dyn std::error::Error + Send + Sync>> {
        let mut client = connect(&self.identity.socket).await?;
        let Identity { name, version, hostname, capacity, labels, .. } = self.identity.clone();
        let request = OpenSessionRequest {
            worker: name,
            version,
            hostname,
            pid: std::process::id(),
            capacity: capacity.into_iter().collect(),
            labels: labels.into_iter().collect(),
            executors: vec!["process".to_owned()],
            held: self.registry.messages(),
        };
        let answer = client.open_session(request).await?.into_inner();
        self.registry.direct(&answer.directives);
        let heartbeat = answer.heartbeat_interval.and_then(|time| time.try_into().ok());
        let session = Session { id: answer.session_id, client, broken: CancellationToken::new() };
        Ok((session, heartbeat.unwrap_or(HEARTBEAT)))
    }

    /// Renews the leases; returns when that fails for good.
    async fn beat(&self, mut session: Session, every: Duration) -> Status {
        let mut ticks = interval(every);
        loop {
            ticks.tick().await;
            let request =
                HeartbeatRequest { session_id: session.id.clone(), held: self.registry.messages() };
            match timeout(HEARTBEAT_WAIT, session.client.heartbeat(request)).await {
                Ok(Ok(answer)) => self.registry.direct(&answer.into_inner().directives),
                Ok(Err(status)) if react(&status) == Reaction::Repeat => {}
                Ok(Err(status)) => return status,
                Err(_) => return Status::unavailable("a heartbeat was never answered"),
            }
        }
    }

    async fn watch_directives(&self, mut session: Session) -> Status {
        let request = WatchDirectivesRequest { session_id: session.id.clone() };
        let mut directives = match session.client.watch_directives(request).await {
            Ok(answer) => answer.into_inner(),
            Err(status) => return status,
        };
        loop {
            match timeout(DIRECTIVES_SILENCE, directives.message()).await {
                Ok(Ok(Some(answer))) => self.registry.direct(&answer.directives),
                Ok(Ok(None)) => return Status::unavailable("the stream of directives ended"),
                Ok(Err(status)) => return status,
                Err(_) => return Status::unavailable("the stream of directives fell silent"),
            }
        }
    }

    /// Gives back what never started and closes the session. What runs is left to the keeper.
    async fn say_goodbye(&self, runner: &Runner) {
        let returned: Vec<LeaseProof> =
            self.registry.not_started().iter().map(|held| held.proof.clone()).collect();
        runner.stop.cancel();
        let session = self.session.borrow().clone();
        if let Some(mut session) = session {
            let request = CloseSessionRequest { session_id: session.id.clone(), returned };
            if !matches!(timeout(GOODBYE, session.client.close_session(request)).await, Ok(Ok(_))) {
                tracing::debug!("the daemon did not hear the goodbye");
            }
        }
    }
}

#[tonic::async_trait]
impl Daemon for Service {
    async fn report(
        &self,
        request: ReportAttemptRequest,
    ) -> Result<ReportAttemptResponse, Refused> {
        let poll = PollId::default();
        let ask = |mut session: Session| {
            let mut request = request.clone();
            request.session_id.clone_from(&session.id);
            if request.lease_next > 0 {
                request.poll_id = poll.on(&session.id);
            }
            async move { Ok(session.client.report_attempt(request).await?.into_inner()) }
        };
        self.link.call(ask).await
    }

    async fn report_metrics(
        &self,
        proof: &LeaseProof,
        points: &[MetricPoint],
    ) -> Result<(), Refused> {
        let ask = |mut session: Session| {
            let request = ReportMetricsRequest {
                session_id: session.id.clone(),
                lease: Some(proof.clone()),
                points: points.to_vec(),
            };
            async move { session.client.report_metrics(request).await.map(drop) }
        };
        self.link.call(ask).await
    }

    fn log_open(&self, proof: &LeaseProof, lease: LeaseId, dir: &AttemptDir) {
        self.logs.open(proof, lease, dir.root());
    }

    fn log_grew(&self, lease: LeaseId, stream: LogStream, size: u64) {
        self.logs.grew(lease, stream, size);
    }

    async fn log_settled(&self, lease: LeaseId, sizes: LogSizes) {
        self.logs.settled(lease, sizes).await;
    }

    fn log_close(&self, lease: LeaseId) {
        self.logs.close(lease);
    }
}
