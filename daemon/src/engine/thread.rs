use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, mpsc},
    time::Duration,
};

use windlass_core::{
    AttemptNumber, Effect, Event, ReadyQueue, ReadyStep, RunId, StepIndex, StepState, Timestamp,
};

use super::{
    Change, EndSink, EngineError, Options, Watchers,
    batch::Batch,
    command::Command,
    gates::Gates,
    handle::{Envelope, QUEUE_LEN},
    live::LiveRun,
    questions::Evaluator,
    timers::Timers,
};
use crate::{
    clock::Clock,
    fleet::{Fleet, Leases},
    store::{self, StoreError, Writer, attempts::AttemptKey},
};

/// Longest the engine goes on taking commands into one transaction.
const BATCH_TIME: Duration = Duration::from_millis(8);

/// Longest the engine sleeps while nothing is due.
const MAX_SLEEP: Duration = Duration::from_secs(3600);

/// The one that decides and writes; see the module.
pub(super) struct Engine {
    pub(super) writer: Writer,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) runs: HashMap<RunId, LiveRun>,
    pub(super) queue: ReadyQueue,
    pub(super) fleet: Fleet,
    pub(super) timers: Timers,
    pub(super) gates: Gates,
    /// Held runs are left alone until then, by the monotonic clock.
    pub(super) gates_pause: Duration,
    pub(super) leases: Leases,
    pub(super) watchers: Watchers,
    pub(super) batch: Batch,
    pub(super) environments: PathBuf,
    pub(super) trash: bool,
    /// When the last batch began, by the monotonic clock.
    pub(super) awake: Duration,
    ended: Box<dyn EndSink>,
    pub(super) evaluator: Evaluator,
    effects: Vec<Effect>,
    /// Ends after this batch.
    pub(super) stopping: bool,
}

impl Engine {
    pub(super) fn new(
        writer: Writer,
        options: Options,
        shared: (Leases, Watchers),
        evaluator: Evaluator,
    ) -> Self {
        Self {
            writer,
            awake: options.clock.monotonic(),
            clock: options.clock,
            runs: HashMap::new(),
            queue: ReadyQueue::default(),
            fleet: Fleet::default(),
            timers: Timers::default(),
            gates: Gates::default(),
            gates_pause: Duration::ZERO,
            leases: shared.0,
            watchers: shared.1,
            batch: Batch::default(),
            environments: options.environments,
            trash: true,
            ended: options.ended,
            evaluator,
            effects: Vec::new(),
            stopping: false,
        }
    }

    /// Works until it is told to stop or the last handle is gone.
    pub(super) fn run(mut self, commands: &mpsc::Receiver<Envelope>) {
        while !self.stopping {
            let now = self.clock.monotonic();
            let due = self.next_due(now);
            let sleep = due.map_or(MAX_SLEEP, |due| due.saturating_sub(now)).min(MAX_SLEEP);
            let first = match commands.recv_timeout(sleep) {
                Ok(envelope) => Some(envelope),
                Err(mpsc::RecvTimeoutError::Timeout) => None,
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            };
            self.forgive_own_sleep(sleep);
            let idle = first.is_none();
            self.work(first, commands);
            if idle && self.trash {
                self.sweep();
            }
        }
    }

    /// One transaction: commands as they come, what is due, and everything that follows.
    fn work(&mut self, first: Option<Envelope>, commands: &mpsc::Receiver<Envelope>) {
        let begin = self.clock.monotonic();
        let mut result = Ok(());
        let mut next = first;
        for _ in 0..QUEUE_LEN {
            let Some(envelope) = next.take().or_else(|| commands.try_recv().ok()) else { break };
            drop(envelope.permit);
            result = self.obey(envelope.command);
            if result.is_err() || self.clock.monotonic().saturating_sub(begin) > BATCH_TIME {
                break;
            }
        }
        let result = result.and_then(|()| self.act_on_time()).and_then(|()| self.open_gates());
        let result = result.and_then(|()| self.serve_polls());
        self.answer_overdue();
        let result = result.and_then(|()| self.flush()).and_then(|()| Ok(self.writer.commit()?));
        match result {
            Ok(()) => self.tell(),
            Err(error) => self.undo(&error),
        }
    }

