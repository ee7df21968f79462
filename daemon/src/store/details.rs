//! Runs and steps as the API shows them.

use std::collections::HashMap;

use rusqlite::Connection;
use windlass_core::{AttemptNumber, RunId, StepIndex};
use windlass_proto::api::v1::{Attempt, Param, Run, Step};
use windlass_proto::common::v1::{
    BoundArg, Output, Plan, PlannedStep, ValueSource, bound_arg::Value,
};
use windlass_proto::timestamp;

use super::{
    StoreError,
    attempts::{self, AttemptKey, AttemptRow},
    concurrency, entries, metrics, needs, results, runs,
    steps::StepRow,
};

/// Most metrics shown with a run as a whole.
const MAX_RUN_METRICS: u32 = 2_000;

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
    if let Some(reason) = concurrency::why_held(conn, row)? {
        run.reason = reason;
    }
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
        let planned = planned(self.plan, row.key.template)
            .ok_or(StoreError::Corrupt { what: "step that is not in its plan" })?;
        let stored = match row.cell.attempt {
            0 => Vec::new(),
            _ => attempts::of_step(self.conn, self.run, row.step)?,
        };
        let mut step = Step {
            step: row.path.clone().unwrap_or_else(|| planned.path.clone()),
            state: i32::from(row.cell.state.code()),
            needs: needs::of(self, planned, row),
            args: self.args(planned, row)?,
            reason: needs::reason(self, planned, row)?,
            mocked: planned.mock.is_some(),
            patched: planned.patched.clone(),
            template: planned.path.clone(),
            start_time: row.cell.start.map(timestamp),
            end_time: row.cell.end.map(timestamp),
            ..Step::default()
        };
        let attempt = AttemptNumber(row.cell.attempt);
        let last = AttemptKey { run: self.run, step: row.step, attempt };
        if row.cell.attempt > 0 || row.cell.start.is_some() {
            self.fill(&mut step, last)?;
        }
        step.attempts = stored.into_iter().map(attempt_of).collect();
        Ok(step)
    }

    /// The arguments as bound, with what was found while the run went on.
    fn args(&self, planned: &PlannedStep, row: &StepRow) -> Result<Vec<Param>, StoreError> {
        let mut args: Vec<Param> = planned.args.iter().map(param).collect();
        let found = match asks_record(planned, row) {
            true => entries::get(self.conn, self.run, row.step)?.unwrap_or_default().args,
            false => Vec::new(),
        };
        for arg in found {
            let known = args.iter_mut().find(|known| known.name == arg.name);
            if let Some(known) = known.filter(|known| known.json.is_empty()) {
                known.json = arg.json;
            }
        }
        Ok(args)
    }

    /// The outputs that were found as values of arguments while the run went on.
    pub(crate) fn bound_outputs(&self, row: &StepRow) -> Result<Vec<(String, Output)>, StoreError> {
        if row.key.parent.is_none() {
            return Ok(Vec::new());
        }
        let found = entries::get(self.conn, self.run, row.step)?.unwrap_or_default().args;
        Ok(found.into_iter().filter_map(|arg| Some((arg.name, arg.output?))).collect())
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
}

/// True where values of arguments may stand with the step itself.
fn asks_record(planned: &PlannedStep, row: &StepRow) -> bool {
    let in_plan =
        |arg: &BoundArg| matches!(arg.value, Some(Value::Json(_) | Value::Output(_)) | None);
    row.key.parent.is_some() || !planned.args.iter().all(in_plan)
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
        Some(Value::Secret(_)) => "\"***\"".to_owned(),
        Some(_) | None => String::new(),
    };
    let source = ValueSource::try_from(arg.source).unwrap_or_default();
    Param { name: arg.name.clone(), json, source: source.into() }
}

fn attempt_of(row: AttemptRow) -> Attempt {
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
