use std::collections::HashMap;

use serde_json::{Map, Value, json};
use windlass_proto::{
    api::v1,
    common::v1::{self as common, ValueSource},
};

use super::words;

/// A run as `show --json` prints it, or without its steps as `ls --json` does.
pub(crate) fn run(run: &v1::Run, with_steps: bool) -> Value {
    let mut out = json!({
        "run_id": run.run_id,
        "name": run.name,
        "pipeline": run.pipeline,
        "target": run.target,
        "kind": run.kind,
        "state": words::run_state(run).word(),
        "reason": text(&run.reason),
        "params": values(&run.params),
        "git": run.git.as_ref().and_then(git),
        "snapshot": text(&run.snapshot),
        "environment_digests": sorted(&run.environment_digests, |digest| digest.as_str().into()),
        "user": text(&run.user),
        "host": text(&run.host),
        "labels": sorted(&run.labels, |value| Value::from(value.as_str())),
        "note": text(&run.note),
        "parent_run_id": text(&run.parent_run_id),
        "priority": run.priority,
        "substituted": run.substituted,
        "create_time": time(run.create_time.as_ref()),
        "start_time": time(run.start_time.as_ref()),
        "end_time": time(run.end_time.as_ref()),
        "metrics": sorted(&run.metrics, |value| Value::from(*value)),
    });
    if with_steps {
        out["steps"] = run.steps.iter().map(step).collect();
    }
    out
}

fn step(step: &v1::Step) -> Value {
    let start = step.start_time.as_ref().or(step.attempts.first().and_then(began));
    let last = step.attempts.last().and_then(|attempt| attempt.end.as_ref());
    let end = step.end_time.as_ref().or(last.and_then(|end| end.end_time.as_ref()));
    json!({
        "step": step.step,
        "state": words::step_state(step).word(),
        "reason": text(&step.reason),
        "template": text(&step.template).unwrap_or(&step.step),
        "mocked": step.mocked,
        "patched": text(&step.patched),
        "needs": step.needs,
        "args": values(&step.args),
        "start_time": time(start),
        "end_time": time(end),
        "metrics": sorted(&step.metrics, |value| Value::from(*value)),
        "outputs": step.outputs.iter().map(|o| (o.name.clone(), output(o))).collect::<Map<_, _>>(),
        "artifacts": step.artifacts.iter().map(artifact).collect::<Value>(),
        "calls": step.calls.iter().map(call).collect::<Value>(),
        "attempts": step.attempts.iter().map(attempt).collect::<Value>(),
    })
}

fn attempt(attempt: &v1::Attempt) -> Value {
    let end = attempt.end.as_ref();
    let usage = end.and_then(|end| end.usage.as_ref());
    let start = began(attempt);
    let cpu = usage.and_then(|usage| usage.cpu_time.as_ref());
    let mut out = json!({
        "attempt": attempt.attempt,
        "state": words::attempt_state(attempt).word(),
        "worker": text(&attempt.worker),
        "executor": text(&attempt.executor),
        "exit_code": end.and_then(|end| end.exit_code),
        "start_time": time(start),
        "end_time": time(end.and_then(|end| end.end_time.as_ref())),
        "peak_memory_bytes": usage.map(|usage| usage.peak_memory_bytes),
        "cpu_seconds": cpu.map(|t| words::cpu(t).as_secs_f64()),
        "message": end.and_then(|end| text(&end.message)),
        "argv": attempt.argv,
        "environment": attempt.environment.as_ref().map(environment),
    });
    if let Some(signal) = end.and_then(|end| end.signal) {
        out["signal"] = words::signal_name(signal).into();
    }
    out
}

fn began(attempt: &v1::Attempt) -> Option<&prost_types::Timestamp> {
    let ended = attempt.end.as_ref().and_then(|end| end.start_time.as_ref());
    ended.or(attempt.start_time.as_ref())
}

/// The environment; `python` is the version alone.
fn environment(environment: &common::Environment) -> Value {
    let python = environment.python.rsplit(' ').next().unwrap_or_default();
    let packages: Map<_, _> =
        environment.packages.iter().map(|p| (p.name.clone(), p.version.as_str().into())).collect();
    json!({
        "python": text(python),
        "implementation": text(&environment.python_implementation),
        "executable": text(&environment.python_executable),
        "packages": packages,
        "os": text(&environment.os),
        "machine": text(&environment.machine),
        "cpu": text(&environment.cpu),
        "cpu_count": environment.cpu_count,
        "hostname": text(&environment.hostname),
        "gpu_driver": text(&environment.gpu_driver),
        "kind": text(&environment.kind),
        "lock": text(&environment.lock),
        "image": text(&environment.image),
    })
}

fn call(call: &common::CallRecord) -> Value {
    json!({
        "function": call.function,
        "module": text(&call.module),
        "args": value(&call.args_json),
        "seconds": call.seconds,
        "error": text(&call.error),
    })
}

