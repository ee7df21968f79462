use std::{collections::HashMap, time::Duration};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::{Interval, MissedTickBehavior, interval};
use windlass_core::RunState;
use windlass_proto::api::v1;

use super::attention::{self, Attention, Wish};
use crate::{
    app::App,
    connect::{Link, answer, insist},
    error::CliError,
    render::{self, Tint},
};

/// Pause between two looks at the runs of a group: few, and many.
const FEW_PAUSE: Duration = Duration::from_millis(200);
const MANY_PAUSE: Duration = Duration::from_secs(1);

/// From so many runs on they are looked at less often.
const MANY: usize = 50;

/// Runs on a page of a listing.
const PAGE: i32 = 1_000;

/// Most pages that are looked through for the runs of a group.
const MAX_PAGES: usize = 10;

/// Runs that go on together, with what tells them apart.
pub(crate) struct Group {
    pub(crate) label: (String, String),
    /// In the order of their creation.
    pub(crate) runs: Vec<v1::Run>,
    /// What is particular about each run: `lr=0.1  depth=3`.
    pub(crate) marks: Vec<String>,
}

/// How following a group ended.
pub(crate) enum GroupFollowed {
    /// All have ended; without steps.
    Ended(Vec<v1::Run>),
    Left(crate::error::Exit),
}

/// Follows the runs to their end, a line for each as it ends, or until the user leaves them.
pub(crate) async fn follow_group(
    app: &mut App<'_>,
    link: &Link,
    group: Group,
) -> Result<GroupFollowed, CliError> {
    let mut attention = Attention::listen(app.config.interactive())?;
    let mut watched = Watched::new(app, group);
    let mut pace = pace(watched.group.runs.len());
    while !watched.over() {
        let wish = tokio::select! {
            _ = pace.tick() => {
                let found = watched.look(link).await?;
                watched.take_in(app, &found)?;
                continue;
            }
            wish = attention.next() => wish,
        };
        match wish {
            Wish::Ask => watched.ask(app, Some(attention::QUESTION))?,
            Wish::Stay => watched.ask(app, None)?,
            Wish::Leave(exit) => {
                let group = watched.group.label.1.clone();
                let text =
                    format!("the runs go on; list them with: windlass ls --label group={group}");
                watched.note(app, &text)?;
                return Ok(GroupFollowed::Left(exit));
            }
            Wish::Cancel { force } => {
                watched.ask(app, None)?;
                watched.note(app, if force { "killing them" } else { "cancelling them" })?;
                watched.cancel(app, link, force).await?;
            }
        }
    }
    Ok(GroupFollowed::Ended(std::mem::take(&mut watched.group.runs)))
}

fn pace(runs: usize) -> Interval {
    let mut pace = interval(if runs < MANY { FEW_PAUSE } else { MANY_PAUSE });
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pace
}

struct Watched {
    group: Group,
    /// Counts, at the bottom of a terminal.
    bar: ProgressBar,
    question: &'static str,
}

