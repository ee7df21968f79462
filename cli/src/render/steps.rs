use windlass_core::StepState;
use windlass_proto::{api::v1, common::v1 as common};

use super::{
    Cell, Columns, ListStyle, Tint, clean, style,
    timeline::{self, Axis},
    tree::{Tree, own_name},
    words,
};
use crate::config::PAGE_WIDTH;

/// Columns of the bars on the page of a run.
const BAR_WIDTH: usize = 24;

/// Most instances of a step that the page of a run shows; of more, only those that stand out.
const MAX_INSTANCES: usize = 10;

/// Most reasons that the page of a run gives; `--json` has all.
const MAX_REASONS: usize = 40;

/// The steps as the page of a run shows them, instances and inner steps below the step they belong
/// to, and why those that did not succeed did not.
pub(super) fn steps(run: &v1::Run, look: &ListStyle) -> String {
    let now = look.now;
    let wide = look.width.unwrap_or(PAGE_WIDTH) >= PAGE_WIDTH;
    let axis = Axis::of(&run.steps, now, if wide { BAR_WIDTH } else { BAR_WIDTH / 2 });
    let tree = Tree::of(&run.steps);
    let odd = |state| matches!(state, StepState::Failed | StepState::Running);
    let rows = tree.rows(&run.steps, MAX_INSTANCES, odd);
    let mut table = Columns::new(2, Some(1));
    for row in &rows {
        let step = &run.steps[row.at];
        table.push(cells(step, row.depth, look, axis.as_ref()));
    }
    let lines = table.render(look.paint, look.width.unwrap_or(usize::MAX));
    let mut out = String::new();
    for (line, row) in lines.lines().zip(&rows) {
        out += &format!("{line}\n");
        if let Some(fold) = &row.folded {
            let text = look.paint.paint(Tint::Faint, &fold.text());
            out += &format!("{}{text}\n", " ".repeat(7 + 2 * row.depth));
        }
    }
    let mut told = 0;
    for row in &rows {
        out += &reasons(&run.steps[row.at], look, &mut told);
    }
    if told > MAX_REASONS {
        let text = format!("… and {} more, see --json", told - MAX_REASONS);
        out += &format!("  {}\n", look.paint.paint(Tint::Faint, &text));
    }
    out
}

fn cells(step: &v1::Step, depth: usize, look: &ListStyle, axis: Option<&Axis>) -> Vec<Cell> {
    let state = words::step_state(step);
    let (symbol, tint) = style::step_look(state);
    let time = timeline::step_time(step, look.now).map_or_else(String::new, words::duration);
    let span = timeline::span(step, look.now);
    let bar = axis.zip(span).map_or_else(String::new, |(axis, span)| axis.bar(span));
    let last = step.attempts.last();
    let usage = last.and_then(|a| a.end.as_ref()).and_then(|end| end.usage.as_ref());
    let name = if depth == 0 { &step.step } else { own_name(&step.step) };
    vec![
        Cell::new(tint, symbol),
        Cell::plain(format!("{}{name}", "  ".repeat(depth))),
        Cell::new(tint, shown_state(state)),
        Cell::plain(time).right(),
        Cell::new(tint, bar),
        Cell::new(Tint::Odd, marks(step)),
        Cell::new(Tint::Faint, last.map_or("", |attempt| &attempt.worker)),
        Cell::new(Tint::Faint, usage.map_or_else(String::new, peak)).right(),
        Cell::new(Tint::Faint, usage.map_or_else(String::new, cpu)).right(),
    ]
}

fn reasons(step: &v1::Step, look: &ListStyle, told: &mut usize) -> String {
    let (_, tint) = style::step_look(words::step_state(step));
    let mut out = String::new();
    for line in super::summary::why(step).lines() {
        *told += 1;
        if *told <= MAX_REASONS {
            let name = look.paint.paint(tint, &clean(&step.step));
            out += &format!("  {name}: {}\n", clean(line));
        }
    }
    out
}

/// What stood in for the step, and how often it was tried.
pub(super) fn marks(step: &v1::Step) -> String {
    let mut marks = Vec::new();
    if step.mocked {
        marks.push("mocked".into());
    }
    if !step.patched.is_empty() {
        marks.push(format!("patched: {}", step.patched));
    }
    if step.attempts.len() > 1 {
        marks.push(format!("{} attempts", step.attempts.len()));
    }
    marks.join(", ")
}

/// Success needs no word beside its symbol.
fn shown_state(state: StepState) -> &'static str {
    if state == StepState::Succeeded { "" } else { state.word() }
}

fn peak(usage: &common::ResourceUsage) -> String {
    words::bytes(usage.peak_memory_bytes)
}

fn cpu(usage: &common::ResourceUsage) -> String {
    let time = usage.cpu_time.as_ref().map(words::cpu).unwrap_or_default();
    format!("{} cpu", words::duration(time))
}
