//! What a step follows, and why it waits or did not run.

use windlass_core::{StepIndex, StepState};
use windlass_proto::common::v1::PlannedStep;

use super::{
    StoreError,
    details::{StepReader, planned},
    steps::{self, StepRow},
};

/// Most needs named in the reason why a step waits.
const MAX_NAMED: usize = 3;

/// The paths of the steps that a step follows. Instances and iterations follow none themselves.
pub(super) fn of(reader: &StepReader<'_>, step: &PlannedStep, row: &StepRow) -> Vec<String> {
    if row.key.ordinal.is_some() {
        return Vec::new();
    }
    let around = around(row);
    let path = |need: &u32| {
        let planned = planned(reader.plan, StepIndex(*need))?;
        Some(beside(planned, around))
    };
    step.needs.iter().filter_map(path).collect()
}

/// The path of the step around it, where it has one.
fn around(row: &StepRow) -> Option<&str> {
    row.path.as_deref()?.rsplit_once('/').map(|(around, _)| around)
}

/// The path of a step beside one that is in `around`.
fn beside(planned: &PlannedStep, around: Option<&str>) -> String {
    let name = planned.spec.as_ref().map_or("", |spec| &spec.name);
    around.map_or_else(|| planned.path.clone(), |around| format!("{around}/{name}"))
}

/// Why the step waits, did not run, or failed without an attempt; in words for a person.
pub(super) fn reason(
    reader: &StepReader<'_>,
    step: &PlannedStep,
    row: &StepRow,
) -> Result<String, StoreError> {
    if let Some(reason) = &row.reason {
        return Ok(reason.clone());
    }
    match row.cell.state {
        StepState::Ready => Ok("waits for a free slot".to_owned()),
        StepState::BackingOff => Ok("waits before the next try".to_owned()),
        StepState::Pending if row.key.ordinal.is_some() => {
            Ok("waits for its turn: `max_parallel` are under way".to_owned())
        }
        StepState::Pending => {
            let told = blocking(reader, step, row, |state| !state.is_terminal())?;
            Ok(told.map(|named| format!("waits for {named}")).unwrap_or_default())
        }
        StepState::UpstreamFailed => {
            let failed = |state| matches!(state, StepState::Failed | StepState::UpstreamFailed);
            let told = blocking(reader, step, row, failed)?;
            Ok(told.map(|named| format!("follows a failure of {named}")).unwrap_or_default())
        }
        StepState::Skipped => skipped(reader, step, row),
        StepState::Running
        | StepState::Succeeded
        | StepState::Reused
        | StepState::Failed
        | StepState::Cancelled => Ok(String::new()),
    }
}

fn skipped(
    reader: &StepReader<'_>,
    step: &PlannedStep,
    row: &StepRow,
) -> Result<String, StoreError> {
    if step.failure_handler {
        return Ok("nothing failed that it handles".to_owned());
    }
    let valued = PlannedStep { needs: step.data_needs.clone(), ..PlannedStep::default() };
    let without = |state| matches!(state, StepState::Skipped | StepState::Failed);
    if let Some(named) = blocking(reader, &valued, row, without)? {
        return Ok(format!("needs a value of {named}, which gave none"));
    }
    let when = step.spec.as_ref().map_or("", |spec| &spec.when);
    Ok(if when.is_empty() { String::new() } else { format!("`{when}` is false") })
}

/// The paths of the needs whose state is `so`, in words.
fn blocking(
    reader: &StepReader<'_>,
    step: &PlannedStep,
    row: &StepRow,
    so: impl Fn(StepState) -> bool,
) -> Result<Option<String>, StoreError> {
    let around = around(row);
    let mut named = Vec::new();
    for &need in &step.needs {
        // Steps beside each other are as far apart as those of the plan that they were made of.
        let apart = i64::from(need) - i64::from(row.key.template.0);
        let Ok(place) = u32::try_from(i64::from(row.step.0) + apart) else { continue };
        let state = steps::get(reader.conn, reader.run, StepIndex(place))?;
        if state.is_some_and(|need| so(need.cell.state)) {
            let planned = planned(reader.plan, StepIndex(need));
            named.extend(planned.map(|planned| beside(planned, around)));
        }
        if named.len() > MAX_NAMED {
            named.pop();
            return Ok(Some(format!("{} and others", named.join(", "))));
        }
    }
    Ok((!named.is_empty()).then(|| named.join(", ")))
}
