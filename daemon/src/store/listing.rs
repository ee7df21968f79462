use rusqlite::Connection;
use uuid::Uuid;
use windlass_core::{RunId, RunState};

use super::{
    StoreError,
    runs::{COLUMNS, RunRow},
};

/// Most runs of a label looked at for one page; a page may so be short and still not be the last.
const MAX_SCANNED: usize = 10_000;

/// Which runs a listing has.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    pub(crate) pipeline: Option<String>,
    /// Empty: any.
    pub(crate) states: Vec<RunState>,
    /// All of these.
    pub(crate) labels: Vec<(String, String)>,
}

/// One page of a listing, newest first.
pub(crate) struct Page {
    pub(crate) rows: Vec<RunRow>,
    /// The next page begins below this one, where there is a next page.
    pub(crate) next: Option<RunId>,
}

/// The runs below `before` that pass the filter, at most `limit`.
pub(crate) fn page(
    conn: &Connection,
    filter: &Filter,
    before: Option<RunId>,
    limit: usize,
) -> Result<Page, StoreError> {
    let before = before.map_or(Uuid::max(), |run| run.0);
    if filter.labels.is_empty() {
        by_columns(conn, filter, before, limit)
    } else {
        by_labels(conn, filter, before, limit)
    }
}

fn by_columns(
    conn: &Connection,
    filter: &Filter,
    before: Uuid,
    limit: usize,
) -> Result<Page, StoreError> {
    let more = i64::try_from(limit + 1).unwrap_or(i64::MAX);
    let tail = "r.run_id < ?1 ORDER BY r.run_id DESC LIMIT ?2";
    let states = if filter.states.is_empty() { RunState::ALL } else { &filter.states };
    let mut rows = Vec::new();
    match (&filter.pipeline, filter.states.is_empty()) {
        (None, true) => {
            let mut statement = prepare(conn, tail)?;
            collect(statement.query((before, more))?, &mut rows)?;
        }
        (None, false) => {
            let mut statement = prepare(conn, &format!("r.state = ?3 AND {tail}"))?;
            for state in states {
                collect(statement.query((before, more, state.code()))?, &mut rows)?;
            }
        }
        (Some(pipeline), _) => {
            let condition = format!("r.pipeline = ?3 AND r.state = ?4 AND {tail}");
            let mut statement = prepare(conn, &condition)?;
            for state in states {
                collect(statement.query((before, more, pipeline, state.code()))?, &mut rows)?;
            }
        }
    }
    rows.sort_unstable_by_key(|row| std::cmp::Reverse(row.run));
    rows.dedup_by_key(|row| row.run);
    let full = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| full).map(|row| row.run);
    Ok(Page { rows, next })
}

fn by_labels(
    conn: &Connection,
    filter: &Filter,
    before: Uuid,
    limit: usize,
) -> Result<Page, StoreError> {
    let [(key, value), others @ ..] = filter.labels.as_slice() else {
        return by_columns(conn, filter, before, limit);
    };
    let mut statement = conn.prepare_cached(
        "SELECT run_id FROM labels WHERE key = ?1 AND value = ?2 AND run_id < ?3
         ORDER BY run_id DESC",
    )?;
    let mut has =
        conn.prepare_cached("SELECT 1 FROM labels WHERE key = ?1 AND value = ?2 AND run_id = ?3")?;
    let mut found = statement.query((key, value, before))?;
    let (mut rows, mut scanned): (Vec<RunRow>, usize) = (Vec::new(), 0);
    let mut last = None;
    while let Some(row) = found.next()? {
        if rows.len() == limit || scanned == MAX_SCANNED {
            return Ok(Page { rows, next: last });
        }
        let run = RunId(row.get(0)?);
        scanned += 1;
        last = Some(run);
        let mut all = true;
        for (key, value) in others {
            all = all && has.exists((key, value, run.0))?;
        }
        let Some(row) = super::runs::get(conn, run)?.filter(|_| all) else { continue };
        let state = filter.states.is_empty() || filter.states.contains(&row.machine.state);
        if state && filter.pipeline.as_ref().is_none_or(|pipeline| *pipeline == row.pipeline) {
            rows.push(row);
        }
    }
    Ok(Page { rows, next: None })
}

fn prepare<'c>(
    conn: &'c Connection,
    condition: &str,
) -> Result<rusqlite::CachedStatement<'c>, StoreError> {
    Ok(conn.prepare_cached(&format!("SELECT {COLUMNS} FROM runs r WHERE {condition}"))?)
}

fn collect(mut rows: rusqlite::Rows<'_>, into: &mut Vec<RunRow>) -> Result<(), StoreError> {
    while let Some(row) = rows.next()? {
        into.push(RunRow::read(row)?);
    }
    Ok(())
}

/// How SQLite would carry out the listings, for the test that no listing scans a table.
#[cfg(test)]
pub(crate) fn query_plans(conn: &Connection) -> Vec<String> {
    let tail = "r.run_id < ?1 ORDER BY r.run_id DESC LIMIT ?2";
    let conditions = [
        tail.to_owned(),
        format!("r.state = ?3 AND {tail}"),
        format!("r.pipeline = ?3 AND r.state = ?4 AND {tail}"),
        "r.name = ?1 ORDER BY r.run_id DESC LIMIT 1".to_owned(),
    ];
    let explain = |condition: &String| {
        let sql = format!("EXPLAIN QUERY PLAN SELECT {COLUMNS} FROM runs r WHERE {condition}");
        let mut statement: rusqlite::Statement<'_> = conn.prepare(&sql).unwrap();
        let count = statement.parameter_count();
        let params = rusqlite::params_from_iter(std::iter::repeat_n(1, count));
        let lines = statement.query_map(params, |row| row.get::<_, String>(3)).unwrap();
        lines.map(Result::unwrap).collect::<Vec<_>>().join("; ")
    };
    conditions.iter().map(explain).collect()
}
