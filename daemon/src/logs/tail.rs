use std::sync::Arc;

use tokio::sync::watch;

use super::{
    Item, ReadError, Stream, blocking,
    cursor::Cursor,
    files::Files,
    live::{Live, Progress},
};

/// Reads an attempt's log from one place on, and waits for more.
pub(crate) struct Tail {
    place: Place,
    /// Held so that a seal finds its followers.
    _live: Arc<Live>,
    progress: watch::Receiver<Progress>,
    ended: bool,
    position: u64,
}

/// What a read found.
#[derive(Debug)]
pub(crate) enum Step {
    Item(Item),
    /// Nothing yet.
    Wait,
    /// Nothing, and nothing will come.
    End,
}

/// Where the reading stands.
enum Place {
    Start {
        files: Files,
        only: Option<Stream>,
        offset: i64,
    },
    At(Box<Cursor>),
    /// A read was given up halfway.
    Gone,
}

impl Tail {
    pub(super) fn new(files: Files, live: Arc<Live>, only: Option<Stream>, offset: i64) -> Self {
        let progress = live.subscribe();
        let place = Place::Start { files, only, offset };
        Self { place, _live: live, progress, ended: false, position: 0 }
    }

    /// Says that the attempt had ended when this tail was made: it will not wait for more.
    pub(crate) fn ended(&mut self) {
        self.ended = true;
    }

    /// Where the reading stands: bytes given or skipped, over all streams asked for.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// What comes next, without waiting. Not to be dropped halfway.
    pub(crate) async fn read(&mut self) -> Result<Step, ReadError> {
        // Seen before the read: what is sealed now is read in full.
        let last = self.ended || self.progress.borrow_and_update().sealed;
        match self.step(last).await? {
            Some(item) => Ok(Step::Item(item)),
            None if last => Ok(Step::End),
            None => Ok(Step::Wait),
        }
    }

    /// Waits until a read that answered [`Step::Wait`] is worth repeating. May be dropped.
    pub(crate) async fn changed(&mut self) {
        // The sender lives as long as this tail, so there is always somebody to wait for.
        self.progress.changed().await.ok();
    }

    async fn step(&mut self, last: bool) -> Result<Option<Item>, ReadError> {
        let place = std::mem::replace(&mut self.place, Place::Gone);
        let (cursor, item) = blocking(move || {
            let mut cursor = match place {
                Place::Start { files, only, offset } => Box::new(Cursor::new(files, only, offset)?),
                Place::At(cursor) => cursor,
                Place::Gone => return Err(std::io::ErrorKind::Interrupted.into()),
            };
            let item = cursor.next(last)?;
            Ok((cursor, item))
        })
        .await?;
        self.position = cursor.position();
        self.place = Place::At(cursor);
        Ok(item)
    }
}
