use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use windlass_proto::worker::v1::Task;

use super::{AttemptDir, StartFailure, system_log::SystemLog};

/// What a step's code runs in.
#[derive(Clone, Debug, Default)]
pub(crate) struct Interpreter {
    /// Empty where no interpreter was looked for.
    pub(crate) executable: PathBuf,
    /// Variables that make it the one that programs find.
    pub(crate) env: Vec<(OsString, OsString)>,
    /// Digest of the blob that describes it.
    pub(crate) environment_digest: String,
}

/// Finds or builds interpreters, and knows how Python steps are run with them.
#[tonic::async_trait]
pub(crate) trait Interpreters: Send + Sync + 'static {
    /// The interpreter of the task's environment. `needed` is false where a shell step would do
    /// without: then only what the machine is gets described, unless an environment is asked for.
    ///
    /// `sources` are directories in which project files are looked up, the first that has one wins.
    async fn resolve(
        &self,
        task: &Task,
        needed: bool,
        sources: &[PathBuf],
        system: &SystemLog,
    ) -> Result<Interpreter, StartFailure>;

    /// The command that calls the task's Python function, in `cwd`.
    fn python_command(
        &self,
        dir: &AttemptDir,
        task: &Task,
        interpreter: &Interpreter,
        cwd: &Path,
    ) -> Result<Vec<OsString>, StartFailure>;

    /// What such a step left behind besides outputs and metrics: calls, and why it failed.
    fn python_result(&self, dir: &AttemptDir, task: &Task) -> PythonResult;
}

/// What the runner noted down.
#[derive(Clone, Debug, Default)]
pub(crate) struct PythonResult {
    pub(crate) calls: Vec<windlass_proto::common::v1::CallRecord>,
    /// For the system log.
    pub(crate) remarks: Vec<String>,
    /// For people; empty where there is none.
    pub(crate) failure: String,
    /// Outputs that need no file of their own, with their JSON.
    pub(crate) outputs: Vec<(String, String)>,
}
