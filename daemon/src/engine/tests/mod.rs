mod concurrency;
mod crash;
mod fleet;
mod flow;
mod measure;
mod repeats;
mod resources;
mod spread;
mod times;

use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, Mutex, atomic::AtomicI64, atomic::Ordering},
    time::Duration,
};

use uuid::Uuid;
use windlass_core::{AttemptState, RunId, RunState, StepPath, Timestamp, WorkerName};
use windlass_proto::api::v1::Run;
use windlass_proto::common::v1::{
    AttemptEnd, Output, PipelineSpec, Plan, PlannedStep, ShellAction, StepSpec, step_spec::Action,
};

use super::*;
use crate::{
    clock::Clock,
    fleet::{Order, SessionId},
    store::{
        Readers, details,
        records::{RunRecord, WorkerRecord},
    },
};

/// Longest a test waits for a fact.
const PATIENCE: Duration = Duration::from_secs(10);

/// A clock that the test moves.
#[derive(Default)]
struct TestClock {
    wall: AtomicI64,
    monotonic: AtomicI64,
}

impl TestClock {
    /// Moves both clocks.
    fn pass(&self, time: Duration) {
        let micros = i64::try_from(time.as_micros()).unwrap();
        self.wall.fetch_add(micros, Ordering::SeqCst);
        self.monotonic.fetch_add(micros, Ordering::SeqCst);
    }

    /// Moves the wall clock alone.
    fn jump(&self, secs: i64) {
        self.wall.fetch_add(secs * 1_000_000, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp(1_800_000_000_000_000 + self.wall.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        Duration::from_micros(self.monotonic.load(Ordering::SeqCst).try_into().unwrap())
    }
}

#[derive(Clone, Default)]
struct Ends(Arc<Mutex<Vec<AttemptEnded>>>);

impl EndSink for Ends {
    fn ended(&mut self, ended: AttemptEnded) {
        self.0.lock().unwrap().push(ended);
    }
}

/// An engine over a home of its own.
struct Rig {
    handle: EngineHandle,
    readers: Readers,
    clock: Arc<TestClock>,
    ends: Ends,
    thread: Option<EngineThread>,
}

impl Rig {
    fn open(home: &Path) -> Self {
        Self::open_at(home, Arc::default())
    }

    fn open_at(home: &Path, clock: Arc<TestClock>) -> Self {
        let ends = Ends::default();
        let database = home.join("windlass.db");
        let options = Options {
            database: database.clone(),
            blobs: windlass_blobs::Store::open(&home.join("blobs")).unwrap(),
            environments: home.join("env"),
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            ended: Box::new(ends.clone()),
        };
        let (handle, thread) = start(options).unwrap();
        Self { handle, readers: Readers::new(&database), clock, ends, thread: Some(thread) }
    }

    async fn stop(mut self) {
        self.handle.stop().await.unwrap();
        assert!(self.thread.take().unwrap().join());
    }

    async fn create(&self, plan: Plan) -> RunId {
        self.create_as(Uuid::new_v4(), plan).await.run
    }

    async fn create_as(&self, request: Uuid, plan: Plan) -> Created {
        let new = new_run(self.handle.new_run_id(), request, plan);
        self.handle.create(new).await.unwrap()
    }

    async fn worker(&self, name: &str, slots: i64) -> Worker<'_> {
        self.worker_with(name, slots, Vec::new()).await.0
    }

    async fn worker_with(
        &self,
        name: &str,
        slots: i64,
        held: Vec<Held>,
    ) -> (Worker<'_>, Vec<Ordered>) {
        self.worker_of(name, &[("slots", slots)], held).await
    }

    async fn worker_of(
        &self,
        name: &str,
        capacity: &[(&str, i64)],
        held: Vec<Held>,
    ) -> (Worker<'_>, Vec<Ordered>) {
        let capacity = capacity.iter().map(|(name, amount)| ((*name).to_owned(), *amount));
        let capacity = capacity.collect();
        let record = WorkerRecord { capacity, ..WorkerRecord::default() };
        let worker = WorkerName(name.into());
        let open = OpenSession { worker, record, held };
        let opened = self.handle.open_session(open).await.unwrap();
        (Worker { rig: self, session: opened.session }, opened.orders)
    }

    async fn run(&self, run: RunId) -> Run {
        self.readers
            .read(move |conn| {
                let mut found = details::run(conn, run)?.unwrap();
                let plan = details::plan(conn, run)?;
                let depth = details::Depth::Full;
                let reader = details::StepReader { conn, run, plan: &plan, depth };
                for row in crate::store::steps::changed(conn, run, (0, 0, 100_000))? {
                    found.steps.push(reader.step(&row)?);
                }
                Ok(found)
            })
            .await
            .unwrap()
    }

    async fn state(&self, run: RunId) -> RunState {
        RunState::from_code(self.run(run).await.state.into()).unwrap()
    }

    /// The states of the steps, in order of the plan.
    async fn states(&self, run: RunId) -> Vec<String> {
        let steps = self.run(run).await.steps;
        let word = |state: i32| windlass_core::StepState::from_code(state.into()).unwrap().word();
        steps.iter().map(|step| word(step.state).to_owned()).collect()
    }

    /// Waits until the engine has acted on the time as it is now.
    async fn settle(&self) {
        self.handle.workers().await.unwrap();
    }
}

/// A worker that does what the test says.
struct Worker<'a> {
    rig: &'a Rig,
    session: SessionId,
}

