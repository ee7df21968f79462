//! What was found for steps before they started.

use prost::Message;
use rusqlite::{Connection, OptionalExtension};
use windlass_core::{RunId, StepIndex};

use super::{
    StoreError,
    records::{EntryRecord, decode},
};

/// Writes what was found for a step, over what was there.
pub(crate) fn save(
    tx: &Connection,
    run: RunId,
    step: StepIndex,
    entry: &EntryRecord,
) -> Result<(), StoreError> {
    tx.prepare_cached("INSERT OR REPLACE INTO entries (run_id, step, record) VALUES (?1, ?2, ?3)")?
        .execute((run.0, step.0, entry.encode_to_vec()))?;
    Ok(())
}

/// What was found for a step, if anything.
pub(crate) fn get(
    conn: &Connection,
    run: RunId,
    step: StepIndex,
) -> Result<Option<EntryRecord>, StoreError> {
    let mut statement =
        conn.prepare_cached("SELECT record FROM entries WHERE run_id = ?1 AND step = ?2")?;
    let bytes: Option<Vec<u8>> =
        statement.query_row((run.0, step.0), |row| row.get(0)).optional()?;
    bytes.map(|bytes| decode(&bytes, "entry of a step")).transpose()
}
