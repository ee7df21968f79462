//! The live view: runs on the left, the steps and the log of the chosen one beside them.

mod desk;
mod keyboard;
mod keys;
mod listing;
mod logbook;
#[cfg(test)]
mod tests;
mod view;

use std::time::Duration;

use ratatui::crossterm::event::Event;
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{Instant, MissedTickBehavior, interval},
};
use windlass_proto::{
    api::v1,
    common::v1::{AttemptRef, LogStream},
};

use self::{
    desk::{Desk, LogOf},
    keyboard::Keyboard,
    keys::Wish,
    listing::Listing,
};
use crate::{
    config::Config,
    connect::{Link, answer},
    error::{CliError, Exit},
    follow::{Tail, Wanted, Watch},
};

/// Shortest pause between two pictures.
const FRAME: Duration = Duration::from_millis(80);

/// Longest pause between two pictures, so that times go on.
const TICK: Duration = Duration::from_secs(1);

/// Shows runs until the user leaves; `first` is chosen at the start.
pub(crate) async fn watch(
    config: &Config,
    link: &Link,
    first: Option<v1::Run>,
) -> Result<Exit, CliError> {
    let caught = |kind| signal(kind).map_err(CliError::io("cannot listen to signals"));
    let mut terminate = caught(SignalKind::terminate())?;
    let mut hangup = caught(SignalKind::hangup())?;
    let mut screen = Screen::open()?;
    let mut keyboard = Keyboard::open();
    let mut listing = Listing::open(link);
    let mut scene = Scene::new(link, Desk::new(config.stdout.colour, first));
    let mut frames = interval(FRAME);
    frames.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut drawn: Option<Instant> = None;
    loop {
        tokio::select! {
            biased;
            event = keyboard.next() => match event {
                Some(Event::Key(key)) => match scene.desk.key(key) {
                    Some(Wish::Quit) => return Ok(Exit::Ok),
                    Some(Wish::Cancel(run)) => scene.cancel(config, run).await,
                    None => {}
                },
                Some(_) => {}
                None => return Ok(Exit::Ok), // the terminal went away
            },
            _ = terminate.recv() => return Ok(Exit::Terminated),
            _ = hangup.recv() => return Ok(Exit::Terminated),
            _ = frames.tick() => {
                let old = drawn.is_none_or(|drawn| drawn.elapsed() >= TICK);
                if scene.desk.take_changed() || old {
                    screen.draw(&mut scene.desk)?;
                    drawn = Some(Instant::now());
                }
                continue;
            }
            runs = listing.next() => match runs {
                Some(Ok(runs)) => scene.desk.listed(runs),
                Some(Err(error)) => scene.desk.note(&error.to_string()),
                None => {}
            },
            () = scene.next() => {}
        }
        scene.follow_choice();
    }
}

/// The streams that belong to what is chosen.
struct Scene {
    link: Link,
    desk: Desk,
    watch: Option<(String, Watch)>,
    tail: Option<(LogOf, Tail)>,
}

impl Scene {
    fn new(link: &Link, desk: Desk) -> Self {
        let mut scene = Self { link: link.clone(), desk, watch: None, tail: None };
        scene.follow_choice();
        scene
    }

    /// Opens the streams of what is chosen now, and lets go of others.
    fn follow_choice(&mut self) {
        let run = self.desk.chosen().map(ToOwned::to_owned);
        if self.watch.as_ref().map(|(of, _)| of) != run.as_ref() {
            self.watch = run.map(|run| (run.clone(), Watch::open(&self.link, run)));
        }
        let wanted = self.desk.wanted_log();
        if self.tail.as_ref().map(|(of, _)| of) != wanted.as_ref() {
            self.desk.log_begins();
            self.tail = wanted.map(|of| (of.clone(), open_tail(&self.link, &of)));
        }
    }

    /// Waits for something to happen to what is chosen. Safe to drop and call again.
    async fn next(&mut self) {
        let Self { desk, watch, tail, .. } = self;
        let change = async {
            match watch {
                Some((_, watch)) => match watch.next().await {
                    Some(change) => change,
                    None => std::future::pending().await,
                },
                None => std::future::pending().await,
            }
        };
        let printed = async {
            match tail {
                Some((_, tail)) => match tail.next().await {
                    Some(item) => item,
                    None => std::future::pending().await,
                },
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            change = change => match change {
                Ok(change) => desk.changed(change),
                Err(error) => desk.note(&message(&error)),
            },
            item = printed => match item {
                Ok(item) => desk.printed(item),
                Err(error) => desk.note(&message(&error)),
            },
        }
    }

    async fn cancel(&mut self, config: &Config, run: String) {
        let reason = format!("cancelled by {}@{}", config.user(), config.host());
        let request = v1::CancelRunRequest { run, reason, force: false };
        match answer(self.link.runs().cancel_run(request)).await {
            Ok(_) => self.desk.note("cancelling it"),
            Err(error) => self.desk.note(&message(&error)),
        }
    }
}

fn message(error: &CliError) -> String {
    match error {
        CliError::Refused(problems) => {
            problems.first().map_or_else(String::new, |problem| problem.message.clone())
        }
        other => other.to_string(),
    }
}

fn open_tail(link: &Link, of: &LogOf) -> Tail {
    let attempt = AttemptRef { run_id: of.run.clone(), step: of.step.clone(), attempt: of.attempt };
    let stream = LogStream::Unspecified;
    Tail::open(link, Wanted { attempt, stream, follow: true, revive: true })
}

/// The terminal while we have it; given back when dropped, and by a hook on a panic.
struct Screen(ratatui::DefaultTerminal);

impl Screen {
    fn open() -> Result<Self, CliError> {
        ratatui::try_init().map(Self).map_err(CliError::io("cannot use the terminal"))
    }

    fn draw(&mut self, desk: &mut Desk) -> Result<(), CliError> {
        let now = jiff::Timestamp::now();
        let drawn = self.0.draw(|frame| view::draw(frame, desk, now));
        drawn.map(drop).map_err(CliError::io("cannot write to the terminal"))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that has gone away needs nothing.
        ratatui::try_restore().ok();
    }
}
