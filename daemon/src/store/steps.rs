use rusqlite::{Connection, OptionalExtension, Row};
use windlass_core::{Cell, NodeKey, RunId, StepIndex, StepState, Timestamp};
use windlass_proto::common::v1::Plan;

use super::StoreError;

/// A step's row: its cell and the sequence of its last change.
#[derive(Clone, Debug)]
pub(crate) struct StepRow {
    pub(crate) step: StepIndex,
    pub(crate) cell: Cell,
    pub(crate) sequence: i64,
    pub(crate) key: NodeKey,
    /// Of a step that the plan does not name: its path.
    pub(crate) path: Option<String>,
    /// Why it failed or was skipped, where no attempt and no step before it says so.
    pub(crate) reason: Option<String>,
}

/// Columns in the order that [`StepRow::read`] takes them.
pub(crate) const COLUMNS: &str = "s.step, s.state, s.attempt, s.retries, s.losses, \
                                  s.not_before_us, s.sequence, s.template, s.parent, s.ordinal, \
                                  s.path, s.reason, s.start_us, s.end_us";

impl StepRow {
    /// The row from the columns from `at` on, which are [`COLUMNS`]. Whether the attempt has
    /// started only the attempt's row knows.
    pub(crate) fn read(row: &Row<'_>, at: usize) -> Result<Self, StoreError> {
        let state: i64 = row.get(at + 1)?;
        let time = |place| Ok::<_, StoreError>(row.get::<_, Option<i64>>(place)?.map(Timestamp));
        let cell = Cell {
            state: StepState::from_code(state).ok_or(StoreError::Corrupt { what: "step state" })?,
            attempt: row.get(at + 2)?,
            started: false,
            retries: row.get(at + 3)?,
            losses: row.get(at + 4)?,
            not_before: time(at + 5)?,
            start: time(at + 12)?,
            end: time(at + 13)?,
        };
        let step = StepIndex(row.get(at)?);
        let key = NodeKey {
            template: row.get::<_, Option<u32>>(at + 7)?.map_or(step, StepIndex),
            parent: row.get::<_, Option<u32>>(at + 8)?.map(StepIndex),
            ordinal: row.get(at + 9)?,
        };
        let (path, reason) = (row.get(at + 10)?, row.get(at + 11)?);
        Ok(Self { step, cell, sequence: row.get(at + 6)?, key, path, reason })
    }
}

/// Adds every step of a new run, in the order of the plan.
pub(crate) fn insert_all(
    tx: &Connection,
    run: RunId,
    cells: &[Cell],
    sequence: i64,
) -> Result<(), StoreError> {
    let mut statement = tx.prepare_cached(
        "INSERT INTO steps (run_id, step, state, attempt, retries, losses, not_before_us, sequence)
         VALUES (?1, ?2, ?3, 0, 0, 0, NULL, ?4)",
    )?;
    for (step, cell) in (0u32..).zip(cells) {
        statement.execute((run.0, step, cell.state.code(), sequence))?;
    }
    Ok(())
}

/// Adds a step that came while the run goes on.
pub(crate) fn insert(tx: &Connection, run: RunId, row: &StepRow) -> Result<(), StoreError> {
    let (cell, key) = (&row.cell, &row.key);
    let micros = |time: Option<Timestamp>| time.map(|time| time.0);
    tx.prepare_cached(
        "INSERT INTO steps (run_id, step, state, attempt, retries, losses, not_before_us, sequence,
             reason, start_us, end_us, template, parent, ordinal, path)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
    )?
    .execute((
        run.0,
        row.step.0,
        cell.state.code(),
        cell.attempt,
        cell.retries,
        cell.losses,
        micros(cell.not_before),
        row.sequence,
        &row.reason,
        micros(cell.start),
        micros(cell.end),
        key.template.0,
        key.parent.map(|parent| parent.0),
        key.ordinal,
        &row.path,
    ))?;
    Ok(())
}

/// Writes where a step stands.
pub(crate) fn save(tx: &Connection, run: RunId, row: &StepRow) -> Result<(), StoreError> {
    let cell = &row.cell;
    let micros = |time: Option<Timestamp>| time.map(|time| time.0);
    tx.prepare_cached(
        "UPDATE steps SET state = ?3, attempt = ?4, retries = ?5, losses = ?6, not_before_us = ?7,
             sequence = ?8, reason = ?9, start_us = ?10, end_us = ?11
         WHERE run_id = ?1 AND step = ?2",
    )?
    .execute((
        run.0,
        row.step.0,
        cell.state.code(),
        cell.attempt,
        cell.retries,
        cell.losses,
        micros(cell.not_before),
        row.sequence,
        &row.reason,
        micros(cell.start),
        micros(cell.end),
    ))?;
    Ok(())
}

/// The steps from `first` on that changed after `after`, at most `limit`, in order of the plan.
pub(crate) fn changed(
    conn: &Connection,
    run: RunId,
    (after, first, limit): (i64, u32, u32),
) -> Result<Vec<StepRow>, StoreError> {
    let mut statement = conn.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM steps s
         WHERE s.run_id = ?1 AND s.step >= ?2 AND s.sequence > ?3 ORDER BY s.step LIMIT ?4"
    ))?;
    let mut rows = statement.query((run.0, first, after, limit))?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(StepRow::read(row, 0)?);
    }
    Ok(found)
}

/// The first ready steps of a run, at most `limit`.
pub(crate) fn ready(conn: &Connection, run: RunId, limit: u32) -> Result<Vec<StepRow>, StoreError> {
    let mut statement = conn.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM steps s
         WHERE s.run_id = ?1 AND s.state = ?2 ORDER BY s.step LIMIT ?3"
    ))?;
    let mut rows = statement.query((run.0, StepState::Ready.code(), limit))?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(StepRow::read(row, 0)?);
    }
    Ok(found)
}

/// One step of a run.
pub(crate) fn get(
    conn: &Connection,
    run: RunId,
    step: StepIndex,
) -> Result<Option<StepRow>, StoreError> {
    let mut statement = conn.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM steps s WHERE s.run_id = ?1 AND s.step = ?2"
    ))?;
    let mut rows = statement.query((run.0, step.0))?;
    rows.next()?.map(|row| StepRow::read(row, 0)).transpose()
}

/// The step of that path.
pub(crate) fn at_path(
    conn: &Connection,
    (run, plan): (RunId, &Plan),
    path: &str,
) -> Result<Option<StepIndex>, StoreError> {
    let top = plan.steps.iter().take_while(|step| step.parent.is_none());
    if let Some(place) = top.into_iter().position(|step| step.path == path) {
        return Ok(u32::try_from(place).ok().map(StepIndex));
    }
    let mut statement =
        conn.prepare_cached("SELECT step FROM steps WHERE run_id = ?1 AND path = ?2")?;
    Ok(statement.query_row((run.0, path), |row| row.get(0)).optional()?.map(StepIndex))
}
