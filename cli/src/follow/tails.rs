use std::{
    collections::{BTreeMap, VecDeque},
    future::poll_fn,
    task::{Context, Poll},
};

use windlass_core::AttemptState;
use windlass_proto::{
    api::v1,
    common::v1::{AttemptRef, LogStream},
};

use super::tail::{Item, Tail, Wanted};
use crate::{connect::Link, error::CliError};

/// Logs read at the same time; the last place is kept for one that has ended.
const MAX_OPEN: usize = 16;

/// Something about the log of a step.
pub(super) enum Event {
    Printed {
        step: usize,
        item: Item,
    },
    /// An attempt's log is complete.
    Silent {
        step: usize,
    },
}

/// The logs of a run's attempts, opened as they begin and read in an order that people can
/// follow: what has ended is told to its end before what goes on is told further.
pub(super) struct Tails {
    link: Link,
    run_id: String,
    known: BTreeMap<(usize, u32), Standing>,
    waiting: VecDeque<Waiting>,
    open: Vec<Open>,
    which: Which,
}

/// Which of a run's logs to read.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Which {
    None,
    /// Every attempt of every step.
    All,
    /// Of every step the last attempt there is, and those that come.
    Latest,
    /// The same of one step alone.
    Step(String),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    Going,
    Ended,
}

struct Waiting {
    key: (usize, u32),
    name: String,
}

struct Open {
    key: (usize, u32),
    tail: Tail,
}

impl Tails {
    pub(super) fn new(link: Link, run_id: String, which: Which) -> Self {
        let (known, waiting, open) = (BTreeMap::new(), VecDeque::new(), Vec::new());
        Self { link, run_id, known, waiting, open, which }
    }

    /// The one step whose log is read.
    pub(super) fn only(&self) -> Option<&str> {
        if let Which::Step(name) = &self.which { Some(name) } else { None }
    }

    /// Takes note of a step's attempts. An attempt that has only just been leased is left alone:
    /// most are over before they are worth watching.
    pub(super) fn consider(&mut self, at: usize, step: &v1::Step) {
        for attempt in self.wanted(at, step) {
            let state = AttemptState::from_code(attempt.state.into());
            let standing = match state {
                None | Some(AttemptState::Leased) => continue,
                Some(AttemptState::Running) => Standing::Going,
                Some(_) => Standing::Ended,
            };
            let key = (at, attempt.attempt);
            if self.known.insert(key, standing).is_none() {
                self.waiting.push_back(Waiting { key, name: step.step.clone() });
            }
        }
        self.fill();
    }

    fn wanted<'s>(&self, at: usize, step: &'s v1::Step) -> &'s [v1::Attempt] {
        let latest = match &self.which {
            Which::None => return &[],
            Which::Step(name) if *name != step.step => return &[],
            Which::All => false,
            Which::Latest | Which::Step(_) => true,
        };
        let first = self.known.range((at, 0)..=(at, u32::MAX)).next().map(|(key, _)| key.1);
        let last = step.attempts.last().map_or(0, |attempt| attempt.attempt);
        let from = if latest { first.unwrap_or(last) } else { 0 };
        let skipped = step.attempts.iter().take_while(|attempt| attempt.attempt < from).count();
        step.attempts.get(skipped..).unwrap_or_default()
    }

    /// True where nothing is left to be read.
    pub(super) fn idle(&self) -> bool {
        self.open.is_empty() && self.waiting.is_empty()
    }

    /// The next event; never comes while nothing is open. Safe to drop and call again.
    pub(super) async fn next(&mut self) -> Result<Event, CliError> {
        poll_fn(|context| self.poll(context)).await
    }

    fn ended(&self, key: (usize, u32)) -> bool {
        self.known.get(&key) == Some(&Standing::Ended)
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Event, CliError>> {
        let first_ended = self.open.iter().position(|open| self.ended(open.key));
        let chosen = match first_ended {
            Some(at) => at..at + 1,
            None => 0..self.open.len(),
        };
        for at in chosen {
            let key = self.open[at].key;
            match self.open[at].tail.poll_next(context) {
                Poll::Pending => {}
                Poll::Ready(Some(Ok(item))) => {
                    return Poll::Ready(Ok(Event::Printed { step: key.0, item }));
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                Poll::Ready(None) => {
                    self.open.remove(at);
                    self.fill();
                    return Poll::Ready(Ok(Event::Silent { step: key.0 }));
                }
            }
        }
        Poll::Pending
    }

    /// Opens what waits, as far as there is room.
    fn fill(&mut self) {
        while self.open.len() < MAX_OPEN {
            let last = self.open.len() + 1 == MAX_OPEN;
            let next = if last {
                self.waiting.iter().position(|waiting| self.ended(waiting.key))
            } else {
                Some(0)
            };
            let Some(waiting) = next.and_then(|at| self.waiting.remove(at)) else { return };
            let (run_id, attempt) = (self.run_id.clone(), waiting.key.1);
            let wanted = Wanted {
                attempt: AttemptRef { run_id, step: waiting.name, attempt },
                stream: LogStream::Unspecified,
                follow: true,
                revive: false,
            };
            self.open.push(Open { key: waiting.key, tail: Tail::open(&self.link, wanted) });
        }
    }
}
