//! Why a run waits that has not begun since others of its concurrency key go on.

use rusqlite::{Connection, OptionalExtension};

use super::{StoreError, runs::RunRow};

/// The oldest run of a pipeline and key that has begun and not ended.
const GOING: &str = "SELECT r.name FROM runs r INDEXED BY runs_by_concurrency
     WHERE r.pipeline = ?1 AND r.concurrency = ?2 AND r.held = 0 AND r.state < 4
       AND r.concurrency IS NOT NULL
     ORDER BY r.run_id LIMIT 1";

/// Why a held run waits; `None` for one that is not held.
pub(crate) fn why_held(conn: &Connection, row: &RunRow) -> Result<Option<String>, StoreError> {
    let Some(key) = row.flow.concurrency.as_deref().filter(|_| row.flow.held) else {
        return Ok(None);
    };
    let going: Option<String> =
        conn.prepare_cached(GOING)?.query_row((&row.pipeline, key), |row| row.get(0)).optional()?;
    Ok(Some(reason(key, going.as_deref())))
}

/// The reason in words.
pub(crate) fn reason(key: &str, going: Option<&str>) -> String {
    match going {
        Some(name) => format!("waits for concurrency `{key}`: {name} goes on"),
        None => format!("waits for concurrency `{key}`"),
    }
}

/// How SQLite would find the run that goes on.
#[cfg(test)]
pub(crate) fn query_plan(conn: &Connection) -> String {
    let mut statement = conn.prepare(&format!("EXPLAIN QUERY PLAN {GOING}")).unwrap();
    let lines = statement.query_map(("", ""), |row| row.get::<_, String>(3)).unwrap();
    lines.map(Result::unwrap).collect::<Vec<_>>().join("; ")
}