    /// Carries out one command. What it returns has failed the whole batch; what the caller did
    /// wrong is in the caller's answer.
    fn obey(&mut self, command: Command) -> Result<(), EngineError> {
        match command {
            Command::Create(run, reply) => {
                let result = self.create(*run);
                self.settle(reply, result)
            }
            Command::Cancel(cancel, reply) => {
                let result = self.cancel(cancel);
                self.settle(reply, result)
            }
            Command::Delete(run, reply) => {
                let result = self.delete(run);
                self.settle(reply, result)
            }
            Command::OpenSession(open, reply) => {
                let result = self.open_session(*open);
                self.settle(reply, result)
            }
            Command::CloseSession(session, returned, reply) => {
                let result = self.close_session(&session, &returned);
                self.settle(reply, result)
            }
            Command::Poll(poll, reply) => self.poll(poll, reply),
            Command::Heartbeat(beat, reply) => {
                let result = self.heartbeat(beat);
                self.settle(reply, result)
            }
            Command::WatchDirectives(session, reply) => {
                let result = self.watch_directives(&session);
                self.settle(reply, result)
            }
            Command::Report(report, reply) => {
                let result = self.report(*report);
                self.settle(reply, result)
            }
            Command::RefuseGrant(key, lease, why, reply) => {
                let result = self.refuse_grant(key, lease, why);
                self.settle(reply, result)
            }
            Command::Metrics(session, proof, points, reply) => {
                let result = self.add_metrics(&session, &proof, &points);
                self.settle(reply, result)
            }
            Command::Workers(reply) => {
                let result = Ok(self.workers());
                self.settle(reply, result)
            }
            Command::Drain(worker, draining, reply) => {
                let result = self.drain(&worker, draining);
                self.settle(reply, result)
            }
            Command::Waits(run, reply) => {
                let result = Ok(self.waits(run));
                self.settle(reply, result)
            }
            Command::Answer(answer) => {
                self.answered_question(*answer);
                Ok(())
            }
            Command::Stop(reply) => {
                self.stopping = true;
                self.settle(reply, Ok(()))
            }
        }
    }