impl Worker<'_> {
    async fn poll(&self, max: u32) -> Vec<Arc<Grant>> {
        self.poll_as(&Uuid::new_v4().to_string(), max, Duration::ZERO).await.unwrap()
    }

    async fn poll_as(
        &self,
        poll: &str,
        max: u32,
        wait: Duration,
    ) -> Result<Vec<Arc<Grant>>, EngineError> {
        let (session, poll) = (self.session.clone(), poll.to_owned());
        self.rig.handle.poll(Poll { session, poll, max, wait }).await
    }

    async fn one(&self) -> Arc<Grant> {
        self.poll(1).await.pop().unwrap()
    }

    async fn report(&self, grant: &Grant, state: AttemptState) -> Result<Reported, EngineError> {
        self.rig.handle.report(self.said(grant, state)).await
    }

    async fn beat(&self, grants: &[&Grant]) -> Vec<Order> {
        let held = grants.iter().map(|grant| held(grant, AttemptState::Running)).collect();
        let beat = Heartbeat { session: self.session.clone(), held };
        let orders = self.rig.handle.heartbeat(beat).await.unwrap();
        orders.into_iter().map(|ordered| ordered.order).collect()
    }

    fn said(&self, grant: &Grant, state: AttemptState) -> Report {
        Report {
            session: self.session.clone(),
            proof: proof(grant),
            state,
            end: AttemptEnd::default(),
            log_sizes: [0; 3],
            outputs: Vec::new(),
            artifacts: Vec::new(),
            changes: String::new(),
            metrics: Vec::new(),
            calls: Vec::new(),
            argv: vec!["true".to_owned()],
            executor: "process".to_owned(),
            environment_digest: String::new(),
            lease_next: 0,
            poll: String::new(),
        }
    }

    /// Works until nothing is ready, asking for the next step with each report.
    async fn work(&self, mut grants: Vec<Arc<Grant>>) -> usize {
        let mut done = 0;
        while let Some(grant) = grants.pop() {
            let mut report = self.said(&grant, AttemptState::Succeeded);
            (report.lease_next, report.poll) = (1, Uuid::new_v4().to_string());
            grants.extend(self.rig.handle.report(report).await.unwrap().grants);
            done += 1;
        }
        done
    }
}

fn proof(grant: &Grant) -> Proof {
    let path: StepPath = grant.path.parse().unwrap();
    let (run, attempt, lease) = (grant.key.run, grant.key.attempt, grant.lease);
    Proof { run, path, attempt, lease, key: Some(grant.key) }
}

fn held(grant: &Grant, state: AttemptState) -> Held {
    Held { proof: proof(grant), state }
}

fn new_run(run: RunId, request: Uuid, plan: Plan) -> NewRun {
    let api = Run { labels: HashMap::from([("team".into(), "a".into())]), ..Run::default() };
    let record = RunRecord { run: Some(api), ..RunRecord::default() };
    NewRun::new((run, request), None, record, plan, None).unwrap()
}

/// A pipeline of shell steps `s0`, `s1`, … with these needs.
fn plan(needs: &[&[u32]]) -> Plan {
    let step = |(place, needs): (usize, &&[u32])| PlannedStep {
        spec: Some(StepSpec {
            name: format!("s{place}"),
            action: Some(Action::Run(ShellAction { script: "true".into() })),
            ..StepSpec::default()
        }),
        path: format!("s{place}"),
        needs: needs.to_vec(),
        ..PlannedStep::default()
    };
    let spec = Some(PipelineSpec { name: "churn".into(), ..PipelineSpec::default() });
    Plan { spec, steps: needs.iter().enumerate().map(step).collect(), ..Plan::default() }
}

fn chain(len: u32) -> Plan {
    let needs: Vec<Vec<u32>> =
        (0..len).map(|step| step.checked_sub(1).into_iter().collect()).collect();
    plan(&needs.iter().map(Vec::as_slice).collect::<Vec<_>>())
}

fn output(name: &str, byte: u8) -> Output {
    let digest = windlass_core::Digest([byte; 32]).to_string();
    Output { name: name.into(), digest, size_bytes: 1, codec: "json".into() }
}
