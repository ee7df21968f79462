use uuid::Uuid;
use windlass_core::{
    AttemptState, Event, Failure, Outcome, StepIndex, StepState, Timestamp, WorkerName,
};
use windlass_proto::common::v1::{AttemptEnd, EndReason};
use windlass_proto::{timestamp, to_timestamp};

use super::{
    AttemptEnded, EngineError, Proof, Report, Reported,
    live::{LiveRun, StepResult},
    thread::Engine,
};
use crate::{
    fleet::Order,
    store::{
        attempts::{self, AttemptKey, Ending},
        details,
        records::{AttemptRecord, CallList},
        results,
    },
};

/// Longest first line of a failure that is told with the run, in characters.
const MAX_REASON: usize = 200;

impl Engine {
    /// Takes in that an attempt runs or how it ended, and grants what the worker asks for next.
    pub(super) fn report(&mut self, mut report: Report) -> Result<Reported, EngineError> {
        let worker = self.fleet.worker(&report.session).cloned();
        let worker = worker.ok_or(EngineError::SessionFenced)?;
        let now = self.clock.monotonic();
        if let Some(session) =
            self.fleet.seats.get_mut(&worker).and_then(|seat| seat.session.as_mut())
        {
            session.last_seen = now;
        }
        let Some(key) = self.live_key(&worker, &report.proof) else {
            return self.report_again(&report);
        };
        if report.state.is_terminal() {
            self.end_attempt(key, &mut report)?;
        } else {
            self.start_attempt(key, report.end.start_time.as_ref().map(to_timestamp))?;
            let order = self.order(key.run);
            return Ok(Reported { order, grants: Vec::new() });
        }
        let grants = match self.answered(&report.session, &report.poll) {
            Some(grants) => grants,
            None => {
                self.open_gates()?;
                self.grant(&worker, report.lease_next)?
            }
        };
        if !report.poll.is_empty() && !grants.is_empty() {
            self.batch.polls.push((report.session, report.poll, grants.clone()));
        }
        Ok(Reported { order: Order::Continue, grants })
    }

    /// Answers a report of an attempt that is not live: like the first time, where the same lease
    /// has ended it.
    fn report_again(&mut self, report: &Report) -> Result<Reported, EngineError> {
        let proof = &report.proof;
        let key = self.stored_key(proof)?.ok_or(EngineError::LeaseFenced)?;
        let stored = attempts::get(self.writer.read(), key)?;
        let same = stored.is_some_and(|row| {
            row.lease == proof.lease && row.state.is_terminal() && row.state != AttemptState::Lost
        });
        if !same || !report.state.is_terminal() {
            return Err(EngineError::LeaseFenced);
        }
        let grants = self.answered(&report.session, &report.poll).unwrap_or_default();
        Ok(Reported { order: Order::Continue, grants })
    }

    /// The attempt of a proof, where `worker` has a live lease of it.
    pub(super) fn live_key(&self, worker: &WorkerName, proof: &Proof) -> Option<AttemptKey> {
        let key = proof.key?;
        let held = self.runs.get(&key.run)?.held(key, proof.lease)?;
        (held.worker == *worker).then_some(key)
    }

    /// The attempt that a proof names, live or not.
    fn stored_key(&self, proof: &Proof) -> Result<Option<AttemptKey>, EngineError> {
        let (run, attempt) = (proof.run, proof.attempt);
        let key = |step| AttemptKey { run, step, attempt };
        if let Some(live) = self.runs.get(&run) {
            return Ok(live.find(proof.path.as_str()).map(key));
        }
        let conn = self.writer.read();
        if crate::store::runs::get(conn, run)?.is_none() {
            return Ok(None);
        }
        let plan = details::plan(conn, run)?;
        let step = crate::store::steps::at_path(conn, (run, &plan), proof.path.as_str())?;
        Ok(step.map(key))
    }

    /// Writes that an attempt runs, the first time.
    pub(super) fn start_attempt(
        &mut self,
        key: AttemptKey,
        start: Option<Timestamp>,
    ) -> Result<(), EngineError> {
        let now = self.clock.now();
        let AttemptKey { run, step, attempt } = key;
        let started = self.runs.get(&run).is_none_or(|live| live.cell(step).started);
        if !started {
            attempts::start(self.writer.tx()?, key, start.unwrap_or(now))?;
            self.apply(run, Event::Started { step, attempt }, now);
        }
        Ok(())
    }

    fn end_attempt(&mut self, key: AttemptKey, report: &mut Report) -> Result<(), EngineError> {
        let now = self.clock.now();
        let points = std::mem::take(&mut report.metrics);
        self.add_last_points(key, points)?;
        let tx = self.writer.tx()?;
        results::insert_outputs(tx, key, &report.outputs)?;
        results::insert_artifacts(tx, key, &report.artifacts)?;
        let mut end = std::mem::take(&mut report.end);
        end.end_time.get_or_insert_with(|| timestamp(now));
        let message = end.message.clone();
        let [stdout_size, stderr_size, system_size] = report.log_sizes;
        let ending = Ending {
            state: report.state,
            start: end.start_time.as_ref().map(to_timestamp),
            record: AttemptRecord {
                end: Some(end),
                argv: std::mem::take(&mut report.argv),
                executor: std::mem::take(&mut report.executor),
                environment_digest: std::mem::take(&mut report.environment_digest),
                changes: report.changes.clone(),
                stdout_size,
                stderr_size,
                system_size,
            },
            calls: CallList { calls: std::mem::take(&mut report.calls) },
        };
        attempts::end(tx, key, &ending)?;
        if report.state == AttemptState::Succeeded {
            let outputs = std::mem::take(&mut report.outputs);
            let changes = std::mem::take(&mut report.changes);
            if let Some(live) = self.runs.get_mut(&key.run) {
                live.keep_result(key.step, StepResult { outputs, changes });
            }
        }
        self.conclude(key, report.state, &message, Some(report.log_sizes));
        Ok(())
    }

