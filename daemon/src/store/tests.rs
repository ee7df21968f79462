use std::path::Path;

use rusqlite::Connection;
use uuid::Uuid;
use windlass_core::{RunId, RunRecordState, RunState, Timestamp};
use windlass_proto::api::v1::Run;

use super::{
    listing::{self, Filter},
    names::{self, Named},
    records::RunRecord,
    runs::{self, RunRow},
    *,
};

/// Adds a run whose id is made of `number`.
fn add(writer: &mut Writer, number: u128, state: RunState, label: &str) -> RunId {
    use prost::Message;
    let run = RunId(Uuid::from_u128(number << 64));
    let row = RunRow {
        run,
        name: format!("name-{}", number % 3),
        pipeline: if number.is_multiple_of(2) { "even" } else { "odd" }.to_owned(),
        machine: RunRecordState { state, cancel: None, timed_out: false, start: None, end: None },
        sequence: 1,
        create: Timestamp(0),
        reason: String::new(),
        flow: runs::Flow::default(),
    };
    let labels = [("team".to_owned(), label.to_owned())].into();
    let record = RunRecord { run: Some(Run { labels, ..Run::default() }), ..RunRecord::default() };
    let tx = writer.tx().unwrap();
    runs::insert(tx, &row, &record.encode_to_vec(), &[]).unwrap();
    runs::insert_labels(tx, run, &record.run.unwrap().labels).unwrap();
    run
}

fn numbers(rows: &[RunRow]) -> Vec<u128> {
    rows.iter().map(|row| row.run.0.as_u128() >> 64).collect()
}

/// A database of runs 1 to 20, every fourth failed, every fifth of team b.
fn filled(home: &Path) -> Writer {
    let mut writer = open(&home.join("windlass.db")).unwrap();
    for number in 1..=20u128 {
        let state = if number.is_multiple_of(4) { RunState::Failed } else { RunState::Succeeded };
        let label = if number.is_multiple_of(5) { "b" } else { "a" };
        add(&mut writer, number, state, label);
    }
    writer.commit().unwrap();
    writer
}

#[test]
fn migrations_are_sound_and_a_newer_database_is_refused() {
    schema::SCHEMA.validate().unwrap();
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("windlass.db");
    drop(open(&path).unwrap());
    let identity = |path| keys::instance_id(&Connection::open(path).unwrap()).unwrap();
    let first = identity(&path);
    drop(open(&path).unwrap());
    assert_eq!(identity(&path), first, "the identity stays");
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let refused = open(&path).map(drop).unwrap_err();
    assert!(matches!(refused, StoreError::Newer { found: 99, known: 2 }), "{refused}");
    assert!(refused.to_string().contains("99"));
}

/// The log is longer than what was written to it, does not grow with every commit, and gives back
/// every commit where nobody closed the database.
#[test]
fn room_in_the_log_is_no_part_of_it() {
    let (home, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut writer = open(&home.path().join("windlass.db")).unwrap();
    let length = || std::fs::metadata(home.path().join("windlass.db-wal")).unwrap().len();
    let first = length();
    assert!(first >= 1 << 20, "{first}");
    for number in 1..=10 {
        add(&mut writer, number, RunState::Succeeded, "a");
        writer.commit().unwrap();
    }
    assert_eq!(length(), first);
    for name in ["windlass.db", "windlass.db-wal"] {
        std::fs::copy(home.path().join(name), copy.path().join(name)).unwrap();
    }
    let mut found = open(&copy.path().join("windlass.db")).unwrap();
    for number in 11..=20 {
        add(&mut found, number, RunState::Succeeded, "a");
        found.commit().unwrap();
    }
    let count = |sql| found.read().query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(count("SELECT count(*) FROM runs"), 20);
    assert_eq!(
        count("SELECT count(*) FROM pragma_integrity_check WHERE integrity_check = 'ok'"),
        1
    );
}

#[test]
fn commits_are_synced_and_readers_cannot_write() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("windlass.db");
    let writer = open(&path).unwrap();
    let get = |name| writer.read().pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    assert_eq!(get("synchronous").unwrap(), 2);
    let mode: String =
        writer.read().pragma_query_value(None, "journal_mode", |row| row.get(0)).unwrap();
    assert_eq!(mode, "wal");
    assert!(open_reader(&path).unwrap().execute("DELETE FROM runs", []).is_err());
}

#[test]
fn no_listing_scans_or_sorts() {
    let home = tempfile::tempdir().unwrap();
    let writer = filled(home.path());
    for plan in listing::query_plans(writer.read()) {
        assert!(plan.starts_with("SEARCH"), "{plan}");
        assert!(!plan.contains("TEMP B-TREE"), "{plan}");
    }
    let plan = concurrency::query_plan(writer.read());
    assert!(plan.starts_with("SEARCH r USING INDEX runs_by_concurrency"), "{plan}");
    assert!(!plan.contains("TEMP B-TREE"), "{plan}");
    for plan in live::query_plans(writer.read()) {
        assert!(plan.starts_with("SCAN r USING INDEX runs_live; SEARCH"), "{plan}");
        assert!(!plan.contains("TEMP B-TREE"), "{plan}");
    }
}

