use std::{ffi::OsString, path::PathBuf};

/// Run a worker in the foreground; the daemon keeps one of its own
#[derive(clap::Args)]
pub(crate) struct Worker {
    /// The home's own worker, that the daemon keeps
    #[arg(long, hide = true)]
    _local: bool,
    /// Name of the worker, unique among those of its daemon
    #[arg(long, default_value = "local")]
    pub(crate) name: String,
    /// How many steps may run at once [default: the number of cores]
    #[arg(long, env = "WINDLASS_SLOTS", hide_env_values = true)]
    pub(crate) slots: Option<u32>,
    /// What else steps may ask for under `resources`, for instance licence=2; over what is found of
    /// cpu (thousandths), memory (bytes) and gpu
    #[arg(long = "offer", value_name = "NAME=AMOUNT", value_parser = windlass_worker::parse_offer)]
    #[arg(env = "WINDLASS_OFFER", value_delimiter = ',', hide_env_values = true)]
    pub(crate) offers: Vec<(String, i64)>,
    /// The daemon's socket [default: the home's]
    #[arg(long, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
    /// How steps get directories of their own: overlay, overlay-userns or copy [default: the first that works]
    #[arg(long, value_name = "MODE", env = "WINDLASS_WORKSPACE", hide_env_values = true)]
    pub(crate) workspace: Option<String>,
}

/// Own the processes of a worker's attempts
#[derive(clap::Args)]
pub(crate) struct Keeper {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) args: Vec<OsString>,
}
