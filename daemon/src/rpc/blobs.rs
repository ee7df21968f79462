use std::{fs::File, os::unix::fs::FileExt, sync::Arc};

use prost::bytes::Bytes;
use tokio::sync::Semaphore;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use windlass_blobs::{BlobWriter, Store, StoreError};
use windlass_core::Digest;
use windlass_proto::MAX_CHUNK_BYTES;
use windlass_proto::api::v1::{
    DownloadBlobRequest, DownloadBlobResponse, ErrorReason, FindMissingRequest,
    FindMissingResponse, UploadBlobsRequest, UploadBlobsResponse, blob_service_server::BlobService,
};

use super::{
    status::{internal, invalid, status},
    streams::{Streams, send},
};

/// Most digests in one question.
const MAX_DIGESTS: usize = 10_000;

/// Bytes of a download in one message.
const DOWNLOAD_CHUNK: usize = 256 << 10;

/// Most pieces of work on blobs at one time, over all callers.
const MAX_PARALLEL: usize = 4;

/// Serves `windlass.api.v1.BlobService`.
pub(crate) struct BlobsRpc {
    store: Store,
    streams: Streams,
    /// Held for one piece of work, never while a caller is waited for.
    turns: Arc<Semaphore>,
}

impl BlobsRpc {
    pub(crate) fn new(store: Store, streams: Streams) -> Self {
        Self { store, streams, turns: Arc::new(Semaphore::new(MAX_PARALLEL)) }
    }
}

#[tonic::async_trait]
impl BlobService for BlobsRpc {
    async fn find_missing(
        &self,
        request: Request<FindMissingRequest>,
    ) -> Result<Response<FindMissingResponse>, Status> {
        let texts = request.into_inner().digests;
        if texts.len() > MAX_DIGESTS {
            let told = format!("{} digests, of at most {MAX_DIGESTS}", texts.len());
            return Err(status(ErrorReason::LimitExceeded, told));
        }
        let digests: Vec<_> = texts
            .iter()
            .enumerate()
            .map(|(place, text)| parse_digest(&format!("digests[{place}]"), text))
            .collect::<Result<_, _>>()?;
        let store = self.store.clone();
        let missing = working(&self.turns, move || {
            let missing = digests.iter().zip(texts).filter(|(digest, _)| !store.contains(digest));
            Ok(missing.map(|(_, text)| text).collect())
        });
        Ok(Response::new(FindMissingResponse { missing: missing.await? }))
    }

    async fn upload_blobs(
        &self,
        request: Request<Streaming<UploadBlobsRequest>>,
    ) -> Result<Response<UploadBlobsResponse>, Status> {
        let mut chunks = request.into_inner();
        let mut intake = Intake { store: self.store.clone(), current: None, stored: 0 };
        // A stream that breaks off drops the blob that was coming, which leaves nothing.
        while let Some(chunk) = chunks.message().await? {
            let work = move || {
                intake.take(&chunk)?;
                Ok(intake)
            };
            intake = working(&self.turns, work).await?;
        }
        let stored = working(&self.turns, move || {
            intake.finish()?;
            Ok(intake.stored)
        });
        Ok(Response::new(UploadBlobsResponse { stored: stored.await? }))
    }

    type DownloadBlobStream = ReceiverStream<Result<DownloadBlobResponse, Status>>;

    async fn download_blob(
        &self,
        request: Request<DownloadBlobRequest>,
    ) -> Result<Response<Self::DownloadBlobStream>, Status> {
        let DownloadBlobRequest { digest, offset } = request.into_inner();
        let digest = parse_digest("digest", &digest)?;
        let store = self.store.clone();
        let opened = working(&self.turns, move || store.open_blob(&digest).map_err(store_error));
        let (file, size) = opened.await?;
        let offset = u64::try_from(offset)
            .ok()
            .filter(|offset| *offset <= size)
            .ok_or_else(|| invalid("offset", format!("must be from 0 to {size}")))?;
        let (file, turns) = (Arc::new(file), Arc::clone(&self.turns));
        Ok(Response::new(self.streams.start(async move |items| {
            let size_bytes = i64::try_from(size).unwrap_or(i64::MAX);
            let mut at = offset;
            // An empty blob is one message too, so that its size is told.
            loop {
                let file = Arc::clone(&file);
                let data = working(&turns, move || read_chunk(&file, at, size)).await?;
                at += u64::try_from(data.len()).unwrap_or(u64::MAX);
                send(&items, DownloadBlobResponse { data, size_bytes }).await?;
                if at >= size {
                    return Ok(());
                }
            }
        })))
    }
}