#[test]
fn pages_follow_each_other_and_filters_hold() {
    let home = tempfile::tempdir().unwrap();
    let writer = filled(home.path());
    let all = |filter: &Filter, limit| {
        let (mut found, mut before) = (Vec::new(), None);
        loop {
            let page = listing::page(writer.read(), filter, before, limit).unwrap();
            found.extend(numbers(&page.rows));
            assert!(page.rows.len() <= limit);
            before = page.next;
            if before.is_none() {
                return found;
            }
        }
    };
    let any = Filter::default();
    assert_eq!(all(&any, 3), (1..=20).rev().collect::<Vec<_>>());
    assert_eq!(all(&any, 20).len(), 20);
    let failed = Filter { states: vec![RunState::Failed], ..any.clone() };
    assert_eq!(all(&failed, 2), [20, 16, 12, 8, 4]);
    let both = vec![RunState::Failed, RunState::Succeeded];
    let odd = Filter { pipeline: Some("odd".into()), states: both, ..any.clone() };
    assert_eq!(all(&odd, 3), [19, 17, 15, 13, 11, 9, 7, 5, 3, 1]);
    let even = Filter { pipeline: Some("even".into()), ..any.clone() };
    assert_eq!(all(&even, 4).len(), 10);
    let label = vec![("team".to_owned(), "b".to_owned())];
    let team = Filter { labels: label, ..any.clone() };
    assert_eq!(all(&team, 1), [20, 15, 10, 5]);
    let failed_team = Filter { states: vec![RunState::Failed], ..team };
    assert_eq!(all(&failed_team, 1), [20]);
    assert_eq!(all(&Filter { pipeline: Some("x".into()), ..any }, 5), []);
}

#[test]
fn runs_are_named_in_every_way() {
    let home = tempfile::tempdir().unwrap();
    let mut writer = filled(home.path());
    let far = add(&mut writer, 0xabcd_0000_0000_0000, RunState::Queued, "a");
    writer.commit().unwrap();
    let named = |text: &str| names::resolve(writer.read(), text).unwrap();
    let one = |text: &str| match named(text) {
        Named::One(row) => row.run.0.as_u128() >> 64,
        other => panic!("{text}: {other:?}"),
    };
    assert_eq!(one("@last"), far.0.as_u128() >> 64);
    assert_eq!(one("@-1"), far.0.as_u128() >> 64);
    assert_eq!((one("@-2"), one("@-3")), (20, 19));
    assert_eq!(one("@last-ok"), 19);
    assert_eq!(one(&far.to_string()), far.0.as_u128() >> 64);
    assert_eq!(one("name-2"), 20);
    assert_eq!(one("abcd"), far.0.as_u128() >> 64);
    assert_eq!(one("abcd0000-00"), far.0.as_u128() >> 64);
    assert_eq!(one("ABCD"), far.0.as_u128() >> 64);
    for nothing in ["@-99", "@-0", "@x", "@", "abc", "----", "", "name", "ffff", "zzzz"] {
        assert!(matches!(named(nothing), Named::Nothing), "{nothing}");
    }
    let Named::Several(some) = named("0000") else { panic!("a prefix of all") };
    assert_eq!(numbers(&some), [20, 19, 18, 17, 16]);
}

#[test]
fn a_deleted_run_goes_bit_by_bit_by_its_keys() {
    let home = tempfile::tempdir().unwrap();
    let mut writer = filled(home.path());
    let run = RunId(Uuid::from_u128(7 << 64));
    let tx = writer.tx().unwrap();
    tx.execute(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)
         INSERT INTO metrics SELECT ?1, 0, 1, i, 'loss', 0.5, NULL, 0 FROM n",
        [run.0],
    )
    .unwrap();
    trash::delete_run(tx, run).unwrap();
    assert!(runs::get(tx, run).unwrap().is_none());
    let mut slices = 0;
    while let Some(next) = trash::next(tx).unwrap() {
        assert_eq!(next, run);
        trash::sweep(tx, next).unwrap();
        slices += 1;
    }
    assert_eq!(slices, 4, "three slices of points, one of nothing");
    let left: i64 = tx.query_row("SELECT COUNT(*) FROM metrics", [], |row| row.get(0)).unwrap();
    assert_eq!(left, 0);
    for plan in trash::query_plans(tx) {
        assert!(!plan.contains("SCAN metrics"), "{plan}");
    }
}

#[tokio::test]
async fn a_read_that_takes_too_long_is_ended() {
    let home = tempfile::tempdir().unwrap();
    drop(filled(home.path()));
    let readers = Readers::new(&home.path().join("windlass.db"));
    let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)
                   SELECT COUNT(*) FROM n";
    let slow = readers.read(|conn| Ok(conn.query_row(endless, [], |row| row.get::<_, i64>(0))?));
    assert!(matches!(slow.await, Err(StoreError::TooSlow)));
    let fine = readers.read(|conn| Ok(runs::newest(conn)?.is_some())).await;
    assert!(fine.unwrap());
}
