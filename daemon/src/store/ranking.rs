//! Runs by how well they did.

use std::cmp::Ordering;

use rusqlite::{Connection, OptionalExtension};
use windlass_core::{RunId, RunState};

use super::{
    StoreError,
    listing::{self, Filter},
    runs::RunRow,
};

/// Most runs that are compared, the newest.
const MAX_RANKED: usize = 50_000;

/// Runs read at once.
const PAGE: usize = 1_000;

/// The last value of a metric in a run; of two steps that have it, the later one's.
const VALUE: &str = "SELECT m.value FROM last_metrics m CROSS JOIN steps s
     ON s.run_id = m.run_id AND s.step = m.step AND s.attempt = m.attempt
     WHERE m.run_id = ?1 AND m.name = ?2 ORDER BY m.step DESC LIMIT 1";

/// What to rank by.
#[derive(Clone, Debug)]
pub(crate) struct Ranking {
    pub(crate) metric: String,
    /// Smallest first.
    pub(crate) ascending: bool,
    /// Its states do not count: only runs that succeeded are ranked.
    pub(crate) filter: Filter,
    pub(crate) limit: usize,
}

/// The best runs with the value of the metric, of the newest that have it; what is no number comes
/// last, and of equals the newer first. Runs in which steps were mocked or patched do not count.
pub(crate) fn best(conn: &Connection, ranking: &Ranking) -> Result<Vec<(RunRow, f64)>, StoreError> {
    let filter = Filter { states: vec![RunState::Succeeded], ..ranking.filter.clone() };
    let mut statement = conn.prepare_cached(VALUE)?;
    let (mut found, mut before, mut seen): (Vec<(RunRow, f64)>, Option<RunId>, usize) =
        (Vec::new(), None, 0);
    loop {
        let page = listing::page(conn, &filter, before, PAGE)?;
        seen += page.rows.len();
        for row in page.rows.into_iter().filter(|row| !row.flow.substituted) {
            let value: Option<Option<f64>> =
                statement.query_row((row.run.0, &ranking.metric), |row| row.get(0)).optional()?;
            if let Some(value) = value {
                found.push((row, value.unwrap_or(f64::NAN)));
            }
        }
        // The sort is stable, so that of equals the newer stay before the older.
        found.sort_by(|(_, a), (_, b)| order(*a, *b, ranking.ascending));
        found.truncate(ranking.limit);
        before = page.next;
        if before.is_none() || seen >= MAX_RANKED {
            return Ok(found);
        }
    }
}

fn order(a: f64, b: f64, ascending: bool) -> Ordering {
    let number = a.is_nan().cmp(&b.is_nan());
    let value = if ascending { a.partial_cmp(&b) } else { b.partial_cmp(&a) };
    number.then(value.unwrap_or(Ordering::Equal))
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use uuid::Uuid;
    use windlass_core::{
        AttemptNumber, Cell, NodeKey, RunRecordState, StepIndex, StepState, Timestamp,
    };
    use windlass_proto::common::v1::MetricPoint;

    use super::*;
    use crate::store::{
        Writer,
        attempts::AttemptKey,
        metrics, open,
        records::RunRecord,
        runs::{self, Flow},
        steps,
    };

    /// A run that succeeded, of two steps of which the second was tried twice.
    fn add(writer: &mut Writer, number: u128, values: &[(u32, u32, f64)]) -> RunRow {
        let run = RunId(Uuid::from_u128(number << 64));
        let state = RunState::Succeeded;
        let machine =
            RunRecordState { state, cancel: None, timed_out: false, start: None, end: None };
        let flow = Flow { substituted: number.is_multiple_of(7), ..Flow::default() };
        let pipeline = if number.is_multiple_of(2) { "even" } else { "odd" }.to_owned();
        let row = RunRow {
            run,
            name: number.to_string(),
            pipeline,
            machine,
            sequence: 1,
            create: Timestamp(0),
            reason: String::new(),
            flow,
        };
        let tx = writer.tx().unwrap();
        runs::insert(tx, &row, &RunRecord::default().encode_to_vec(), &[]).unwrap();
        let group = [("group".to_owned(), (number % 3).to_string())];
        runs::insert_labels(tx, run, &group.into()).unwrap();
        for (step, attempt) in [(0, 1), (1, 2)] {
            let cell = Cell { state: StepState::Succeeded, attempt, ..Cell::NEW };
            let step = StepIndex(step);
            let key = NodeKey { template: step, parent: None, ordinal: None };
            let row = steps::StepRow { step, cell, sequence: 1, key, path: None, reason: None };
            steps::insert(tx, run, &row).unwrap();
        }
        for (step, attempt, value) in values {
            let (step, attempt) = (StepIndex(*step), AttemptNumber(*attempt));
            let name = "loss".to_owned();
            let point = MetricPoint { sequence: 1, name, value: *value, ..MetricPoint::default() };
            metrics::insert(tx, AttemptKey { run, step, attempt }, &[point], Timestamp(0)).unwrap();
        }
        row
    }

    fn ranked(writer: &Writer, ascending: bool, filter: Filter, limit: usize) -> Vec<String> {
        let ranking = Ranking { metric: "loss".into(), ascending, filter, limit };
        let found = best(writer.read(), &ranking).unwrap();
        found.into_iter().map(|(row, value)| format!("{}={value}", row.name)).collect()
    }

    #[test]
    fn the_best_come_first_and_what_is_no_number_last() {
        let home = tempfile::tempdir().unwrap();
        let mut writer = open(&home.path().join("windlass.db")).unwrap();
        add(&mut writer, 1, &[(0, 1, 0.5)]);
        add(&mut writer, 2, &[(0, 1, f64::NAN)]);
        // The later step wins, and of it the last attempt.
        add(&mut writer, 3, &[(0, 1, 0.1), (1, 1, 0.2), (1, 2, 0.9)]);
        add(&mut writer, 4, &[(0, 1, 0.3), (1, 1, 9.0)]);
        add(&mut writer, 5, &[]);
        add(&mut writer, 6, &[(0, 1, 0.5)]);
        add(&mut writer, 7, &[(0, 1, 0.0)]);
        writer.commit().unwrap();
        let any = Filter::default;
        assert_eq!(ranked(&writer, true, any(), 9), ["4=0.3", "6=0.5", "1=0.5", "3=0.9", "2=NaN"]);
        assert_eq!(ranked(&writer, false, any(), 9), ["3=0.9", "6=0.5", "1=0.5", "4=0.3", "2=NaN"]);
        assert_eq!(ranked(&writer, false, any(), 1), ["3=0.9"]);
        let even = Filter { pipeline: Some("even".into()), ..any() };
        assert_eq!(ranked(&writer, true, even, 9), ["4=0.3", "6=0.5", "2=NaN"]);
        let group = Filter { labels: vec![("group".into(), "0".into())], ..any() };
        assert_eq!(ranked(&writer, true, group, 9), ["6=0.5", "3=0.9"]);
    }

    #[test]
    fn many_runs_are_ranked_within_bounds() {
        let home = tempfile::tempdir().unwrap();
        let mut writer = open(&home.path().join("windlass.db")).unwrap();
        for number in 1..=3_000u32 {
            add(&mut writer, number.into(), &[(0, 1, f64::from(number % 1_000))]);
        }
        writer.commit().unwrap();
        let found = ranked(&writer, true, Filter::default(), 4);
        assert_eq!(found, ["3000=0", "2000=0", "1000=0", "2001=1"]);
    }
}
