use std::{sync::Arc, time::Duration};

use prost::Message;
use windlass_core::{
    AttemptNumber, AttemptState, Event, ReadyStep, RunId, StepIndex, StepState, Stop, WorkerName,
};
use windlass_proto::worker::v1::{Directive, LeaseProof, directive::Action};

use super::{
    EngineError, Grant, Poll, Reply,
    args::Found,
    inputs,
    live::{LiveAttempt, LiveRun},
    thread::Engine,
};
use crate::{
    fleet::{LEASE_TTL, LeaseEntry, Parked, SessionId, UNREACHABLE_AFTER, new_lease},
    store::{
        attempts::{self, AttemptKey, AttemptRow},
        records::EntryRecord,
    },
};

/// Most leases in one answer.
const MAX_GRANTS: u32 = 256;

/// Longest task, in bytes: with what is in an answer before it, it fits into one message.
pub(super) const MAX_TASK_BYTES: usize = 5 << 19;

/// Bytes of tasks in one answer after which no further lease is added.
const MAX_GRANT_BYTES: usize = 1 << 20;

impl Engine {
    /// Answers a poll at once where there is work or no time to wait, else parks it.
    pub(super) fn poll(
        &mut self,
        poll: Poll,
        reply: Reply<Vec<Arc<Grant>>>,
    ) -> Result<(), EngineError> {
        let now = self.clock.monotonic();
        let Some((_, seat)) = self.fleet.seat(&poll.session) else {
            self.batch.answer(reply, Err(EngineError::SessionFenced));
            return Ok(());
        };
        if let Some(session) = &mut seat.session {
            session.last_seen = now;
        }
        if let Some(grants) = self.answered(&poll.session, &poll.poll) {
            self.batch.answer(reply, Ok(grants));
            return Ok(());
        }
        let (session, deadline) = (poll.session.clone(), now + poll.wait);
        let parked = Parked { poll: poll.poll, max: poll.max, deadline, reply, turn: 0 };
        if let Some(old) = self.fleet.park(&session, parked) {
            self.batch.answer(old.reply, Ok(Vec::new()));
        }
        Ok(())
    }

    /// The live leases that a poll was answered with, if it was.
    pub(super) fn answered(&self, session: &SessionId, poll: &str) -> Option<Vec<Arc<Grant>>> {
        if poll.is_empty() {
            return None;
        }
        let in_batch = self.batch.polls.iter().find(|(of, id, _)| of == session && id == poll);
        let name = self.fleet.worker(session)?;
        let remembered = self.fleet.seats.get(name)?.session.as_ref()?.answer(poll);
        let grants = in_batch.map(|(_, _, grants)| grants.as_slice()).or(remembered)?;
        let live = |grant: &&Arc<Grant>| {
            let run = self.runs.get(&grant.key.run);
            run.is_some_and(|run| run.held(grant.key, grant.lease).is_some())
        };
        Some(grants.iter().filter(live).cloned().collect())
    }

    /// Gives what is ready to those who wait, the longest waiting first.
    pub(super) fn serve_polls(&mut self) -> Result<(), EngineError> {
        if self.queue.is_empty() || !self.fleet.anyone_waits() {
            return Ok(());
        }
        for name in self.fleet.waiting() {
            let seat = self.fleet.seats.get(&name);
            let Some(session) = seat.and_then(|seat| seat.session.as_ref()) else { continue };
            let Some(parked) = &session.parked else { continue };
            if parked.reply.is_closed() {
                self.fleet.unpark(&name);
                continue;
            }
            // It may be dead: what it were given would be lost.
            if session.last_seen + UNREACHABLE_AFTER < self.clock.monotonic() {
                continue;
            }
            let (id, max) = (session.id.clone(), parked.max);
            let grants = self.grant(&name, max)?;
            if !grants.is_empty()
                && let Some(parked) = self.fleet.unpark(&name)
            {
                self.batch.polls.push((id, parked.poll, grants.clone()));
                self.batch.answer(parked.reply, Ok(grants));
            }
            if self.queue.is_empty() {
                break;
            }
        }
        Ok(())
    }

