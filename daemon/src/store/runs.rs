use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, Row};
use windlass_core::{RunId, RunRecordState, RunState, Stop, Timestamp};
use windlass_proto::api::v1::Run;
use windlass_proto::timestamp;

use super::{
    StoreError,
    records::{RunRecord, decode},
};

/// The hot row of a run.
#[derive(Clone, Debug)]
pub(crate) struct RunRow {
    pub(crate) run: RunId,
    pub(crate) name: String,
    pub(crate) pipeline: String,
    pub(crate) machine: RunRecordState,
    pub(crate) sequence: i64,
    pub(crate) create: Timestamp,
    pub(crate) reason: String,
    pub(crate) flow: Flow,
}

/// What decides when a run goes on, and whether its results count.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flow {
    /// The higher is served first.
    pub(crate) priority: i32,
    /// It waits for others of its concurrency key.
    pub(crate) held: bool,
    /// Its concurrency key, where the pipeline has a limit.
    pub(crate) concurrency: Option<String>,
    /// Some steps were mocked or patched.
    pub(crate) substituted: bool,
}

/// Columns in the order that [`RunRow::read`] takes them.
pub(crate) const COLUMNS: &str = "r.run_id, r.name, r.pipeline, r.state, r.cancel, r.sequence, \
                                  r.create_us, r.start_us, r.end_us, r.reason, r.priority, \
                                  r.held, r.concurrency, r.timed_out, r.substituted";

/// How many [`COLUMNS`] there are.
pub(crate) const COLUMN_COUNT: usize = 15;

impl RunRow {
    /// The row from the first columns of a result, which are [`COLUMNS`].
    pub(crate) fn read(row: &Row<'_>) -> Result<Self, StoreError> {
        let state: i64 = row.get(3)?;
        let machine = RunRecordState {
            state: RunState::from_code(state).ok_or(StoreError::Corrupt { what: "run state" })?,
            cancel: stop(row.get(4)?)?,
            timed_out: row.get(13)?,
            start: row.get::<_, Option<i64>>(7)?.map(Timestamp),
            end: row.get::<_, Option<i64>>(8)?.map(Timestamp),
        };
        Ok(Self {
            run: RunId(row.get(0)?),
            name: row.get(1)?,
            pipeline: row.get(2)?,
            machine,
            sequence: row.get(5)?,
            create: Timestamp(row.get(6)?),
            reason: row.get(9)?,
            flow: Flow {
                priority: row.get(10)?,
                held: row.get(11)?,
                concurrency: row.get(12)?,
                substituted: row.get(14)?,
            },
        })
    }

    /// The run as the API shows it, without spec and steps.
    pub(crate) fn to_api(&self, record: RunRecord) -> Run {
        Run {
            run_id: self.run.to_string(),
            name: self.name.clone(),
            pipeline: self.pipeline.clone(),
            state: i32::from(self.machine.state.code()),
            create_time: Some(timestamp(self.create)),
            start_time: self.machine.start.map(timestamp),
            end_time: self.machine.end.map(timestamp),
            sequence: u64::try_from(self.sequence).unwrap_or_default(),
            reason: self.reason.clone(),
            priority: self.flow.priority,
            substituted: self.flow.substituted,
            ..record.run.unwrap_or_default()
        }
    }
}

fn stop(code: i64) -> Result<Option<Stop>, StoreError> {
    match code {
        0 => Ok(None),
        1 => Ok(Some(Stop::Politely)),
        2 => Ok(Some(Stop::AtOnce)),
        _ => Err(StoreError::Corrupt { what: "cancellation" }),
    }
}

fn stop_code(stop: Option<Stop>) -> i64 {
    match stop {
        None => 0,
        Some(Stop::Politely) => 1,
        Some(Stop::AtOnce) => 2,
    }
}

