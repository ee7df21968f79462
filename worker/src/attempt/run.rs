use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval_at, sleep},
};
use windlass_proto::{
    common::v1::{AttemptState, EndReason, LogStream, MetricPoint},
    timestamp,
    worker::v1::{AttemptLease, ReportAttemptRequest, Task},
};

use super::{
    AttemptDir, Context, Control, Held, StartFailure,
    collect::{self, Collected},
    files::Prepared,
    metrics::MetricsFile,
    outcome::{self, Verdict},
    prepare,
    recover::Found,
    system_log::SystemLog,
};
use crate::{
    executor::{End, Progress},
    mask::Masks,
    session::{LogSizes, Refused},
    workspace::Prepared as Place,
};

/// An attempt that still runs after this long is reported as running, which is a commit of its own.
/// Most end before, those of a small Python function among them.
const RUNNING_AFTER: Duration = Duration::from_millis(150);

/// How often the metrics file of a running attempt is read.
const METRICS_EVERY: Duration = Duration::from_millis(200);

/// Most metric points in one report.
const MAX_POINTS: usize = 5_000;

/// Where an attempt begins for this worker.
pub(crate) enum From {
    Lease(AttemptLease),
    Found(Found),
}

/// One attempt in this worker's hands.
struct Attempt<'a> {
    context: &'a Context,
    held: &'a Held,
    /// Without the caller's variables, which only its start needs.
    task: Arc<Task>,
    dir: AttemptDir,
    system: SystemLog,
    /// What must not stand in anything that is kept or sent of it.
    masks: Option<Arc<Masks>>,
    /// Its masks were known once and are not any more: what it left cannot be looked through.
    blind: bool,
    /// Its working directory, once there is one; kept until the attempt is forgotten.
    place: Mutex<Option<Arc<Place>>>,
}

type Side<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// Runs one attempt to its end and reports it. Returns the leases that came with the answer,
/// where `wants_next` said that there is room.
///
/// Dropping the future leaves everything as it is, for the next worker to take up.
pub(crate) async fn run(
    context: &Context,
    held: &Held,
    mut from: From,
    wants_next: impl Fn() -> bool,
) -> Vec<AttemptLease> {
    let dir = AttemptDir::new(&context.work, held.lease);
    let (task, texts, masked) = match &mut from {
        From::Lease(lease) => {
            let task = lease.task.as_mut().map(bare).unwrap_or_default();
            let texts: Vec<Vec<u8>> = task.masks.iter().map(|text| text.to_vec()).collect();
            (task, texts, false)
        }
        From::Found(found) => {
            let texts = found.end.borrow().masks.clone();
            (std::mem::take(&mut found.task), texts, found.prepared.masked)
        }
    };
    let task = Arc::new(task);
    let masks = Masks::of(&texts).unwrap_or_else(|error| {
        // The keeper refuses to start what it cannot mask.
        tracing::error!(%error, "secrets cannot be looked for");
        None
    });
    let blind = masks.is_none() && (masked || !texts.is_empty());
    let system =
        SystemLog::new(dir.log("system"), held.lease, Arc::clone(&context.daemon), masks.clone());
    context.daemon.log_open(&held.proof, held.lease, &dir);
    let attempt =
        Attempt { context, held, task, dir, system, masks, blind, place: Mutex::default() };
    let report = Box::pin(attempt.execute(from)).await;
    let mut leases = Vec::new();
    if let Some(mut report) = report {
        report.lease_next = u32::from(wants_next());
        leases = attempt.send(report).await;
    }
    attempt.clean_up();
    leases
}

/// A copy without the caller's variables: there are dozens, and nobody needs them twice.
fn bare(task: &mut Task) -> Task {
    let variables = std::mem::take(&mut task.caller_env);
    let bare = task.clone();
    task.caller_env = variables;
    bare
}

