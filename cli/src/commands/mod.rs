//! One file a verb.

mod artifacts;
mod best;
mod cancel;
mod check;
mod completion;
pub(crate) mod daemon;
mod doctor;
mod exec;
mod explain;
mod init;
mod logs;
mod ls;
mod metrics;
mod outputs;
mod plan;
mod rerun;
mod rm;
mod run;
mod schema;
pub(crate) mod service;
mod show;
mod submit;
mod version;
mod wait;
mod watch;
mod workers;

use crate::{
    app::App,
    error::{CliError, Exit},
};

/// Every verb.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    #[command(flatten)]
    Client(Client),
    Daemon(daemon::Daemon),
    Worker(service::Worker),
    #[command(hide = true)]
    Keeper(service::Keeper),
}

/// The verbs that talk to a daemon.
#[derive(clap::Subcommand)]
pub(crate) enum Client {
    Run(Box<run::Run>),
    Submit(Box<submit::Submit>),
    Exec(Box<exec::Exec>),
    #[command(visible_alias = "list")]
    Ls(ls::Ls),
    Show(show::Show),
    Logs(logs::Logs),
    Metrics(metrics::Metrics),
    Explain(explain::Explain),
    Watch(watch::Watch),
    Wait(wait::Wait),
    Cancel(cancel::Cancel),
    Rm(rm::Rm),
    Rerun(rerun::Rerun),
    Artifacts(artifacts::Artifacts),
    Best(best::Best),
    Outputs(outputs::Outputs),
    Init(init::Init),
    Check(check::Check),
    Plan(Box<plan::Plan>),
    Schema(schema::Schema),
    Doctor(doctor::Doctor),
    Workers(workers::Workers),
    Completion(completion::Completion),
    Version(version::Version),
}

impl Client {
    pub(crate) async fn run(self, app: &mut App<'_>) -> Result<Exit, CliError> {
        match self {
            Self::Run(run) => Box::pin(run.run(app)).await,
            Self::Submit(submit) => Box::pin(submit.run(app)).await,
            Self::Exec(exec) => Box::pin(exec.run(app)).await,
            Self::Ls(ls) => Box::pin(ls.run(app)).await,
            Self::Show(show) => Box::pin(show.run(app)).await,
            Self::Explain(explain) => Box::pin(explain.run(app)).await,
            Self::Logs(logs) => Box::pin(logs.run(app)).await,
            Self::Metrics(metrics) => Box::pin(metrics.run(app)).await,
            Self::Watch(watch) => Box::pin(watch.run(app)).await,
            Self::Wait(wait) => Box::pin(wait.run(app)).await,
            Self::Cancel(cancel) => Box::pin(cancel.run(app)).await,
            Self::Rm(rm) => Box::pin(rm.run(app)).await,
            Self::Rerun(rerun) => Box::pin(rerun.run(app)).await,
            Self::Best(best) => Box::pin(best.run(app)).await,
            Self::Artifacts(artifacts) => Box::pin(artifacts.run(app)).await,
            Self::Outputs(outputs) => Box::pin(outputs.run(app)).await,
            Self::Init(init) => Box::pin(init.run(app)).await,
            Self::Check(check) => Box::pin(check.run(app)).await,
            Self::Plan(plan) => Box::pin(plan.run(app)).await,
            Self::Schema(schema) => Box::pin(schema.run(app)).await,
            Self::Doctor(doctor) => Box::pin(doctor.run(app)).await,
            Self::Workers(workers) => Box::pin(workers.run(app)).await,
            Self::Completion(completion) => completion.run(app),
            Self::Version(_) => version::Version::run(app),
        }
    }
}
