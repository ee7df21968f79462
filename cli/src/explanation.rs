//! Why a run failed or waits, gathered from its record and the ends of its logs.

mod card;

use std::collections::VecDeque;

use serde_json::{Value, json};
use windlass_core::{RunState, StepState};
use windlass_proto::{
    api::v1,
    common::v1::{AttemptRef, LogStream},
};

use crate::{
    connect::{Link, answer},
    error::CliError,
    render,
};

/// Most failed steps that are told with their logs; the others are counted.
const MAX_FAILED: usize = 3;

/// Lines of a log that are shown, and bytes read for them, of each stream.
const LOG_LINES: usize = 12;
const LOG_BYTES: i32 = 8 << 10;

/// Most steps that wait which are listed.
const MAX_WAITING: usize = 10;

/// What there is to say about a run.
pub(crate) struct Explanation {
    run: v1::Run,
    failures: Vec<Failure>,
    /// Failed steps beyond those.
    more_failed: usize,
    waiting: Vec<Waiting>,
    more_waiting: usize,
    next: Vec<String>,
}

/// A step that failed by itself.
struct Failure {
    step: v1::Step,
    /// Its last lines, the oldest first.
    lines: Vec<String>,
}

/// A step that has not begun, and why.
struct Waiting {
    step: String,
    state: StepState,
    why: String,
}

impl Explanation {
    /// Reads the ends of the logs of what failed.
    pub(crate) async fn of(link: &Link, run: v1::Run) -> Result<Self, CliError> {
        let failed = own_failures(&run);
        let mut failures = Vec::new();
        for step in failed.iter().take(MAX_FAILED) {
            let lines = last_lines(link, &run.run_id, step).await?;
            failures.push(Failure { step: (*step).clone(), lines });
        }
        let more_failed = failed.len().saturating_sub(MAX_FAILED);
        let mut waiting = waiting(&run);
        let more_waiting = waiting.len().saturating_sub(MAX_WAITING);
        waiting.truncate(MAX_WAITING);
        let next = next(&run, failures.first());
        Ok(Self { run, failures, more_failed, waiting, more_waiting, next })
    }

    /// As `explain --json` prints it.
    pub(crate) fn json(&self) -> Value {
        let failure = |failure: &Failure| {
            let attempt = failure.step.attempts.last();
            let end = attempt.and_then(|attempt| attempt.end.as_ref());
            json!({
                "step": failure.step.step,
                "attempt": attempt.map(|attempt| attempt.attempt),
                "state": attempt.map(|attempt| render::attempt_state(attempt).word()),
                "why": render::why(&failure.step),
                "exit_code": end.and_then(|end| end.exit_code),
                "signal": end.and_then(|end| end.signal).map(render::signal_name),
                "memory_limit_bytes": self.memory_limit(&failure.step),
                "peak_memory_bytes": end.and_then(|end| end.usage.as_ref())
                    .map(|usage| usage.peak_memory_bytes),
                "log": failure.lines,
            })
        };
        let waiting = |waiting: &Waiting| json!({ "step": waiting.step, "state": waiting.state.word(), "why": waiting.why });
        json!({
            "run_id": self.run.run_id,
            "name": self.run.name,
            "state": render::run_state(&self.run).word(),
            "reason": self.run.reason,
            "failed": self.failures.iter().map(failure).collect::<Vec<_>>(),
            "more_failed": self.more_failed,
            "waiting": self.waiting.iter().map(waiting).collect::<Vec<_>>(),
            "more_waiting": self.more_waiting,
            "next": self.next,
        })
    }

    /// The memory that a step may use, where its pipeline limits it. Inner pipelines are in no
    /// record of the run, so of their steps it is not known.
    fn memory_limit(&self, step: &v1::Step) -> Option<u64> {
        let template = if step.template.is_empty() { &step.step } else { &step.template };
        let spec = self.run.spec.as_ref()?.steps.iter().find(|spec| spec.name == *template)?;
        let limit = spec.resources.as_ref()?.memory_bytes;
        (limit > 0).then_some(limit)
    }
}

