//! Deletion in two parts: a run disappears at once, its rows are swept away a slice at a time, so
//! that nobody waits for a million metric points.

use rusqlite::{Connection, OptionalExtension};
use windlass_core::RunId;

use super::{StoreError, records::RunRecord, runs};

/// Most rows swept away in one slice.
const SLICE_ROWS: i64 = 2_000;

/// The families of rows that belong to a run, by table and key.
const FAMILIES: [(&str, &str); 7] = [
    ("metrics", "step, attempt, sequence"),
    ("last_metrics", "step, attempt, name"),
    ("artifacts", "step, attempt, path"),
    ("outputs", "step, attempt, position"),
    ("attempts", "step, attempt"),
    ("entries", "step"),
    ("steps", "step"),
];

/// Makes a run disappear.
pub(crate) fn delete_run(tx: &Connection, run: RunId) -> Result<(), StoreError> {
    let record = runs::record(tx, run)?.unwrap_or_default();
    let RunRecord { run: Some(api), .. } = record else {
        return Err(StoreError::Corrupt { what: "run record" });
    };
    let mut statement =
        tx.prepare_cached("DELETE FROM labels WHERE key = ?1 AND value = ?2 AND run_id = ?3")?;
    for (key, value) in &api.labels {
        statement.execute((key, value, run.0))?;
    }
    for table in ["runs", "run_records"] {
        tx.prepare_cached(&format!("DELETE FROM {table} WHERE run_id = ?1"))?.execute([run.0])?;
    }
    tx.prepare_cached("INSERT OR IGNORE INTO trash (run_id) VALUES (?1)")?.execute([run.0])?;
    Ok(())
}

/// A deleted run that still has rows, if there is one.
pub(crate) fn next(conn: &Connection) -> Result<Option<RunId>, StoreError> {
    let mut statement = conn.prepare_cached("SELECT run_id FROM trash LIMIT 1")?;
    Ok(statement.query_row([], |row| row.get(0)).optional()?.map(RunId))
}

/// Sweeps away some rows of a deleted run.
pub(crate) fn sweep(tx: &Connection, run: RunId) -> Result<(), StoreError> {
    for family in FAMILIES {
        let gone = tx.prepare_cached(&slice(family))?.execute([run.0])?;
        if gone > 0 {
            return Ok(());
        }
    }
    tx.prepare_cached("DELETE FROM trash WHERE run_id = ?1")?.execute([run.0])?;
    Ok(())
}

fn slice((table, key): (&str, &str)) -> String {
    format!(
        "DELETE FROM {table} WHERE run_id = ?1 AND ({key}) IN
             (SELECT {key} FROM {table} WHERE run_id = ?1 LIMIT {SLICE_ROWS})"
    )
}

/// How SQLite would carry out the slices.
#[cfg(test)]
pub(crate) fn query_plans(conn: &Connection) -> Vec<String> {
    let explain = |family| {
        let mut statement = conn.prepare(&format!("EXPLAIN QUERY PLAN {}", slice(family))).unwrap();
        let lines = statement.query_map([1], |row| row.get::<_, String>(3)).unwrap();
        lines.map(Result::unwrap).collect::<Vec<_>>().join("; ")
    };
    FAMILIES.into_iter().map(explain).collect()
}
