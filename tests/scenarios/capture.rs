use std::fs;
use std::os::unix::fs::PermissionsExt;

use windlass_tests::{World, step};

/// What a step writes, changes and deletes is seen by the steps after it, recorded, and never in
/// the project, the store or another run, whichever way the working directory is made.
#[test]
fn changes_flow_to_later_steps_and_nowhere_else() {
    for mode in ["overlay", "overlay-userns", "copy"] {
        let mut world = World::new();
        if mode == "overlay-userns" {
            let probe = world.w(["keeper", "--probe", "--dir", &world.top().to_string_lossy()]);
            if probe.code != 0 {
                continue; // not to be had here
            }
        }
        world.set("WINDLASS_WORKSPACE", mode);
        world.put("keep.txt", "kept\n").put("edit.txt", "old\n").put("gone.txt", "gone\n");
        world
            .put("dir/a.txt", "a\n")
            .put("dir/b.txt", "b\n")
            .put("tool.sh", "#!/bin/sh\necho tool\n");
        let tool = world.project().join("tool.sh");
        fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).unwrap();
        world.put(
            "p.yaml",
            r"version: 1
steps:
  one:
    run: |
      echo more >> edit.txt; rm gone.txt; rm -r dir; mkdir dir; echo c > dir/c.txt
      touch keep.txt; ./tool.sh > made.txt; chmod -x tool.sh; ln -s /etc/passwd link
      mkdir __pycache__; echo x > __pycache__/x.pyc
  two:
    run: |
      test ! -e gone.txt; test ! -e dir/a.txt; test -L link; test ! -x tool.sh
      cat edit.txt dir/c.txt made.txt keep.txt; mv dir moved
  three: {run: 'test ! -e dir; cat moved/c.txt'}
",
        );
        let run = world.run(&["p.yaml"]);
        assert_eq!(
            world.w(["logs", "@last/two"]).text(),
            "old\nmore\nc\ntool\nkept\n",
            "{mode}: {run}"
        );
        let files = step(&run, "one")["artifacts"].as_array().unwrap();
        let paths: Vec<_> = files.iter().map(|f| f["path"].as_str().unwrap()).collect();
        for path in ["edit.txt", "dir/c.txt", "made.txt", "tool.sh"] {
            assert!(paths.contains(&path), "{mode}: {path} not in {paths:?}");
        }
        assert!(!paths.contains(&"keep.txt"), "{mode}: touched, not changed: {paths:?}");
        assert!(!paths.iter().any(|p| p.contains("__pycache__")), "{mode}: {paths:?}");
        assert_eq!(fs::read_to_string(world.project().join("edit.txt")).unwrap(), "old\n");
        assert!(world.project().join("gone.txt").exists());

        let again = world.run(&["p.yaml"]);
        assert_eq!(again["snapshot"], run["snapshot"], "{mode}");
        assert_eq!(world.w(["logs", "@last/two"]).text(), "old\nmore\nc\ntool\nkept\n", "{mode}");
    }
}

/// An in-place edit of a project file by a step leaves the next run's view as it was.
#[test]
fn the_store_is_never_written_through() {
    let world = World::new();
    world.put("data.txt", "one\n");
    let edit = "import os\nfd = os.open('data.txt', os.O_RDWR)\nos.pwrite(fd, b'ONE', 0)\nos.fchmod(fd, 0o600)\n";
    world.put("edit.py", edit);
    world.put(
        "p.yaml",
        "version: 1\nsteps:\n  a: {run: 'cat data.txt; python3 edit.py; cat data.txt'}\n",
    );
    for _ in 0..2 {
        world.run(&["p.yaml"]);
        assert_eq!(world.w(["logs", "@last/a"]).text(), "one\nONE\n");
    }
}

/// Only what the shell has is passed on, by name and keyed digest; values are in no file at the end.
#[test]
fn values_of_the_callers_variables_are_in_no_record() {
    let mut world = World::new();
    world.set("MY_TOKEN", "hunter2hunter2");
    world.put("p.yaml", "version: 1\nsteps:\n  a: {run: 'test ${#MY_TOKEN} = 14; sleep 0.2'}\n");
    world.run(&["p.yaml"]);
    world.w(["daemon", "stop"]).exits(0);
    let found = std::process::Command::new("grep")
        .args(["-rl", "hunter2hunter2"])
        .arg(world.home())
        .output();
    assert_eq!(String::from_utf8_lossy(&found.unwrap().stdout), "");
}
