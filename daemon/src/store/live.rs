//! What the engine holds in memory of runs that have not ended, read back.

use std::collections::HashMap;

use rusqlite::Connection;
use windlass_core::{AttemptNumber, AttemptState, RunId, StepIndex};
use windlass_proto::common::v1::{Output, Plan};

use super::{
    StoreError,
    attempts::{self, AttemptKey, AttemptRow},
    records::{EntryRecord, RunRecord, decode},
    results,
    runs::{self, RunRow},
    steps::{self, StepRow},
};

/// What has not ended, in the words of the partial index that has just these runs.
const LIVE: &str = "r.state < 4";

/// One run as stored.
pub(crate) struct StoredRun {
    pub(crate) row: RunRow,
    pub(crate) record: RunRecord,
    pub(crate) plan: Plan,
    pub(crate) steps: Vec<StepRow>,
    pub(crate) entries: Vec<(StepIndex, EntryRecord)>,
    /// Outputs of steps that have them without an attempt: containers and mocks.
    pub(crate) bare_outputs: Vec<(StepIndex, Vec<Output>)>,
    /// Those that go on and those that ended well, with the outputs of the latter.
    pub(crate) attempts: Vec<(AttemptRow, Vec<Output>)>,
}

/// Every run that has not ended.
pub(crate) fn load_all(conn: &Connection) -> Result<Vec<StoredRun>, StoreError> {
    load(conn, LIVE, [])
}

/// One run, if it has not ended.
pub(crate) fn load_one(conn: &Connection, run: RunId) -> Result<Option<StoredRun>, StoreError> {
    Ok(load(conn, &format!("{LIVE} AND r.run_id = ?1"), [run.0])?.pop())
}

/// Reads family by family, so that ten thousand runs cost four statements and not forty thousand.
fn load<P: rusqlite::Params + Clone>(
    conn: &Connection,
    which: &str,
    params: P,
) -> Result<Vec<StoredRun>, StoreError> {
    let mut found = Vec::new();
    let mut places = HashMap::new();
    let sql = format!(
        "SELECT {}, c.record, c.plan FROM runs r JOIN run_records c USING (run_id)
         WHERE {which} ORDER BY r.run_id",
        runs::COLUMNS
    );
    let mut statement = conn.prepare_cached(&sql)?;
    let mut rows = statement.query(params.clone())?;
    while let Some(row) = rows.next()? {
        let blob =
            |at| Ok::<_, StoreError>(row.get_ref(at)?.as_blob().map_err(rusqlite::Error::from)?);
        let run = StoredRun {
            row: RunRow::read(row)?,
            record: decode(blob(runs::COLUMN_COUNT)?, "run record")?,
            plan: decode(blob(runs::COLUMN_COUNT + 1)?, "plan")?,
            steps: Vec::new(),
            entries: Vec::new(),
            bare_outputs: Vec::new(),
            attempts: Vec::new(),
        };
        places.insert(run.row.run, found.len());
        found.push(run);
    }
    let mut read = Families { conn, which, found: &mut found, places: &places };
    read.steps(params.clone())?;
    read.entries(params.clone())?;
    read.bare_outputs(params.clone())?;
    read.attempts(params)?;
    Ok(found)
}

struct Families<'a> {
    conn: &'a Connection,
    which: &'a str,
    found: &'a mut [StoredRun],
    places: &'a HashMap<RunId, usize>,
}

impl Families<'_> {
    fn steps(&mut self, params: impl rusqlite::Params) -> Result<(), StoreError> {
        let sql = format!(
            "SELECT r.run_id, {} FROM runs r JOIN steps s USING (run_id)
             WHERE {} ORDER BY r.run_id, s.step",
            steps::COLUMNS,
            self.which
        );
        let mut statement = self.conn.prepare_cached(&sql)?;
        let mut rows = statement.query(params)?;
        while let Some(row) = rows.next()? {
            let place = self.places.get(&RunId(row.get(0)?));
            if let Some(run) = place.and_then(|place| self.found.get_mut(*place)) {
                run.steps.push(StepRow::read(row, 1)?);
            }
        }
        Ok(())
    }

    fn entries(&mut self, params: impl rusqlite::Params) -> Result<(), StoreError> {
        let sql = format!(
            "SELECT r.run_id, e.step, e.record FROM runs r JOIN entries e USING (run_id)
             WHERE {} ORDER BY r.run_id, e.step",
            self.which
        );
        let mut statement = self.conn.prepare_cached(&sql)?;
        let mut rows = statement.query(params)?;
        while let Some(row) = rows.next()? {
            let bytes = row.get_ref(2)?.as_blob().map_err(rusqlite::Error::from)?;
            let entry = decode(bytes, "entry of a step")?;
            let place = self.places.get(&RunId(row.get(0)?));
            if let Some(run) = place.and_then(|place| self.found.get_mut(*place)) {
                run.entries.push((StepIndex(row.get(1)?), entry));
            }
        }
        Ok(())
    }

    fn bare_outputs(&mut self, params: impl rusqlite::Params) -> Result<(), StoreError> {
        let sql = format!(
            "SELECT DISTINCT r.run_id, o.step FROM runs r JOIN outputs o USING (run_id)
             WHERE {} AND o.attempt = 0 ORDER BY r.run_id, o.step",
            self.which
        );
        let mut statement = self.conn.prepare_cached(&sql)?;
        let mut rows = statement.query(params)?;
        while let Some(row) = rows.next()? {
            let (run, step) = (RunId(row.get(0)?), StepIndex(row.get(1)?));
            let key = AttemptKey { run, step, attempt: AttemptNumber(0) };
            let outputs = results::outputs(self.conn, key)?;
            let place = self.places.get(&run);
            if let Some(run) = place.and_then(|place| self.found.get_mut(*place)) {
                run.bare_outputs.push((step, outputs));
            }
        }
        Ok(())
    }

    fn attempts(&mut self, params: impl rusqlite::Params) -> Result<(), StoreError> {
        let (leased, running) = (AttemptState::Leased.code(), AttemptState::Running.code());
        let succeeded = AttemptState::Succeeded.code();
        let sql = format!(
            "SELECT {} FROM runs r JOIN attempts a USING (run_id)
             WHERE {} AND a.state IN ({leased}, {running}, {succeeded})
             ORDER BY r.run_id, a.step, a.attempt",
            attempts::COLUMNS,
            self.which
        );
        let mut statement = self.conn.prepare_cached(&sql)?;
        let mut rows = statement.query(params)?;
        while let Some(row) = rows.next()? {
            let attempt = AttemptRow::read(row)?;
            let outputs = if attempt.state.is_terminal() {
                results::outputs(self.conn, attempt.key)?
            } else {
                Vec::new()
            };
            let place = self.places.get(&attempt.key.run);
            if let Some(run) = place.and_then(|place| self.found.get_mut(*place)) {
                run.attempts.push((attempt, outputs));
            }
        }
        Ok(())
    }
}

/// How SQLite would find what has not ended.
#[cfg(test)]
pub(crate) fn query_plans(conn: &Connection) -> Vec<String> {
    let joins = ["run_records c", "steps s", "attempts a"];
    let explain = |join| {
        let sql = format!(
            "EXPLAIN QUERY PLAN SELECT * FROM runs r JOIN {join} USING (run_id)
             WHERE {LIVE} ORDER BY r.run_id"
        );
        let mut statement = conn.prepare(&sql).unwrap();
        let lines = statement.query_map([], |row| row.get::<_, String>(3)).unwrap();
        lines.map(Result::unwrap).collect::<Vec<_>>().join("; ")
    };
    joins.into_iter().map(explain).collect()
}