/// Takes blobs one after the other.
struct Intake {
    store: Store,
    current: Option<Incoming>,
    stored: u32,
}

/// A blob on its way in.
struct Incoming {
    digest: Digest,
    size: u64,
    received: u64,
    /// `None` where the store has it already.
    writer: Option<BlobWriter>,
}

impl Intake {
    fn take(&mut self, chunk: &UploadBlobsRequest) -> Result<(), Status> {
        if chunk.data.len() > MAX_CHUNK_BYTES {
            let told = format!("a chunk may have at most {MAX_CHUNK_BYTES} bytes");
            return Err(status(ErrorReason::LimitExceeded, told));
        }
        if !chunk.digest.is_empty() {
            self.finish()?;
            self.begin(chunk)?;
        }
        let Some(blob) = &mut self.current else {
            return Err(invalid("digest", "must be set on the first chunk of a blob"));
        };
        blob.received += u64::try_from(chunk.data.len()).unwrap_or(u64::MAX);
        if blob.received > blob.size {
            return Err(blob.unlike(&format!("more than the {} bytes announced", blob.size)));
        }
        match &mut blob.writer {
            Some(writer) => writer.write(&chunk.data).map_err(store_error),
            None => Ok(()),
        }
    }

    fn begin(&mut self, chunk: &UploadBlobsRequest) -> Result<(), Status> {
        let digest = parse_digest("digest", &chunk.digest)?;
        let size = u64::try_from(chunk.size_bytes)
            .map_err(|_| invalid("size_bytes", "must not be negative"))?;
        let held = self.store.size(&digest) == Some(size);
        let writer = if held { None } else { Some(self.store.writer().map_err(store_error)?) };
        self.current = Some(Incoming { digest, size, received: 0, writer });
        Ok(())
    }

    /// Keeps the blob that came last, if it is what was announced.
    fn finish(&mut self) -> Result<(), Status> {
        let Some(blob) = self.current.take() else { return Ok(()) };
        if blob.received != blob.size {
            let told = format!("{} of the {} bytes announced", blob.received, blob.size);
            return Err(blob.unlike(&told));
        }
        if let Some(writer) = blob.writer {
            writer.finish(&blob.digest).map_err(store_error)?;
            self.stored += 1;
        }
        Ok(())
    }
}

impl Incoming {
    fn unlike(&self, came: &str) -> Status {
        status(ErrorReason::BlobCorrupt, format!("blob {}: {came} came", self.digest))
    }
}

fn read_chunk(file: &File, at: u64, size: u64) -> Result<Bytes, Status> {
    let wanted = usize::try_from(size - at).unwrap_or(usize::MAX).min(DOWNLOAD_CHUNK);
    let mut data = vec![0; wanted];
    file.read_exact_at(&mut data, at).map_err(|error| internal(&error))?;
    Ok(data.into())
}

fn parse_digest(field: &str, text: &str) -> Result<Digest, Status> {
    text.parse().map_err(|error| invalid(field, format!("{error}")))
}

fn store_error(error: StoreError) -> Status {
    let reason = match &error {
        StoreError::Missing { .. } => ErrorReason::BlobNotFound,
        StoreError::Corrupt { .. } | StoreError::Mismatch { .. } => ErrorReason::BlobCorrupt,
        StoreError::TooLarge { .. } => ErrorReason::LimitExceeded,
        _ => return internal(&error),
    };
    status(reason, error.to_string())
}

/// Does `work` on a thread that may block, once it is its turn.
async fn working<T: Send + 'static>(
    turns: &Arc<Semaphore>,
    work: impl FnOnce() -> Result<T, Status> + Send + 'static,
) -> Result<T, Status> {
    let turn = Arc::clone(turns).acquire_owned().await.map_err(|error| internal(&error))?;
    let work = move || {
        let result = work();
        drop(turn);
        result
    };
    tokio::task::spawn_blocking(work).await.map_err(|error| internal(&error))?
}
