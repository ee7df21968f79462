//! The shapes of what workers send.

use std::collections::{BTreeMap, HashSet};

use tonic::Status;
use windlass_core::{AttemptState, Digest, WorkerName};
use windlass_proto::api::v1::ErrorReason;
use windlass_proto::common::v1::{Artifact, MetricPoint, Output, artifact::Kind};
use windlass_proto::limits::{self, MAX_ARTIFACTS, MAX_CALLS, MAX_NAME_BYTES, MAX_OUTPUTS};
use windlass_proto::worker::v1::{
    HeldAttempt, LeaseProof, OpenSessionRequest, ReportAttemptRequest,
};

use crate::{
    engine::{Held, OpenSession, Proof, Report},
    fleet::{Leases, SessionId},
    rpc::status::{invalid, invalid_id, status},
    store::records::WorkerRecord,
};

/// Longest name of a worker, in bytes.
const MAX_WORKER_NAME: usize = 64;

/// Most labels, resources and executors of a worker, and longest text of each.
const MAX_TRAITS: usize = 64;
const MAX_TRAIT: usize = 256;

/// Most attempts that a worker holds.
const MAX_HELD: usize = 10_000;

/// Longest poll id, in bytes.
const MAX_POLL_ID: usize = 128;

/// Most metric points in one message.
const MAX_POINTS: usize = 100_000;

/// Longest path, in bytes.
const MAX_PATH: usize = 4_096;

/// Longest message of an attempt's end, in bytes; more is cut off.
const MAX_MESSAGE: usize = 16 << 10;

/// Longest command line that is recorded, in bytes; more is cut off.
const MAX_ARGV_BYTES: usize = 64 << 10;

fn within(what: &str, count: usize, limit: usize) -> Result<(), Status> {
    if count > limit {
        return Err(status(ErrorReason::LimitExceeded, format!("{count} {what}; at most {limit}")));
    }
    Ok(())
}

/// Who the worker is and what it has.
pub(super) fn open(request: OpenSessionRequest, leases: &Leases) -> Result<OpenSession, Status> {
    let name = request.worker;
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty() || name.len() > MAX_WORKER_NAME || !name.chars().all(good) {
        let told = "must be 1 to 64 letters, digits, `.`, `_` and `-`";
        return Err(invalid("worker", told));
    }
    within("labels", request.labels.len(), MAX_TRAITS)?;
    within("resources", request.capacity.len(), MAX_TRAITS)?;
    within("executors", request.executors.len(), MAX_TRAITS)?;
    let texts = request.labels.iter().flat_map(|(key, value)| [key, value]);
    let texts = texts.chain(request.capacity.keys()).chain(&request.executors);
    for text in texts.chain([&request.version, &request.hostname]) {
        if text.len() > MAX_TRAIT || text.contains(char::is_control) {
            return Err(invalid("worker", "a label, resource or version is too long or no text"));
        }
    }
    let record = WorkerRecord {
        version: request.version,
        hostname: request.hostname,
        pid: request.pid,
        labels: request.labels.into_iter().collect::<BTreeMap<_, _>>(),
        capacity: request.capacity.into_iter().collect(),
        executors: request.executors,
    };
    let held = held(&request.held, leases)?;
    Ok(OpenSession { worker: WorkerName(name.into()), record, held })
}

/// The attempts that a worker has.
pub(super) fn held(held: &[HeldAttempt], leases: &Leases) -> Result<Vec<Held>, Status> {
    within("attempts held", held.len(), MAX_HELD)?;
    let one = |held: &HeldAttempt| {
        let state = AttemptState::from_code(i64::from(held.state));
        let state = state.ok_or_else(|| invalid("held.state", "is no state of an attempt"))?;
        Ok(Held { proof: proof(held.lease.as_ref(), leases)?, state })
    };
    held.iter().map(one).collect()
}

/// Who holds an attempt.
pub(super) fn proof(proof: Option<&LeaseProof>, leases: &Leases) -> Result<Proof, Status> {
    let parsed = windlass_proto::parse_lease(proof).map_err(invalid_id)?;
    let key = leases.check(&parsed).map(|entry| entry.key);
    let (run, path, attempt, lease) = parsed;
    Ok(Proof { run, path, attempt, lease, key })
}

/// The session's name as it came; whether it is open the engine knows.
pub(super) fn session(text: &str) -> SessionId {
    SessionId(text.into())
}

/// A poll's name.
pub(super) fn poll_id(text: String) -> Result<String, Status> {
    if text.is_empty() || text.len() > MAX_POLL_ID {
        return Err(invalid("poll_id", "must be 1 to 128 bytes"));
    }
    Ok(text)
}