    /// Gives a worker at most `max` of what is ready, as far as its slots go.
    pub(super) fn grant(
        &mut self,
        worker: &WorkerName,
        max: u32,
    ) -> Result<Vec<Arc<Grant>>, EngineError> {
        let mut grants = Vec::new();
        let mut bytes = 0;
        for _ in 0..max.min(MAX_GRANTS) {
            let Some(seat) = self.fleet.seats.get(worker).filter(|seat| !seat.draining) else {
                break;
            };
            let taken = self.queue.take(&seat.free(), seat.capacity());
            let Some((run, ready)) = taken else { break };
            if let Some(grant) = self.grant_one(worker, run, ready)? {
                let size = grant.size();
                if size > MAX_TASK_BYTES {
                    let told = format!(
                        "its arguments and environment are {size} bytes, more than {MAX_TASK_BYTES}; \
                         hand large values on as outputs or files"
                    );
                    self.fail_start(grant.key, told)?;
                    continue;
                }
                bytes += size;
                grants.push(grant);
            }
            if bytes > MAX_GRANT_BYTES {
                break;
            }
        }
        Ok(grants)
    }

    fn grant_one(
        &mut self,
        worker: &WorkerName,
        run: RunId,
        ready: ReadyStep,
    ) -> Result<Option<Arc<Grant>>, EngineError> {
        let (now, wall) = (self.clock.monotonic(), self.clock.now());
        let step = ready.step;
        let is_ready = |state| state == StepState::Ready;
        if !self.runs.get(&run).is_some_and(|live| is_ready(live.cell(step).state)) {
            return Ok(None);
        }
        self.apply(run, Event::Granted { step }, wall);
        let Some(live) = self.runs.get_mut(&run) else { return Ok(None) };
        let attempt = AttemptNumber(live.cell(step).attempt);
        let (key, lease) = (AttemptKey { run, step, attempt }, new_lease());
        let expires = now + LEASE_TTL;
        let held = LiveAttempt {
            attempt,
            lease,
            worker: worker.clone(),
            expires,
            acked: false,
            metrics: None,
        };
        live.live.insert(step, held);
        let row = AttemptRow {
            key,
            state: AttemptState::Leased,
            lease,
            worker: worker.to_string(),
            lease_time: wall,
            start: None,
            record: None,
        };
        attempts::insert(self.writer.tx()?, &row)?;
        let reduces = inputs::reduces(live, step);
        let found = inputs::arguments(live, step, reduces);
        let mut given = inputs::collect(live, step, &found, reduces);
        if !reduces && live.finds_arguments(step) {
            keep_found(live, step, &found);
        }
        let failed = inputs::failed_need(live, step);
        let (shared, path) = (Arc::clone(&live.shared), live.path(step));
        let template = live.machine.key(step).map_or(step, |key| key.template);
        if let Some(failed) = failed {
            given.env = self.failure_variables(run, failed)?;
        }
        self.batch.new_leases.push((lease, LeaseEntry { key, path: path.as_str().into() }));
        self.timers.lease(expires);
        if let Some(seat) = self.fleet.seats.get_mut(worker) {
            seat.hold((run, step), ready.need);
        }
        Ok(Some(Arc::new(Grant { key, lease, run: shared, template, path, reduces, given })))
    }

    /// What a failure handler is told of the step that failed.
    fn failure_variables(
        &self,
        run: RunId,
        failed: StepIndex,
    ) -> Result<Vec<(String, String)>, EngineError> {
        let Some(live) = self.runs.get(&run) else { return Ok(Vec::new()) };
        let attempt = AttemptNumber(live.cell(failed).attempt);
        let row = attempts::get(self.writer.read(), AttemptKey { run, step: failed, attempt })?;
        let end = row.and_then(|row| row.record).and_then(|record| record.end);
        let reason = end.map(|end| end.message).filter(|message| !message.is_empty());
        let reason = reason.or_else(|| live.reasons.get(&failed).cloned());
        Ok(vec![
            ("WINDLASS_FAILED_STEP".to_owned(), live.path(failed)),
            ("WINDLASS_FAILED_REASON".to_owned(), reason.unwrap_or_default()),
        ])
    }

