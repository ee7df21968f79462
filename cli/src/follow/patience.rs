use std::time::Duration;

use tokio::time::{Instant, sleep};
use tonic::Status;

use crate::{
    connect::Link,
    error::{CliError, connection_lost, shutting_down},
};

/// How long a follower waits for a daemon to come back.
const AWAY_LIMIT: Duration = Duration::from_secs(30);

/// First and longest pause before the next try.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LAST_PAUSE: Duration = Duration::from_millis(250);

/// A stream that said nothing for so long is dead; daemons say something every 15 s.
pub(super) const SILENCE: Duration = Duration::from_secs(45);

/// Patience with a daemon that went away, one for each stream.
pub(super) struct Patience {
    link: Link,
    /// Whether to start another daemon; one that was stopped on purpose is not started again.
    start: bool,
    lost: Option<Instant>,
    pause: Duration,
}

impl Patience {
    pub(super) fn new(link: Link, start: bool) -> Self {
        Self { link, start, lost: None, pause: FIRST_PAUSE }
    }

    /// The daemon said something: all is well.
    pub(super) fn restored(&mut self) {
        self.lost = None;
        self.pause = FIRST_PAUSE;
    }

    /// Waits until it is worth trying again after `error`; an error that no daemon's return mends,
    /// and one that lasts too long, come back.
    pub(super) async fn wait(&mut self, error: &Status) -> Result<(), CliError> {
        let stopping = shutting_down(error);
        if !stopping && !connection_lost(error) {
            return Err(error.clone().into());
        }
        self.start &= !stopping;
        let lost = *self.lost.get_or_insert_with(Instant::now);
        loop {
            sleep(self.pause).await;
            self.pause = (self.pause * 2).min(LAST_PAUSE);
            let there = if self.start {
                self.link.revive().await
            } else if self.link.answers().await {
                Ok(())
            } else {
                Err(CliError::Unreachable("no daemon".into()))
            };
            let late = lost.elapsed() >= AWAY_LIMIT;
            match there {
                Ok(()) if !late => return Ok(()),
                Ok(()) => return Err(gone(error.message())),
                Err(error) if late => return Err(gone(&error.to_string())),
                Err(_) => {}
            }
        }
    }
}

fn gone(why: &str) -> CliError {
    let secs = AWAY_LIMIT.as_secs();
    CliError::Unreachable(format!("no daemon for {secs} s; the run goes on without it ({why})"))
}
