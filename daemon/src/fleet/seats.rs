use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use tokio::sync::mpsc;
use windlass_core::{Resources, RunId, StepIndex, Timestamp, WorkerName};
use windlass_proto::worker::v1::Directive;

use super::{SessionId, capacity::capacity};
use crate::{
    engine::{Grant, Reply},
    store::records::WorkerRecord,
};

/// Answered polls that a session remembers, so that a repeat gets the same leases.
const REMEMBERED_POLLS: usize = 64;

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
    /// Follows from the record.
    capacity: Resources,
    /// Live attempts, with what each needs.
    held: HashMap<(RunId, StepIndex), Arc<Resources>>,
    /// The sum of what is held.
    used: Resources,
}

impl Seat {
    /// A worker that holds nothing and has no session.
    pub(crate) fn new(record: WorkerRecord, draining: bool, seen: Timestamp) -> Self {
        let (held, used) = (HashMap::new(), Resources::default());
        let capacity = capacity(&record);
        Self { record, draining, seen, session: None, capacity, held, used }
    }

    /// Takes in what the worker says of itself now.
    pub(crate) fn describe(&mut self, record: WorkerRecord) {
        self.capacity = capacity(&record);
        self.record = record;
        self.add_up();
    }

    /// Everything it has.
    pub(crate) fn capacity(&self) -> &Resources {
        &self.capacity
    }

    /// What its attempts take.
    pub(crate) fn used(&self) -> &Resources {
        &self.used
    }

    /// What is left for more attempts.
    pub(crate) fn free(&self) -> Resources {
        let mut free = self.capacity.clone();
        free.sub(&self.used);
        free
    }

    /// The attempts that it holds.
    pub(crate) fn held(&self) -> impl ExactSizeIterator<Item = (RunId, StepIndex)> {
        self.held.keys().copied()
    }

    /// Notes that it holds an attempt.
    pub(crate) fn hold(&mut self, attempt: (RunId, StepIndex), need: Arc<Resources>) {
        self.used.add(&need.on(&self.capacity));
        if self.held.insert(attempt, need).is_some() {
            self.add_up();
        }
    }

    /// Notes that it holds an attempt no more.
    pub(crate) fn release(&mut self, attempt: (RunId, StepIndex)) {
        if let Some(need) = self.held.remove(&attempt) {
            self.used.sub(&need.on(&self.capacity));
        }
    }

    /// Adds up what is held. Where a worker came back smaller than it was, that may be more than it
    /// has.
    fn add_up(&mut self) {
        self.used = Resources::default();
        for need in self.held.values() {
            self.used.add(&need.on(&self.capacity));
        }
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
            let before = seat.held.len();
            seat.held.retain(|(held, _), _| *held != run);
            if seat.held.len() != before {
                seat.add_up();
            }
        }
    }
}