    /// Ends the hold of a worker on an attempt.
    pub(super) fn release(&mut self, key: AttemptKey) -> Option<LiveAttempt> {
        let live = self.runs.get_mut(&key.run)?.live.remove(&key.step)?;
        if let Some(seat) = self.fleet.seats.get_mut(&live.worker) {
            seat.release((key.run, key.step));
        }
        self.batch.gone_leases.push(live.lease);
        Some(live)
    }

    /// Takes an attempt back that its worker never started.
    pub(super) fn give_back(&mut self, key: AttemptKey) -> Result<(), EngineError> {
        self.release(key);
        attempts::remove(self.writer.tx()?, key)?;
        let now = self.clock.now();
        let AttemptKey { run, step, attempt } = key;
        self.apply(run, Event::GivenBack { step, attempt }, now);
        Ok(())
    }

    /// Tells the worker of an attempt to end it.
    pub(super) fn direct(&mut self, run: RunId, step: StepIndex, how: Stop) {
        let Some(live) = self.runs.get(&run) else { return };
        let Some(held) = live.live.get(&step) else { return };
        let seat = self.fleet.seats.get(&held.worker);
        let session = seat.and_then(|seat| seat.session.as_ref());
        let Some(to) = session.and_then(|session| session.directives.clone()) else { return };
        let action = match how {
            Stop::Politely => Action::Stop,
            Stop::AtOnce => Action::Kill,
        };
        let attempt = windlass_proto::common::v1::AttemptRef {
            run_id: run.to_string(),
            step: live.path(step),
            attempt: held.attempt.0,
        };
        let lease_id = held.lease.0.to_vec().into();
        let lease = Some(LeaseProof { attempt: Some(attempt), lease_id });
        let reason = live.row.reason.clone();
        self.batch.directives.push((to, Directive { lease, action: action.into(), reason }));
    }

    /// Ends what expired: lost, or given back where the worker lives and never named it.
    pub(super) fn expire(&mut self, now: Duration) -> Result<(), EngineError> {
        self.timers.leases = None;
        let mut due = Vec::new();
        for (run, live) in &self.runs {
            for (step, held) in &live.live {
                if held.expires > now {
                    self.timers.lease(held.expires);
                    continue;
                }
                let attempt = held.attempt;
                let key = AttemptKey { run: *run, step: *step, attempt };
                let taken = held.acked || live.cell(*step).started;
                due.push((key, taken, held.worker.clone()));
            }
        }
        for (key, taken, worker) in due {
            let session = self.fleet.seats.get(&worker).and_then(|seat| seat.session.as_ref());
            let alive = session.is_some_and(|session| session.last_seen + LEASE_TTL > now);
            let secs = LEASE_TTL.as_secs();
            match (alive, taken) {
                (true, false) => self.give_back(key)?,
                (true, true) => {
                    let why = format!("worker `{worker}` has not named it for {secs} s");
                    self.lose(key, why)?;
                }
                (false, _) => {
                    self.lose(key, format!("worker `{worker}` was silent for {secs} s"))?;
                }
            }
        }
        Ok(())
    }
}

impl Grant {
    /// About how many bytes its task has.
    fn size(&self) -> usize {
        let given = &self.given;
        self.run.weight(self.template)
            + given.inputs.iter().map(Message::encoded_len).sum::<usize>()
            + given.args.iter().map(Message::encoded_len).sum::<usize>()
            + given.layers.iter().map(String::len).sum::<usize>()
    }
}

/// Keeps the arguments of an attempt, which the plan does not hold.
fn keep_found(live: &mut LiveRun, step: StepIndex, found: &[(String, Found)]) {
    let args = found.iter().map(|(name, found)| found.to_record(name)).collect();
    live.entries.insert(step, Arc::new(EntryRecord { args, items: Vec::new() }));
    live.new_entries.push(step);
}
