use std::fs::{self, File};
use std::process::Command;

use windlass_tests::{SOON, World, step, until};

/// The disk fills up: new runs are refused with the reason, the step that runs lives on and ends
/// well although nothing can be written meanwhile, and all is as before once there is room.
#[test]
fn a_full_disk_refuses_new_runs_and_heals() {
    if !rustix::process::geteuid().is_root() {
        return; // Only root can give the home a small disk of its own.
    }
    let world = World::new();
    fs::create_dir(world.home()).unwrap();
    let mount = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=64m", "windlass-test"])
        .arg(world.home())
        .status();
    assert!(mount.unwrap().success());
    let (gate, full) = (world.top().join("gate"), world.top().join("full"));
    let script = format!(
        "echo one; while ! test -e {full}; do sleep 0.05; done; seq 20000; \
         while ! test -e {gate}; do sleep 0.05; done; echo two",
        full = full.display(),
        gate = gate.display()
    );
    world.put("long.yaml", format!("version: 1\nsteps:\n  a: {{run: '{script}'}}\n"));
    world.put("p.yaml", "version: 1\nsteps:\n  a: {run: 'true'}\n");
    let run = world.submit(&["long.yaml"]);
    let logs = || world.w(["logs", &format!("{run}/a")]).text();
    until(SOON, "the first line", || (logs() == "one\n").then_some(()));

    let filler = world.home().join("filler");
    // To the last byte: the copy fails when there is no room left.
    std::io::copy(&mut File::open("/dev/zero").unwrap(), &mut File::create(&filler).unwrap())
        .unwrap_err();
    fs::write(&full, "").unwrap();
    for _ in 0..3 {
        let refused = world.w(["submit", "p.yaml"]);
        assert_ne!(refused.code, 0, "{}", refused.text());
        assert!(refused.stderr.contains("MiB free"), "{}", refused.stderr);
    }
    assert_eq!(world.show(&run)["state"], "running");
    let status = world.w(["daemon", "status"]).exits(0).text();
    assert!(status.contains("refuses new runs"), "{status}");

    fs::remove_file(&filler).unwrap();
    fs::write(&gate, "").unwrap();
    world.w(["wait", &run]).exits(0);
    let numbers: String = (1..=20_000).map(|n| format!("{n}\n")).collect();
    assert!(logs() == format!("one\n{numbers}two\n"), "the log is not whole");
    let tries = step(&world.show(&run), "a")["attempts"].as_array().unwrap().len();
    assert_eq!(tries, 1);
    assert_eq!(world.run(&["p.yaml"])["state"], "succeeded");
}
