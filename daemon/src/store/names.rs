use rusqlite::Connection;
use uuid::Uuid;
use windlass_core::RunState;

use super::{
    StoreError,
    runs::{COLUMNS, RunRow},
};

/// Shortest prefix of an id that names a run, in characters.
const MIN_PREFIX: usize = 4;

/// Most runs named where a prefix fits several.
const MAX_NAMED: u32 = 5;

/// Furthest back that `@-N` reaches.
const MAX_BACK: u32 = 10_000;

/// What a text names.
#[derive(Debug)]
pub(crate) enum Named {
    One(Box<RunRow>),
    Nothing,
    /// Some of the runs that a prefix fits.
    Several(Vec<RunRow>),
}

/// Finds the run that `text` names: `@last`, `@last-ok`, `@-N`, an id, an exact name (the newest
/// run of it), or a unique prefix of an id, in this order.
pub(crate) fn resolve(conn: &Connection, text: &str) -> Result<Named, StoreError> {
    if let Some(place) = text.strip_prefix('@') {
        return by_place(conn, place);
    }
    if let Ok(id) = Uuid::try_parse(text) {
        return one(conn, "r.run_id = ?1 LIMIT 1", [id]);
    }
    let named = one(conn, "r.name = ?1 ORDER BY r.run_id DESC LIMIT 1", [text])?;
    match (named, prefix_bounds(text)) {
        (Named::Nothing, Some((low, high))) => by_prefix(conn, low, high),
        (named, _) => Ok(named),
    }
}

fn by_place(conn: &Connection, place: &str) -> Result<Named, StoreError> {
    let ok = RunState::Succeeded.code();
    match (place, place.strip_prefix('-').map(str::parse::<u32>)) {
        ("last", _) => one(conn, "TRUE ORDER BY r.run_id DESC LIMIT 1", []),
        ("last-ok", _) => one(conn, "r.state = ?1 ORDER BY r.run_id DESC LIMIT 1", [ok]),
        (_, Some(Ok(back @ 1..=MAX_BACK))) => {
            one(conn, "TRUE ORDER BY r.run_id DESC LIMIT 1 OFFSET ?1", [back - 1])
        }
        (_, _) => Ok(Named::Nothing),
    }
}

fn one(
    conn: &Connection,
    condition: &str,
    params: impl rusqlite::Params,
) -> Result<Named, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM runs r WHERE {condition}");
    let mut statement = conn.prepare_cached(&sql)?;
    let mut rows = statement.query(params)?;
    match rows.next()? {
        Some(row) => Ok(Named::One(Box::new(RunRow::read(row)?))),
        None => Ok(Named::Nothing),
    }
}

fn by_prefix(conn: &Connection, low: Uuid, high: Uuid) -> Result<Named, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM runs r WHERE r.run_id BETWEEN ?1 AND ?2
         ORDER BY r.run_id DESC LIMIT ?3"
    );
    let mut statement = conn.prepare_cached(&sql)?;
    let mut rows = statement.query((low, high, MAX_NAMED))?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(RunRow::read(row)?);
    }
    Ok(match found.len() {
        0 => Named::Nothing,
        1 => found.pop().map_or(Named::Nothing, |row| Named::One(Box::new(row))),
        _ => Named::Several(found),
    })
}

/// The lowest and the highest id that begins with `prefix`.
fn prefix_bounds(prefix: &str) -> Option<(Uuid, Uuid)> {
    let digits: String = prefix.chars().filter(|c| *c != '-').collect();
    let hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !hex || prefix.len() < MIN_PREFIX || digits.is_empty() || digits.len() > 32 {
        return None;
    }
    let low = Uuid::try_parse(&format!("{digits:0<32}")).ok()?;
    let high = Uuid::try_parse(&format!("{digits:f<32}")).ok()?;
    Some((low, high))
}