    /// Keeps the caller's answer for after the commit. A store that fails, fails the batch.
    fn settle<T: Send + 'static>(
        &mut self,
        reply: super::Reply<T>,
        result: Result<T, EngineError>,
    ) -> Result<(), EngineError> {
        let failed = match &result {
            Err(error @ EngineError::Store(_)) => Err(error.clone()),
            Ok(_) | Err(_) => Ok(()),
        };
        self.batch.answer(reply, result);
        failed
    }

    /// Lets a run's machine decide and does at once what needs no commit.
    pub(super) fn apply(&mut self, run: RunId, event: Event, now: Timestamp) {
        let Some(live) = self.runs.get_mut(&run) else { return };
        let mut effects = std::mem::take(&mut self.effects);
        live.apply(event, now, &mut effects);
        if !effects.is_empty() {
            self.batch.touch(run);
        }
        self.enact(run, &effects, now);
        effects.clear();
        self.effects = effects;
    }

    /// Queues what is ready, sets timers, notes what workers are to be told.
    pub(super) fn enact(&mut self, run: RunId, effects: &[Effect], now: Timestamp) {
        for effect in effects {
            match *effect {
                Effect::Enqueue(step) => {
                    let Some(live) = self.runs.get(&run) else { continue };
                    let ready = ReadyStep { step, need: live.need(step) };
                    self.queue.push(run, live.row.flow.priority, ready);
                }
                Effect::Wait { step, attempt, until } => {
                    let micros = u64::try_from(until.0.saturating_sub(now.0)).unwrap_or(0);
                    let due = self.clock.monotonic() + Duration::from_micros(micros);
                    self.timers.push(due, run, step, attempt);
                }
                Effect::Stop { step, how, .. } => self.direct(run, step, how),
                Effect::RunChanged => self.run_changed(run),
                Effect::Evaluate { step, join } => self.batch.questions.push((run, step, join)),
                Effect::TooManySteps(step) => self.blame(run, step),
                Effect::StepChanged(step) => {
                    let failed = |live: &LiveRun| live.cell(step).state == StepState::Failed;
                    if self.runs.get(&run).is_some_and(failed) {
                        self.blame(run, step);
                    }
                }
            }
        }
    }

    /// Tells with the run why a step failed without an attempt, where that is its first failure.
    fn blame(&mut self, run: RunId, step: StepIndex) {
        if let Some(live) = self.runs.get_mut(&run)
            && let Some(reason) = live.reasons.get(&step).cloned()
        {
            live.blame(step, &reason);
        }
    }

    /// Writes every changed step and run, once each.
    fn flush(&mut self) -> Result<(), EngineError> {
        self.batch.touched.sort_unstable();
        self.batch.touched.dedup();
        for run in &self.batch.touched {
            let Some(live) = self.runs.get_mut(run) else { continue };
            live.dirty.sort_unstable();
            live.dirty.dedup();
            if live.is_clean() {
                continue;
            }
            live.sequence += 1;
            live.refresh_row();
            write(live, self.writer.tx()?)?;
        }
        Ok(())
    }

    /// Acts on a batch that is durable.
    fn tell(&mut self) {
        let mut batch = std::mem::take(&mut self.batch);
        self.leases.add(batch.new_leases.drain(..));
        self.leases.remove(&batch.gone_leases);
        for (session, poll, grants) in batch.polls.drain(..) {
            if let Some((_, seat)) = self.fleet.seat(&session)
                && let Some(session) = &mut seat.session
            {
                session.remember(poll, grants);
            }
        }
        for ended in batch.ended.drain(..) {
            self.ended.ended(ended);
        }
        batch.tell(None);
        for (to, directive) in batch.directives.drain(..) {
            if to.try_send(vec![directive]).is_err() {
                tracing::debug!("a directive waits for the next heartbeat");
            }
        }
        for (run, step, join) in batch.questions.drain(..) {
            self.question(run, step, join);
        }
        for run in batch.touched {
            self.publish(run);
        }
    }

    /// Tells watchers of a run what changed, and lets an ended run go.
    fn publish(&mut self, run: RunId) {
        let Some(live) = self.runs.get_mut(&run) else { return };
        let last = live.machine.run().state.is_terminal();
        if self.watchers.any(run) {
            let steps = live.dirty.as_slice().into();
            let change = Change { sequence: live.sequence, run: live.run_dirty, steps };
            self.watchers.publish(run, change, last);
        }
        live.dirty.clear();
        live.run_dirty = false;
        if last {
            self.forget(run);
        }
    }

    fn forget(&mut self, run: RunId) {
        self.queue.remove(run);
        let Some(live) = self.runs.remove(&run) else { return };
        if live.shared.has_environment {
            let file = self.environments.join(run.to_string());
            if let Err(error) = std::fs::remove_file(&file)
                && error.kind() != std::io::ErrorKind::NotFound
            {
                tracing::warn!(%run, %error, "failed to remove the caller's environment");
            }
        }
    }

    /// Takes back a batch that failed: rows by rolling back, memory by loading what it touched.
    fn undo(&mut self, error: &EngineError) {
        tracing::error!(error = describe(error), "a transaction failed");
        self.writer.roll_back();
        self.pause_gates();
        let mut batch = std::mem::take(&mut self.batch);
        batch.touched.sort_unstable();
        batch.touched.dedup();
        for run in &batch.touched {
            self.reload(*run);
        }
        if batch.workers {
            self.reload_workers();
        }
        batch.tell(Some(error));
    }

    /// Sweeps away rows of deleted runs, in a transaction of its own.
    fn sweep(&mut self) {
        let swept = (|| {
            let next = store::trash::next(self.writer.read())?;
            if let Some(run) = next {
                store::trash::sweep(self.writer.tx()?, run)?;
                self.writer.commit()?;
            }
            Ok::<_, StoreError>(next.is_some())
        })();
        self.trash = swept.unwrap_or_else(|error| {
            tracing::error!(%error, "failed to sweep a deleted run");
            self.writer.roll_back();
            false
        });
    }
}

/// Writes what changed of a run: its new steps, the changed ones, what was found for them, itself.
fn write(live: &mut LiveRun, tx: &rusqlite::Connection) -> Result<(), StoreError> {
    let run = live.row.run;
    for step in &live.dirty {
        let Some(row) = live.step_row(*step) else { continue };
        if live.is_new(*step) {
            store::steps::insert(tx, run, &row)?;
        } else {
            store::steps::save(tx, run, &row)?;
        }
    }
    live.stored = live.machine.cells().len();
    for step in live.new_entries.drain(..) {
        if let Some(entry) = live.entries.get(&step) {
            store::entries::save(tx, run, step, entry)?;
        }
    }
    for step in live.bare_results.drain(..) {
        if let Some(result) = live.results.get(&step) {
            let key = AttemptKey { run, step, attempt: AttemptNumber(0) };
            store::results::insert_outputs(tx, key, &result.outputs)?;
        }
    }
    if live.run_dirty {
        store::runs::save(tx, &live.row)?;
    }
    Ok(())
}

/// An error with its causes, on one line.
pub(super) fn describe(error: &EngineError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
