//! Follows a run by state: each message carries what something is now, not what happened to it.

use std::{collections::BTreeSet, time::Duration};

use prost::Message;
use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    time::timeout,
};
use tonic::Status;
use windlass_core::{RunId, StepIndex};
use windlass_proto::api::v1::{Step, WatchRunResponse};
use windlass_proto::common::v1::Plan;

use super::waits;
use crate::{
    engine::{Change, EngineHandle},
    rpc::streams::{Items, KEEPALIVE, send},
    store::{
        Readers, StoreError,
        details::{self, Depth, StepReader},
        runs, steps,
    },
};

/// How long changes of steps are gathered into one message. What ends a run goes at once.
const GATHER: Duration = Duration::from_millis(20);

/// How long nothing changes before it is told what ready steps wait for.
const QUIET: Duration = Duration::from_secs(2);

/// Most steps in one message, and bytes after which it takes no more.
const MAX_STEPS: usize = 200;
const MAX_BYTES: usize = 1 << 20;

/// Most ready steps of which it is told why they wait.
const MAX_READY: u32 = 100;

/// Follows one run until it has ended and everything was sent.
pub(super) struct Watch {
    pub(super) run: RunId,
    /// What the caller has already.
    pub(super) after: i64,
    pub(super) readers: Readers,
    pub(super) engine: EngineHandle,
}

/// What is to be sent.
#[derive(Default)]
struct News {
    run: bool,
    steps: BTreeSet<StepIndex>,
    sequence: i64,
    /// Some changes were missed: everything after the last sequence is to be sent.
    all: bool,
}

impl News {
    fn add(&mut self, change: &Change) {
        self.run |= change.run;
        self.steps.extend(change.steps.iter());
        self.sequence = self.sequence.max(change.sequence);
    }
}

/// One page of news as messages.
struct Sent {
    messages: Vec<WatchRunResponse>,
    sequence: i64,
    ended: bool,
}

impl Watch {
    /// Sends until the run has ended, or the caller has left.
    pub(super) async fn follow(self, items: Items<WatchRunResponse>) -> Result<(), Status> {
        let mut changes = self.engine.watchers.subscribe(self.run);
        let result = self.send_changes(&mut changes, items).await;
        drop(changes);
        self.engine.watchers.forget_unwatched(self.run);
        result
    }

    async fn send_changes(
        &self,
        changes: &mut Receiver<Change>,
        items: Items<WatchRunResponse>,
    ) -> Result<(), Status> {
        let plan = self.plan().await?;
        let mut after = self.after;
        let mut news = News { all: true, ..News::default() };
        loop {
            let sent = self.read(&plan, after, news).await?;
            after = after.max(sent.sequence);
            for message in sent.messages {
                send(&items, message).await?;
            }
            if sent.ended {
                return Ok(());
            }
            news = match timeout(QUIET, changes.recv()).await {
                Ok(change) => self.gather(change, changes).await,
                Err(_) => {
                    self.send_waits(&plan, after, &items).await?;
                    self.next(changes, &items).await?
                }
            };
        }
    }

    /// Sends why ready steps wait: that depends on what others do, and is no change of the run.
    async fn send_waits(
        &self,
        plan: &std::sync::Arc<Plan>,
        after: i64,
        items: &Items<WatchRunResponse>,
    ) -> Result<(), Status> {
        let (run, plan) = (self.run, std::sync::Arc::clone(plan));
        let read = self.readers.read(move |conn| ready(conn, run, &plan));
        let mut steps = read.await?;
        if waits::explain(&self.engine, run, &mut steps).await {
            let sequence = u64::try_from(after).unwrap_or_default();
            send(items, WatchRunResponse { sequence, run: None, steps }).await?;
        }
        Ok(())
    }