impl Watched {
    fn new(app: &App<'_>, mut group: Group) -> Self {
        // A run may have ended before anybody was told.
        group.runs.iter_mut().for_each(|run| run.state = v1::run::State::Unspecified.into());
        let bar = if app.config.stderr.terminal && !app.json {
            let style = ProgressStyle::with_template("{msg}");
            ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr())
                .with_style(style.unwrap_or(ProgressStyle::default_spinner()))
        } else {
            ProgressBar::hidden()
        };
        Self { group, bar, question: "" }
    }

    fn over(&self) -> bool {
        self.group.runs.iter().all(|run| render::run_state(run).is_terminal())
    }

    /// The runs as they are now, as far as the listing has them.
    async fn look(&self, link: &Link) -> Result<HashMap<String, v1::Run>, CliError> {
        let mut request = v1::ListRunsRequest {
            page_size: PAGE,
            labels: HashMap::from([self.group.label.clone()]),
            ..Default::default()
        };
        let mut found = HashMap::new();
        for _ in 0..MAX_PAGES {
            let list = || {
                let (mut runs, request) = (link.runs(), request.clone());
                async move { runs.list_runs(request).await }
            };
            let page = insist(link, list).await?;
            found.extend(page.runs.into_iter().map(|run| (run.run_id.clone(), run)));
            let whole = self.group.runs.iter().all(|run| found.contains_key(&run.run_id));
            if whole || page.next_page_token.is_empty() {
                break;
            }
            request.page_token = page.next_page_token;
        }
        Ok(found)
    }

    fn take_in(
        &mut self,
        app: &mut App<'_>,
        found: &HashMap<String, v1::Run>,
    ) -> Result<(), CliError> {
        let mut ended = Vec::new();
        for (at, run) in self.group.runs.iter_mut().enumerate() {
            let Some(now) = found.get(&run.run_id) else { continue };
            let new = !render::run_state(run).is_terminal() && render::run_state(now).is_terminal();
            *run = now.clone();
            if new {
                ended.push(at);
            }
        }
        for at in ended {
            let text = self.line(app, at);
            self.above(app, &text)?;
        }
        self.count(app);
        Ok(())
    }

    /// How one run ended.
    fn line(&self, app: &App<'_>, at: usize) -> String {
        let (run, mark) = (&self.group.runs[at], &self.group.marks[at]);
        let state = render::run_state(run);
        let paint = app.err_paint();
        let (symbol, tint) = render::run_look(state);
        let time = render::run_time(run, jiff::Timestamp::now()).map(render::duration);
        let mut metrics: Vec<_> = run.metrics.iter().collect();
        metrics.sort_by_key(|(name, _)| name.as_str());
        let metrics = metrics.iter().take(3);
        let metrics: Vec<_> =
            metrics.map(|(name, value)| format!("{name} {}", render::number(**value))).collect();
        let word = if state == RunState::Succeeded { "" } else { state.word() };
        let facts = [word, &time.unwrap_or_default(), &metrics.join("  "), run.reason.trim()];
        let facts: Vec<_> = facts.into_iter().filter(|fact| !fact.is_empty()).collect();
        let facts = paint.paint(Tint::Faint, &render::clean(&facts.join("  ")));
        let name = paint.paint(Tint::Name, &render::clean(&run.name));
        format!("{} {name}  {}  {facts}", paint.paint(tint, symbol), render::clean(mark))
    }

    fn count(&self, app: &App<'_>) {
        let of = |wanted: &dyn Fn(RunState) -> bool| {
            self.group.runs.iter().filter(|run| wanted(render::run_state(run))).count()
        };
        let ended = of(&RunState::is_terminal);
        let running = of(&|state| state == RunState::Running);
        let failed = of(&|state| state == RunState::Failed);
        let total = render::plural(self.group.runs.len(), "run");
        let failed = if failed > 0 { format!(", {failed} failed") } else { String::new() };
        let text = format!("{ended} of {total}, {running} running{failed}");
        let text = if self.question.is_empty() { &text } else { self.question };
        let width = app.config.stderr.width.saturating_sub(1);
        self.bar.set_message(app.err_paint().paint(Tint::Faint, &render::shorten(text, width)));
    }

    fn ask(&mut self, app: &mut App<'_>, question: Option<&'static str>) -> Result<(), CliError> {
        self.question = question.unwrap_or_default();
        self.count(app);
        match question {
            Some(question) if self.bar.is_hidden() => self.note(app, question),
            _ => Ok(()),
        }
    }

    fn note(&self, app: &mut App<'_>, text: &str) -> Result<(), CliError> {
        let text = format!("windlass: {}", render::clean(text));
        self.above(app, &text)
    }

    fn above(&self, app: &mut App<'_>, text: &str) -> Result<(), CliError> {
        if app.json {
            return Ok(());
        }
        Ok(self.bar.suspend(|| writeln!(app.err, "{text}"))?)
    }

    async fn cancel(&self, app: &App<'_>, link: &Link, force: bool) -> Result<(), CliError> {
        let reason = format!("interrupted by {}@{}", app.config.user(), app.config.host());
        // The youngest first: what waits should not begin when those before it end.
        for run in self.group.runs.iter().rev() {
            if render::run_state(run).is_terminal() {
                continue;
            }
            let (run, reason) = (run.run_id.clone(), reason.clone());
            let request = v1::CancelRunRequest { run, reason, force };
            answer(link.runs().cancel_run(request)).await?;
        }
        Ok(())
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
