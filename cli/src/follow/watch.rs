use tokio::{sync::mpsc, task::JoinSet, time::timeout};
use tonic::Status;
use windlass_core::RunState;
use windlass_proto::api::v1;

use super::patience::{Patience, SILENCE};
use crate::{connect::Link, error::CliError};

/// Changes that may wait for the view.
const WAITING: usize = 16;

/// The changes of a run, across restarts of the daemon.
pub(crate) struct Watch {
    changes: mpsc::Receiver<Result<v1::WatchRunResponse, CliError>>,
    _task: JoinSet<()>,
}

impl Watch {
    pub(crate) fn open(link: &Link, run: String) -> Self {
        let (sender, changes) = mpsc::channel(WAITING);
        let mut task = JoinSet::new();
        task.spawn(watch(link.clone(), run, sender));
        Self { changes, _task: task }
    }

    /// The next change; `None` after the last one of an ended run. Safe to drop and call again.
    pub(crate) async fn next(&mut self) -> Option<Result<v1::WatchRunResponse, CliError>> {
        self.changes.recv().await
    }
}

async fn watch(
    link: Link,
    run: String,
    sender: mpsc::Sender<Result<v1::WatchRunResponse, CliError>>,
) {
    let mut patience = Patience::new(link.clone(), true);
    let mut sequence = 0;
    loop {
        let request = v1::WatchRunRequest { run: run.clone(), after_sequence: sequence };
        let error = match link.runs().watch_run(request).await {
            Ok(stream) => {
                patience.restored();
                match pass_on(stream.into_inner(), &mut sequence, &sender).await {
                    Some(error) => error,
                    None => return,
                }
            }
            Err(error) => error,
        };
        if let Err(error) = patience.wait(&error).await {
            return drop(sender.send(Err(error)).await);
        }
    }
}

/// Passes changes on until the stream breaks; `None` where no more are wanted.
async fn pass_on(
    mut stream: tonic::Streaming<v1::WatchRunResponse>,
    sequence: &mut u64,
    sender: &mpsc::Sender<Result<v1::WatchRunResponse, CliError>>,
) -> Option<Status> {
    let broken = |why: &str| Some(Status::unavailable(why));
    loop {
        let change = match timeout(SILENCE, stream.message()).await {
            Err(_) => return broken("the daemon is silent"),
            Ok(Err(error)) => return Some(error),
            Ok(Ok(None)) => return broken("the daemon closed the stream"),
            Ok(Ok(Some(change))) => change,
        };
        *sequence = change.sequence.max(*sequence);
        let state = change.run.as_ref().and_then(|run| RunState::from_code(run.state.into()));
        let last = state.is_some_and(RunState::is_terminal);
        if sender.send(Ok(change)).await.is_err() || last {
            return None;
        }
    }
}
