use rusqlite::Connection;
use tonic::Status;
use windlass_core::{AttemptNumber, nearest};
use windlass_proto::api::v1::ErrorReason;

use super::{attempts::Found, status::status};
use crate::store::{
    StoreError,
    attempts::{self, AttemptKey},
    details,
    names::{self, Named},
    runs::RunRow,
    steps,
};

/// The run that `text` names, or why there is none.
pub(crate) fn run(named: Named, text: &str) -> Result<RunRow, Status> {
    match named {
        Named::One(row) => Ok(*row),
        Named::Nothing => Err(status(ErrorReason::RunNotFound, format!("no run {text:?}"))),
        Named::Several(rows) => {
            let ids: Vec<_> = rows.iter().map(|row| row.run.to_string()).collect();
            let told = format!("{text:?} fits several runs: {}", ids.join(", "));
            Err(status(ErrorReason::RunAmbiguous, told))
        }
    }
}

/// The attempt of that number of a step, 0 the last one.
pub(crate) fn attempt(
    conn: &Connection,
    (text, path, number): (&str, &str, u32),
) -> Result<Result<Found, Status>, StoreError> {
    let row = match run(names::resolve(conn, text)?, text) {
        Ok(row) => row,
        Err(refused) => return Ok(Err(refused)),
    };
    let plan = details::plan(conn, row.run)?;
    let paths = || plan.steps.iter().map(|step| step.path.as_str());
    let Some(step) = steps::at_path(conn, (row.run, &plan), path)? else {
        let meant = nearest(path, paths()).map(|near| format!("; did you mean `{near}`?"));
        let told = format!("run {} has no step `{path}`{}", row.name, meant.unwrap_or_default());
        return Ok(Err(status(ErrorReason::StepNotFound, told)));
    };
    let cell = steps::get(conn, row.run, step)?
        .ok_or(StoreError::Corrupt { what: "run without its steps" })?
        .cell;
    let key = |number| AttemptKey { run: row.run, step, attempt: AttemptNumber(number) };
    let wanted = if number == 0 { cell.attempt } else { number };
    let found = attempts::get(conn, key(wanted))?;
    match (found, number) {
        (Some(found), _) => {
            let (attempt, ended) = (Some(found.key), found.state.is_terminal());
            Ok(Ok(Found { run: row.run, attempt, ended }))
        }
        (None, 0) => Ok(Ok(Found { run: row.run, attempt: None, ended: cell.state.is_terminal() })),
        (None, _) => {
            let told =
                format!("step `{path}` has no attempt {number}, the last is {}", cell.attempt);
            Ok(Err(status(ErrorReason::AttemptNotFound, told)))
        }
    }
}
