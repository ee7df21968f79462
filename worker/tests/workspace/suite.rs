use std::{
    env,
    error::Error,
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use windlass_blobs::{Store, Tree, digest_of, snapshot};
use windlass_core::Digest;

use crate::{
    Outcome, shell,
    workspace::{Captured, Entry, Mode, Prepared, Why, Workspaces},
};

/// Runs everything in `dir`, under every mode that there is for this user.
pub(crate) fn run(dir: &Path) -> Outcome {
    let mut probe = Command::new(env::current_exe()?);
    probe.arg("probe").arg(dir);
    let can_enter = probe.status()?.success();
    let found = Mode::probe(dir, &mut probe);
    let root = rustix::process::geteuid().is_root();
    assert!(root || found != Mode::Overlay);
    assert!(!can_enter || found != Mode::Copy, "{found:?}");
    let modes = [
        (found == Mode::Overlay).then_some(Mode::Overlay),
        can_enter.then_some(Mode::OverlayInUserNamespace),
        Some(Mode::Copy),
    ];
    let mut first = None;
    for mode in modes.into_iter().flatten() {
        let bench = Bench::set_up(&dir.join(format!("{mode:?}, a:b\\c")), mode)?;
        let captured = bench.chain().map_err(|error| format!("{mode:?}: {error}"))?;
        bench.nothing_changes_nothing()?;
        bench.spaces_serve_again()?;
        bench.bare_directories_serve_again()?;
        bench.trees_are_bounded()?;
        bench.too_much_is_refused()?;
        bench.too_much_is_refused()?;
        match &first {
            None => first = Some((mode, captured)),
            Some((other, expected)) => assert_eq!(&captured, expected, "{mode:?}, {other:?}"),
        }
    }
    Ok(())
}

/// A store with a project in it.
struct Bench {
    dir: PathBuf,
    mode: Mode,
    store: Arc<Store>,
    snapshot: Digest,
}

/// Files of the project, by path.
const PROJECT: &[(&str, &str)] = &[
    ("data/edit.txt", "base"),
    ("data/other.txt", "other"),
    ("src/append.py", "base"),
    ("del.txt", "del"),
    ("gone/a", "a"),
    ("gone/deep/b", "b"),
    ("dir/sub/a", "a"),
    ("dir/b", "b"),
    ("file2dir", "file"),
    ("dir2file/a", "a"),
    ("remade/old", "old"),
    ("tool", "tool"),
    ("was-exec", "was"),
    ("touched.txt", "touched"),
    ("rewritten.txt", "same"),
    ("emptied/only", "only"),
    ("target/a", "shown"),
];

impl Bench {
    fn set_up(dir: &Path, mode: Mode) -> Result<Self, Box<dyn Error>> {
        let project = dir.join("project");
        for (path, text) in PROJECT {
            let path = project.join(path);
            fs::create_dir_all(path.parent().ok_or("no parent")?)?;
            fs::write(path, text)?;
        }
        fs::set_permissions(project.join("was-exec"), fs::Permissions::from_mode(0o755))?;
        symlink("somewhere", project.join("link"))?;
        symlink("target", project.join("through"))?;
        let store = Arc::new(Store::open(&dir.join("blobs"))?);
        let taken = snapshot::take(&project, &snapshot::Options::default())?;
        for (path, _, _) in taken.files() {
            store.put_file(&path)?;
        }
        let snapshot = store.put_bytes(&taken.tree.encode())?;
        Ok(Self { dir: dir.to_owned(), mode, store, snapshot })
    }

    fn workspaces(&self) -> Result<Workspaces, Box<dyn Error>> {
        Ok(Workspaces::new(&self.dir.join("work"), Arc::clone(&self.store), self.mode)?)
    }

    fn attempt(&self, name: &str) -> PathBuf {
        self.dir.join("work/attempts").join(name)
    }

    fn step(&self, prepared: &Prepared, script: &str) -> Outcome {
        let Some(overlay) = &prepared.mount else { return shell(script, &prepared.cwd) };
        let record = self.dir.join("overlay");
        fs::write(&record, serde_json::to_vec(overlay)?)?;
        let mut keeper = Command::new(env::current_exe()?);
        let status = keeper.arg("keeper").arg(record).arg(script).status()?;
        if status.success() { Ok(()) } else { Err(format!("keeper: {status}").into()) }
    }

    /// Three steps, each on what the ones before left; a worker is replaced in between.
    fn chain(&self) -> Result<Vec<Captured>, Box<dyn Error>> {
        let workspaces = self.workspaces()?;
        let mut captured = Vec::new();
        let mut layers = Vec::new();
        let scripts = [
            include_str!("scenario.sh"),
            include_str!("second.sh"),
            "test \"$(cat data/edit.txt second)\" = againtwo && rm second && printf 3 > src/third",
        ];
        for (name, script) in ["one", "two", "three"].into_iter().zip(scripts) {
            let dir = self.attempt(name);
            let prepared = workspaces.prepare(self.snapshot, &layers, &dir)?;
            self.step(&prepared, script)?;
            let first = workspaces.capture(&prepared)?;
            let again = self.workspaces()?.adopt(
                self.snapshot,
                &layers,
                &dir,
                prepared.space.as_deref(),
            )?;
            assert_eq!(self.workspaces()?.capture(&again)?, first, "{name}");
            workspaces.release(Arc::new(prepared))?;
            workspaces.discard(&dir)?;
            workspaces.discard(&dir)?;
            assert!(!dir.exists());
            layers.extend(first.changes);
            captured.push(first);
        }
        expect_first(&captured[0]);
        expect(&captured[1], &[("data/edit.txt", "again"), ("second", "two")]);
        expect(&captured[2], &[("second", DELETED), ("src/third", "3")]);
        self.nothing_shared_changed()?;
        Ok(captured)
    }

    /// The blobs are what their names say, and the trees below overlays what they were.
    fn nothing_shared_changed(&self) -> Outcome {
        let tree = Tree::parse(&self.store.read(&self.snapshot, 1 << 20)?)?;
        for (_, file) in tree.files() {
            self.store.verify(&file.digest)?;
        }
        let Ok(trees) = fs::read_dir(self.dir.join("work/trees")) else { return Ok(()) };
        let mut seen = 0;
        for dir in trees {
            let dir = dir?;
            if dir.file_type()?.is_dir() {
                let now = snapshot::take(&dir.path(), &snapshot::Options::default())?;
                assert_eq!(Some(now.tree.digest().to_string().as_str()), dir.file_name().to_str());
                seen += 1;
            }
        }
        assert!(seen >= 2, "{seen} trees");
        Ok(())
    }

    fn nothing_changes_nothing(&self) -> Outcome {
        let workspaces = self.workspaces()?;
        let dir = self.attempt("idle");
        let prepared = workspaces.prepare(self.snapshot, &[], &dir)?;
        self.step(&prepared, "touch del.txt && cat data/edit.txt > /dev/null")?;
        let captured = workspaces.capture(&prepared)?;
        assert_eq!(captured, Captured { changes: None, artifacts: vec![], skipped: vec![] });
        workspaces.release(Arc::new(prepared))?;
        workspaces.discard(&dir)?;
        let empty = workspaces.prepare(digest_of(b""), &[], &dir)?;
        self.step(&empty, "test -z \"$(ls)\"")?;
        workspaces.release(Arc::new(empty))?;
        Ok(workspaces.discard(&dir)?)
    }

    /// The directory of an attempt in which its step left a few files at most is emptied for the next
    /// one; one that holds many, a directory, or a link or a locked file in place of a record, is not.
    fn bare_directories_serve_again(&self) -> Outcome {
        let workspaces =
            Workspaces::new(&self.dir.join("bare"), Arc::clone(&self.store), self.mode)?;
        let outside = self.dir.join("outside");
        fs::write(&outside, "untouched")?;
        let attempt = |name: &str| {
            let dir = self.dir.join("bare").join(name);
            fs::create_dir_all(dir.join("io/inputs"))?;
            fs::create_dir_all(dir.join("io/outputs"))?;
            fs::write(dir.join("lease"), "a lease")?;
            fs::write(dir.join("exit.json"), "{}")?;
            Ok::<_, std::io::Error>(dir)
        };
        let deep = attempt("deep")?;
        fs::create_dir(deep.join("io/outputs/more"))?;
        let crowded = attempt("crowded")?;
        for i in 0..100 {
            fs::write(crowded.join(format!("io/outputs/x{i}")), "1")?;
        }
        let linked = attempt("linked")?;
        symlink(&outside, linked.join("io/params.json"))?;
        let locked = attempt("locked")?;
        fs::set_permissions(locked.join("exit.json"), fs::Permissions::from_mode(0o400))?;
        let bare = attempt("bare")?;
        fs::write(bare.join("io/results"), "x\x001\0end\0")?;
        fs::write(bare.join("io/outputs/x.json"), "1")?;
        fs::write(bare.join("stdout"), "said")?;
        for dir in [&deep, &crowded, &linked, &locked, &bare] {
            workspaces.discard(dir)?;
        }
        let next = self.dir.join("bare/next");
        let end = Instant::now() + Duration::from_secs(10);
        while !workspaces.recycle(&next) {
            assert!(Instant::now() < end, "no directory served again");
            std::thread::yield_now();
        }
        assert!(!workspaces.recycle(&self.dir.join("bare/other")), "only the bare one serves");
        assert_eq!(fs::read(next.join("lease"))?, b"a lease");
        assert_eq!(fs::read_dir(next.join("io/outputs"))?.count(), 0);
        assert!(!next.join("stdout").exists());
        assert_eq!(fs::read(&outside)?, b"untouched");
        Ok(())
    }

    /// What was only read is used again; what was written to, or is still in use, is not.
    fn spaces_serve_again(&self) -> Outcome {
        let workspaces = self.workspaces()?;
        let dir = self.attempt("again");
        let mut places = Vec::new();
        for script in ["ls -R > /dev/null", "test -e tool", "printf 1 > new", "test ! -e new"] {
            let prepared = workspaces.prepare(self.snapshot, &[], &dir)?;
            places.push(prepared.cwd.clone());
            self.step(&prepared, script)?;
            workspaces.capture(&prepared)?;
            workspaces.release(Arc::new(prepared))?;
            workspaces.discard(&dir)?;
        }
        if self.mode != Mode::Copy {
            assert_eq!((&places[0], &places[0]), (&places[1], &places[2]));
            assert_ne!(places[2], places[3]);
        }
        if self.mode == Mode::Overlay {
            let prepared = workspaces.prepare(self.snapshot, &[], &dir)?;
            let overlay = prepared.mount.as_ref().ok_or("no overlay")?;
            let shows = || overlay.target.join("tool").exists();
            overlay.mount()?;
            let held = fs::File::open(overlay.target.join("tool"))?;
            overlay.unmount()?;
            assert!(!shows(), "somebody who is still in there must not meet the next attempt");
            drop(held);
            overlay.mount()?;
            overlay.unmount()?;
            assert!(shows());
            workspaces.release(Arc::new(prepared))?;
            workspaces.discard(&dir)?;
        }
        Ok(())
    }

    /// A long chain leaves no more on the disk than the caches may hold.
    fn trees_are_bounded(&self) -> Outcome {
        let workspaces = self.workspaces()?;
        let mut layers = Vec::new();
        let steps = if self.mode == Mode::Copy { 5 } else { 100 };
        for n in 0..steps {
            let dir = self.attempt("long");
            let prepared = workspaces.prepare(self.snapshot, &layers, &dir)?;
            let top = prepared.mount.as_ref().map_or(&prepared.cwd, |overlay| &overlay.upper);
            fs::write(top.join(format!("f{n}")), format!("{n}"))?;
            layers.extend(workspaces.capture(&prepared)?.changes);
            workspaces.release(Arc::new(prepared))?;
            workspaces.discard(&dir)?;
        }
        assert_eq!(layers.len(), steps);
        let last = self.attempt("last");
        let prepared = workspaces.prepare(self.snapshot, &layers, &last)?;
        self.step(&prepared, &format!("test -e tool && test -e f{}", steps - 1))?;
        workspaces.release(Arc::new(prepared))?;
        workspaces.discard(&last)?;
        if let Ok(trees) = fs::read_dir(self.dir.join("work/trees")) {
            let count = trees.count();
            assert!(count <= 80, "{count} trees");
            let spaces = fs::read_dir(self.dir.join("work/spaces"))?.count();
            assert!(spaces <= 8, "{spaces} spaces");
        }
        Ok(())
    }

    fn too_much_is_refused(&self) -> Outcome {
        let workspaces = self.workspaces()?.with_max_changed(20);
        let dir = self.attempt("much");
        let prepared = workspaces.prepare(self.snapshot, &[], &dir)?;
        let top = prepared.mount.as_ref().map_or(&prepared.cwd, |overlay| &overlay.upper);
        for n in 0..21 {
            symlink("x", top.join(n.to_string()))?;
        }
        let refused = workspaces.capture(&prepared).err().ok_or("taken")?;
        assert!(refused.to_string().contains("more than 20 files"), "{refused}");
        workspaces.release(Arc::new(prepared))?;
        Ok(workspaces.discard(&dir)?)
    }
}

const DELETED: &str = "-";

/// Paths, and what is there now: text, `*` before that of an executable, `-> target`, or `-`.
fn expect(captured: &Captured, expected: &[(&str, &str)]) {
    let said = |entry: &Entry, text: &str| {
        let digest = digest_of(text.trim_start_matches("-> ").trim_start_matches('*').as_bytes());
        match entry {
            Entry::File { digest: found, executable, .. } => {
                *found == digest && *executable == text.starts_with('*')
            }
            Entry::Symlink { target, .. } => text.starts_with("-> ") && *target == digest,
            Entry::Deleted => text == DELETED,
        }
    };
    let paths: Vec<_> = captured.artifacts.iter().map(|artifact| artifact.path.as_str()).collect();
    assert_eq!(paths, expected.iter().map(|(path, _)| *path).collect::<Vec<_>>());
    for (artifact, (path, text)) in captured.artifacts.iter().zip(expected) {
        assert!(said(&artifact.entry, text), "{path}: {:?}", artifact.entry);
    }
}

fn expect_first(captured: &Captured) {
    expect(
        captured,
        &[
            ("data/edit.txt", "new"),
            ("del.txt", DELETED),
            ("dir", DELETED),
            ("dir2file", "y"),
            ("emptied/only", DELETED),
            ("file2dir", DELETED),
            ("file2dir/inner", "x"),
            ("gone", DELETED),
            ("h1", "h"),
            ("h2", "h"),
            ("link", "-> elsewhere"),
            ("lockdir/in", "in"),
            ("locked", "locked"),
            ("new/deep/file", "n"),
            ("od,d:d\\ir/é \"q\"", "o"),
            ("out", "-> /etc/passwd"),
            ("remade/old", DELETED),
            ("remade/other", "z"),
            ("renamed/b", "b"),
            ("renamed/sub/a", "a"),
            ("src/append.py", "basemore"),
            ("src/up", "-> ../.."),
            ("target/b", "seen"),
            ("tool", "*tool"),
            ("was-exec", "was"),
        ],
    );
    let mut skipped: Vec<_> =
        captured.skipped.iter().map(|skipped| (skipped.path.as_str(), skipped.why)).collect();
    skipped.sort_unstable_by_key(|(path, _)| *path);
    assert_eq!(skipped, [("bad\u{fffd}", Why::NotUtf8), ("pipe", Why::Special)]);
}
