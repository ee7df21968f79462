use std::time::Duration;

use tokio::time::{Instant, Interval, MissedTickBehavior, interval};
use windlass_proto::api::v1;

use super::{
    Model, Print, View,
    tail::Item,
    tails::{Event, Tails, Which},
    watch::Watch,
};
use crate::{connect::Link, error::CliError, render};

/// How long the logs of an ended run may keep a follower waiting without a byte.
const DRAIN_LIMIT: Duration = Duration::from_secs(10);

/// Pause between two pictures of a live view.
const FRAME: Duration = Duration::from_millis(100);

/// A run that is being followed.
pub(crate) struct Pursuit {
    model: Model,
    watch: Watch,
    tails: Tails,
    frames: Interval,
    /// When a log moved last.
    moved: Instant,
}

impl Pursuit {
    /// Follows from the beginning, whatever is known of the run already: it may have ended before
    /// anybody was told.
    pub(crate) fn begin(link: &Link, mut run: v1::Run, which: Which) -> Self {
        run.state = v1::run::State::Unspecified.into();
        let watch = Watch::open(link, run.run_id.clone());
        let tails = Tails::new(link.clone(), run.run_id.clone(), which);
        let mut frames = interval(FRAME);
        frames.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { model: Model::new(run), watch, tails, frames, moved: Instant::now() }
    }

    pub(crate) fn model(&self) -> &Model {
        &self.model
    }

    pub(crate) fn into_run(self) -> v1::Run {
        self.model.run
    }

    /// Waits for one thing to happen and shows it; true where the run and its logs are over.
    pub(crate) async fn advance(&mut self, view: &mut dyn View) -> Result<bool, CliError> {
        if self.over() && self.tails.idle() {
            return Ok(true);
        }
        tokio::select! {
            biased;
            change = self.watch.next(), if !self.model.ended() => match change {
                Some(change) => self.changed(change?, view)?,
                None => return Err(CliError::Unreachable("the daemon lost sight of the run".into())),
            },
            event = self.tails.next() => self.told(event?, view)?,
            _ = self.frames.tick() => {
                view.tick(&self.model);
                if self.over() && self.moved.elapsed() > DRAIN_LIMIT {
                    view.note("the end of a log is missing: it does not arrive")?;
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// True where nothing of interest will change any more.
    fn over(&self) -> bool {
        let steps = &self.model.run.steps;
        let only = self.tails.only().and_then(|name| steps.iter().find(|step| step.step == name));
        self.model.ended() || only.is_some_and(|step| render::step_state(step).is_terminal())
    }

    fn changed(
        &mut self,
        change: v1::WatchRunResponse,
        view: &mut dyn View,
    ) -> Result<(), CliError> {
        self.moved = Instant::now();
        let steps = self.model.apply(change);
        for &at in &steps {
            if let Some(step) = self.model.run.steps.get(at) {
                self.tails.consider(at, step);
            }
        }
        view.changed(&self.model, &steps)
    }

    fn told(&mut self, event: Event, view: &mut dyn View) -> Result<(), CliError> {
        self.moved = Instant::now();
        match event {
            Event::Printed { step, item: Item::Chunk { stream, data, time } } => {
                view.printed(&self.model, step, Print { stream, data: &data, time })
            }
            Event::Printed { step, item: Item::Gap { length, reason, .. } } => {
                let name = self.model.name(step);
                view.note(&format!("{length} bytes of the log of {name} are lost: {reason}"))
            }
            Event::Silent { step } => view.silent(&self.model, step),
        }
    }
}
