//! The record of runs in SQLite: one file per table family, plain functions over a connection that
//! map and do not decide.

pub(crate) mod attempts;
mod checkpoint;
pub(crate) mod concurrency;
pub(crate) mod details;
pub(crate) mod entries;
pub(crate) mod keys;
pub(crate) mod listing;
pub(crate) mod live;
pub(crate) mod metrics;
pub(crate) mod names;
mod needs;
pub(crate) mod ranking;
mod readers;
pub(crate) mod records;
pub(crate) mod requests;
pub(crate) mod results;
pub(crate) mod runs;
mod schema;
pub(crate) mod steps;
#[cfg(test)]
mod tests;
pub(crate) mod trash;
mod wal;
pub(crate) mod workers;
mod writer;

use std::path::Path;

use rusqlite::Connection;

pub(crate) use self::checkpoint::checkpoint;
pub(crate) use self::readers::Readers;
pub(crate) use self::writer::Writer;

/// How long a connection waits for another one's lock, in milliseconds. Only a checkpoint or a
/// foreign process can hold one for long.
const BUSY_TIMEOUT_MS: i64 = 1_000;

/// Page cache of the writer and of each reader, in KiB.
const WRITER_CACHE_KIB: i64 = 8 << 10;
const READER_CACHE_KIB: i64 = 2 << 10;

/// How much of the database readers map instead of reading, in bytes.
const READER_MMAP_BYTES: i64 = 64 << 20;

/// Pages in the write-ahead log before a commit also checkpoints.
const WAL_AUTOCHECKPOINT_PAGES: i64 = 4_000;

/// Prepared statements a connection keeps.
const CACHED_STATEMENTS: usize = 64;

/// Why the record of runs could not be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error(
        "the database is of version {found}, this program knows up to {known}; take a newer one"
    )]
    Newer { found: i64, known: i64 },
    #[error("failed to bring the database up to date")]
    Migration(#[from] rusqlite_migration::Error),
    #[error("failed to read or write the database")]
    Sqlite(#[from] rusqlite::Error),
    /// A row that this program cannot have written.
    #[error("the database holds a bad {what}")]
    Corrupt { what: &'static str },
    #[error("a read took longer than it may")]
    TooSlow,
    #[error("failed to read or write {file}")]
    File { file: &'static str, source: std::io::Error },
}

/// Refuses a database that a newer program made, before anything else is opened or served.
pub(crate) fn check_version(path: &Path) -> Result<(), StoreError> {
    if path.exists() { version(&open_reader(path)?).map(drop) } else { Ok(()) }
}

/// The database's version, unless this program does not know it.
fn version(conn: &Connection) -> Result<i64, StoreError> {
    let found: i64 = conn.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let known = schema::version();
    if found > known { Err(StoreError::Newer { found, known }) } else { Ok(found) }
}

/// Opens the database, creating or migrating it, for the one that writes.
pub(crate) fn open(path: &Path) -> Result<Writer, StoreError> {
    let mut conn = Connection::open(path)?;
    conn.pragma_update(None, "busy_timeout", BUSY_TIMEOUT_MS)?;
    let found = version(&conn)?;
    conn.pragma_update(None, "journal_mode", "WAL")?;
    conn.pragma_update(None, "synchronous", "FULL")?;
    conn.pragma_update(None, "wal_autocheckpoint", WAL_AUTOCHECKPOINT_PAGES)?;
    conn.pragma_update(None, "cache_size", -WRITER_CACHE_KIB)?;
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    conn.set_prepared_statement_cache_capacity(CACHED_STATEMENTS);
    if found < schema::version() {
        schema::SCHEMA.to_latest(&mut conn)?;
    }
    keys::create(&conn)?;
    Ok(Writer::new(conn, wal::WalRoom::new(path)))
}

/// A connection that only reads.
pub(crate) fn open_reader(path: &Path) -> Result<Connection, StoreError> {
    use rusqlite::OpenFlags;
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    conn.pragma_update(None, "busy_timeout", BUSY_TIMEOUT_MS)?;
    conn.pragma_update(None, "cache_size", -READER_CACHE_KIB)?;
    conn.pragma_update(None, "mmap_size", READER_MMAP_BYTES)?;
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    conn.set_prepared_statement_cache_capacity(CACHED_STATEMENTS);
    Ok(conn)
}
