use rusqlite::{Connection, Row};
use windlass_core::{Cell, RunId, StepIndex, StepState, Timestamp};

use super::StoreError;

/// A step's row: its cell and the sequence of its last change.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StepRow {
    pub(crate) step: StepIndex,
    pub(crate) cell: Cell,
    pub(crate) sequence: i64,
}

/// Columns in the order that [`StepRow::read`] takes them.
pub(crate) const COLUMNS: &str =
    "s.step, s.state, s.attempt, s.retries, s.losses, s.not_before_us, s.sequence";

impl StepRow {
    /// The row from the columns from `at` on, which are [`COLUMNS`]. Whether the attempt has
    /// started only the attempt's row knows.
    pub(crate) fn read(row: &Row<'_>, at: usize) -> Result<Self, StoreError> {
        let state: i64 = row.get(at + 1)?;
        let cell = Cell {
            state: StepState::from_code(state).ok_or(StoreError::Corrupt { what: "step state" })?,
            attempt: row.get(at + 2)?,
            started: false,
            retries: row.get(at + 3)?,
            losses: row.get(at + 4)?,
            not_before: row.get::<_, Option<i64>>(at + 5)?.map(Timestamp),
        };
        Ok(Self { step: StepIndex(row.get(at)?), cell, sequence: row.get(at + 6)? })
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

/// Writes where a step stands.
pub(crate) fn save(tx: &Connection, run: RunId, row: &StepRow) -> Result<(), StoreError> {
    let cell = &row.cell;
    tx.prepare_cached(
        "UPDATE steps SET state = ?3, attempt = ?4, retries = ?5, losses = ?6, not_before_us = ?7,
             sequence = ?8
         WHERE run_id = ?1 AND step = ?2",
    )?
    .execute((
        run.0,
        row.step.0,
        cell.state.code(),
        cell.attempt,
        cell.retries,
        cell.losses,
        cell.not_before.map(|time| time.0),
        row.sequence,
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
