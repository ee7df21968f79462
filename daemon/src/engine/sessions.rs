use std::collections::HashSet;

use tokio::sync::mpsc;
use windlass_core::{AttemptState, LeaseId, RunId, StepIndex, WorkerName};
use windlass_proto::worker::v1::Directive;

use super::{EngineError, Heartbeat, Held, OpenSession, Opened, Ordered, Proof, thread::Engine};
use crate::{
    fleet::{LEASE_TTL, MAX_WORKERS, Order, Seat, Session, SessionId},
    store::{attempts::AttemptKey, workers},
};

/// Directives that wait for a slow worker; what does not fit comes with the next heartbeat.
const WAITING_DIRECTIVES: usize = 256;

impl Engine {
    /// Opens a session and settles what the worker holds against what the record says.
    pub(super) fn open_session(&mut self, open: OpenSession) -> Result<Opened, EngineError> {
        let (now, wall) = (self.clock.monotonic(), self.clock.now());
        let OpenSession { worker, record, held } = open;
        if !self.fleet.seats.contains_key(&worker) && self.fleet.seats.len() >= MAX_WORKERS {
            return Err(EngineError::Limit { what: "workers", limit: MAX_WORKERS });
        }
        workers::save(self.writer.tx()?, &worker.0, &record, wall)?;
        self.batch.workers = true;
        let new = || Seat::new(record.clone(), false, wall);
        let seat = self.fleet.seats.entry(worker.clone()).or_insert_with(new);
        seat.describe(record);
        seat.seen = wall;
        let session = SessionId::new();
        let fenced = self.fleet.open(&worker, Session::new(session.clone(), now));
        if let Some(parked) = fenced.and_then(|session| session.parked) {
            self.batch.answer(parked.reply, Err(EngineError::SessionFenced));
        }
        let named: HashSet<LeaseId> = held.iter().map(|held| held.proof.lease).collect();
        let mut orders = Vec::with_capacity(held.len());
        for held in held {
            orders.push(self.renew(&worker, held)?);
        }
        self.settle_missing(&worker, &named)?;
        Ok(Opened { session, orders })
    }

    /// Ends what the record gives to the worker and the worker does not have: what it never
    /// started goes out again, the rest is lost.
    fn settle_missing(
        &mut self,
        worker: &WorkerName,
        named: &HashSet<LeaseId>,
    ) -> Result<(), EngineError> {
        let Some(seat) = self.fleet.seats.get(worker) else { return Ok(()) };
        let mut given: Vec<(RunId, StepIndex)> = seat.held().collect();
        given.sort_unstable();
        for (run, step) in given {
            let Some(live) = self.runs.get(&run) else { continue };
            let Some(held) = live.live.get(&step) else { continue };
            if named.contains(&held.lease) {
                continue;
            }
            let key = AttemptKey { run, step, attempt: held.attempt };
            if live.cell(step).started {
                self.lose(key, format!("worker `{worker}` came back without it"))?;
            } else {
                self.give_back(key)?;
            }
        }
        Ok(())
    }

    /// Renews one lease and says what to do with it.
    fn renew(&mut self, worker: &WorkerName, held: Held) -> Result<Ordered, EngineError> {
        let expires = self.clock.monotonic() + LEASE_TTL;
        let key = self.live_key(worker, &held.proof);
        let lease = key.and_then(|key| self.runs.get_mut(&key.run)?.live.get_mut(&key.step));
        let (Some(key), Some(lease)) = (key, lease) else {
            let reason = "the attempt is not this worker's any more".to_owned();
            return Ok(Ordered { proof: held.proof, order: Order::Abandon, reason });
        };
        lease.expires = expires;
        lease.acked = true;
        self.timers.lease(expires);
        if held.state == AttemptState::Running {
            self.start_attempt(key, None)?;
        }
        let order = self.order(key.run);
        let reason = self.runs.get(&key.run).filter(|_| order != Order::Continue);
        let reason = reason.map(|live| live.row.reason.clone()).unwrap_or_default();
        Ok(Ordered { proof: held.proof, order, reason })
    }

    /// Renews what a worker holds.
    pub(super) fn heartbeat(&mut self, beat: Heartbeat) -> Result<Vec<Ordered>, EngineError> {
        let (now, wall) = (self.clock.monotonic(), self.clock.now());
        let (worker, seat) = self.fleet.seat(&beat.session).ok_or(EngineError::SessionFenced)?;
        seat.seen = wall;
        if let Some(session) = &mut seat.session {
            session.last_seen = now;
        }
        beat.held.into_iter().map(|held| self.renew(&worker, held)).collect()
    }

    /// Gives the session's directives to a new listener; what stands out comes first.
    pub(super) fn watch_directives(
        &mut self,
        session: &SessionId,
    ) -> Result<mpsc::Receiver<Vec<Directive>>, EngineError> {
        let (to, directives) = mpsc::channel(WAITING_DIRECTIVES);
        let (_, seat) = self.fleet.seat(session).ok_or(EngineError::SessionFenced)?;
        if let Some(session) = &mut seat.session {
            session.directives = Some(to);
        }
        let held: Vec<(RunId, StepIndex)> = seat.held().collect();
        for (run, step) in held {
            if let Order::Stop(how) = self.order(run) {
                self.direct(run, step, how);
            }
        }
        Ok(directives)
    }

    /// Ends a session. What the worker returns and never started goes out again; the rest stays
    /// its until the leases expire.
    pub(super) fn close_session(
        &mut self,
        session: &SessionId,
        returned: &[Proof],
    ) -> Result<(), EngineError> {
        let worker = self.fleet.worker(session).ok_or(EngineError::SessionFenced)?;
        let keys = returned.iter().filter_map(|proof| self.live_key(worker, proof));
        for key in keys.collect::<Vec<_>>() {
            let live = self.runs.get(&key.run);
            if live.is_some_and(|live| !live.cell(key.step).started) {
                self.give_back(key)?;
            }
        }
        if let Some(parked) = self.fleet.close(session).and_then(|session| session.parked) {
            self.batch.answer(parked.reply, Err(EngineError::SessionFenced));
        }
        Ok(())
    }
}
