use std::time::Duration;

use tokio::{sync::mpsc, task::JoinSet, time::sleep};
use windlass_proto::api::v1;

use crate::{
    connect::{Link, answer},
    error::CliError,
};

/// Pause between two listings.
const PAUSE: Duration = Duration::from_secs(1);

/// Most runs in the view.
const MAX_RUNS: i32 = 100;

/// The newest runs, again and again.
pub(super) struct Listing {
    runs: mpsc::Receiver<Result<Vec<v1::Run>, CliError>>,
    _task: JoinSet<()>,
}

impl Listing {
    pub(super) fn open(link: &Link) -> Self {
        let (sender, runs) = mpsc::channel(1);
        let mut task = JoinSet::new();
        task.spawn(list(link.clone(), sender));
        Self { runs, _task: task }
    }

    /// The next listing. Safe to drop and call again.
    pub(super) async fn next(&mut self) -> Option<Result<Vec<v1::Run>, CliError>> {
        self.runs.recv().await
    }
}

async fn list(link: Link, sender: mpsc::Sender<Result<Vec<v1::Run>, CliError>>) {
    loop {
        let request = v1::ListRunsRequest { page_size: MAX_RUNS, ..Default::default() };
        let page = answer(link.runs().list_runs(request)).await.map(|page| page.runs);
        if sender.send(page).await.is_err() {
            return;
        }
        sleep(PAUSE).await;
    }
}
