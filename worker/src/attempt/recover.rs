use std::{fs, io, path::Path, sync::Arc};

use tokio::sync::watch;
use windlass_core::LeaseId;
use windlass_proto::worker::v1::{LeaseProof, Task};

use super::{AttemptDir, files::Prepared, prepare};
use crate::{
    executor::{End, Executor, Progress},
    keeper::ExitRecord,
    workspace::{Prepared as Place, Workspaces},
};

/// An attempt of an earlier worker that is to be taken up.
pub(crate) struct Found {
    pub(crate) proof: LeaseProof,
    pub(crate) lease: LeaseId,
    pub(super) task: Task,
    /// How it goes on, or how it ended already.
    pub(super) end: watch::Receiver<Progress>,
    pub(super) prepared: Prepared,
    /// `None` where it cannot be read any more.
    pub(super) place: Option<Arc<Place>>,
}

/// Looks through what earlier workers left in `work`: takes up what may have run, removes the rest.
pub(crate) async fn scan(
    work: &Path,
    executor: &dyn Executor,
    workspaces: &Workspaces,
) -> io::Result<Vec<Found>> {
    let all = AttemptDir::all(work);
    fs::create_dir_all(&all)?;
    let mut found = Vec::new();
    for entry in fs::read_dir(&all)? {
        let name = entry?.file_name();
        let Some(lease) = name.to_str().and_then(lease_id) else {
            tracing::warn!(name = %name.display(), "something foreign lies among the attempts");
            continue;
        };
        let dir = AttemptDir::new(work, lease);
        match take_up(&dir, lease, executor, workspaces).await {
            Some(attempt) => found.push(attempt),
            None => {
                if let Err(error) = workspaces.discard(dir.root()) {
                    tracing::warn!(%error, "failed to remove what never ran");
                }
            }
        }
    }
    Ok(found)
}

async fn take_up(
    dir: &AttemptDir,
    lease: LeaseId,
    executor: &dyn Executor,
    workspaces: &Workspaces,
) -> Option<Found> {
    let (kept, prepared) = dir.kept()?;
    let proof = kept.lease?;
    let task = kept.task?;
    let end = match executor.adopt(lease).await {
        Some(progress) => progress,
        None => {
            let record = ExitRecord::read(dir.root());
            let end = record.map_or(End::Lost, |record| End::Ended(Arc::new(record)));
            watch::Sender::new(Progress { end: Some(end), ..Progress::default() }).subscribe()
        }
    };
    let place = match prepare::adopt(workspaces, dir, &task, &prepared) {
        Ok(place) => Some(Arc::new(place)),
        Err(failure) => {
            tracing::warn!(message = failure.message, %lease, "a working directory is unreadable");
            None
        }
    };
    Some(Found { proof, lease, task, end, prepared, place })
}

fn lease_id(hex: &str) -> Option<LeaseId> {
    let mut id = [0; 16];
    if hex.len() != 32 || !hex.is_ascii() {
        return None;
    }
    for (byte, pair) in id.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(LeaseId(id))
}