/// Adds a run with what never changes of it.
pub(crate) fn insert(
    tx: &Connection,
    row: &RunRow,
    record: &[u8],
    plan: &[u8],
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "INSERT INTO runs (run_id, name, pipeline, state, cancel, sequence, create_us, start_us,
             end_us, reason, priority, held, concurrency, timed_out, substituted)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
    )?
    .execute(rusqlite::params![
        row.run.0,
        row.name,
        row.pipeline,
        row.machine.state.code(),
        stop_code(row.machine.cancel),
        row.sequence,
        row.create.0,
        row.machine.start.map(|time| time.0),
        row.machine.end.map(|time| time.0),
        row.reason,
        row.flow.priority,
        row.flow.held,
        row.flow.concurrency,
        row.machine.timed_out,
        row.flow.substituted,
    ])?;
    tx.prepare_cached("INSERT INTO run_records (run_id, record, plan) VALUES (?1, ?2, ?3)")?
        .execute((row.run.0, record, plan))?;
    Ok(())
}

/// Adds the labels by which a run is found.
pub(crate) fn insert_labels(
    tx: &Connection,
    run: RunId,
    labels: &HashMap<String, String>,
) -> Result<(), StoreError> {
    let mut statement =
        tx.prepare_cached("INSERT INTO labels (key, value, run_id) VALUES (?1, ?2, ?3)")?;
    for (key, value) in labels {
        statement.execute((key, value, run.0))?;
    }
    Ok(())
}

/// Writes what changes of a run.
pub(crate) fn save(tx: &Connection, row: &RunRow) -> Result<(), StoreError> {
    tx.prepare_cached(
        "UPDATE runs SET state = ?2, cancel = ?3, sequence = ?4, start_us = ?5, end_us = ?6,
             reason = ?7, held = ?8, timed_out = ?9
         WHERE run_id = ?1",
    )?
    .execute((
        row.run.0,
        row.machine.state.code(),
        stop_code(row.machine.cancel),
        row.sequence,
        row.machine.start.map(|time| time.0),
        row.machine.end.map(|time| time.0),
        &row.reason,
        row.flow.held,
        row.machine.timed_out,
    ))?;
    Ok(())
}

/// The hot row of `run`, if there is such a run.
pub(crate) fn get(conn: &Connection, run: RunId) -> Result<Option<RunRow>, StoreError> {
    let mut statement =
        conn.prepare_cached(&format!("SELECT {COLUMNS} FROM runs r WHERE r.run_id = ?1"))?;
    let mut rows = statement.query([run.0])?;
    rows.next()?.map(RunRow::read).transpose()
}

/// What never changes of `run`, as stored.
pub(crate) fn record(conn: &Connection, run: RunId) -> Result<Option<RunRecord>, StoreError> {
    let mut statement = conn.prepare_cached("SELECT record FROM run_records WHERE run_id = ?1")?;
    let bytes: Option<Vec<u8>> = statement.query_row([run.0], |row| row.get(0)).optional()?;
    bytes.map(|bytes| decode(&bytes, "run record")).transpose()
}

/// The encoded plan of `run`.
pub(crate) fn plan(conn: &Connection, run: RunId) -> Result<Option<Vec<u8>>, StoreError> {
    let mut statement = conn.prepare_cached("SELECT plan FROM run_records WHERE run_id = ?1")?;
    Ok(statement.query_row([run.0], |row| row.get(0)).optional()?)
}

/// The newest id that was ever given and still has a run.
pub(crate) fn newest(conn: &Connection) -> Result<Option<RunId>, StoreError> {
    let mut statement =
        conn.prepare_cached("SELECT run_id FROM runs ORDER BY run_id DESC LIMIT 1")?;
    Ok(statement.query_row([], |row| row.get(0)).optional()?.map(RunId))
}

/// True where a run has that name.
pub(crate) fn name_taken(conn: &Connection, name: &str) -> Result<bool, StoreError> {
    Ok(conn.prepare_cached("SELECT 1 FROM runs WHERE name = ?1 LIMIT 1")?.exists([name])?)
}