fn output(output: &common::Output) -> Value {
    json!({ "digest": output.digest, "codec": output.codec, "size_bytes": output.size_bytes })
}

fn artifact(artifact: &common::Artifact) -> Value {
    json!({
        "path": artifact.path,
        "digest": text(&artifact.digest),
        "size_bytes": artifact.size_bytes,
        "kind": kind(artifact),
        "executable": artifact.executable,
    })
}

/// `file`, `symlink` or `deleted`.
pub(crate) fn kind(artifact: &common::Artifact) -> &'static str {
    use common::artifact::Kind;
    match artifact.kind() {
        Kind::Symlink => "symlink",
        Kind::Deleted => "deleted",
        Kind::File | Kind::Unspecified => "file",
    }
}

/// The entries of `artifacts ls`: those of `show`, each with its step.
pub(crate) fn artifact_entries<'a>(steps: impl IntoIterator<Item = &'a v1::Step>) -> Vec<Value> {
    let of_step = |step: &'a v1::Step| step.artifacts.iter().map(|a| with_step(step, artifact(a)));
    steps.into_iter().flat_map(of_step).collect()
}

/// The entries of `outputs ls`: those of `show`, each with its step and name.
pub(crate) fn output_entries<'a>(steps: impl IntoIterator<Item = &'a v1::Step>) -> Vec<Value> {
    let entry = |step: &'a v1::Step, found: &common::Output| {
        let mut entry = with_step(step, json!({ "name": found.name }));
        if let (Some(entry), Value::Object(rest)) = (entry.as_object_mut(), output(found)) {
            entry.extend(rest);
        }
        entry
    };
    let of_step = |step: &'a v1::Step| step.outputs.iter().map(move |o| entry(step, o));
    steps.into_iter().flat_map(of_step).collect()
}

fn with_step(step: &v1::Step, entry: Value) -> Value {
    let mut out = Map::from_iter([("step".to_owned(), Value::from(step.step.as_str()))]);
    if let Value::Object(rest) = entry {
        out.extend(rest);
    }
    Value::Object(out)
}

/// A worker as `workers ls --json` prints it.
pub(crate) fn worker(worker: &v1::Worker) -> Value {
    let state = worker.state().as_str_name().trim_start_matches("STATE_").to_lowercase();
    json!({
        "worker": worker.worker,
        "state": state,
        "labels": sorted(&worker.labels, |value| Value::from(value.as_str())),
        "capacity": sorted(&worker.capacity, |amount| Value::from(*amount)),
        "used": sorted(&worker.used, |amount| Value::from(*amount)),
        "executors": worker.executors,
        "version": worker.version,
        "running_attempts": worker.running_attempts,
        "hostname": worker.hostname,
        "pid": worker.pid,
        "last_heartbeat_time": time(worker.last_heartbeat_time.as_ref()),
    })
}

fn git(git: &v1::GitState) -> Option<Value> {
    let known = !git.commit.is_empty() || !git.branch.is_empty();
    known.then(|| {
        json!({
            "commit": text(&git.commit),
            "branch": text(&git.branch),
            "dirty": git.dirty,
            "diff": text(&git.diff_digest),
        })
    })
}

pub(super) fn values(params: &[v1::Param]) -> Map<String, Value> {
    let entry = |param: &v1::Param| {
        let entry = json!({ "value": value(&param.json), "source": source(param.source()) });
        (param.name.clone(), entry)
    };
    params.iter().map(entry).collect()
}

/// The word for where a value came from.
pub(crate) fn source(source: ValueSource) -> &'static str {
    match source {
        ValueSource::With => "with",
        ValueSource::Output => "output",
        ValueSource::Cli => "cli",
        ValueSource::Env => "env",
        ValueSource::File => "file",
        ValueSource::Pipeline => "pipeline",
        ValueSource::Signature => "signature",
        ValueSource::Unspecified => "unknown",
    }
}

/// JSON as a value; text that is none (a number out of range, for instance) stays text.
pub(crate) fn value(json: &str) -> Value {
    if json.is_empty() {
        return Value::Null;
    }
    serde_json::from_str(json).unwrap_or_else(|_| json.into())
}

pub(super) fn text(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

/// RFC 3339 in UTC, always with six digits of a second, so that the texts sort as the times do.
pub(crate) fn time(time: Option<&prost_types::Timestamp>) -> Option<String> {
    time.and_then(words::instant).map(|time| format!("{time:.6}"))
}

pub(super) fn sorted<V>(
    map: &HashMap<String, V>,
    value: impl Fn(&V) -> Value,
) -> Map<String, Value> {
    let mut entries: Vec<_> = map.iter().map(|(k, v)| (k.clone(), value(v))).collect();
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    entries.into_iter().collect()
}
