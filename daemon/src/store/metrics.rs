use std::collections::{HashMap, HashSet};

use rusqlite::Connection;
use windlass_core::Timestamp;
use windlass_proto::{common::v1::MetricPoint, timestamp, to_timestamp};

use super::{StoreError, attempts::AttemptKey};

/// Adds points and the last value of each name. Points with a sequence that is already there are
/// left alone.
pub(crate) fn insert(
    tx: &Connection,
    key: AttemptKey,
    points: &[MetricPoint],
    now: Timestamp,
) -> Result<(), StoreError> {
    let (run, step, attempt) = (key.run.0, key.step.0, key.attempt.0);
    let mut statement = tx.prepare_cached(
        "INSERT OR IGNORE INTO metrics (run_id, step, attempt, sequence, name, value, metric_step,
             time_us)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?;
    let mut last: HashMap<&str, f64> = HashMap::new();
    for point in points {
        let time = point.time.as_ref().map_or(now, to_timestamp).0;
        let sequence = i64::try_from(point.sequence).unwrap_or(i64::MAX);
        let (name, value) = (&point.name, point.value);
        statement.execute((run, step, attempt, sequence, name, value, point.step, time))?;
        last.insert(name, value);
    }
    let mut statement = tx.prepare_cached(
        "INSERT OR REPLACE INTO last_metrics (run_id, step, attempt, name, value)
         VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    for (name, value) in last {
        statement.execute((run, step, attempt, name, value))?;
    }
    Ok(())
}

/// The last value of each metric of one attempt. SQLite keeps NaN as null.
pub(crate) fn last(conn: &Connection, key: AttemptKey) -> Result<HashMap<String, f64>, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT name, value FROM last_metrics WHERE run_id = ?1 AND step = ?2 AND attempt = ?3",
    )?;
    let mut rows = statement.query((key.run.0, key.step.0, key.attempt.0))?;
    let mut found = HashMap::new();
    while let Some(row) = rows.next()? {
        found.insert(row.get(0)?, row.get::<_, Option<f64>>(1)?.unwrap_or(f64::NAN));
    }
    Ok(found)
}

/// Highest sequence of one attempt's points, 0 where there is none, and the names they have.
pub(crate) fn extent(
    conn: &Connection,
    key: AttemptKey,
) -> Result<(u64, HashSet<String>), StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT COALESCE(MAX(sequence), 0) FROM metrics
         WHERE run_id = ?1 AND step = ?2 AND attempt = ?3",
    )?;
    let (run, step, attempt) = (key.run.0, key.step.0, key.attempt.0);
    let sequence: i64 = statement.query_row((run, step, attempt), |row| row.get(0))?;
    let names = last(conn, key)?.into_keys().collect();
    Ok((u64::try_from(sequence).unwrap_or_default(), names))
}

/// Points of one attempt after `after`, at most `limit`, in order.
pub(crate) fn after(
    conn: &Connection,
    key: AttemptKey,
    after: u64,
    limit: u32,
) -> Result<Vec<MetricPoint>, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT sequence, name, value, metric_step, time_us FROM metrics
         WHERE run_id = ?1 AND step = ?2 AND attempt = ?3 AND sequence > ?4
         ORDER BY sequence LIMIT ?5",
    )?;
    let after = i64::try_from(after).unwrap_or(i64::MAX);
    let mut rows = statement.query((key.run.0, key.step.0, key.attempt.0, after, limit))?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(MetricPoint {
            sequence: u64::try_from(row.get::<_, i64>(0)?).unwrap_or_default(),
            name: row.get(1)?,
            value: row.get::<_, Option<f64>>(2)?.unwrap_or(f64::NAN),
            step: row.get(3)?,
            time: Some(timestamp(Timestamp(row.get(4)?))),
        });
    }
    Ok(found)
}
