use jiff::Timestamp;
use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::{Line, Span},
    widgets::{Block, Paragraph},
};
use windlass_core::RunState;
use windlass_proto::api::v1;

use super::{
    desk::{Desk, Mode, Pane},
    keys::KEYS,
};
use crate::render::{self, Axis, Tint};

/// Columns of the list of runs at most; on a narrow terminal, a third of it.
const RUNS_WIDTH: u16 = 30;

/// Columns of a step's time.
const TIME_WIDTH: usize = 11;

/// Draws everything.
pub(super) fn draw(frame: &mut Frame<'_>, desk: &Desk, now: Timestamp) {
    let [body, keys] =
        Layout::vertical([Constraint::Min(0), Constraint::Length(1)]).areas(frame.area());
    let left = RUNS_WIDTH.min(body.width / 3);
    let [runs, rest] =
        Layout::horizontal([Constraint::Length(left), Constraint::Min(0)]).areas(body);
    let wanted = u16::try_from(desk.rows.len()).unwrap_or(u16::MAX).saturating_add(2);
    let steps_height = wanted.clamp(4, (rest.height / 2).max(4));
    let [steps, log] =
        Layout::vertical([Constraint::Length(steps_height), Constraint::Min(0)]).areas(rest);
    draw_runs(frame, desk, runs, now);
    draw_steps(frame, desk, steps, now);
    draw_log(frame, desk, log);
    frame.render_widget(Paragraph::new(bottom(desk)), keys);
}