    /// Ends an attempt of which nobody will say more.
    pub(super) fn lose(&mut self, key: AttemptKey, why: String) -> Result<(), EngineError> {
        let end = AttemptEnd {
            reason: EndReason::Lost.into(),
            message: why.clone(),
            end_time: Some(timestamp(self.clock.now())),
            ..AttemptEnd::default()
        };
        let state = AttemptState::Lost;
        let record = AttemptRecord { end: Some(end), ..AttemptRecord::default() };
        let ending = Ending { state, start: None, record, calls: CallList::default() };
        attempts::end(self.writer.tx()?, key, &ending)?;
        self.conclude(key, state, &why, None);
        Ok(())
    }

    /// Ends an attempt that was granted and cannot be handed out.
    pub(super) fn fail_start(&mut self, key: AttemptKey, why: String) -> Result<(), EngineError> {
        let end = AttemptEnd {
            reason: EndReason::StartError.into(),
            message: why.clone(),
            end_time: Some(timestamp(self.clock.now())),
            ..AttemptEnd::default()
        };
        let state = AttemptState::Failed;
        let record = AttemptRecord { end: Some(end), ..AttemptRecord::default() };
        let ending = Ending { state, start: None, record, calls: CallList::default() };
        attempts::end(self.writer.tx()?, key, &ending)?;
        self.conclude(key, state, &why, Some([0; 3]));
        Ok(())
    }

    /// Ends a granted attempt that its lease's holder cannot get. Late calls change nothing.
    pub(super) fn refuse_grant(
        &mut self,
        key: AttemptKey,
        lease: windlass_core::LeaseId,
        why: String,
    ) -> Result<(), EngineError> {
        let live = self.runs.get(&key.run).is_some_and(|run| run.held(key, lease).is_some());
        if live { self.fail_start(key, why) } else { Ok(()) }
    }

    /// Lets the machine decide what follows from an attempt's end.
    fn conclude(
        &mut self,
        key: AttemptKey,
        state: AttemptState,
        message: &str,
        log_sizes: Option<[i64; 3]>,
    ) {
        let now = self.clock.now();
        self.release(key);
        self.batch.ended.push(AttemptEnded { key, log_sizes });
        let AttemptKey { run, step, attempt } = key;
        let event = Event::Ended { step, attempt, outcome: outcome(state), jitter: jitter() };
        self.apply(run, event, now);
        if let Some(live) = self.runs.get_mut(&run)
            && live.cell(step).state == StepState::Failed
        {
            live.blame(step, message);
        }
    }

    /// What the holder of an attempt of `run` is to do.
    pub(super) fn order(&self, run: windlass_core::RunId) -> Order {
        let cancel = self.runs.get(&run).and_then(|live| live.machine.run().cancel);
        cancel.map_or(Order::Continue, Order::Stop)
    }
}

impl LiveRun {
    /// Tells with the run why a step failed, where that is its first failure.
    pub(super) fn blame(&mut self, step: StepIndex, message: &str) {
        if !self.row.reason.is_empty() {
            return;
        }
        let path = self.path(step);
        self.row.reason = match first_line(message).as_str() {
            "" => format!("step `{path}` failed"),
            line => format!("step `{path}` failed: {line}"),
        };
        self.run_dirty = true;
    }

    /// Keeps what a step left, where it left anything.
    pub(super) fn keep_result(&mut self, step: StepIndex, result: StepResult) {
        if !result.outputs.is_empty() || !result.changes.is_empty() {
            self.results.insert(step, result);
        }
    }
}

/// The first line of a message, cut short.
fn first_line(message: &str) -> String {
    message.lines().next().unwrap_or_default().chars().take(MAX_REASON).collect()
}

fn outcome(state: AttemptState) -> Outcome {
    match state {
        AttemptState::Succeeded => Outcome::Succeeded,
        AttemptState::Failed => Outcome::Failed(Failure::Exit),
        AttemptState::TimedOut => Outcome::Failed(Failure::Timeout),
        AttemptState::Oom => Outcome::Failed(Failure::Oom),
        AttemptState::Cancelled => Outcome::Cancelled,
        AttemptState::Lost | AttemptState::Leased | AttemptState::Running => {
            Outcome::Failed(Failure::Lost)
        }
    }
}

/// A random number in 0..1.
fn jitter() -> f64 {
    let (random, _) = Uuid::new_v4().as_u64_pair();
    f64::from(u32::try_from(random >> 32).unwrap_or_default()) / f64::from(u32::MAX)
}
