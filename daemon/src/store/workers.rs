use prost::Message;
use rusqlite::Connection;
use windlass_core::Timestamp;

use super::{
    StoreError,
    records::{WorkerRecord, decode},
};

/// A worker that is known, connected or not.
#[derive(Clone, Debug)]
pub(crate) struct WorkerRow {
    pub(crate) name: String,
    pub(crate) draining: bool,
    pub(crate) seen: Timestamp,
    pub(crate) record: WorkerRecord,
}

/// Writes what is known of a worker; an operator's drain stays as it was.
pub(crate) fn save(
    tx: &Connection,
    name: &str,
    record: &WorkerRecord,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "INSERT INTO workers (name, seen_us, record) VALUES (?1, ?2, ?3)
         ON CONFLICT (name) DO UPDATE SET seen_us = excluded.seen_us, record = excluded.record",
    )?
    .execute((name, now.0, record.encode_to_vec()))?;
    Ok(())
}

/// Writes whether a worker gets no new leases.
pub(crate) fn set_draining(tx: &Connection, name: &str, draining: bool) -> Result<(), StoreError> {
    tx.prepare_cached("UPDATE workers SET draining = ?2 WHERE name = ?1")?
        .execute((name, draining))?;
    Ok(())
}

/// Every worker, by name, at most `limit`.
pub(crate) fn list(conn: &Connection, limit: usize) -> Result<Vec<WorkerRow>, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT name, draining, seen_us, record FROM workers ORDER BY name LIMIT ?1",
    )?;
    let mut rows = statement.query([i64::try_from(limit).unwrap_or(i64::MAX)])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let record: Vec<u8> = row.get(3)?;
        found.push(WorkerRow {
            name: row.get(0)?,
            draining: row.get(1)?,
            seen: Timestamp(row.get(2)?),
            record: decode(&record, "worker record")?,
        });
    }
    Ok(found)
}
