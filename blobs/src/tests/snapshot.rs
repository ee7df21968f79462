use std::{
    ffi::OsStr,
    fs,
    os::unix::{ffi::OsStrExt as _, fs::symlink, net::UnixListener},
    path::Path,
    time::{Duration, SystemTime},
};

use crate::{
    Node, StoreError,
    snapshot::{LeftOut, Options, Snapshot, SnapshotError, Why, take},
};
use tempfile::TempDir;

fn project(files: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    dir
}

fn paths(snapshot: &Snapshot) -> Vec<&str> {
    snapshot.tree.iter().map(|(path, _)| path).collect()
}

fn left_out(snapshot: &Snapshot) -> Vec<(&str, Why)> {
    snapshot.left_out.iter().map(|LeftOut { path, why }| (path.as_str(), *why)).collect()
}

fn with_files(globs: &[&str]) -> Options {
    let files = globs.iter().map(|glob| (*glob).to_owned()).collect();
    Options { files, ..Options::default() }
}

/// Files, patterns of `files:`, what is taken, what is left out as ignored.
type Case<'a> = (&'a [(&'a str, &'a str)], &'a [&'a str], &'a [&'a str], &'a [&'a str]);

#[test]
fn rules() {
    let cases: &[Case<'_>] = &[
        // Hidden files belong; git's own and bytecode never do.
        (
            &[(".env", ""), (".git/HEAD", ""), ("p/__pycache__/a.pyc", ""), ("p/a.py", "")],
            &["*"],
            &[".env", "p/a.py"],
            &[],
        ),
        // Rules hold without a repository; deeper ones win; a directory is one entry.
        (
            &[
                (".gitignore", "data/\n*.log\n"),
                ("data/big.csv", "1"),
                ("data/deep/x.csv", "1"),
                ("a.log", ""),
                ("keep/.gitignore", "!b.log\n"),
                ("keep/b.log", ""),
            ],
            &[],
            &[".gitignore", "keep/.gitignore", "keep/b.log"],
            &["a.log", "data/"],
        ),
        // `files:` reaches into ignored directories, and only as far as it says.
        (
            &[
                (".gitignore", "data/\n"),
                ("data/a.csv", ""),
                ("data/a.txt", ""),
                ("data/deep/b.csv", ""),
            ],
            &["data/*.csv"],
            &[".gitignore", "data/a.csv"],
            &["data/"],
        ),
        (
            &[(".gitignore", "data/\n"), ("data/a.csv", ""), ("data/deep/b.csv", "")],
            &["*.csv"],
            &[".gitignore", "data/a.csv", "data/deep/b.csv"],
            &["data/"],
        ),
        (
            &[(".gitignore", "data/\n"), ("data/a", ""), ("data/deep/b", ""), ("data/no", "")],
            &["data/", "!data/no"],
            &[".gitignore", "data/a", "data/deep/b"],
            &["data/no"],
        ),
        // Environments and tools' caches leave by themselves.
        (
            &[
                ("env/pyvenv.cfg", ""),
                ("env/lib/x.py", ""),
                ("cache/.gitignore", "*\n"),
                ("cache/x", ""),
                ("home/windlass.db", ""),
                ("home/blobs/ab/cd", ""),
                ("a.py", ""),
            ],
            &["*.py"],
            &["a.py"],
            &["cache/", "env/", "home/"],
        ),
        (
            &[("env/pyvenv.cfg", ""), ("env/lib/x.py", ""), ("env/lib/y", "")],
            &["env/lib/*.py"],
            &["env/lib/x.py"],
            &["env/"],
        ),
        // `info/exclude` holds, below `.gitignore`.
        (
            &[
                (".git/info/exclude", "*.tmp\n*.dat\n"),
                (".gitignore", "!b.dat\n"),
                ("a.tmp", ""),
                ("b.dat", ""),
            ],
            &[],
            &[".gitignore", "b.dat"],
            &["a.tmp"],
        ),
    ];
    for (files, globs, taken, ignored) in cases {
        let dir = project(files);
        let snapshot = take(dir.path(), &with_files(globs)).unwrap();
        assert_eq!(paths(&snapshot), *taken, "{files:?} {globs:?}");
        let ignored: Vec<_> = ignored.iter().map(|path| (*path, Why::Ignored)).collect();
        assert_eq!(left_out(&snapshot), ignored, "{files:?} {globs:?}");
    }
}

#[test]
fn rules_above_the_project_hold_as_far_as_the_repository() {
    let dir = project(&[
        (".gitignore", "*.never\n"),
        ("repo/.git/HEAD", ""),
        ("repo/.gitignore", "*.log\n"),
        ("repo/sub/a.log", ""),
        ("repo/sub/b.never", ""),
        ("plain/a.never", ""),
    ]);
    let sub = take(&dir.path().join("repo/sub"), &Options::default()).unwrap();
    assert_eq!(paths(&sub), ["b.never"]);
    let plain = take(&dir.path().join("plain"), &Options::default()).unwrap();
    assert_eq!(paths(&plain), ["a.never"]);
}

#[test]
fn links_odd_names_and_special_files() {
    let dir = project(&[("a", "1"), ("out/x", "1"), (".gitignore", "out/*\n")]);
    symlink("/etc/passwd", dir.path().join("link")).unwrap();
    symlink("out", dir.path().join("dir")).unwrap();
    fs::write(dir.path().join(OsStr::from_bytes(b"bad\xff")), "").unwrap();
    let _socket = UnixListener::bind(dir.path().join("sock")).unwrap();

    let snapshot = take(dir.path(), &Options::default()).unwrap();

    assert_eq!(paths(&snapshot), [".gitignore", "a", "dir", "link", "out"]);
    assert_eq!(snapshot.tree.get("link"), Some(&Node::Link { target: "/etc/passwd".into() }));
    assert_eq!(snapshot.tree.get("out"), Some(&Node::EmptyDir));
    let expected = [("bad\u{fffd}", Why::NotUtf8), ("out/x", Why::Ignored), ("sock", Why::Special)];
    assert_eq!(left_out(&snapshot), expected);
}

