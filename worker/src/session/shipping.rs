use std::future::pending;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};
use windlass_proto::worker::v1::{AppendLogsRequest, AppendLogsResponse};

use super::{link::Session, logs::Logs};

/// Chunks handed to the connection ahead of their turn.
const AHEAD: usize = 2;

/// Sends logs over one long stream until it breaks. The stream is opened with the first byte.
pub(super) async fn ship(logs: &Logs, mut session: Session) -> Status {
    logs.rewind();
    while !logs.can_send() {
        logs.to_send.notified().await;
    }
    let (chunks, outgoing) = mpsc::channel(AHEAD);
    if let Some(first) = logs.next_chunk()
        && chunks.try_send(first).is_err()
    {
        return Status::internal("no room for the first chunk");
    }
    match session.client.append_logs(ReceiverStream::new(outgoing)).await {
        Ok(answers) => pump(logs, &chunks, answers.into_inner()).await,
        Err(status) => status,
    }
}

async fn pump(
    logs: &Logs,
    chunks: &mpsc::Sender<AppendLogsRequest>,
    mut answers: Streaming<AppendLogsResponse>,
) -> Status {
    loop {
        let can_send = logs.can_send();
        tokio::select! {
            answer = answers.message() => match answer {
                Ok(Some(answer)) => logs.acknowledge(&answer),
                Ok(None) => return Status::unavailable("the daemon closed the stream of logs"),
                Err(status) => return status,
            },
            room = async { if can_send { chunks.reserve().await } else { pending().await } } => {
                match room {
                    Ok(room) => if let Some(chunk) = logs.next_chunk() { room.send(chunk) },
                    Err(_) => return closed(&mut answers).await,
                }
            }
            () = logs.to_send.notified(), if !can_send => {}
        }
    }
}

/// The reason for which the daemon stopped taking chunks.
async fn closed(answers: &mut Streaming<AppendLogsResponse>) -> Status {
    loop {
        match answers.message().await {
            Ok(Some(_)) => {}
            Ok(None) => return Status::unavailable("the daemon closed the stream of logs"),
            Err(status) => return status,
        }
    }
}
