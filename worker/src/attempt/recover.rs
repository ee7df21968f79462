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
    let keeper = executor.keeper().await;
    let end = match executor.adopt(lease).await {
        Some(progress) => progress,
        None => {
            let end = match ExitRecord::read(dir.root()) {
                Some(record) => End::Ended(Arc::new(record)),
                // The keeper that was to start it lives, knows of all that it ever started, and
                // takes no order of a worker before this one any more: it never ran.
                None if !keeper.is_empty() && prepared.keeper == keeper => return None,
                // Another may have started it, and died since.
                None => End::Lost,
            };
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use windlass_blobs::Store;
    use windlass_core::{AttemptNumber, RunId};

    use super::*;
    use crate::{executor::Job, workspace::Mode};

    /// A keeper that has nothing.
    struct Keeper(&'static str);

    #[tonic::async_trait]
    impl Executor for Keeper {
        fn name(&self) -> &'static str {
            "test"
        }
        async fn start(&self, _: Job) -> watch::Receiver<Progress> {
            watch::channel(Progress::default()).1
        }
        async fn keeper(&self) -> String {
            self.0.to_owned()
        }
        async fn adopt(&self, _: LeaseId) -> Option<watch::Receiver<Progress>> {
            None
        }
        async fn stop(&self, _: LeaseId, _: Duration) {}
        fn log_durable(&self, _: LeaseId, _: usize, _: u64) {}
        async fn release(&self, _: LeaseId) {}
    }

    #[tokio::test]
    async fn what_no_keeper_knows_is_lost_unless_its_own_says_that_it_never_ran() {
        let cases = [
            // Meant for, found, has an exit record: is held.
            ("one", "one", false, false),
            ("one", "one", true, true),
            ("one", "two", false, true),
            ("one", "two", true, true),
            ("", "", false, true),
            ("", "one", false, true),
            ("one", "", false, true),
        ];
        for (meant, keeper, ended, held) in cases {
            let home = tempfile::tempdir().unwrap();
            let work = home.path().join("work");
            let store = Arc::new(Store::open(&home.path().join("blobs")).unwrap());
            let workspaces = Workspaces::new(&work, store, Mode::Copy).unwrap();
            let id = LeaseId([7; 16]);
            let dir = AttemptDir::new(&work, id);
            let attempt = windlass_proto::attempt_ref(
                RunId(uuid::Uuid::now_v7()),
                &"train".parse().unwrap(),
                AttemptNumber(1),
            );
            let proof = LeaseProof { attempt: Some(attempt), lease_id: id.0.to_vec().into() };
            let prepared = Prepared { keeper: meant.to_owned(), ..Prepared::default() };
            dir.create().unwrap();
            dir.keep(Some(&proof), &Task::default(), &prepared).unwrap();
            if ended {
                let record = ExitRecord::not_started(id.to_string(), "a reason".to_owned(), 5);
                ExitRecord::write(dir.root(), &serde_json::to_vec(&record).unwrap()).unwrap();
            }

            let found = scan(&work, &Keeper(keeper), &workspaces).await.unwrap();

            let ends: Vec<_> = found.iter().map(|f| f.end.borrow().end.clone().unwrap()).collect();
            let case = format!("{meant:?} {keeper:?} {ended}");
            assert_eq!(ends.len(), usize::from(held), "{case}");
            assert!(ends.iter().all(|end| matches!(end, End::Ended(_)) == ended), "{case}");
            assert_eq!(dir.root().exists(), held, "{case}");
        }
    }
}
