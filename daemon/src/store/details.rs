//! Runs and steps as the API shows them.

use std::collections::HashMap;

use rusqlite::Connection;
use windlass_core::{RunId, StepIndex, StepState};
use windlass_proto::api::v1::{Attempt, Param, Run, Step};
use windlass_proto::common::v1::{BoundArg, Plan, PlannedStep, ValueSource, bound_arg::Value};
use windlass_proto::timestamp;

use super::{
    StoreError,
    attempts::{self, AttemptKey, AttemptRow},
    metrics, results, runs,
    steps::StepRow,
};

/// Most metrics shown with a run as a whole.
const MAX_RUN_METRICS: u32 = 2_000;

/// Most needs named in the reason why a step waits.
const MAX_NEEDS_NAMED: usize = 3;

/// How much of a step is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    /// With artifacts and calls.
    Full,
    /// What a watcher gets.
    Brief,
}

/// One run without spec and steps, with its metrics; `None` where there is no such run.
pub(crate) fn run(conn: &Connection, run: RunId) -> Result<Option<Run>, StoreError> {
    let Some(row) = runs::get(conn, run)? else { return Ok(None) };
    Ok(Some(of_row(conn, &row)?))
}

/// The run of that row, without spec and steps, with its metrics.
pub(crate) fn of_row(conn: &Connection, row: &runs::RunRow) -> Result<Run, StoreError> {
    let record =
        runs::record(conn, row.run)?.ok_or(StoreError::Corrupt { what: "run without record" })?;
    let mut run = row.to_api(record);
    run.metrics = run_metrics(conn, row.run)?;
    Ok(run)
}

/// The last value of each metric in the last attempts; the later step wins.
fn run_metrics(conn: &Connection, run: RunId) -> Result<HashMap<String, f64>, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT m.name, m.value FROM last_metrics m CROSS JOIN steps s
         ON s.run_id = m.run_id AND s.step = m.step AND s.attempt = m.attempt
         WHERE m.run_id = ?1 ORDER BY m.step LIMIT ?2",
    )?;
    let mut rows = statement.query((run.0, MAX_RUN_METRICS))?;
    let mut found = HashMap::new();
    while let Some(row) = rows.next()? {
        found.insert(row.get(0)?, row.get::<_, Option<f64>>(1)?.unwrap_or(f64::NAN));
    }
    Ok(found)
}

/// The plan of a run.
pub(crate) fn plan(conn: &Connection, run: RunId) -> Result<Plan, StoreError> {
    let bytes = runs::plan(conn, run)?.ok_or(StoreError::Corrupt { what: "run without plan" })?;
    super::records::decode(&bytes, "plan")
}

/// Shows steps of one run.
pub(crate) struct StepReader<'a> {
    pub(crate) conn: &'a Connection,
    pub(crate) run: RunId,
    pub(crate) plan: &'a Plan,
    pub(crate) depth: Depth,
}

impl StepReader<'_> {
    /// The step of that row.
    pub(crate) fn step(&self, row: &StepRow) -> Result<Step, StoreError> {
        let planned = planned(self.plan, row.step)
            .ok_or(StoreError::Corrupt { what: "step that is not in its plan" })?;
        let stored = match row.cell.attempt {
            0 => Vec::new(),
            _ => attempts::of_step(self.conn, self.run, row.step)?,
        };
        let mut step = Step {
            step: planned.path.clone(),
            state: i32::from(row.cell.state.code()),
            needs: planned.needs.iter().filter_map(|need| self.path(*need)).collect(),
            args: planned.args.iter().map(param).collect(),
            reason: self.reason(planned, row)?,
            ..Step::default()
        };
        if let Some(last) = stored.last() {
            self.fill(&mut step, last.key)?;
        }
        step.attempts = stored.into_iter().map(attempt).collect();
        Ok(step)
    }

    fn fill(&self, step: &mut Step, last: AttemptKey) -> Result<(), StoreError> {
        step.outputs = results::outputs(self.conn, last)?;
        step.metrics = metrics::last(self.conn, last)?;
        if self.depth == Depth::Full {
            step.artifacts = results::artifacts(self.conn, last)?;
            step.calls = attempts::calls(self.conn, last)?.calls;
        }
        Ok(())
    }

    fn path(&self, step: u32) -> Option<String> {
        planned(self.plan, StepIndex(step)).map(|planned| planned.path.clone())
    }

    /// Why the step waits or did not run.
    fn reason(&self, planned: &PlannedStep, row: &StepRow) -> Result<String, StoreError> {
        let blocking = |state: StepState| match row.cell.state {
            StepState::Pending => !state.is_terminal(),
            StepState::UpstreamFailed => {
                matches!(state, StepState::Failed | StepState::UpstreamFailed)
            }
            _ => false,
        };
        let verb = match row.cell.state {
            StepState::Ready => return Ok("waits for a free slot".to_owned()),
            StepState::BackingOff => return Ok("waits before the next try".to_owned()),
            StepState::Pending => "waits for",
            StepState::UpstreamFailed => "follows a failure of",
            _ => return Ok(String::new()),
        };
        let mut named = Vec::new();
        for &need in &planned.needs {
            let state = super::steps::get(self.conn, self.run, StepIndex(need))?;
            if state.is_some_and(|need| blocking(need.cell.state)) {
                named.extend(self.path(need));
            }
            if named.len() > MAX_NEEDS_NAMED {
                named.pop();
                return Ok(format!("{verb} {} and others", named.join(", ")));
            }
        }
        Ok(if named.is_empty() { String::new() } else { format!("{verb} {}", named.join(", ")) })
    }
}

/// The step of the plan at that place.
pub(crate) fn planned(plan: &Plan, step: StepIndex) -> Option<&PlannedStep> {
    plan.steps.get(usize::try_from(step.0).ok()?)
}

/// The run's parameters as resolved, as the API shows them: also the call arguments that were set
/// from outside, under their dotted names.
pub(crate) fn params(plan: &Plan) -> Vec<Param> {
    let overrides = plan.steps.iter().flat_map(|step| &step.overrides).map(|call| Param {
        name: format!("{}.{}", call.function, call.arg),
        json: call.json.clone(),
        source: call.source,
    });
    let mut found: Vec<Param> = plan.params.iter().map(param).collect();
    for call in overrides {
        if !found.iter().any(|param| param.name == call.name) {
            found.push(call);
        }
    }
    found
}

fn param(arg: &BoundArg) -> Param {
    let json = match &arg.value {
        Some(Value::Json(json)) => json.clone(),
        Some(_) | None => String::new(),
    };
    let source = ValueSource::try_from(arg.source).unwrap_or_default();
    Param { name: arg.name.clone(), json, source: source.into() }
}

fn attempt(row: AttemptRow) -> Attempt {
    let record = row.record.unwrap_or_default();
    Attempt {
        attempt: row.key.attempt.0,
        state: i32::from(row.state.code()),
        worker: row.worker,
        executor: record.executor,
        lease_time: Some(timestamp(row.lease_time)),
        start_time: row.start.map(timestamp),
        end: record.end,
        argv: record.argv,
        environment_digest: record.environment_digest,
        environment: None,
    }
}