impl Attempt<'_> {
    /// Reports the end; returns the leases that came with the answer. A report that is refused for
    /// good becomes a small one that says why: somebody has to learn of the end.
    async fn send(&self, report: ReportAttemptRequest) -> Vec<AttemptLease> {
        let small = ReportAttemptRequest {
            lease: report.lease.clone(),
            state: AttemptState::Failed.into(),
            end: report.end.clone(),
            stdout_size: report.stdout_size,
            stderr_size: report.stderr_size,
            system_size: report.system_size,
            argv: report.argv.first().cloned().into_iter().collect(),
            executor: report.executor.clone(),
            environment_digest: report.environment_digest.clone(),
            lease_next: report.lease_next,
            ..ReportAttemptRequest::default()
        };
        let refused = match self.context.daemon.report(report).await {
            Ok(answer) => return answer.leases,
            Err(Refused::Status(status)) => status,
            Err(gone) => {
                tracing::warn!(%gone, lease = %self.held.lease, "a report was refused");
                return Vec::new();
            }
        };
        let why = format!("what the step left cannot be recorded: {}", refused.message());
        tracing::warn!(why, lease = %self.held.lease, "a report was refused");
        let mut end = small.end.clone().unwrap_or_default();
        end.reason = EndReason::OutputError.into();
        end.message = why;
        match self.context.daemon.report(ReportAttemptRequest { end: Some(end), ..small }).await {
            Ok(answer) => answer.leases,
            Err(refused) => {
                tracing::error!(%refused, lease = %self.held.lease, "an end cannot be reported");
                Vec::new()
            }
        }
    }

    /// `None` where nothing is to be reported.
    async fn execute(&self, from: From) -> Option<ReportAttemptRequest> {
        let (progress, prepared, place) = match from {
            From::Found(Found { end, prepared, place, .. }) => {
                self.keep_place(place.as_ref());
                (end, prepared, place)
            }
            From::Lease(lease) => match self.begin(&lease).await {
                Ok((progress, prepared, place)) => (progress, prepared, Some(place)),
                Err(verdict) => return self.report(verdict?, Prepared::default(), None).await,
            },
        };
        let mut metrics = MetricsFile::new(&self.dir.metrics());
        let end = self.follow(progress, &mut metrics).await;
        if *self.held.control().borrow() == Control::Abandon {
            return None;
        }
        let now = (self.context.clock)();
        let limits = (prepare::timeout(&self.task), prepare::memory_limit(&self.task));
        let mut verdict = outcome::judge(&end, limits, now);
        self.held.set_state(verdict.state);
        let collected = match place {
            Some(place) => {
                let succeeded = verdict.is_success();
                let work = (place, succeeded, self.masks.clone());
                collect::collect(self.context, &self.dir, Arc::clone(&self.task), work).await
            }
            None => Collected::default(),
        };
        let collected = self.masked(collected);
        self.settle_verdict(&mut verdict, &collected);
        let points = self.last_points(&mut metrics).await;
        self.report(verdict, prepared, Some((collected, points, end))).await
    }

    /// Prepares and starts. The error is how it ended instead; none where it was abandoned.
    async fn begin(
        &self,
        lease: &AttemptLease,
    ) -> Result<(watch::Receiver<Progress>, Prepared, Arc<Place>), Option<Verdict>> {
        let not_started = |failure: StartFailure| {
            self.system.say(&failure.message);
            Some(outcome::not_started(&failure, (self.context.clock)()))
        };
        let task = Arc::clone(&self.task);
        let place = prepare::lay_out(self.context, &self.dir, task).await.map_err(not_started)?;
        let place = Arc::new(place);
        self.keep_place(Some(&place));
        let mut control = self.held.control();
        let ready = tokio::select! {
            biased;
            strict = control.wait_for(|control| *control > Control::Continue) => {
                let abandon = strict.is_ok_and(|control| *control == Control::Abandon);
                return Err((!abandon).then(|| outcome::cancelled_early((self.context.clock)())));
            }
            ready = prepare::make_ready(
                self.context,
                self.held.lease,
                &self.dir,
                (lease, &self.task),
                (Arc::clone(&place), &self.system, self.masks.as_ref()),
            ) => ready.map_err(not_started)?,
        };
        self.held.set_started();
        let progress = self.context.executor.start(ready.job).await;
        Ok((progress, ready.prepared, place))
    }

    fn keep_place(&self, place: Option<&Arc<Place>>) {
        *self.place.lock().unwrap_or_else(PoisonError::into_inner) = place.cloned();
    }

    /// Follows an execution to its end: tells of logs and metrics, and passes on what it is to do.
    async fn follow(
        &self,
        mut progress: watch::Receiver<Progress>,
        metrics: &mut MetricsFile,
    ) -> End {
        let mut control = self.held.control();
        control.mark_changed();
        let mut done = Control::Continue;
        let mut side: Option<Side<'_>> = None;
        let (mut runs, mut told_running) = (false, false);
        let running_after = sleep(RUNNING_AFTER);
        tokio::pin!(running_after);
        let mut ticks = interval_at(Instant::now() + METRICS_EVERY, METRICS_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let end = loop {
            {
                let progress = progress.borrow_and_update();
                if let Some(end) = self.look(&progress) {
                    break end;
                }
                // Not before the keeper says so: what may never have run can be granted again.
                if !runs && progress.start_micros.is_some() {
                    runs = true;
                    self.held.set_state(AttemptState::Running);
                }
            }
            tokio::select! {
                biased;
                changed = progress.changed() => if changed.is_err() { break End::Lost },
                _ = control.changed() => {
                    let now = *control.borrow_and_update();
                    self.act(&mut done, now).await;
                }
                () = async { if let Some(side) = &mut side { side.await } }, if side.is_some() => {
                    side = None;
                }
                () = &mut running_after, if runs && !told_running && side.is_none() => {
                    told_running = true;
                    side = Some(Box::pin(self.report_running()));
                }
                _ = ticks.tick(), if side.is_none() => {
                    let news = metrics.read((self.context.clock)(), false);
                    news.complaints.iter().for_each(|line| self.system.say(line));
                    if !news.points.is_empty() {
                        side = Some(Box::pin(self.report_points(self.clean(news.points))));
                    }
                }
            }
        };
        // So that nothing about a running attempt arrives after its end.
        if let Some(side) = side {
            side.await;
        }
        end
    }

    fn look(&self, progress: &Progress) -> Option<End> {
        for (stream, size) in [LogStream::Stdout, LogStream::Stderr].into_iter().zip(progress.sizes)
        {
            if size > 0 {
                self.context.daemon.log_grew(self.held.lease, stream, size);
            }
        }
        progress.end.clone()
    }

    async fn act(&self, done: &mut Control, now: Control) {
        if now <= *done {
            return;
        }
        *done = now;
        let grace = if now == Control::Stop { prepare::grace(&self.task) } else { Duration::ZERO };
        self.context.executor.stop(self.held.lease, grace).await;
    }

    async fn report_running(&self) {
        let request = ReportAttemptRequest {
            lease: Some(self.held.proof.clone()),
            state: AttemptState::Running.into(),
            executor: self.context.executor.name().to_owned(),
            ..ReportAttemptRequest::default()
        };
        match self.context.daemon.report(request).await {
            Ok(answer) => {
                let directive = answer.directive.map(|directive| directive.action());
                self.held.direct(crate::session::control_of(directive));
            }
            Err(fenced) => {
                tracing::warn!(%fenced, "an attempt is no longer ours");
                self.held.direct(Control::Abandon);
            }
        }
    }

    /// Points as they may be kept: a name may hold a secret.
    fn clean(&self, mut points: Vec<MetricPoint>) -> Vec<MetricPoint> {
        if let Some(masks) = &self.masks {
            points.iter_mut().for_each(|point| point.name = masks.text(&point.name));
        }
        points
    }

    async fn report_points(&self, points: Vec<MetricPoint>) {
        for points in points.chunks(MAX_POINTS) {
            if let Err(error) = self.context.daemon.report_metrics(&self.held.proof, points).await {
                tracing::warn!(%error, "metric points were refused");
            }
        }
    }

    /// Reads the rest of the metrics; as many points as one report takes are left for it.
    async fn last_points(&self, metrics: &mut MetricsFile) -> Vec<MetricPoint> {
        let mut points = Vec::new();
        loop {
            let news = metrics.read((self.context.clock)(), true);
            news.complaints.iter().for_each(|line| self.system.say(line));
            points.extend(self.clean(news.points));
            if points.len() > MAX_POINTS {
                self.report_points(std::mem::take(&mut points)).await;
            }
            if !news.more {
                return points;
            }
        }
    }

    /// What was collected as it may be kept.
    fn masked(&self, mut collected: Collected) -> Collected {
        if self.blind {
            let why = "the run's secrets are not known any more, so what it left is not kept";
            return Collected { spoilt: Some(StartFailure::new(why)), ..Collected::default() };
        }
        let Some(masks) = &self.masks else { return collected };
        for call in &mut collected.calls {
            call.args_json = masks.json(&call.args_json);
            call.error = masks.text(&call.error);
        }
        collected.hints.iter_mut().for_each(|hint| *hint = masks.text(hint));
        if let Some(failure) = &mut collected.spoilt {
            failure.message = masks.text(&failure.message);
        }
        collected
    }

    fn settle_verdict(&self, verdict: &mut Verdict, collected: &Collected) {
        if let Some(failure) = &collected.spoilt {
            self.system.say(&failure.message);
            verdict.spoil(failure.clone());
        }
        if verdict.state == AttemptState::Failed {
            collected.hints.iter().for_each(|hint| verdict.add(hint));
        }
        collected.remarks.iter().for_each(|line| self.system.say(line));
        self.held.set_state(verdict.state);
    }

    /// Sends what is left of the logs and makes the report.
    async fn report(
        &self,
        verdict: Verdict,
        prepared: Prepared,
        rest: Option<(Collected, Vec<MetricPoint>, End)>,
    ) -> Option<ReportAttemptRequest> {
        let (collected, metrics, end) = match rest {
            Some((collected, metrics, end)) => (collected, metrics, Some(end)),
            None => (Collected::default(), Vec::new(), None),
        };
        let sizes = self.log_sizes(end.as_ref());
        let mut control = self.held.control();
        tokio::select! {
            () = self.context.daemon.log_settled(self.held.lease, sizes) => {}
            _ = control.wait_for(|control| *control == Control::Abandon) => return None,
        }
        let size = |size: u64| i64::try_from(size).unwrap_or(i64::MAX);
        let mut end = verdict.end;
        end.message = prepare::masked(self.masks.as_ref(), &end.message);
        end.end_time.get_or_insert_with(|| timestamp((self.context.clock)()));
        Some(ReportAttemptRequest {
            lease: Some(self.held.proof.clone()),
            state: verdict.state.into(),
            end: Some(end),
            stdout_size: size(sizes.stdout()),
            stderr_size: size(sizes.stderr()),
            system_size: size(sizes.system),
            outputs: collected.outputs,
            artifacts: collected.artifacts,
            changes: collected.changes,
            metrics,
            calls: collected.calls,
            argv: prepared.argv,
            executor: self.context.executor.name().to_owned(),
            environment_digest: prepared.environment_digest,
            ..ReportAttemptRequest::default()
        })
    }

    fn log_sizes(&self, end: Option<&End>) -> LogSizes {
        let size = |name| std::fs::metadata(self.dir.log(name)).map_or(0, |meta| meta.len());
        let (output, lost) = match end {
            Some(End::Ended(record)) => {
                ([record.stdout_bytes, record.stderr_bytes], record.lost_bytes)
            }
            Some(End::Lost) => ([size("stdout"), size("stderr")], [0; 2]),
            None => ([0; 2], [0; 2]),
        };
        LogSizes { output, lost, system: self.system.size() }
    }

    /// Forgets the attempt everywhere. Off the way to the next one.
    fn clean_up(&self) {
        let (lease, dir) = (self.held.lease, self.dir.clone());
        let executor = Arc::clone(&self.context.executor);
        self.context.daemon.log_close(lease);
        let workspaces = Arc::clone(&self.context.workspaces);
        let place = self.place.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.context.tasks.spawn(async move {
            executor.release(lease).await;
            let released = place.map_or(Ok(()), |place| workspaces.release(place));
            if let Err(error) = released.and_then(|()| workspaces.discard(dir.root())) {
                tracing::warn!(%error, %lease, "failed to remove an attempt's directory");
            }
        });
    }
}
