use std::{borrow::Cow, collections::HashMap, sync::Arc};

use prost::bytes::Bytes;
use tokio::sync::Semaphore;
use tonic::Status;
use windlass_blobs::{Node, Store, StoreError, Tree};
use windlass_core::Digest;
use windlass_proto::api::v1::{
    DescribePipelineResponse, ErrorReason, ParamValues, PipelineError, RunSource, Substitutes,
};
use windlass_proto::common::v1::Plan;

use super::status::{internal, invalid, invalid_pipeline, status};
use crate::compile::{self, BlobWriter, Compiled, MAX_FILE_BYTES, Offer, SnapshotFiles};

/// Most pipelines that compile at the same time.
const MAX_PARALLEL: usize = 2;

/// Longest tree of a snapshot, in bytes.
const MAX_TREE_BYTES: u64 = 64 << 20;

/// What is given for a run besides what to run.
#[derive(Default)]
pub(super) struct Offered {
    pub(super) values: ParamValues,
    pub(super) substitutes: Substitutes,
    /// `None` where a plan is only looked at: then secrets need no values, and nothing is kept.
    pub(super) secrets: Option<HashMap<String, Bytes>>,
}

impl Offered {
    fn borrow<'a>(&'a self, blobs: &'a Blobs) -> Offer<'a> {
        Offer {
            values: &self.values,
            substitutes: &self.substitutes,
            secrets: self.secrets.as_ref(),
            blobs: self.secrets.is_some().then_some(blobs as &dyn BlobWriter),
        }
    }
}

/// Keeps mocked outputs in the store of blobs.
struct Blobs(Store);

impl BlobWriter for Blobs {
    fn write(&self, bytes: &[u8]) -> Result<String, String> {
        self.0.put_bytes(bytes).map(|digest| digest.to_string()).map_err(|error| error.to_string())
    }
}

/// Compiles pipelines off the engine's thread and off the async ones. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Compiler {
    blobs: Store,
    turns: Arc<Semaphore>,
}

impl Compiler {
    pub(crate) fn new(blobs: Store) -> Self {
        Self { blobs, turns: Arc::new(Semaphore::new(MAX_PARALLEL)) }
    }

    /// The plan of a run, and the values that stand in no plan.
    pub(super) async fn compile(
        &self,
        source: RunSource,
        offered: Offered,
    ) -> Result<Compiled, Status> {
        let blobs = Blobs(self.blobs.clone());
        let compiled = self.with_files(source.snapshot.clone(), move |files| {
            compile::compile(&source, &offered.borrow(&blobs), files)
        });
        compiled.await?.map_err(invalid_pipeline)
    }

    /// What a pipeline asks of its caller.
    pub(super) async fn describe(
        &self,
        source: RunSource,
    ) -> Result<DescribePipelineResponse, Status> {
        let snapshot = source.snapshot.clone();
        let described =
            self.with_files(snapshot, move |files| compile::describe(&source, files)).await?;
        described.map_err(invalid_pipeline)
    }

    /// The functions of a module.
    pub(super) async fn functions(
        &self,
        snapshot: String,
        module: String,
    ) -> Result<DescribePipelineResponse, Status> {
        let found = self.with_files(snapshot, move |files| compile::functions(&module, files));
        let functions = found.await?.map_err(invalid_pipeline)?;
        Ok(DescribePipelineResponse { functions, ..DescribePipelineResponse::default() })
    }

    /// The mistakes of a pipeline.
    pub(super) async fn check(&self, source: RunSource) -> Result<Vec<PipelineError>, Status> {
        let snapshot = source.snapshot.clone();
        self.with_files(snapshot, move |files| compile::check(&source, files)).await
    }

    /// The plan of a run with other values.
    pub(super) async fn rebind(
        &self,
        snapshot: String,
        old: Plan,
        offered: Offered,
    ) -> Result<Compiled, Status> {
        let blobs = Blobs(self.blobs.clone());
        let compiled = self.with_files(snapshot, move |files| {
            compile::rebind(&old, &offered.borrow(&blobs), files)
        });
        compiled.await?.map_err(invalid_pipeline)
    }

    /// The JSON Schema of the pipeline file.
    pub(super) fn schema() -> String {
        compile::schema()
    }

    async fn with_files<T: Send + 'static>(
        &self,
        snapshot: String,
        work: impl FnOnce(&dyn SnapshotFiles) -> T + Send + 'static,
    ) -> Result<T, Status> {
        let turn = Arc::clone(&self.turns).acquire_owned().await;
        let blobs = self.blobs.clone();
        let worked = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let files = ProjectFiles::open(blobs, &snapshot)?;
            Ok(work(&files))
        });
        worked.await.map_err(|error| internal(&error))?
    }
}

/// The files of a snapshot, out of the store of blobs.
struct ProjectFiles {
    blobs: Store,
    tree: Tree,
}

impl ProjectFiles {
    fn open(blobs: Store, snapshot: &str) -> Result<Self, Status> {
        let digest: Digest =
            snapshot.parse().map_err(|_| invalid("source.snapshot", "is no digest"))?;
        let text = blobs.read(&digest, MAX_TREE_BYTES).map_err(|error| blob_error(&error))?;
        let tree = Tree::parse(&text)
            .map_err(|error| invalid("source.snapshot", format!("is no tree: {error}")))?;
        Ok(Self { blobs, tree })
    }
}

impl SnapshotFiles for ProjectFiles {
    fn read(&self, path: &str) -> Option<Cow<'_, [u8]>> {
        let Some(Node::File(file)) = self.tree.get(path) else { return None };
        match self.blobs.read(&file.digest, MAX_FILE_BYTES) {
            Ok(bytes) => Some(Cow::Owned(bytes)),
            Err(error) => {
                tracing::warn!(path, %error, "a file of a snapshot cannot be read");
                None
            }
        }
    }

    fn size(&self, path: &str) -> Option<u64> {
        match self.tree.get(path) {
            Some(Node::File(file)) => Some(file.size),
            _ => None,
        }
    }

    fn has(&self, path: &str) -> bool {
        let is_link = |(at, _)| matches!(self.tree.get(&path[..at]), Some(Node::Link { .. }));
        match self.tree.get(path) {
            Some(Node::EmptyDir) => false,
            Some(_) => true,
            // What a link leads to is the step's to find.
            None => path.match_indices('/').any(is_link),
        }
    }

    fn paths(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        Box::new(self.tree.files().map(|(path, _)| path))
    }
}

/// Why a blob cannot be used.
pub(super) fn blob_error(error: &StoreError) -> Status {
    match error {
        StoreError::Missing { .. } => status(ErrorReason::BlobNotFound, error.to_string()),
        StoreError::Corrupt { .. } => status(ErrorReason::BlobCorrupt, error.to_string()),
        StoreError::TooLarge { .. } => status(ErrorReason::LimitExceeded, error.to_string()),
        _ => internal(error),
    }
}