#[test]
fn large_files_are_left_out_unless_named() {
    let dir = project(&[("big.bin", "12345"), ("small", "1234")]);
    let options = Options { max_file: 4, ..Options::default() };
    let snapshot = take(dir.path(), &options).unwrap();
    assert_eq!(paths(&snapshot), ["small"]);
    assert_eq!(left_out(&snapshot), [("big.bin", Why::TooLarge)]);

    let named = Options { max_file: 4, ..with_files(&["big.*"]) };
    assert_eq!(paths(&take(dir.path(), &named).unwrap()), ["big.bin", "small"]);
}

#[test]
fn patterns_that_leave_the_project_are_refused() {
    let dir = project(&[]);
    for glob in ["../x", "a/../../b", "", "[", "a\nb"] {
        let error = take(dir.path(), &with_files(&[glob])).unwrap_err();
        assert!(matches!(error, SnapshotError::Pattern { .. }), "{glob:?}: {error:?}");
    }
}

fn age(path: &Path) {
    let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    fs::File::options().write(true).open(path).unwrap().set_modified(old).unwrap();
}

/// Swapping the digests in the cache shows whether it was asked.
#[test]
fn only_what_looks_different_is_read_again() {
    let dir = project(&[("p/a", "1"), ("p/b", "2"), ("p/c", "3")]);
    let (root, cache) = (dir.path().join("p"), dir.path().join("cache/stat"));
    let options = Options { cache: Some(cache.clone()), ..Options::default() };
    // Too young to be remembered: a change within the same tick of the clock would not show.
    let first = take(&root, &options).unwrap();
    assert!(!cache.exists());
    wait_for_the_clock(&root, &dir.path().join("tick"));
    assert_eq!(take(&root, &options).unwrap().tree, first.tree);
    let text = fs::read_to_string(&cache).unwrap();
    let digest = |name: &str| match first.tree.get(name) {
        Some(Node::File(file)) => file.digest.to_string(),
        other => panic!("{other:?}"),
    };
    fs::write(&cache, text.replace(&digest("a"), &digest("b"))).unwrap();

    let trusting = take(&root, &options).unwrap();
    assert_eq!(trusting.tree.get("a"), first.tree.get("b"));

    // The same size, an old time: only ctime tells, and it does.
    fs::write(root.join("a"), "9").unwrap();
    age(&root.join("a"));
    let changed = take(&root, &options).unwrap();
    assert_eq!(changed.tree, take(&root, &Options::default()).unwrap().tree);

    fs::write(&cache, "spoilt").unwrap();
    assert_eq!(take(&root, &options).unwrap().tree, changed.tree);
}

/// Until the file system's clock is past what was last written in `root` by more than a tick.
fn wait_for_the_clock(root: &Path, probe: &Path) {
    let modified = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
    let last = fs::read_dir(root).unwrap().map(|e| modified(&e.unwrap().path())).max().unwrap();
    for _ in 0..10_000_000 {
        fs::write(probe, "").unwrap();
        if modified(probe) > last + Duration::from_millis(120) {
            return;
        }
    }
    panic!("the clock stands still");
}

/// The kernel's files say that they are empty, and are not: they change at every look.
#[test]
fn a_file_that_never_stands_still_is_named() {
    let error = take(Path::new("/proc/sys/kernel/random"), &Options::default()).unwrap_err();
    let SnapshotError::Unstable(StoreError::Changed { path }) = error else { panic!("{error}") };
    assert!(path.starts_with("/proc/sys/kernel/random"), "{path:?}");
}

#[test]
fn many_large_files_are_read_side_by_side() {
    let dir = project(&[]);
    for n in 0..6_u8 {
        fs::write(dir.path().join(format!("f{n}")), vec![n; 3 << 20]).unwrap();
    }
    let snapshot = take(dir.path(), &Options::default()).unwrap();
    for (n, (path, digest, size)) in (0_u8..).zip(snapshot.files()) {
        assert_eq!(path, dir.path().canonicalize().unwrap().join(format!("f{n}")));
        assert_eq!((digest, size), (crate::digest_of(&vec![n; 3 << 20]), 3 << 20));
    }
}

/// Editors and tools make and remove files at any moment; that is no reason to have no snapshot.
#[test]
fn what_vanishes_meanwhile_is_not_there() {
    use std::sync::atomic::{AtomicBool, Ordering};

    let dir = project(&[("stays", "1")]);
    let root = dir.path().canonicalize().unwrap();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                for n in 0..40 {
                    fs::create_dir_all(root.join(format!("d{n}"))).unwrap();
                    fs::write(root.join(format!("d{n}/f")), "x").unwrap();
                    fs::write(root.join(format!("f{n}")), "x").unwrap();
                }
                for n in 0..40 {
                    fs::remove_dir_all(root.join(format!("d{n}"))).unwrap();
                    fs::remove_file(root.join(format!("f{n}"))).unwrap();
                }
            }
        });
        let outcomes: Vec<_> = (0..300).map(|_| take(&root, &Options::default())).collect();
        over.store(true, Ordering::Relaxed);
        for outcome in outcomes {
            assert!(outcome.unwrap().tree.get("stays").is_some());
        }
    });
}
