//! Follows a run by state: each message carries what something is now, not what happened to it.

use std::{collections::BTreeSet, time::Duration};

use prost::Message;
use tokio::{sync::broadcast::error::RecvError, time::timeout};
use tonic::Status;
use windlass_core::{RunId, StepIndex};
use windlass_proto::api::v1::WatchRunResponse;
use windlass_proto::common::v1::Plan;

use crate::{
    engine::{Change, Watchers},
    rpc::streams::{Items, KEEPALIVE, send},
    store::{
        Readers, StoreError,
        details::{self, Depth, StepReader},
        runs, steps,
    },
};

/// How long changes of steps are gathered into one message. What ends a run goes at once.
const GATHER: Duration = Duration::from_millis(20);

/// Most steps in one message, and bytes after which it takes no more.
const MAX_STEPS: usize = 200;
const MAX_BYTES: usize = 1 << 20;

/// Follows one run until it has ended and everything was sent.
pub(super) struct Watch {
    pub(super) run: RunId,
    /// What the caller has already.
    pub(super) after: i64,
    pub(super) readers: Readers,
    pub(super) watchers: Watchers,
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
        let mut changes = self.watchers.subscribe(self.run);
        let result = self.send_changes(&mut changes, items).await;
        drop(changes);
        self.watchers.forget_unwatched(self.run);
        result
    }

    async fn send_changes(
        &self,
        changes: &mut tokio::sync::broadcast::Receiver<Change>,
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
            news = self.next(changes, &items).await?;
        }
    }

    /// Waits for news, then gathers what comes close behind.
    async fn next(
        &self,
        changes: &mut tokio::sync::broadcast::Receiver<Change>,
        items: &Items<WatchRunResponse>,
    ) -> Result<News, Status> {
        let mut news = News::default();
        loop {
            match timeout(KEEPALIVE, changes.recv()).await {
                Err(_) => send(items, WatchRunResponse::default()).await?,
                Ok(Ok(change)) => {
                    news.add(&change);
                    break;
                }
                Ok(Err(_)) => return Ok(News { all: true, ..news }),
            }
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
        Ok(news)
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
