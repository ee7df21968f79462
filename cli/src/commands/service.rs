use std::path::PathBuf;

/// Run a worker in the foreground; the daemon keeps one of its own
#[derive(clap::Args)]
pub(crate) struct Worker {
    /// The home's own worker, that the daemon keeps
    #[arg(long, hide = true)]
    pub(crate) local: bool,
    /// How many attempts may run at once [default: the number of cores]
    #[arg(long, value_name = "N")]
    pub(crate) slots: Option<u32>,
}

/// Own the processes of a worker's attempts
#[derive(clap::Args)]
pub(crate) struct Keeper {
    /// The worker's directory
    #[arg(long)]
    pub(crate) dir: PathBuf,
    /// Mount in a user namespace of its own
    #[arg(long, conflicts_with = "probe")]
    pub(crate) user_namespace: bool,
    /// Only find out whether that works
    #[arg(long)]
    pub(crate) probe: bool,
}
