use std::{cmp::Reverse, collections::BinaryHeap, time::Duration};

use windlass_core::{AttemptNumber, Event, RunId, StepIndex};

use super::{EngineError, thread::Engine};
use crate::fleet::LEASE_TTL;

/// How long rows of deleted runs wait to be swept away while there is nothing else to do.
const SWEEP_PAUSE: Duration = Duration::from_millis(2);

/// How much later than planned the engine may wake before it takes the delay for its own sleep.
const OWN_DELAY: Duration = Duration::from_secs(2);

/// Steps that back off and mocks that sleep, the first that is due first.
#[derive(Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Reverse<(Duration, RunId, StepIndex, AttemptNumber)>>,
    /// Runs whose time is limited, the first that is up first.
    runs: BinaryHeap<Reverse<(Duration, RunId)>>,
    /// No lease expires before.
    pub(super) leases: Option<Duration>,
}

impl Timers {
    /// Sets a timer; one that is no longer wanted is ignored when it is due.
    pub(super) fn push(
        &mut self,
        due: Duration,
        run: RunId,
        step: StepIndex,
        attempt: AttemptNumber,
    ) {
        self.heap.push(Reverse((due, run, step, attempt)));
    }

    /// Sets the timer of a run; one that has ended by then is ignored.
    pub(super) fn push_run(&mut self, due: Duration, run: RunId) {
        self.runs.push(Reverse((due, run)));
    }

    fn pop_run(&mut self, now: Duration) -> Option<RunId> {
        let Reverse((due, _)) = self.runs.peek()?;
        if *due > now {
            return None;
        }
        self.runs.pop().map(|Reverse((_, run))| run)
    }

    /// Notes that a lease may expire then.
    pub(super) fn lease(&mut self, expires: Duration) {
        self.leases = Some(self.leases.map_or(expires, |first| first.min(expires)));
    }

    fn pop(&mut self, now: Duration) -> Option<(RunId, StepIndex, AttemptNumber)> {
        let Reverse((due, ..)) = self.heap.peek()?;
        if *due > now {
            return None;
        }
        self.heap.pop().map(|Reverse((_, run, step, attempt))| (run, step, attempt))
    }
}

impl Engine {
    /// When something is due by itself.
    pub(super) fn next_due(&self, now: Duration) -> Option<Duration> {
        let backoff = self.timers.heap.peek().map(|Reverse((due, ..))| *due);
        let limit = self.timers.runs.peek().map(|Reverse((due, _))| *due);
        let (overdue, poll) = self.fleet.overdue(now);
        let poll = if overdue.is_empty() { poll } else { Some(now) };
        let trash = self.trash.then(|| now + SWEEP_PAUSE);
        let gates = self.gates_due(now);
        [backoff, limit, self.timers.leases, poll, trash, gates].into_iter().flatten().min()
    }

    /// Does what is due: waits that are over, leases that expired.
    pub(super) fn act_on_time(&mut self) -> Result<(), EngineError> {
        let (now, wall) = (self.clock.monotonic(), self.clock.now());
        while let Some((run, step, attempt)) = self.timers.pop(now) {
            self.apply(run, Event::WaitOver { step, attempt }, wall);
        }
        while let Some(run) = self.timers.pop_run(now) {
            self.time_is_up(run);
        }
        if self.timers.leases.is_some_and(|due| due <= now) {
            self.expire(now)?;
        }
        Ok(())
    }

    /// Answers polls that waited long enough; to be called after work was given out.
    pub(super) fn answer_overdue(&mut self) {
        let now = self.clock.monotonic();
        for worker in self.fleet.overdue(now).0 {
            if let Some(parked) = self.fleet.unpark(&worker) {
                self.batch.answer(parked.reply, Ok(Vec::new()));
            }
        }
    }

    /// Gives every lease a new life where the engine itself slept through the time of renewals,
    /// for instance because its process was stopped.
    pub(super) fn forgive_own_sleep(&mut self, planned: Duration) {
        let now = self.clock.monotonic();
        let late = now.saturating_sub(self.awake + planned);
        self.awake = now;
        if late < OWN_DELAY {
            return;
        }
        self.timers.leases = None;
        for live in self.runs.values_mut().flat_map(|run| run.live.values_mut()) {
            live.expires = now + LEASE_TTL;
            self.timers.lease(live.expires);
        }
    }
}
