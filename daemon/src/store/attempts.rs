use prost::Message;
use rusqlite::{Connection, Row};
use windlass_core::{AttemptNumber, AttemptState, LeaseId, RunId, StepIndex, Timestamp};

use super::{
    StoreError,
    records::{AttemptRecord, CallList, decode},
};

/// Names one attempt in the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct AttemptKey {
    pub(crate) run: RunId,
    pub(crate) step: StepIndex,
    pub(crate) attempt: AttemptNumber,
}

/// An attempt's row, without its calls.
#[derive(Clone, Debug)]
pub(crate) struct AttemptRow {
    pub(crate) key: AttemptKey,
    pub(crate) state: AttemptState,
    pub(crate) lease: LeaseId,
    pub(crate) worker: String,
    pub(crate) lease_time: Timestamp,
    pub(crate) start: Option<Timestamp>,
    pub(crate) record: Option<AttemptRecord>,
}

/// Columns in the order that [`AttemptRow::read`] takes them.
pub(crate) const COLUMNS: &str = "a.run_id, a.step, a.attempt, a.state, a.lease_id, a.worker, \
                                  a.lease_us, a.start_us, a.record";

impl AttemptRow {
    /// The row from the first columns of a result, which are [`COLUMNS`].
    pub(crate) fn read(row: &Row<'_>) -> Result<Self, StoreError> {
        let key = AttemptKey {
            run: RunId(row.get(0)?),
            step: StepIndex(row.get(1)?),
            attempt: AttemptNumber(row.get(2)?),
        };
        let state = AttemptState::from_code(row.get(3)?);
        let record = row.get_ref(8)?.as_blob_or_null().map_err(rusqlite::Error::from)?;
        Ok(Self {
            key,
            state: state.ok_or(StoreError::Corrupt { what: "attempt state" })?,
            lease: LeaseId(row.get(4)?),
            worker: row.get(5)?,
            lease_time: Timestamp(row.get(6)?),
            start: row.get::<_, Option<i64>>(7)?.map(Timestamp),
            record: record.map(|bytes| decode(bytes, "attempt record")).transpose()?,
        })
    }
}

/// Adds a granted attempt, over one of the same number that was given back.
pub(crate) fn insert(tx: &Connection, row: &AttemptRow) -> Result<(), StoreError> {
    tx.prepare_cached(
        "INSERT OR REPLACE INTO attempts (run_id, step, attempt, state, lease_id, worker, lease_us)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute((
        row.key.run.0,
        row.key.step.0,
        row.key.attempt.0,
        row.state.code(),
        row.lease.0,
        &row.worker,
        row.lease_time.0,
    ))?;
    Ok(())
}

/// Writes that an attempt runs.
pub(crate) fn start(tx: &Connection, key: AttemptKey, time: Timestamp) -> Result<(), StoreError> {
    tx.prepare_cached(
        "UPDATE attempts SET state = ?4, start_us = ?5
         WHERE run_id = ?1 AND step = ?2 AND attempt = ?3",
    )?
    .execute((key.run.0, key.step.0, key.attempt.0, AttemptState::Running.code(), time.0))?;
    Ok(())
}

/// How an attempt ended, to be stored.
pub(crate) struct Ending {
    pub(crate) state: AttemptState,
    pub(crate) start: Option<Timestamp>,
    pub(crate) record: AttemptRecord,
    pub(crate) calls: CallList,
}

/// Writes how an attempt ended.
pub(crate) fn end(tx: &Connection, key: AttemptKey, ending: &Ending) -> Result<(), StoreError> {
    let calls = (!ending.calls.calls.is_empty()).then(|| ending.calls.encode_to_vec());
    tx.prepare_cached(
        "UPDATE attempts SET state = ?4, start_us = COALESCE(?5, start_us), record = ?6, calls = ?7
         WHERE run_id = ?1 AND step = ?2 AND attempt = ?3",
    )?
    .execute((
        key.run.0,
        key.step.0,
        key.attempt.0,
        ending.state.code(),
        ending.start.map(|time| time.0),
        ending.record.encode_to_vec(),
        calls,
    ))?;
    Ok(())
}

/// Removes an attempt that was given back before it started.
pub(crate) fn remove(tx: &Connection, key: AttemptKey) -> Result<(), StoreError> {
    tx.prepare_cached("DELETE FROM attempts WHERE run_id = ?1 AND step = ?2 AND attempt = ?3")?
        .execute((key.run.0, key.step.0, key.attempt.0))?;
    Ok(())
}

/// One attempt, if there is such a one.
pub(crate) fn get(conn: &Connection, key: AttemptKey) -> Result<Option<AttemptRow>, StoreError> {
    let mut statement = conn.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM attempts a
         WHERE a.run_id = ?1 AND a.step = ?2 AND a.attempt = ?3"
    ))?;
    let mut rows = statement.query((key.run.0, key.step.0, key.attempt.0))?;
    rows.next()?.map(AttemptRow::read).transpose()
}

/// The attempts of one step, oldest first.
pub(crate) fn of_step(
    conn: &Connection,
    run: RunId,
    step: StepIndex,
) -> Result<Vec<AttemptRow>, StoreError> {
    let mut statement = conn.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM attempts a WHERE a.run_id = ?1 AND a.step = ?2 ORDER BY a.attempt"
    ))?;
    let mut rows = statement.query((run.0, step.0))?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(AttemptRow::read(row)?);
    }
    Ok(found)
}

/// The calls that one attempt recorded.
pub(crate) fn calls(conn: &Connection, key: AttemptKey) -> Result<CallList, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT calls FROM attempts WHERE run_id = ?1 AND step = ?2 AND attempt = ?3",
    )?;
    let mut rows = statement.query((key.run.0, key.step.0, key.attempt.0))?;
    let Some(row) = rows.next()? else { return Ok(CallList::default()) };
    let bytes = row.get_ref(0)?.as_blob_or_null().map_err(rusqlite::Error::from)?;
    bytes.map_or_else(|| Ok(CallList::default()), |bytes| decode(bytes, "list of calls"))
}
