//! Takes the snapshot of a project and brings the daemon what it lacks of it.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use prost::bytes::Bytes;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use windlass_blobs::{
    StoreError, digest_of,
    snapshot::{self, SnapshotError},
};
use windlass_core::Digest;
use windlass_proto::{
    MAX_CHUNK_BYTES,
    api::v1::{FindMissingRequest, GitState, RunSource, UploadBlobsRequest},
};

use crate::{
    config::Config,
    connect::{Link, answer},
    error::{CliError, causes, reason},
    git,
    project::Project,
    settings::Settings,
};

/// Digests asked about in one call.
const PAGE: usize = 10_000;

/// Chunks read ahead of the daemon.
const READ_AHEAD: usize = 4;

/// How often the snapshot is taken again of a project that changes while it is uploaded.
const RETAKES: u32 = 3;

/// An upload above this size shows its progress on a terminal.
const SHOW_ABOVE: u64 = 50 << 20;

/// Everything that goes into a request to run, taken and ready to be uploaded.
pub(crate) struct Taken {
    pub(crate) source: RunSource,
    pub(crate) git: Option<GitState>,
    /// The tree, what it left out, the diff: small blobs made here.
    made: Vec<(Digest, Bytes)>,
    files: Vec<(PathBuf, Digest, u64)>,
}

/// Takes the snapshot, while git says what it knows.
pub(crate) async fn take(
    config: &Config,
    project: &Project,
    settings: &Settings,
) -> Result<Taken, CliError> {
    let files = project.files.iter().chain(&settings.files).cloned().collect();
    let options = snapshot::Options {
        files,
        max_file: settings.max_file_size,
        cache: Some(cache_file(config, &project.root)),
    };
    let root = project.root.clone();
    let walk = tokio::task::spawn_blocking(move || files_of(&root, &options));
    let (walked, git) = tokio::join!(walk, git::facts(&project.root));
    let walked = walked.map_err(|error| CliError::refused(format!("no snapshot: {error}")))?;
    let (tree, left_out, files) = walked?;
    let mut made = vec![(digest_of(&tree), tree)];
    let mut source = RunSource {
        target: Some(project.target.clone()),
        snapshot: made[0].0.to_string(),
        left_out: String::new(),
    };
    if !left_out.is_empty() {
        let digest = digest_of(&left_out);
        source.left_out = digest.to_string();
        made.push((digest, left_out));
    }
    let git = git.map(|(mut state, diff)| {
        if let Some(diff) = diff.map(Bytes::from) {
            let digest = digest_of(&diff);
            state.diff_digest = digest.to_string();
            made.push((digest, diff));
        }
        state
    });
    Ok(Taken { source, git, made, files })
}

type Walked = (Bytes, Bytes, Vec<(PathBuf, Digest, u64)>);

fn files_of(root: &Path, options: &snapshot::Options) -> Result<Walked, CliError> {
    let taken = snapshot::take(root, options).map_err(|error| refused(&error))?;
    let mut left_out = Vec::new();
    for entry in &taken.left_out {
        left_out.extend_from_slice(entry.path.as_bytes());
        left_out.push(0);
    }
    let files = taken.files().collect();
    Ok((taken.tree.encode().into(), left_out.into(), files))
}

fn refused(error: &SnapshotError) -> CliError {
    use StoreError::{Changed, NotAFile, Vanished};
    match error {
        SnapshotError::Unstable(Changed { path } | Vanished { path } | NotAFile { path }) => {
            changed(path)
        }
        SnapshotError::Read { path, source } => CliError::refused_with(
            format!("cannot read {}: {source}", path.display()),
            "give yourself access to it, or put it into .gitignore",
        ),
        other => CliError::refused(format!("no snapshot of the project: {}", causes(other))),
    }
}

/// Where digests of unchanged files are remembered, one file a project.
fn cache_file(config: &Config, root: &Path) -> PathBuf {
    let key = digest_of(root.as_os_str().as_encoded_bytes()).to_string();
    config.home.cache().join("snapshots").join(&key[..16])
}

/// Why an upload came to nothing.
enum UploadError {
    /// This file is not what it was when the snapshot was taken.
    Stale(PathBuf),
    Other(CliError),
}

impl From<CliError> for UploadError {
    fn from(error: CliError) -> Self {
        Self::Other(error)
    }
}

impl Taken {
    /// Brings the daemon whatever it lacks. Where the project has changed since, what is there now
    /// is taken instead.
    pub(crate) async fn bring(
        mut self,
        config: &Config,
        (project, settings): (&Project, &Settings),
        link: &Link,
    ) -> Result<Self, CliError> {
        for _ in 0..RETAKES {
            match self.upload(config, link).await {
                Ok(()) => return Ok(self),
                Err(UploadError::Other(error)) => return Err(error),
                Err(UploadError::Stale(_)) => {}
            }
            self = take(config, project, settings).await?;
        }
        match self.upload(config, link).await {
            Ok(()) => Ok(self),
            Err(UploadError::Other(error)) => Err(error),
            Err(UploadError::Stale(path)) => Err(changed(&path)),
        }
    }

