use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use windlass_blobs::Store;
use windlass_core::Home;
use windlass_proto::{
    common::v1::environment_spec::Kind,
    worker::v1::{Task, task::Action, task_arg::Value},
};

use super::{
    AttemptDir, Interpreter, Interpreters, PythonResult, StartFailure, SystemLog,
    contract::file_name,
};
use crate::{
    environment::Environments,
    runner::{self, ArgValue, RunnerDir, StepFiles, StepRequest},
};

/// Interpreters of this machine, and the embedded runner.
pub(crate) struct LocalInterpreters {
    environments: Environments,
    runner: RunnerDir,
}

impl LocalInterpreters {
    pub(crate) fn new(home: &Home, store: Store) -> io::Result<Self> {
        let put = Arc::new(move |bytes: &[u8]| store.put_bytes(bytes).map_err(io::Error::other));
        Ok(Self {
            environments: Environments::new(home.envs(), &home.cache(), put),
            runner: runner::install(&home.work())?,
        })
    }
}

#[tonic::async_trait]
impl Interpreters for LocalInterpreters {
    async fn resolve(
        &self,
        task: &Task,
        needed: bool,
        sources: &[PathBuf],
        system: &SystemLog,
    ) -> Result<Interpreter, StartFailure> {
        let spec = task.environment.as_ref();
        let kind = spec.and_then(|spec| spec.kind.as_ref());
        if kind.is_none() && !needed {
            let host = self.environments.host().map_err(|error| StartFailure::caused(&error))?;
            let environment_digest = host.digest.to_string();
            return Ok(Interpreter { environment_digest, ..Interpreter::default() });
        }
        let project = project(kind, sources);
        let progress = |line: &str| system.say(line);
        let found = self
            .environments
            .resolve(spec, &task.caller_env, &project, progress)
            .await
            .map_err(|error| StartFailure::caused(&error))?;
        if needed {
            found.check_version().map_err(|error| StartFailure::caused(&error))?;
        }
        Ok(Interpreter {
            executable: found.executable,
            env: found.env.into_iter().map(|(name, value)| (name.into(), value)).collect(),
            environment_digest: found.described.digest.to_string(),
        })
    }

    fn python_command(
        &self,
        dir: &AttemptDir,
        task: &Task,
        interpreter: &Interpreter,
        cwd: &Path,
    ) -> Result<Vec<OsString>, StartFailure> {
        let target = match &task.action {
            Some(Action::Python(python)) => &python.target,
            Some(Action::Notebook(notebook)) => &notebook.path,
            Some(Action::Run(_) | Action::Script(_) | Action::Command(_)) | None => {
                return Err(StartFailure::new("the task is no Python step"));
            }
        };
        let variables: Vec<String> =
            task.args.iter().map(|arg| format!("WINDLASS_PARAM_{}", arg.name)).collect();
        let input = |name: &str| task.inputs.iter().find(|input| input.name == name);
        let paths: Vec<PathBuf> = task
            .args
            .iter()
            .map(|arg| match &arg.value {
                Some(Value::Output(output)) => {
                    let output = input(&output.name).unwrap_or(output);
                    dir.inputs().join(file_name(&output.name, &output.codec))
                }
                Some(Value::Json(_)) | None => PathBuf::new(),
            })
            .collect();
        let args: Vec<(&str, ArgValue<'_>)> = task
            .args
            .iter()
            .zip(paths.iter().zip(&variables))
            .filter_map(|(arg, (path, variable))| {
                let value = match arg.value.as_ref()? {
                    // Not into a file.
                    Value::Json(_) if task.secret_args.contains(&arg.name) => {
                        ArgValue::Variable(variable)
                    }
                    Value::Json(json) => ArgValue::Json(json),
                    Value::Output(output) => ArgValue::File { codec: &output.codec, path },
                };
                Some((arg.name.as_str(), value))
            })
            .collect();
        let request = StepRequest {
            target,
            project: cwd,
            args: &args,
            outputs: &task.outputs,
            metrics: task.metrics_given.then_some(&task.metrics),
            overrides: &task.overrides,
        };
        let files = StepFiles::new(&dir.io());
        runner::write_request(&files, &request)
            .map_err(|error| StartFailure::io("write the runner's request", error))?;
        Ok(runner::command(&interpreter.executable, &self.runner, &files.request))
    }

    fn python_result(&self, dir: &AttemptDir, task: &Task) -> PythonResult {
        if !matches!(task.action, Some(Action::Python(_) | Action::Notebook(_))) {
            return PythonResult::default();
        }
        let found = runner::collect(&StepFiles::new(&dir.io()));
        let unused = found
            .unused(&task.overrides)
            .into_iter()
            .map(|name| format!("`{name}` was set from outside, but no such call was made"));
        PythonResult {
            remarks: unused.collect(),
            failure: found.failure.map(|failure| failure.to_string()).unwrap_or_default(),
            calls: found.calls,
            outputs: found.results,
        }
    }
}

/// The directory in which the files that define an environment are found.
fn project(kind: Option<&Kind>, sources: &[PathBuf]) -> PathBuf {
    let file = match kind {
        Some(Kind::Requirements(file)) => file.clone(),
        Some(Kind::Uv(dir)) => format!("{dir}/pyproject.toml"),
        Some(Kind::Python(path)) => path.clone(),
        None => String::new(),
    };
    let found = sources.iter().find(|source| source.join(&file).exists());
    found.or(sources.last()).cloned().unwrap_or_default()
}
