//! The services in this binary: daemon, worker, keeper.

use crate::{
    commands::service::{Keeper, Worker},
    config::Config,
    error::{CliError, Exit},
};

pub(crate) fn daemon(_config: Config, _background: bool) -> Result<Exit, CliError> {
    Err(CliError::Unreachable("this build holds no daemon".into()))
}

pub(crate) fn worker(_config: Config, _worker: &Worker) -> Result<Exit, CliError> {
    Err(CliError::Unreachable("this build holds no worker".into()))
}

pub(crate) fn keeper(_keeper: Keeper) -> Result<Exit, CliError> {
    Err(CliError::Unreachable("this build holds no keeper".into()))
}
