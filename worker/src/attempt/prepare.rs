use std::{path::PathBuf, sync::Arc, time::Duration};

use windlass_core::{Digest, LeaseId};
use windlass_proto::worker::v1::{AttemptLease, Task, task::Action};

use super::{
    AttemptDir, BlobAccess, Context, Seen, StartFailure, command,
    contract::{self, Variables},
    files::Prepared,
    system_log::SystemLog,
};
use crate::{
    executor::Job,
    mask::Masks,
    workspace::{Prepared as Place, Workspaces},
};

/// Between TERM and KILL where the task does not say.
pub(super) const DEFAULT_GRACE: Duration = Duration::from_secs(5);

/// A job that is ready to be started.
pub(super) struct Ready {
    pub(super) job: Job,
    pub(super) prepared: Prepared,
}

/// Finds or builds what the task runs in, and notes down what is about to be started: step 3 of
/// an attempt. May take minutes; may be dropped halfway.
pub(super) async fn make_ready(
    context: &Context,
    lease_id: LeaseId,
    dir: &AttemptDir,
    (lease, bare): (&AttemptLease, &Task),
    (place, system, masks): (Arc<Place>, &SystemLog, Option<&Arc<Masks>>),
) -> Result<Ready, StartFailure> {
    let task = lease.task.as_ref().ok_or_else(|| StartFailure::new("a lease without a task"))?;
    let sources = sources(&place);
    let needed = match &task.action {
        Some(Action::Python(_) | Action::Notebook(_)) => true,
        Some(Action::Script(script)) => {
            script.argv.first().is_some_and(|path| command::is_python(&sources, path))
        }
        Some(Action::Run(_) | Action::Command(_)) | None => false,
    };
    let interpreter = context.interpreters.resolve(task, needed, &sources, system).await?;
    let env = contract::variables(dir, lease, interpreter.env.clone(), &place.cwd);
    let argv = match &task.action {
        Some(Action::Python(_) | Action::Notebook(_)) => {
            context.interpreters.python_command(dir, task, &interpreter, &place.cwd)?
        }
        Some(Action::Run(shell)) => command::shell(&shell.script, &env),
        Some(Action::Script(script)) => {
            command::script(&script.argv, &sources, &place.cwd, &interpreter.executable)?
        }
        Some(Action::Command(command)) => command.argv.iter().map(Into::into).collect(),
        None => return Err(StartFailure::new("the task has no action that this worker knows")),
    };
    let prepared = Prepared {
        argv: argv.iter().map(|word| masked(masks, &word.to_string_lossy())).collect(),
        masked: masks.is_some(),
        environment_digest: interpreter.environment_digest,
        keeper: context.executor.keeper().await,
        space: place.space.clone(),
    };
    dir.keep(lease.lease.as_ref(), bare, &prepared)
        .map_err(|e| StartFailure::io("note down what is started", e))?;
    let job = job(lease_id, dir, task, (argv, env), &place)?;
    Ok(Ready { job, prepared })
}

/// A text as it may be kept.
pub(super) fn masked(masks: Option<&Arc<Masks>>, text: &str) -> String {
    masks.map_or_else(|| text.to_owned(), |masks| masks.text(text))
}

/// Makes directory, files of the contract and working directory: steps 1 and 2 of an attempt.
pub(super) async fn lay_out(
    context: &Context,
    dir: &AttemptDir,
    task: Arc<Task>,
) -> Result<Place, StartFailure> {
    let (blobs, workspaces) = (Arc::clone(&context.blobs), Arc::clone(&context.workspaces));
    let view = Seen::view(&task.snapshot, &task.layers);
    let has_inputs = !task.inputs.is_empty();
    let dir = dir.clone();
    let work = move || {
        if !workspaces.recycle(dir.root()) {
            dir.create().map_err(|e| StartFailure::io("make the attempt's directory", e))?;
        }
        contract::write_files(&dir, &task, &*blobs as &dyn BlobAccess)?;
        let (snapshot, layers) = digests(&task)?;
        workspaces
            .prepare(snapshot, &layers, dir.root())
            .map_err(|error| StartFailure::caused(&error))
    };
    if !has_inputs && context.seen.contains(view) {
        // A few small files; not worth a thread.
        return work();
    }
    let place = tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(StartFailure::internal(error.to_string())))?;
    // Copies cost the same every time.
    if place.mount.is_some() {
        context.seen.note(view);
    }
    Ok(place)
}

/// The working directory of an attempt that an earlier worker prepared.
pub(super) fn adopt(
    workspaces: &Workspaces,
    dir: &AttemptDir,
    task: &Task,
    prepared: &Prepared,
) -> Result<Place, StartFailure> {
    let (snapshot, layers) = digests(task)?;
    let space = prepared.space.as_deref();
    workspaces
        .adopt(snapshot, &layers, dir.root(), space)
        .map_err(|error| StartFailure::caused(&error))
}

fn digests(task: &Task) -> Result<(Digest, Vec<Digest>), StartFailure> {
    let parse = |text: &String| {
        text.parse::<Digest>().map_err(|error| StartFailure::internal(error.to_string()))
    };
    Ok((parse(&task.snapshot)?, task.layers.iter().map(parse).collect::<Result<_, _>>()?))
}

/// Where project files can be read before the overlay is mounted; the first that has one wins.
fn sources(place: &Place) -> Vec<PathBuf> {
    match &place.mount {
        Some(overlay) => overlay.lower.clone(),
        None => vec![place.cwd.clone()],
    }
}

fn job(
    lease: LeaseId,
    dir: &AttemptDir,
    task: &Task,
    (argv, env): (Vec<std::ffi::OsString>, Variables),
    place: &Place,
) -> Result<Job, StartFailure> {
    let overlay = match &place.mount {
        Some(overlay) => serde_json::to_vec(overlay)
            .map_err(|error| StartFailure::internal(error.to_string()))?,
        None => Vec::new(),
    };
    Ok(Job {
        lease,
        dir: dir.root().to_path_buf(),
        argv,
        env: env.into_iter().collect(),
        cwd: place.cwd.clone(),
        overlay,
        timeout: timeout(task),
        grace: grace(task),
        masks: task.masks.iter().map(|text| text.to_vec()).collect(),
        memory: memory_limit(task),
    })
}

/// Most memory that the task's tree may take.
pub(super) fn memory_limit(task: &Task) -> Option<u64> {
    let bytes = task.resources.as_ref().map_or(0, |resources| resources.memory_bytes);
    (bytes > 0).then_some(bytes)
}

/// How long the task may run.
pub(super) fn timeout(task: &Task) -> Option<Duration> {
    task.timeout.and_then(|limit| limit.try_into().ok()).filter(|limit: &Duration| !limit.is_zero())
}

/// How long the task has between TERM and KILL.
pub(super) fn grace(task: &Task) -> Duration {
    task.stop_grace.and_then(|grace| grace.try_into().ok()).unwrap_or(DEFAULT_GRACE)
}
