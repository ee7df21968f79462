//! Follows a run: what changes, what its steps print, and the daemon coming and going.

mod attention;
mod group;
mod lines;
mod live;
mod model;
mod patience;
mod plain;
mod pursuit;
mod tail;
mod tails;
mod watch;

use prost_types::Timestamp;
use windlass_proto::{api::v1, common::v1::LogStream};

pub(crate) use group::{Group, GroupFollowed, follow_group};
pub(crate) use lines::Lines;
pub(crate) use model::Model;
pub(crate) use plain::{Plain, Quiet};
pub(crate) use pursuit::Pursuit;
pub(crate) use tail::{Item, Tail, Wanted};
pub(crate) use tails::Which;
pub(crate) use watch::Watch;

use crate::{
    app::App,
    connect::{Link, answer},
    error::{CliError, Exit},
};
use attention::{Attention, Wish};
use live::Live;

/// How a follower shows a run.
pub(crate) trait View {
    /// The run or some of its steps changed.
    fn changed(&mut self, _model: &Model, _steps: &[usize]) -> Result<(), CliError> {
        Ok(())
    }

    /// A step printed something.
    fn printed(&mut self, model: &Model, step: usize, print: Print<'_>) -> Result<(), CliError>;

    /// An attempt of a step will print no more.
    fn silent(&mut self, _model: &Model, _step: usize) -> Result<(), CliError> {
        Ok(())
    }

    /// Something that is not of the run itself.
    fn note(&mut self, text: &str) -> Result<(), CliError>;

    /// Time passed.
    fn tick(&mut self, _model: &Model) {}

    /// A question stands, or is taken back with `None`.
    fn ask(&mut self, question: Option<&str>) -> Result<(), CliError>;
}

/// Bytes that a step printed.
#[derive(Clone, Copy)]
pub(crate) struct Print<'a> {
    pub(crate) stream: LogStream,
    pub(crate) data: &'a [u8],
    /// When the worker read the first byte.
    pub(crate) time: Option<Timestamp>,
}

/// How following ended.
pub(crate) enum Followed {
    /// The run is over; its last state, without calls and artifacts.
    Ended(Box<v1::Run>),
    /// The user left; the run goes on.
    Left(Exit),
}

/// What is shown while a run goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Show {
    /// Nothing: the result alone counts.
    Nothing,
    Lines,
    Progress,
}

/// Follows a run to its end, or until the user leaves it.
pub(crate) async fn follow(
    app: &mut App<'_>,
    link: &Link,
    run: v1::Run,
    show: Show,
) -> Result<Followed, CliError> {
    let config = app.config;
    let mut attention = Attention::listen(config.interactive())?;
    let mut view: Box<dyn View + '_> = match show {
        Show::Nothing => Box::new(Quiet { err: app.err }),
        Show::Lines => Box::new(Plain::of_run(app)),
        Show::Progress => Box::new(Live::new(app)),
    };
    let which = if show == Show::Nothing { Which::None } else { Which::All };
    let mut pursuit = Pursuit::begin(link, run, which);
    loop {
        let wish = tokio::select! {
            over = pursuit.advance(&mut *view) => match over? {
                true => return Ok(Followed::Ended(Box::new(pursuit.into_run()))),
                false => continue,
            },
            wish = attention.next() => wish,
        };
        match wish {
            Wish::Ask => view.ask(Some(attention::QUESTION))?,
            Wish::Stay => view.ask(None)?,
            Wish::Leave(exit) => {
                view.ask(None)?;
                let name = &pursuit.model().run.name;
                view.note(&format!("{name} goes on; follow it with: windlass logs -f {name}"))?;
                return Ok(Followed::Left(exit));
            }
            Wish::Cancel { force } => {
                view.ask(None)?;
                view.note(if force {
                    "killing it"
                } else {
                    "cancelling; once more kills it at once"
                })?;
                let run = pursuit.model().run.run_id.clone();
                let reason = format!("interrupted by {}@{}", config.user(), config.host());
                let request = v1::CancelRunRequest { run, reason, force };
                answer(link.runs().cancel_run(request)).await?;
            }
        }
    }
}
