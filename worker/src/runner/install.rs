use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};

/// The program given to `python -c`; its arguments are the runner's directory and the request.
const BOOTSTRAP: &str = include_str!("../../runners/bootstrap.py");

/// Every file of the runner, by its place in the runner's directory.
const FILES: &[(&str, &str)] = &[
    ("windlass_bundle.py", include_str!("../../runners/windlass_bundle.py")),
    ("windlass_runner/__init__.py", include_str!("../../runners/windlass_runner/__init__.py")),
    ("windlass_runner/failure.py", include_str!("../../runners/windlass_runner/failure.py")),
    ("windlass_runner/instrument.py", include_str!("../../runners/windlass_runner/instrument.py")),
    ("windlass_runner/notebook.py", include_str!("../../runners/windlass_runner/notebook.py")),
    ("windlass_runner/typed.py", include_str!("../../runners/windlass_runner/typed.py")),
    ("windlass_runner/values.py", include_str!("../../runners/windlass_runner/values.py")),
    ("windlass_runner/watch.py", include_str!("../../runners/windlass_runner/watch.py")),
];

/// Most compiled modules of projects that are kept over an installation, newest first.
const MAX_KEPT_CODE: usize = 4096;

/// An installed runner.
#[derive(Clone, Debug)]
pub struct RunnerDir(PathBuf);

impl RunnerDir {
    /// Where it lies. It keeps compiled code there, so the directory stays writable to steps.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

/// Writes this version's runner below `work`, if it is not there in full already.
pub fn install(work: &Path) -> io::Result<RunnerDir> {
    let mut hash = blake3::Hasher::new();
    for (name, text) in FILES {
        hash.update(name.as_bytes()).update(&[0]).update(text.as_bytes()).update(&[0]);
    }
    let dir = work.join(format!("runner-{}", &hash.finalize().to_hex()[..16]));
    for (name, text) in FILES {
        let path = dir.join(name);
        if fs::read(&path).is_ok_and(|found| found == text.as_bytes()) {
            continue;
        }
        let parent = path.parent().unwrap_or(&dir);
        fs::create_dir_all(parent)?;
        let mut part = tempfile::NamedTempFile::new_in(parent)?;
        io::Write::write_all(&mut part, text.as_bytes())?;
        part.persist(&path)?;
    }
    prune(&dir.join("code"));
    Ok(RunnerDir(dir))
}

/// Removes the oldest compiled modules. What fails is tried again by the next installation.
fn prune(code: &Path) {
    let entries = |dir: &Path| fs::read_dir(dir).into_iter().flatten().flatten();
    let mut files: Vec<(SystemTime, PathBuf)> = entries(code)
        .flat_map(|interpreter| entries(&interpreter.path()).collect::<Vec<_>>())
        .filter_map(|file| Some((file.metadata().ok()?.modified().ok()?, file.path())))
        .collect();
    files.sort_unstable_by(|a, b| b.cmp(a));
    for (_, path) in files.into_iter().skip(MAX_KEPT_CODE) {
        if let Err(error) = fs::remove_file(&path) {
            tracing::debug!(path = %path.display(), %error, "cannot remove compiled code");
        }
    }
}

/// The command line of a step.
pub fn command(interpreter: &Path, runner: &RunnerDir, request: &Path) -> Vec<OsString> {
    let texts = ["-c".into(), BOOTSTRAP.into()];
    let paths = [runner.path().into(), request.into()];
    [interpreter.into()].into_iter().chain(texts).chain(paths).collect()
}
