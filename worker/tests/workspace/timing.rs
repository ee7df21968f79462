use std::{
    fs,
    io::Write as _,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use windlass_blobs::{Store, snapshot};
use windlass_core::Digest;

use crate::{
    Outcome,
    workspace::{Mode, Workspaces},
};

/// Prints the cost of a working directory over a project of 200 files, medians of 200 steps.
pub(crate) fn run() -> Outcome {
    let dir = tempfile::tempdir_in(".")?;
    let project = dir.path().join("project");
    for n in 0..200 {
        let path = project.join(format!("pkg{}/module{n}.py", n % 12));
        fs::create_dir_all(path.parent().ok_or("no parent")?)?;
        fs::write(path, format!("# {n}\n").repeat(n * 4))?;
    }
    let store = Arc::new(Store::open(&dir.path().join("blobs"))?);
    let taken = snapshot::take(&project, &snapshot::Options::default())?;
    for (path, _, _) in taken.files() {
        store.put_file(&path)?;
    }
    let snapshot = store.put_bytes(&taken.tree.encode())?;
    for mode in [Mode::Overlay, Mode::Copy] {
        for files in [0, 2] {
            let work = dir.path().join(format!("{mode:?}{files}"));
            let workspaces = Workspaces::new(&work, Arc::clone(&store), mode)?;
            chain(&workspaces, snapshot, files, &work)?;
        }
    }
    Ok(())
}

fn chain(workspaces: &Workspaces, snapshot: Digest, files: u32, work: &Path) -> Outcome {
    let mut layers = Vec::new();
    let mut parts: [Vec<Duration>; 6] = std::array::from_fn(|_| Vec::new());
    for n in 0..200_u32 {
        let dir = work.join("attempts/one");
        let start = Instant::now();
        let prepared = workspaces.prepare(snapshot, &layers, &dir)?;
        let ready = Instant::now();
        prepared.mount.as_ref().map_or(Ok(()), |overlay| overlay.mount())?;
        let mounted = Instant::now();
        for file in 0..files {
            fs::write(prepared.cwd.join(format!("out-{n}-{file}")), vec![b'x'; 2_000])?;
        }
        let written = Instant::now();
        prepared.mount.as_ref().map_or(Ok(()), |overlay| overlay.unmount())?;
        let unmounted = Instant::now();
        layers.extend(workspaces.capture(&prepared)?.changes);
        let captured = Instant::now();
        workspaces.release(Arc::new(prepared))?;
        workspaces.discard(&dir)?;
        let end = Instant::now();
        let whole = (end - start) - (written - mounted);
        let figures = [ready - start, mounted - ready, unmounted - written];
        let more = [captured - unmounted, end - captured, whole];
        for (part, figure) in parts.iter_mut().zip(figures.into_iter().chain(more)) {
            part.push(figure);
        }
    }
    let mut out = std::io::stdout();
    write!(out, "{} files a step, {}:", files, work.display())?;
    let names = ["prepare", "mount", "unmount", "capture", "discard", "whole"];
    for (name, mut part) in names.into_iter().zip(parts) {
        part.sort();
        write!(out, " {name} {:?}", part[part.len() / 2])?;
    }
    Ok(writeln!(out)?)
}
