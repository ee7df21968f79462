use std::{future::Future, time::Duration};

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::Status;

use super::status;

/// How often a silent stream says that it lives.
pub(crate) const KEEPALIVE: Duration = Duration::from_secs(15);

/// Starts the tasks behind streamed answers, and ends them all when the daemon stops.
#[derive(Clone, Debug)]
pub(crate) struct Streams {
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// Where a task puts the items of its stream: one waits there, so that who reads slowly is waited
/// for.
pub(crate) type Items<T> = mpsc::Sender<Result<T, Status>>;

impl Streams {
    pub(crate) fn new(tasks: TaskTracker, stop: CancellationToken) -> Self {
        Self { tasks, stop }
    }

    /// The stream of what `produce` sends. It ends with `produce`, with the caller's going, or
    /// with the daemon; an error that `produce` returns is its last item.
    pub(crate) fn start<T, F>(
        &self,
        produce: impl FnOnce(Items<T>) -> F,
    ) -> ReceiverStream<Result<T, Status>>
    where
        T: Send + 'static,
        F: Future<Output = Result<(), Status>> + Send + 'static,
    {
        let (items, receiver) = mpsc::channel(1);
        let work = Box::pin(produce(items.clone()));
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            let result = tokio::select! {
                result = work => result,
                () = items.closed() => return,
                () = stop.cancelled() => Err(status::shutting_down()),
            };
            if let Err(status) = result {
                // A caller who is gone, or stuck while we leave, need not be told.
                items.send_timeout(Err(status), Duration::from_secs(1)).await.ok();
            }
        });
        ReceiverStream::new(receiver)
    }
}

/// Puts an item into the stream; the error says that nobody reads it any more.
pub(crate) async fn send<T: Send>(items: &Items<T>, item: T) -> Result<(), Status> {
    items.send(Ok(item)).await.map_err(|_| Status::cancelled("the caller is gone"))
}
