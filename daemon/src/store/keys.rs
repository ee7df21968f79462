use rusqlite::{Connection, OptionalExtension};
use uuid::Uuid;

use super::StoreError;

const INSTANCE: &str = "instance";
const PAGE_KEY: &str = "page_key";

/// Gives a new database its identity and the key of its page tokens.
pub(super) fn create(conn: &Connection) -> Result<(), StoreError> {
    for key in [INSTANCE, PAGE_KEY] {
        if get(conn, key)?.is_none() {
            conn.execute(
                "INSERT OR IGNORE INTO meta (key, value) VALUES (?1, ?2)",
                (key, random_key().as_slice()),
            )?;
        }
    }
    Ok(())
}

/// 32 bytes that nobody can guess.
pub(crate) fn random_key() -> [u8; 32] {
    let seed = [Uuid::new_v4(), Uuid::new_v4(), Uuid::new_v4()];
    let bytes: Vec<u8> = seed.iter().flat_map(|uuid| *uuid.as_bytes()).collect();
    *blake3::hash(&bytes).as_bytes()
}

/// New with each database, in hex.
pub(crate) fn instance_id(conn: &Connection) -> Result<String, StoreError> {
    let key = get(conn, INSTANCE)?.ok_or(StoreError::Corrupt { what: "instance id" })?;
    Ok(key[..16].iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The key that page tokens are made with.
pub(crate) fn page_key(conn: &Connection) -> Result<[u8; 32], StoreError> {
    get(conn, PAGE_KEY)?.ok_or(StoreError::Corrupt { what: "page key" })
}

fn get(conn: &Connection, key: &str) -> Result<Option<[u8; 32]>, StoreError> {
    let mut statement = conn.prepare_cached("SELECT value FROM meta WHERE key = ?1")?;
    Ok(statement.query_row([key], |row| row.get(0)).optional()?)
}
