use jiff::Timestamp;
use windlass_core::RunState;
use windlass_proto::api::v1;

use super::{Cell, Columns, Paint, Tint, style, timeline, words};

/// How a listing is laid out.
pub(crate) struct Style {
    pub(crate) paint: Paint,
    /// Widest line; `None` where nothing is to be cut.
    pub(crate) width: Option<usize>,
    pub(crate) now: Timestamp,
}

/// Most metrics that a line of the listing shows.
const MAX_METRICS: usize = 3;

/// Runs, one a line, newest first as given.
pub(crate) fn runs(runs: &[v1::Run], look: &Style) -> String {
    let noted = runs.iter().any(|run| !note(run).is_empty());
    let mut table = Columns::new(0, Some(if noted { 8 } else { 7 }));
    let measured = runs.iter().any(|run| !run.metrics.is_empty());
    let metrics = if measured { "METRICS" } else { "" };
    let notes = if noted { "NOTE" } else { "" };
    let heads = ["", "NAME", "STATE", "PIPELINE", "CREATED", "TIME", "ID", metrics, notes];
    let head = |text: &&str| {
        let cell = Cell::new(Tint::Faint, text);
        if *text == "TIME" { cell.right() } else { cell }
    };
    table.push(heads.iter().map(head).collect());
    for run in runs {
        table.push(line(run, look.now));
    }
    table.render(look.paint, look.width.unwrap_or(usize::MAX))
}

fn line(run: &v1::Run, now: Timestamp) -> Vec<Cell> {
    let state = words::run_state(run);
    let (symbol, tint) = style::run_look(state);
    let created = run.create_time.as_ref().and_then(words::instant);
    let time = timeline::run_time(run, now);
    vec![
        Cell::new(tint, symbol),
        Cell::new(Tint::Name, &run.name),
        Cell::new(tint, state.word()),
        Cell::plain(&run.pipeline),
        Cell::plain(created.map_or_else(String::new, |time| words::ago(time, now))),
        Cell::plain(time.map_or_else(String::new, words::duration)).right(),
        Cell::new(Tint::Faint, words::short_id(&run.run_id)),
        Cell::plain(metrics(run)),
        Cell::new(Tint::Odd, note(run)),
    ]
}

/// What one should know of a run before its results: it was mocked, or why it waits.
fn note(run: &v1::Run) -> String {
    let mocked = if run.substituted { "mocked" } else { "" };
    let waits = words::run_state(run) == RunState::Queued;
    let why = if waits { run.reason.trim() } else { "" };
    [mocked, why].into_iter().filter(|note| !note.is_empty()).collect::<Vec<_>>().join("; ")
}

fn metrics(run: &v1::Run) -> String {
    let mut metrics: Vec<_> = run.metrics.iter().collect();
    metrics.sort_by_key(|(name, _)| name.as_str());
    let shown = metrics.iter().take(MAX_METRICS);
    let mut texts: Vec<_> =
        shown.map(|(name, value)| format!("{name} {}", words::number(**value))).collect();
    if metrics.len() > MAX_METRICS {
        texts.push(format!("+{}", metrics.len() - MAX_METRICS));
    }
    texts.join("  ")
}
