use std::{
    collections::{HashMap, HashSet, VecDeque},
    io::Write,
    time::{Duration, Instant},
};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use windlass_core::StepState;
use windlass_proto::{api::v1, common::v1::LogStream};

use super::{Model, Print, View, lines::Lines};
use crate::{
    app::App,
    config::Surface,
    error::CliError,
    render::{self, Paint, Tint},
};

/// Most running steps with a line of their own; the others are counted.
const MAX_ROWS: usize = 10;

/// Lines of the terminal that are left for what is printed, the count and a question.
const OTHER_LINES: usize = 6;

/// Of the instances of one step, so many are told when they have succeeded; the others are counted.
const MAX_TOLD: usize = 20;

/// The states of a run's steps below, its logs above.
pub(super) struct Live<'a> {
    out: &'a mut dyn Write,
    err: &'a mut dyn Write,
    surfaces: [Surface; 2],
    screen: MultiProgress,
    rows: HashMap<usize, Row>,
    /// The line that counts, at the bottom.
    count: ProgressBar,
    question: Option<ProgressBar>,
    lines: HashMap<(usize, bool), Lines>,
    /// How many attempts of a step have told everything.
    silent: HashMap<usize, usize>,
    /// Steps whose end is to be told, in order, each once all that it printed has been told.
    ending: VecDeque<usize>,
    ended: HashSet<usize>,
    /// How many instances of a step have succeeded.
    told: HashMap<String, usize>,
    most_rows: usize,
}

struct Row {
    bar: ProgressBar,
    since: Instant,
    last: String,
}

impl<'a> Live<'a> {
    pub(super) fn new(app: &'a mut App<'_>) -> Self {
        let surfaces = [app.config.stdout, app.config.stderr];
        let most_rows = surfaces[1].height.saturating_sub(OTHER_LINES).clamp(1, MAX_ROWS);
        let screen = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(20));
        let count = screen.add(row_bar("{msg}"));
        Self {
            out: app.out,
            err: app.err,
            surfaces,
            screen,
            rows: HashMap::new(),
            count,
            question: None,
            lines: HashMap::new(),
            silent: HashMap::new(),
            ending: VecDeque::new(),
            ended: HashSet::new(),
            told: HashMap::new(),
            most_rows,
        }
    }

    fn paint(&self) -> Paint {
        Paint { on: self.surfaces[1].colour }
    }

    /// Writes above the moving part.
    fn above(&mut self, stderr: bool, text: &[u8]) -> Result<(), CliError> {
        let out = if stderr { &mut *self.err } else { &mut *self.out };
        let write = || out.write_all(text).and_then(|()| out.flush());
        Ok(self.screen.suspend(write)?)
    }

    fn begin(&mut self, at: usize) {
        if self.rows.len() >= self.most_rows || self.rows.contains_key(&at) {
            return;
        }
        let bar = self.screen.insert_before(&self.count, row_bar("{spinner} {msg}"));
        self.rows.insert(at, Row { bar, since: Instant::now(), last: String::new() });
    }

    /// Tells the ends of steps, as far as it is their turn.
    fn tell_ends(&mut self, model: &Model) -> Result<(), CliError> {
        while let Some(&at) = self.ending.front() {
            let Some(step) = model.run.steps.get(at) else { return Ok(()) };
            let silent = self.silent.get(&at).copied().unwrap_or_default();
            if silent < step.attempts.len() {
                return Ok(());
            }
            self.ending.pop_front();
            self.end(at, step)?;
        }
        Ok(())
    }

    fn end(&mut self, at: usize, step: &v1::Step) -> Result<(), CliError> {
        let state = render::step_state(step);
        if let Some(row) = self.rows.remove(&at) {
            row.bar.finish_and_clear();
            self.screen.remove(&row.bar);
        }
        if state == StepState::Succeeded && self.is_one_of_many(step) {
            return Ok(());
        }
        let paint = self.paint();
        let (symbol, tint) = render::step_look(state);
        let time = render::step_time(step, jiff::Timestamp::now()).map(render::duration);
        let word = if state == StepState::Succeeded { "" } else { state.word() };
        let facts = [word, time.as_deref().unwrap_or_default(), step.reason.trim()];
        let facts: Vec<_> = facts.into_iter().filter(|fact| !fact.is_empty()).collect();
        let facts = paint.paint(Tint::Faint, &render::clean(&facts.join("  ")));
        let line =
            format!("{} {}  {facts}\n", paint.paint(tint, symbol), render::clean(&step.step));
        self.above(true, line.as_bytes())
    }

    /// Counts an instance; true where enough of its kind have been told.
    fn is_one_of_many(&mut self, step: &v1::Step) -> bool {
        let Some(of) = render::parent(&step.step).filter(|_| step.step.ends_with(']')) else {
            return false;
        };
        let told = self.told.entry(of.to_owned()).or_default();
        *told += 1;
        *told > MAX_TOLD
    }

    fn line(&self, model: &Model, at: usize, stderr: bool, line: &[u8]) -> Vec<u8> {
        let surface = self.surfaces[usize::from(stderr)];
        let paint = Paint { on: surface.colour };
        let several = model.run.steps.len() > 1;
        let prefix = if several { format!("{} | ", model.name(at)) } else { String::new() };
        let mut out = paint.paint(Tint::Busy, &prefix).into_bytes();
        if surface.terminal {
            out.extend_from_slice(render::log_line(line).as_bytes());
            out.push(b'\n');
        } else {
            out.extend_from_slice(line);
        }
        out
    }

    fn draw(&self, model: &Model) {
        let width = self.surfaces[1].width.saturating_sub(4);
        for (at, row) in &self.rows {
            let secs = row.since.elapsed().as_secs();
            let time = if secs < 60 {
                format!("{secs} s")
            } else {
                render::duration(Duration::from_secs(secs))
            };
            let below = below(model, *at);
            let text = format!("{}  {time}  {below}{}", model.name(*at), row.last);
            row.bar.set_message(render::shorten(&render::clean(&text), width));
            row.bar.tick();
        }
        let ended = model.run.steps.iter().filter(|s| render::step_state(s).is_terminal()).count();
        let running =
            model.run.steps.iter().filter(|s| render::step_state(s) == StepState::Running);
        let total = render::plural(model.run.steps.len(), "step");
        let text = match model.run.steps.len() {
            0 | 1 => model.run.name.clone(),
            _ => format!("{}  {ended} of {total}, {} running", model.run.name, running.count()),
        };
        let text = render::shorten(&render::clean(&text), width);
        self.count.set_message(self.paint().paint(Tint::Faint, &text));
        self.count.tick();
    }
}

