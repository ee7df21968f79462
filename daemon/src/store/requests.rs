use rusqlite::{Connection, OptionalExtension};
use uuid::Uuid;
use windlass_core::{RunId, Timestamp};

use super::StoreError;

/// How long a request id is remembered, in microseconds: 7 days.
const KEPT_MICROS: i64 = 7 * 24 * 3600 * 1_000_000;

/// Most old request ids forgotten with one new one.
const FORGOTTEN_AT_ONCE: i64 = 16;

/// The run that the request made, where it is still remembered.
pub(crate) fn find(
    conn: &Connection,
    request: Uuid,
    now: Timestamp,
) -> Result<Option<RunId>, StoreError> {
    let mut statement = conn
        .prepare_cached("SELECT run_id FROM requests WHERE request_id = ?1 AND create_us > ?2")?;
    let since = now.0.saturating_sub(KEPT_MICROS);
    Ok(statement.query_row((request, since), |row| row.get(0)).optional()?.map(RunId))
}

/// Remembers that the request made `run`, and forgets some that are too old.
pub(crate) fn insert(
    tx: &Connection,
    request: Uuid,
    run: RunId,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "INSERT OR REPLACE INTO requests (request_id, run_id, create_us) VALUES (?1, ?2, ?3)",
    )?
    .execute((request, run.0, now.0))?;
    tx.prepare_cached(
        "DELETE FROM requests WHERE request_id IN
             (SELECT request_id FROM requests WHERE create_us <= ?1 ORDER BY create_us LIMIT ?2)",
    )?
    .execute((now.0.saturating_sub(KEPT_MICROS), FORGOTTEN_AT_ONCE))?;
    Ok(())
}