/// What a worker says about an attempt.
pub(super) fn report(request: ReportAttemptRequest, leases: &Leases) -> Result<Report, Status> {
    let state = AttemptState::from_code(i64::from(request.state));
    let state = state
        .filter(|state| *state != AttemptState::Leased)
        .ok_or_else(|| invalid("state", "must be RUNNING or an end"))?;
    within("calls", request.calls.len(), MAX_CALLS)?;
    within("artifacts", request.artifacts.len(), MAX_ARTIFACTS)?;
    within("outputs", request.outputs.len(), MAX_OUTPUTS)?;
    outputs(&request.outputs)?;
    artifacts(&request.artifacts)?;
    points(&request.metrics)?;
    digest_or_empty("changes", &request.changes)?;
    digest_or_empty("environment_digest", &request.environment_digest)?;
    let sizes = [request.stdout_size, request.stderr_size, request.system_size];
    if sizes.iter().any(|size| *size < 0) {
        return Err(invalid("stdout_size", "sizes must not be negative"));
    }
    let poll = match request.lease_next {
        0 => String::new(),
        _ => poll_id(request.poll_id)?,
    };
    let mut end = request.end.unwrap_or_default();
    end.message.truncate(end.message.floor_char_boundary(MAX_MESSAGE));
    let mut executor = request.executor;
    executor.truncate(executor.floor_char_boundary(MAX_NAME_BYTES));
    Ok(Report {
        session: session(&request.session_id),
        proof: proof(request.lease.as_ref(), leases)?,
        state,
        end,
        log_sizes: sizes,
        outputs: request.outputs,
        artifacts: request.artifacts,
        changes: request.changes,
        metrics: request.metrics,
        calls: request.calls,
        argv: clipped_argv(request.argv),
        executor,
        environment_digest: request.environment_digest,
        lease_next: request.lease_next,
        poll,
    })
}

fn clipped_argv(mut argv: Vec<String>) -> Vec<String> {
    let mut left = MAX_ARGV_BYTES;
    for arg in &mut argv {
        arg.truncate(arg.floor_char_boundary(left));
        left -= arg.len();
    }
    let kept = argv.iter().rposition(|arg| !arg.is_empty()).map_or(0, |last| last + 1);
    argv.truncate(kept.max(1));
    argv
}

fn digest_or_empty(field: &str, text: &str) -> Result<(), Status> {
    if text.is_empty() || text.parse::<Digest>().is_ok() {
        return Ok(());
    }
    Err(invalid(field, "is not a digest"))
}

fn outputs(outputs: &[Output]) -> Result<(), Status> {
    let mut seen = HashSet::new();
    for (place, output) in outputs.iter().enumerate() {
        let field = format!("outputs[{place}]");
        if !limits::is_output_name(&output.name) {
            return Err(invalid(field, "its name must be a file name"));
        }
        if output.digest.parse::<Digest>().is_err() || output.size_bytes < 0 {
            return Err(invalid(field, "must have a digest and a size"));
        }
        if !limits::is_codec(&output.codec) {
            return Err(invalid(field, "its codec must be a word"));
        }
        if !seen.insert(&output.name) {
            return Err(invalid(field, "its name is there twice"));
        }
    }
    Ok(())
}

fn artifacts(artifacts: &[Artifact]) -> Result<(), Status> {
    for (place, artifact) in artifacts.iter().enumerate() {
        let field = || format!("artifacts[{place}]");
        let path = &artifact.path;
        let clean = |segment: &str| !matches!(segment, "" | "." | "..");
        if path.len() > MAX_PATH || path.contains('\0') || !path.split('/').all(clean) {
            return Err(invalid(field(), "its path must be relative, without `.` and `..`"));
        }
        let kind = artifact.kind();
        let digest = artifact.digest.parse::<Digest>().is_ok();
        let good = match kind {
            Kind::Unspecified => false,
            Kind::File | Kind::Symlink => digest,
            Kind::Deleted => artifact.digest.is_empty(),
        };
        if !good || artifact.size_bytes < 0 {
            return Err(invalid(field(), "must have a kind, a size, and a digest unless deleted"));
        }
    }
    Ok(())
}

/// Metric points: named, counted from 1.
pub(super) fn points(points: &[MetricPoint]) -> Result<(), Status> {
    within("metric points in one message", points.len(), MAX_POINTS)?;
    for (place, point) in points.iter().enumerate() {
        if !limits::is_metric_name(&point.name) {
            return Err(invalid(format!("points[{place}].name"), "must be a short text"));
        }
        if point.sequence == 0 {
            return Err(invalid(format!("points[{place}].sequence"), "counts from 1"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn artifact(path: &str, kind: Kind, digest: &str) -> [Artifact; 1] {
        let (path, digest) = (path.to_owned(), digest.to_owned());
        [Artifact { path, kind: kind.into(), digest, ..Artifact::default() }]
    }

    #[test]
    fn artifacts_stay_below_the_directory() {
        let digest = "0".repeat(64);
        assert!(artifacts(&artifact("a/b.txt", Kind::File, &digest)).is_ok());
        assert!(artifacts(&artifact("a", Kind::Deleted, "")).is_ok());
        for path in ["", "/a", "a/../b", "./a", "a//b", "a/", "a\0", &"x".repeat(5_000)] {
            assert!(artifacts(&artifact(path, Kind::File, &digest)).is_err(), "{path:?}");
        }
        assert!(artifacts(&artifact("a", Kind::File, "")).is_err());
        assert!(artifacts(&artifact("a", Kind::Deleted, &digest)).is_err());
        assert!(artifacts(&artifact("a", Kind::Unspecified, &digest)).is_err());
    }

    #[test]
    fn long_command_lines_are_cut() {
        let argv = clipped_argv(vec!["python".into(), "é".repeat(MAX_ARGV_BYTES), "x".into()]);
        assert_eq!(argv.len(), 2);
        assert!(argv.iter().map(String::len).sum::<usize>() <= MAX_ARGV_BYTES);
        assert_eq!(clipped_argv(vec![]), Vec::<String>::new());
    }
}