fn draw_runs(frame: &mut Frame<'_>, desk: &Desk, area: Rect, now: Timestamp) {
    let title = match desk.filter.as_str() {
        "" => "Runs".to_owned(),
        filter => format!("Runs /{filter}"),
    };
    let block = block(desk, Pane::Runs, &title);
    let inner = block.inner(area);
    let width = usize::from(inner.width);
    let visible = desk.visible();
    let chosen = visible.iter().position(|run| Some(&*run.run_id) == desk.chosen());
    let line = |(at, run): (usize, &&v1::Run)| {
        let state = render::run_state(run);
        let (symbol, tint) = render::run_look(state);
        let time = render::run_time(run, now).map(render::duration).unwrap_or_default();
        let room = width.saturating_sub(3 + render::width(&time));
        let name = render::shorten(&render::clean(&run.name), room);
        let blanks = " ".repeat(room.saturating_sub(render::width(&name)));
        let spans = vec![
            Span::styled(format!("{symbol} "), style(desk, tint)),
            Span::raw(format!("{name}{blanks} ")),
            Span::styled(time, style(desk, Tint::Faint)),
        ];
        picked(Line::from(spans), Some(at) == chosen, desk.pane == Pane::Runs)
    };
    let shown = window(visible.len(), chosen.unwrap_or_default(), usize::from(inner.height));
    let lines: Vec<_> =
        visible.iter().enumerate().skip(shown).take(inner.height.into()).map(line).collect();
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

fn draw_steps(frame: &mut Frame<'_>, desk: &Desk, area: Rect, now: Timestamp) {
    let run = desk.run();
    let block = block(desk, Pane::Steps, &title(run, now));
    let inner = block.inner(area);
    let width = usize::from(inner.width);
    let names = desk.rows.iter().filter_map(|row| {
        let step = run.steps.get(row.at)?;
        Some(2 * row.depth + render::width(&name(step, row.depth)))
    });
    let room = names.max().unwrap_or_default().clamp(8, (width / 2).max(8));
    let bar = width.saturating_sub(room + TIME_WIDTH + 6);
    let axis = Axis::of(&run.steps, now, bar.max(1));
    let at = desk.row();
    let line = |(place, row): (usize, &render::TreeRow)| {
        let step = run.steps.get(row.at)?;
        let state = render::step_state(step);
        let (symbol, tint) = render::step_look(state);
        let text = format!("{}{}", "  ".repeat(row.depth), name(step, row.depth));
        let text = render::shorten(&text, room);
        let blanks = " ".repeat(room.saturating_sub(render::width(&text)));
        let time = render::step_time(step, now).map(render::duration).unwrap_or_default();
        let right = match &row.folded {
            Some(fold) => Span::styled(fold.text(), style(desk, Tint::Faint)),
            None => beside(step, axis.as_ref(), now, style(desk, tint)),
        };
        let spans = vec![
            Span::styled(format!("{symbol} "), style(desk, tint)),
            Span::raw(format!("{text}{blanks} ")),
            Span::styled(format!("{time:>TIME_WIDTH$}  "), style(desk, Tint::Faint)),
            right,
        ];
        Some(picked(Line::from(spans), place == at, desk.pane == Pane::Steps))
    };
    let shown = window(desk.rows.len(), at, usize::from(inner.height));
    let rows = desk.rows.iter().enumerate().skip(shown).take(inner.height.into());
    let lines: Vec<_> = rows.filter_map(line).collect();
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

/// The bar of a step, or why it has none.
fn beside(step: &v1::Step, axis: Option<&Axis>, now: Timestamp, tint: Style) -> Span<'static> {
    match (axis, render::span(step, now)) {
        (Some(axis), Some(span)) => Span::styled(axis.bar(span), tint),
        _ => Span::raw(render::clean(step.reason.trim()).into_owned()),
    }
}

fn draw_log(frame: &mut Frame<'_>, desk: &Desk, area: Rect) {
    let step = desk.step();
    let mut title = step.map_or("Log", |step| &step.step).to_owned();
    if let Some(attempt) = step.and_then(|step| step.attempts.last()).filter(|a| a.attempt > 1) {
        title += &format!(", attempt {}", attempt.attempt);
    }
    if desk.scrolled > 0 {
        title += &format!(" · held, {} below", render::plural(desk.scrolled, "line"));
    }
    let block = block(desk, Pane::Log, &title);
    let inner = block.inner(area);
    let height = usize::from(inner.height);
    let partial = desk.log.partial().filter(|_| desk.scrolled == 0);
    let room = height.saturating_sub(usize::from(partial.is_some()));
    let entry = |text: &str, stdout: bool| {
        let tint = if stdout { Tint::Plain } else { Tint::Odd };
        Line::styled(text.to_owned(), style(desk, tint))
    };
    let mut lines: Vec<_> =
        desk.log.window(room, desk.scrolled).map(|line| entry(&line.text, line.stdout)).collect();
    lines.extend(partial.map(|line| entry(&line.text, line.stdout)));
    if lines.is_empty() {
        for line in step.map(render::why).unwrap_or_default().lines() {
            lines.push(Line::styled(render::clean(line).into_owned(), style(desk, Tint::Faint)));
        }
    }
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

fn title(run: &v1::Run, now: Timestamp) -> String {
    if run.run_id.is_empty() {
        return "Steps".into();
    }
    let state = render::run_state(run);
    let (symbol, _) = render::run_look(state);
    let time = render::run_time(run, now).map(render::duration).unwrap_or_default();
    let why = if state == RunState::Queued { run.reason.trim() } else { "" };
    let text = format!("{} {symbol} {} {time} {why}", run.name, state.word());
    render::clean(text.trim_end()).into_owned()
}

/// The last line: a question, a message, or the keys.
fn bottom(desk: &Desk) -> Line<'static> {
    match desk.mode {
        Mode::Asking => {
            let text = format!(" cancel {}? y: yes, any other key: no", desk.run().name);
            Line::styled(render::clean(&text).into_owned(), style(desk, Tint::Strong))
        }
        Mode::Filtering => Line::raw(format!(" /{}▏ enter: keep, esc: clear", desk.filter)),
        Mode::Looking if !desk.message.is_empty() => {
            Line::styled(format!(" {}", render::clean(&desk.message)), style(desk, Tint::Odd))
        }
        Mode::Looking => {
            let key = |(key, what): &(&'static str, &'static str)| {
                [
                    Span::styled(format!(" {key} "), style(desk, Tint::Strong)),
                    Span::styled(format!("{what} "), style(desk, Tint::Faint)),
                ]
            };
            Line::from(KEYS.iter().flat_map(key).collect::<Vec<_>>())
        }
    }
}

fn name(step: &v1::Step, depth: usize) -> String {
    let name = if depth == 0 { step.step.as_str() } else { render::own_name(&step.step) };
    let mark = if step.mocked || !step.patched.is_empty() { " (mocked)" } else { "" };
    format!("{}{mark}", render::clean(name))
}

fn block(desk: &Desk, pane: Pane, title: &str) -> Block<'static> {
    let tint = if desk.pane == pane { Tint::Busy } else { Tint::Faint };
    let mark = if desk.pane == pane { "▸" } else { " " };
    Block::bordered().title(format!("{mark}{title} ")).border_style(style(desk, tint))
}

fn picked(line: Line<'static>, picked: bool, here: bool) -> Line<'static> {
    match (picked, here) {
        (true, true) => line.patch_style(Modifier::REVERSED),
        (true, false) => line.patch_style(Modifier::BOLD),
        (false, _) => line,
    }
}

/// The first of `len` lines to show in `height`, so that line `at` is among them.
fn window(len: usize, at: usize, height: usize) -> usize {
    at.saturating_sub(height / 2).min(len.saturating_sub(height))
}

fn style(desk: &Desk, tint: Tint) -> Style {
    let style = Style::new();
    let colour = |colour| if desk.colour { style.fg(colour) } else { style };
    match tint {
        Tint::Plain => style,
        Tint::Faint => style.add_modifier(Modifier::DIM),
        Tint::Strong => style.add_modifier(Modifier::BOLD),
        Tint::Good => colour(Color::Green),
        Tint::Bad => colour(Color::Red),
        Tint::Busy => colour(Color::Cyan),
        Tint::Odd => colour(Color::Yellow),
        Tint::Name => colour(Color::Blue),
    }
}