    /// Waits for news, then gathers what comes close behind.
    async fn next(
        &self,
        changes: &mut Receiver<Change>,
        items: &Items<WatchRunResponse>,
    ) -> Result<News, Status> {
        loop {
            match timeout(KEEPALIVE, changes.recv()).await {
                Err(_) => send(items, WatchRunResponse::default()).await?,
                Ok(change) => return Ok(self.gather(change, changes).await),
            }
        }
    }

    /// A first change with what comes close behind it.
    async fn gather(
        &self,
        first: Result<Change, RecvError>,
        changes: &mut Receiver<Change>,
    ) -> News {
        let mut news = News::default();
        match first {
            Ok(change) => news.add(&change),
            Err(_) => return News { all: true, ..news },
        }
        let deadline = tokio::time::Instant::now() + GATHER;
        while !news.run {
            match tokio::time::timeout_at(deadline, changes.recv()).await {
                Err(_) => break,
                Ok(Ok(change)) => news.add(&change),
                Ok(Err(RecvError::Lagged(_) | RecvError::Closed)) => {
                    news.all = true;
                    break;
                }
            }
        }
        news
    }

    async fn plan(&self) -> Result<std::sync::Arc<Plan>, Status> {
        let run = self.run;
        let plan = self.readers.read(move |conn| details::plan(conn, run)).await?;
        Ok(std::sync::Arc::new(plan))
    }

    /// Reads what the news are about. A run that is gone has ended.
    async fn read(
        &self,
        plan: &std::sync::Arc<Plan>,
        after: i64,
        news: News,
    ) -> Result<Sent, Status> {
        let (run, plan) = (self.run, std::sync::Arc::clone(plan));
        let sent = self.readers.read(move |conn| gather(conn, (run, &plan), after, &news)).await?;
        Ok(sent)
    }
}

/// Some of the ready steps of a run.
fn ready(conn: &rusqlite::Connection, run: RunId, plan: &Plan) -> Result<Vec<Step>, StoreError> {
    let reader = StepReader { conn, run, plan, depth: Depth::Brief };
    let rows = steps::ready(conn, run, MAX_READY)?;
    rows.iter().map(|row| reader.step(row)).collect()
}

fn gather(
    conn: &rusqlite::Connection,
    (run, plan): (RunId, &Plan),
    after: i64,
    news: &News,
) -> Result<Sent, StoreError> {
    let Some(row) = runs::get(conn, run)? else {
        return Ok(Sent { messages: Vec::new(), sequence: after, ended: true });
    };
    let rows = if news.all {
        steps::changed(conn, run, (after, 0, u32::MAX))?
    } else {
        let mut rows = Vec::new();
        for &step in &news.steps {
            rows.extend(steps::get(conn, run, step)?);
        }
        rows
    };
    let newest = rows.iter().map(|row| row.sequence).chain([row.sequence]).max();
    let sequence = newest.unwrap_or(after).max(news.sequence).max(after);
    let reader = StepReader { conn, run, plan, depth: Depth::Brief };
    let run_changed = news.run || (news.all && row.sequence > after);
    let mut messages = Vec::new();
    let mut page = WatchRunResponse::default();
    let mut bytes = 0;
    for row in &rows {
        let step = reader.step(row)?;
        bytes += step.encoded_len();
        page.steps.push(step);
        if page.steps.len() == MAX_STEPS || bytes > MAX_BYTES {
            messages.push(std::mem::take(&mut page));
            bytes = 0;
        }
    }
    if !page.steps.is_empty() {
        messages.push(page);
    }
    let ended = row.machine.state.is_terminal();
    if run_changed || ended {
        // The run comes last: who sees its end has seen all of its steps.
        let run = Some(details::of_row(conn, &row)?);
        messages.push(WatchRunResponse { sequence: 0, run, steps: Vec::new() });
    }
    // Only the last message may be resumed from: the pages before it are not all there is.
    for message in &mut messages {
        message.sequence = u64::try_from(after).unwrap_or_default();
    }
    if let Some(last) = messages.last_mut() {
        last.sequence = u64::try_from(sequence).unwrap_or_default();
    }
    Ok(Sent { messages, sequence, ended })
}
