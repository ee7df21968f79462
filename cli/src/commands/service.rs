use std::path::PathBuf;

/// Run a worker in the foreground; the daemon keeps one of its own
#[derive(clap::Args)]
pub(crate) struct Worker {
    /// The home's own worker, that the daemon keeps
    #[arg(long, hide = true)]
    pub(crate) local: bool,
}

/// Own the processes of a worker's attempts
#[derive(clap::Args)]
pub(crate) struct Keeper {
    /// The worker's directory
    #[arg(long)]
    pub(crate) dir: PathBuf,
}
