use windlass_core::{AttemptNumber, LeaseId, RunId, StepPath, Timestamp};

use crate::common::v1::AttemptRef;
use crate::worker::v1::LeaseProof;

/// A field that should hold an id does not.
#[derive(Debug, thiserror::Error)]
#[error("`{field}` is not {expected}: {value:?}")]
pub struct InvalidId {
    pub field: &'static str,
    pub expected: &'static str,
    pub value: String,
}

/// An attempt as the API names it.
pub fn attempt_ref(run: RunId, step: &StepPath, attempt: AttemptNumber) -> AttemptRef {
    AttemptRef { run_id: run.to_string(), step: step.to_string(), attempt: attempt.0 }
}

/// Reads an attempt's name; the attempt number 0 is refused.
pub fn parse_attempt_ref(
    name: Option<&AttemptRef>,
) -> Result<(RunId, StepPath, AttemptNumber), InvalidId> {
    let bad = |field, expected, value: &str| InvalidId { field, expected, value: value.to_owned() };
    let name = name.ok_or_else(|| bad("attempt", "set", ""))?;
    let run = name.run_id.parse().map_err(|_| bad("attempt.run_id", "a UUID", &name.run_id))?;
    let step = name.step.parse().map_err(|_| bad("attempt.step", "a step path", &name.step))?;
    if name.attempt == 0 {
        return Err(bad("attempt.attempt", "a number from 1", "0"));
    }
    Ok((run, step, AttemptNumber(name.attempt)))
}

/// Reads a lease: which attempt, and the id that proves it.
pub fn parse_lease(
    proof: Option<&LeaseProof>,
) -> Result<(RunId, StepPath, AttemptNumber, LeaseId), InvalidId> {
    let bad = |value: String| InvalidId { field: "lease", expected: "16 bytes", value };
    let proof = proof.ok_or_else(|| bad(String::new()))?;
    let (run, step, attempt) = parse_attempt_ref(proof.attempt.as_ref())?;
    let id =
        proof.lease_id.as_ref().try_into().map_err(|_| bad(format!("{:?}", proof.lease_id)))?;
    Ok((run, step, attempt, LeaseId(id)))
}

/// A time as the API carries it.
pub fn timestamp(time: Timestamp) -> prost_types::Timestamp {
    let micros = time.0;
    let nanos = i32::try_from(micros.rem_euclid(1_000_000) * 1000).unwrap_or_default();
    prost_types::Timestamp { seconds: micros.div_euclid(1_000_000), nanos }
}

/// A time from the API; out-of-range values are clamped.
pub fn to_timestamp(time: &prost_types::Timestamp) -> Timestamp {
    Timestamp(time.seconds.saturating_mul(1_000_000).saturating_add(i64::from(time.nanos) / 1000))
}