/// The steps that failed by themselves, rather than with something below them.
fn own_failures(run: &v1::Run) -> Vec<&v1::Step> {
    let failed: Vec<_> =
        run.steps.iter().filter(|step| render::step_state(step) == StepState::Failed).collect();
    let own: Vec<_> = failed.iter().copied().filter(|step| !step.attempts.is_empty()).collect();
    let inside = |step: &v1::Step| {
        let below = |other: &&&v1::Step| {
            let rest = other.step.strip_prefix(&step.step);
            rest.is_some_and(|rest| rest.starts_with(['[', '/']))
        };
        failed.iter().any(|other| below(&other))
    };
    let bare = failed.iter().copied().filter(|step| step.attempts.is_empty() && !inside(step));
    own.into_iter().chain(bare).collect()
}

/// The last lines of a step's last attempt: of stderr, and of stdout what place is left.
async fn last_lines(link: &Link, run_id: &str, step: &v1::Step) -> Result<Vec<String>, CliError> {
    let Some(attempt) = step.attempts.last() else { return Ok(Vec::new()) };
    let attempt =
        AttemptRef { run_id: run_id.to_owned(), step: step.step.clone(), attempt: attempt.attempt };
    let mut lines: VecDeque<String> = VecDeque::new();
    for stream in [LogStream::Stderr, LogStream::Stdout] {
        let request = v1::ReadLogsRequest {
            attempt: Some(attempt.clone()),
            stream: stream.into(),
            offset: -i64::from(LOG_BYTES),
            max_bytes: LOG_BYTES,
        };
        let page = answer(link.logs().read_logs(request)).await?;
        let text = page.data.split(|byte| *byte == b'\n').map(render::bare_line);
        let mut text: Vec<_> = text.filter(|line| !line.trim().is_empty()).collect();
        if page.offset > 0 && text.len() > 1 {
            text.remove(0); // the rest of a line
        }
        let room = LOG_LINES.saturating_sub(lines.len()).max(LOG_LINES / 4);
        let cut = text.len().saturating_sub(room);
        text.drain(..cut).for_each(drop);
        text.into_iter().rev().for_each(|line| lines.push_front(line));
    }
    Ok(lines.into())
}

/// What has not begun, each with what it waits for.
fn waiting(run: &v1::Run) -> Vec<Waiting> {
    if render::run_state(run).is_terminal() {
        return Vec::new();
    }
    let waits = |step: &&v1::Step| {
        let state = render::step_state(step);
        matches!(state, StepState::Pending | StepState::Ready | StepState::BackingOff)
    };
    let entry = |step: &v1::Step| {
        let state = render::step_state(step);
        let open = |name: &&String| {
            let needed = run.steps.iter().find(|other| other.step == **name);
            needed.is_some_and(|needed| !render::step_state(needed).is_terminal())
        };
        let why = match (step.reason.trim(), state) {
            ("", StepState::Ready) => "waits for a worker with room".into(),
            ("", StepState::BackingOff) => "waits before its next attempt".into(),
            ("", _) => {
                let open: Vec<_> = step.needs.iter().filter(open).map(String::as_str).collect();
                if open.is_empty() { String::new() } else { format!("after {}", open.join(", ")) }
            }
            (reason, _) => reason.to_owned(),
        };
        Waiting { step: step.step.clone(), state, why }
    };
    run.steps.iter().filter(waits).map(entry).collect()
}

/// The commands that help next.
fn next(run: &v1::Run, failure: Option<&Failure>) -> Vec<String> {
    let name = if run.name.is_empty() { &run.run_id } else { &run.name };
    let mut next = Vec::new();
    if let Some(failure) = failure {
        let step = &failure.step;
        if !step.attempts.is_empty() {
            next.push(format!("windlass logs {name}/{}", step.step));
        }
        if !step.artifacts.is_empty() {
            next.push(format!("windlass artifacts ls {name}/{}", step.step));
        }
    }
    match render::run_state(run) {
        RunState::Failed | RunState::Cancelled => {
            next.push(format!("windlass show {name}"));
            next.push(format!("windlass rerun {name}"));
        }
        RunState::Succeeded => next.push(format!("windlass show {name}")),
        RunState::Queued | RunState::Running | RunState::Cancelling => {
            next.push(format!("windlass watch {name}"));
            next.push("windlass workers ls".into());
            next.push(format!("windlass cancel {name}"));
        }
    }
    next
}
