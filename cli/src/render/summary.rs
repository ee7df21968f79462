use jiff::Timestamp;
use windlass_core::{RunState, StepState};
use windlass_proto::{
    api::v1,
    common::v1::{AttemptEnd, EndReason},
};

use super::{Cell, Columns, Paint, Tint, clean, style, timeline, words};

/// Most metrics and files named at the end of a run.
const MAX_NAMED: usize = 6;

/// Most failed steps told at the end of a run.
const MAX_FAILED: usize = 20;

/// Why a step did not succeed, in words; empty where there is nothing to say.
pub(crate) fn why(step: &v1::Step) -> String {
    let state = words::step_state(step);
    if matches!(state, StepState::Succeeded | StepState::Reused) {
        return String::new();
    }
    let ended = step.attempts.last().and_then(|attempt| attempt.end.as_ref());
    let ended = if state == StepState::UpstreamFailed { None } else { ended };
    let message = ended.map(|end| end.message.trim()).unwrap_or_default();
    // Workers often say it in their own words.
    let how = ended.map(how).filter(|how| !message.contains(how.trim_start_matches("ended by ")));
    let how = how.unwrap_or_default();
    let reason = if step.reason == message { "" } else { step.reason.trim() };
    let parts = [how.as_str(), message, reason];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n")
}

/// How an attempt ended, where its message need not say it.
fn how(end: &AttemptEnd) -> String {
    match end.reason() {
        EndReason::ExitCode => match end.exit_code {
            Some(code) if code != 0 => format!("exit code {code}"),
            _ => String::new(),
        },
        EndReason::Signal => {
            let name = end.signal.map(words::signal_name);
            format!("ended by {}", name.unwrap_or_else(|| "a signal".into()))
        }
        EndReason::Oom => "out of memory".into(),
        EndReason::Timeout => "timed out".into(),
        EndReason::Lost => "lost with its worker".into(),
        EndReason::NoSpace => "no space left".into(),
        EndReason::Cancelled
        | EndReason::StartError
        | EndReason::OutputError
        | EndReason::Unspecified => String::new(),
    }
}

/// What failed and why, a few lines for the end of a run; empty where nothing failed.
pub(crate) fn failure(run: &v1::Run, paint: Paint) -> String {
    let mut out = String::new();
    let failed: Vec<_> =
        run.steps.iter().filter(|step| words::step_state(step) == StepState::Failed).collect();
    for step in failed.iter().take(MAX_FAILED) {
        let why = why(step);
        let mut lines = why.lines().map(clean);
        let name = paint.paint(Tint::Bad, &format!("✗ {}", clean(&step.step)));
        out += &format!("{name}  {}\n", lines.next().unwrap_or_default());
        lines.for_each(|line| out += &format!("  {line}\n"));
    }
    if failed.len() > MAX_FAILED {
        out += &format!("… and {} more failed steps\n", failed.len() - MAX_FAILED);
    }
    if out.is_empty() && words::run_state(run) != RunState::Succeeded && !run.reason.is_empty() {
        out += &format!("{}\n", clean(&run.reason));
    }
    out
}

/// The last word on a run: how it ended, what came out, what to type next.
pub(crate) fn summary(run: &v1::Run, paint: Paint, now: Timestamp) -> String {
    let state = words::run_state(run);
    let (symbol, tint) = style::run_look(state);
    let time = timeline::run_time(run, now).map(words::duration).unwrap_or_default();
    let verdict = paint.paint(tint, &format!("{symbol} {}", state.word()));
    let name = paint.paint(Tint::Name, &clean(&run.name));
    let mut out = format!("\n{verdict} in {time}  {name}\n");
    let mut facts = Columns::new(2, Some(1));
    let mut fact = |name: &str, value: String| {
        if !value.is_empty() {
            facts.push(vec![Cell::new(Tint::Faint, name), Cell::plain(value)]);
        }
    };
    fact("metrics", metrics(run));
    fact("files", files(run));
    out.push_str(&facts.render(paint, usize::MAX));
    out.push_str(&failure(run, paint));
    out.push_str(&next(run, paint));
    out
}

fn metrics(run: &v1::Run) -> String {
    let mut metrics: Vec<_> = run.metrics.iter().collect();
    metrics.sort_by_key(|(name, _)| name.as_str());
    let named = metrics.iter().map(|(name, value)| format!("{name} {}", words::number(**value)));
    listed(named, metrics.len())
}

fn files(run: &v1::Run) -> String {
    let mut paths: Vec<&str> = Vec::new();
    for artifact in run.steps.iter().flat_map(|step| &step.artifacts) {
        if super::json::kind(artifact) != "deleted" && !paths.contains(&artifact.path.as_str()) {
            paths.push(&artifact.path);
        }
        if paths.len() > MAX_NAMED * 10 {
            break;
        }
    }
    listed(paths.iter().map(|path| (*path).to_owned()), paths.len())
}

fn listed(texts: impl Iterator<Item = String>, count: usize) -> String {
    let mut shown: Vec<_> = texts.take(MAX_NAMED).collect();
    if count > MAX_NAMED {
        shown.push("…".into());
    }
    shown.join("  ")
}

/// The three commands that most likely come next.
fn next(run: &v1::Run, paint: Paint) -> String {
    let name = if run.name.is_empty() { &run.run_id } else { &run.name };
    let failed = run.steps.iter().filter(|step| words::step_state(step) == StepState::Failed);
    // A step that failed with what is below it has no log of its own.
    let failed = failed.min_by_key(|step| step.attempts.is_empty());
    let file = run.steps.iter().flat_map(|step| &step.artifacts).next();
    let second = match (failed, file) {
        (Some(step), _) => format!("windlass logs {name}/{}", step.step),
        (None, Some(_)) => format!("windlass artifacts ls {name}"),
        (None, None) => format!("windlass logs {name}"),
    };
    let commands = [format!("windlass show {name}"), second, format!("windlass rerun {name}")];
    let faint = |command: &String| paint.paint(Tint::Faint, &clean(command));
    format!("  {}\n", commands.iter().map(faint).collect::<Vec<_>>().join("   "))
}