impl View for Live<'_> {
    fn changed(&mut self, model: &Model, steps: &[usize]) -> Result<(), CliError> {
        for &at in steps {
            let Some(step) = model.run.steps.get(at) else { continue };
            match render::step_state(step) {
                StepState::Running => self.begin(at),
                state if state.is_terminal() && self.ended.insert(at) => self.ending.push_back(at),
                _ => {}
            }
        }
        self.tell_ends(model)
    }

    fn printed(&mut self, model: &Model, step: usize, print: Print<'_>) -> Result<(), CliError> {
        let stderr = print.stream != LogStream::Stdout;
        let mut lines = self.lines.remove(&(step, stderr)).unwrap_or_default();
        let mut text = Vec::new();
        let mut last = None;
        lines.feed(print.data, |line| {
            text.extend(self.line(model, step, stderr, line));
            last = Some(line.to_vec());
            Ok::<_, CliError>(())
        })?;
        let last = if lines.partial().is_empty() { last } else { Some(lines.partial().to_vec()) };
        self.lines.insert((step, stderr), lines);
        if let (Some(row), Some(last)) = (self.rows.get_mut(&step), last) {
            row.last = render::bare_line(&last);
        }
        if text.is_empty() { Ok(()) } else { self.above(stderr, &text) }
    }

    fn silent(&mut self, model: &Model, step: usize) -> Result<(), CliError> {
        for stderr in [false, true] {
            let rest = self.lines.remove(&(step, stderr)).and_then(|mut lines| lines.finish());
            if let Some(rest) = rest {
                let line = self.line(model, step, stderr, &rest);
                self.above(stderr, &line)?;
            }
        }
        *self.silent.entry(step).or_default() += 1;
        self.tell_ends(model)
    }

    fn note(&mut self, text: &str) -> Result<(), CliError> {
        let text = format!("windlass: {}\n", render::clean(text));
        self.above(true, text.as_bytes())
    }

    fn tick(&mut self, model: &Model) {
        self.draw(model);
    }

    fn ask(&mut self, question: Option<&str>) -> Result<(), CliError> {
        if let Some(bar) = self.question.take() {
            bar.finish_and_clear();
        }
        if let Some(question) = question {
            let bar = self.screen.add(row_bar("{msg}"));
            bar.set_message(self.paint().paint(Tint::Strong, question));
            self.question = Some(bar);
        }
        Ok(())
    }
}

impl Drop for Live<'_> {
    fn drop(&mut self) {
        // Where the terminal is gone there is nothing to clear.
        drop(self.screen.clear());
    }
}

/// How many of the steps directly below one have ended; empty where none is.
fn below(model: &Model, at: usize) -> String {
    let Some(step) = model.run.steps.get(at).filter(|step| step.attempts.is_empty()) else {
        return String::new();
    };
    let inside = |other: &&v1::Step| render::parent(&other.step) == Some(step.step.as_str());
    let inside: Vec<_> = model.run.steps.iter().filter(inside).collect();
    let ended = inside.iter().filter(|step| render::step_state(step).is_terminal()).count();
    if inside.is_empty() { String::new() } else { format!("{ended} of {}", inside.len()) }
}

fn row_bar(template: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(template).unwrap_or(ProgressStyle::default_spinner());
    ProgressBar::new_spinner().with_style(style.tick_chars("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏ "))
}
