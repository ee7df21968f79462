use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use tokio::sync::mpsc;
use windlass_core::{RunId, StepIndex, Timestamp, WorkerName};
use windlass_proto::worker::v1::Directive;

use super::SessionId;
use crate::{
    engine::{Grant, Reply},
    store::records::WorkerRecord,
};

/// Answered polls that a session remembers, so that a repeat gets the same leases.
const REMEMBERED_POLLS: usize = 64;

/// Slots of a worker that names none.
const DEFAULT_SLOTS: u32 = 1;

/// Most slots that count of one worker.
const MAX_SLOTS: u32 = 10_000;

/// A poll that waits for work.
pub(crate) struct Parked {
    pub(crate) poll: String,
    pub(crate) max: u32,
    /// By the monotonic clock; then it is answered with nothing.
    pub(crate) deadline: Duration,
    pub(crate) reply: Reply<Vec<Arc<Grant>>>,
    /// Its place among the parked polls of all workers.
    pub(crate) turn: u64,
}

/// A worker's connection in the abstract: it lives through reconnects.
pub(crate) struct Session {
    pub(crate) id: SessionId,
    /// By the monotonic clock.
    pub(crate) last_seen: Duration,
    pub(crate) parked: Option<Parked>,
    pub(crate) directives: Option<mpsc::Sender<Vec<Directive>>>,
    answers: VecDeque<(String, Vec<Arc<Grant>>)>,
}

impl Session {
    /// A session that begins now.
    pub(crate) fn new(id: SessionId, now: Duration) -> Self {
        Self { id, last_seen: now, parked: None, directives: None, answers: VecDeque::new() }
    }

    /// What the poll was answered with, if it was.
    pub(crate) fn answer(&self, poll: &str) -> Option<&[Arc<Grant>]> {
        let (_, grants) = self.answers.iter().find(|(known, _)| known == poll)?;
        Some(grants)
    }

    /// Remembers what a poll was answered with; the oldest answers are forgotten.
    pub(crate) fn remember(&mut self, poll: String, grants: Vec<Arc<Grant>>) {
        if self.answers.len() == REMEMBERED_POLLS {
            self.answers.pop_front();
        }
        self.answers.push_back((poll, grants));
    }
}

/// A worker, connected or not, and what it holds.
pub(crate) struct Seat {
    pub(crate) record: WorkerRecord,
    pub(crate) draining: bool,
    /// By the wall clock, for people.
    pub(crate) seen: Timestamp,
    pub(crate) session: Option<Session>,
    /// Live attempts, with the slots that each takes.
    pub(crate) held: HashMap<(RunId, StepIndex), u32>,
}

impl Seat {
    /// How many slots it has.
    pub(crate) fn slots(&self) -> u32 {
        let given = self.record.capacity.get("slots").copied();
        given.map_or(DEFAULT_SLOTS, |slots| u32::try_from(slots).unwrap_or(0).min(MAX_SLOTS))
    }

    /// How many slots are free.
    pub(crate) fn free(&self) -> u32 {
        let capacity = self.slots();
        let used = self
            .held
            .values()
            .fold(0u32, |sum, slots| sum.saturating_add((*slots).min(capacity.max(1))));
        capacity.saturating_sub(used)
    }
}

/// Every worker that is known.
#[derive(Default)]
pub(crate) struct Fleet {
    pub(crate) seats: HashMap<WorkerName, Seat>,
    sessions: HashMap<SessionId, WorkerName>,
    /// Workers with a parked poll, the longest waiting first.
    turns: BTreeMap<u64, WorkerName>,
    next_turn: u64,
}

impl Fleet {
    /// The worker of a session that was not fenced.
    pub(crate) fn worker(&self, session: &SessionId) -> Option<&WorkerName> {
        self.sessions.get(session)
    }

    /// The seat of a session that was not fenced, and its worker's name.
    pub(crate) fn seat(&mut self, session: &SessionId) -> Option<(WorkerName, &mut Seat)> {
        let name = self.sessions.get(session)?.clone();
        let seat = self.seats.get_mut(&name)?;
        Some((name, seat))
    }

    /// Gives the worker a session; the one before is fenced and handed back.
    pub(crate) fn open(&mut self, name: &WorkerName, session: Session) -> Option<Session> {
        let seat = self.seats.get_mut(name)?;
        self.sessions.insert(session.id.clone(), name.clone());
        let old = seat.session.replace(session)?;
        self.sessions.remove(&old.id);
        if let Some(parked) = &old.parked {
            self.turns.remove(&parked.turn);
        }
        Some(old)
    }

    /// Ends a session.
    pub(crate) fn close(&mut self, id: &SessionId) -> Option<Session> {
        let name = self.sessions.remove(id)?;
        let session = self.seats.get_mut(&name)?.session.take()?;
        if let Some(parked) = &session.parked {
            self.turns.remove(&parked.turn);
        }
        Some(session)
    }

    /// Parks a poll; one that waited before is handed back.
    pub(crate) fn park(&mut self, id: &SessionId, mut poll: Parked) -> Option<Parked> {
        let name = self.sessions.get(id)?;
        let session = self.seats.get_mut(name)?.session.as_mut()?;
        poll.turn = self.next_turn;
        self.next_turn += 1;
        self.turns.insert(poll.turn, name.clone());
        let old = session.parked.replace(poll)?;
        self.turns.remove(&old.turn);
        Some(old)
    }

    /// Takes out the poll that a worker has parked.
    pub(crate) fn unpark(&mut self, name: &WorkerName) -> Option<Parked> {
        let parked = self.seats.get_mut(name)?.session.as_mut()?.parked.take()?;
        self.turns.remove(&parked.turn);
        Some(parked)
    }

    /// Workers with a parked poll, the longest waiting first.
    pub(crate) fn waiting(&self) -> Vec<WorkerName> {
        self.turns.values().cloned().collect()
    }

    /// True where a poll is parked.
    pub(crate) fn anyone_waits(&self) -> bool {
        !self.turns.is_empty()
    }

    /// Workers whose parked poll is to be answered with nothing by now, and the moment at which
    /// the next one is.
    pub(crate) fn overdue(&self, now: Duration) -> (Vec<WorkerName>, Option<Duration>) {
        let mut next: Option<Duration> = None;
        let mut due = Vec::new();
        for name in self.turns.values() {
            let session = self.seats.get(name).and_then(|seat| seat.session.as_ref());
            let Some(parked) = session.and_then(|session| session.parked.as_ref()) else {
                continue;
            };
            if parked.deadline <= now {
                due.push(name.clone());
            } else {
                next = Some(next.map_or(parked.deadline, |next| next.min(parked.deadline)));
            }
        }
        (due, next)
    }

    /// Forgets everything that workers hold of a run.
    pub(crate) fn release_run(&mut self, run: RunId) {
        for seat in self.seats.values_mut() {
            seat.held.retain(|(held, _), _| *held != run);
        }
    }
}