    /// The tree is sent last, so that one that is there has all of its files there too, and a
    /// single question settles the common case.
    async fn upload(&self, config: &Config, link: &Link) -> Result<(), UploadError> {
        let made = self.made.iter().map(|(digest, _)| digest.to_string()).collect();
        let lacking: HashSet<_> = find_missing(link, made).await?.into_iter().collect();
        if lacking.is_empty() {
            return Ok(());
        }
        let mut parts = Vec::new();
        if lacking.contains(&self.source.snapshot) {
            parts = self.missing_files(link).await?;
        }
        for (digest, bytes) in self.made.iter().rev() {
            if lacking.contains(&digest.to_string()) {
                parts.push(Part { digest: *digest, content: Content::Made(bytes.clone()) });
            }
        }
        match send(config, link, parts).await? {
            Ok(()) => Ok(()),
            // The same size, but other bytes.
            Err(status) if reason(&status).is_some_and(|reason| reason == "BLOB_CORRUPT") => {
                let told =
                    |file: &&(PathBuf, Digest, u64)| status.message().contains(&file.1.to_string());
                let stale = self.files.iter().find(told).map(|file| file.0.clone());
                Err(stale.map_or_else(|| CliError::from(status).into(), UploadError::Stale))
            }
            Err(status) => Err(CliError::from(status).into()),
        }
    }

    async fn missing_files(&self, link: &Link) -> Result<Vec<Part>, CliError> {
        let mut files: HashMap<String, &(PathBuf, Digest, u64)> = HashMap::new();
        for file in &self.files {
            files.entry(file.1.to_string()).or_insert(file);
        }
        let mut parts = Vec::new();
        let all: Vec<String> = files.keys().cloned().collect();
        for page in all.chunks(PAGE) {
            for digest in find_missing(link, page.to_vec()).await? {
                if let Some((path, digest, size)) = files.get(&digest) {
                    let content = Content::File(path.clone(), *size);
                    parts.push(Part { digest: *digest, content });
                }
            }
        }
        Ok(parts)
    }
}

async fn find_missing(link: &Link, digests: Vec<String>) -> Result<Vec<String>, CliError> {
    let mut blobs = link.blobs();
    Ok(answer(blobs.find_missing(FindMissingRequest { digests })).await?.missing)
}

/// One blob to be sent.
struct Part {
    digest: Digest,
    content: Content,
}

enum Content {
    Made(Bytes),
    File(PathBuf, u64),
}

impl Part {
    fn size(&self) -> u64 {
        match &self.content {
            Content::Made(bytes) => bytes.len() as u64,
            Content::File(_, size) => *size,
        }
    }
}

/// Sends the parts; what the daemon says to them.
async fn send(
    config: &Config,
    link: &Link,
    parts: Vec<Part>,
) -> Result<Result<(), Status>, UploadError> {
    let total = parts.iter().map(Part::size).sum();
    let bar = progress(config, total);
    let (sender, chunks) = mpsc::channel(READ_AHEAD);
    let reading = bar.clone();
    let reader = tokio::task::spawn_blocking(move || {
        parts.iter().try_for_each(|part| read_part(part, &sender, &reading))
    });
    let sent = link.blobs().upload_blobs(ReceiverStream::new(chunks)).await;
    bar.finish_and_clear();
    let read = reader.await.map_err(|error| CliError::refused(format!("upload: {error}")))?;
    // A file that could not be read explains a stream that the daemon then refused.
    read?;
    Ok(sent.map(drop))
}

fn progress(config: &Config, total: u64) -> ProgressBar {
    if total < SHOW_ABOVE || !config.stderr.terminal {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
    let style = "uploading {bar:30} {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec}";
    bar.with_style(ProgressStyle::with_template(style).unwrap_or(ProgressStyle::default_bar()))
}

/// Sends one blob in chunks; a daemon that hung up is no error here, its answer says why.
fn read_part(
    part: &Part,
    sender: &mpsc::Sender<UploadBlobsRequest>,
    bar: &ProgressBar,
) -> Result<(), UploadError> {
    let mut first = Some(part.digest.to_string());
    let mut chunk = |data: Bytes| {
        bar.inc(data.len() as u64);
        let size_bytes =
            if first.is_some() { i64::try_from(part.size()).unwrap_or(i64::MAX) } else { 0 };
        let digest = first.take().unwrap_or_default();
        sender.blocking_send(UploadBlobsRequest { digest, size_bytes, data }).is_ok()
    };
    match &part.content {
        Content::Made(bytes) => {
            let mut rest = bytes.clone();
            loop {
                let data = rest.split_to(rest.len().min(MAX_CHUNK_BYTES));
                if !chunk(data) || rest.is_empty() {
                    return Ok(());
                }
            }
        }
        Content::File(path, size) => {
            let stale = |_| UploadError::Stale(path.clone());
            // No further than the size that was hashed: the file may be growing.
            let mut file = File::open(path).map_err(stale)?.take(*size);
            let mut left = *size;
            loop {
                let len = usize::try_from(left).unwrap_or(MAX_CHUNK_BYTES).min(MAX_CHUNK_BYTES);
                let mut data = vec![0; len];
                file.read_exact(&mut data).map_err(stale)?;
                left -= len as u64;
                if !chunk(data.into()) || left == 0 {
                    return Ok(());
                }
            }
        }
    }
}

fn changed(path: &Path) -> CliError {
    CliError::refused_with(
        format!("{} changed while the snapshot was taken", path.display()),
        "run again once nothing writes to it, or put it into .gitignore",
    )
}
