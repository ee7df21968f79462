use std::path::Path;

use rusqlite::Connection;

use super::{BUSY_TIMEOUT_MS, StoreError};

/// Moves the write-ahead log into the database, once nobody writes any more. Without it the next
/// start does the same, only later.
pub(crate) fn checkpoint(path: &Path) -> Result<(), StoreError> {
    let conn = Connection::open(path)?;
    conn.pragma_update(None, "busy_timeout", BUSY_TIMEOUT_MS)?;
    conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    Ok(())
}
