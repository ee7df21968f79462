use std::io::Read;
use std::time::{Duration, Instant};

use windlass_tests::{SOON, World, until};

/// Followers that do not read.
const STUCK: usize = 4;

/// What the daemon may hold for each of them, and what its memory may grow by beside them.
const PER_FOLLOWER_KIB: u64 = 1 << 10;
const SLACK_KIB: u64 = 8 << 10;

/// Readers that stop reading slow nobody and hold little memory.
#[test]
fn a_stuck_follower_slows_nothing() {
    let world = World::new();
    world.put(
        "p.yaml",
        "version: 1\nsteps:\n  a: {run: 'echo up; head -c 60000000 /dev/zero | tr \\\\0 x'}\n",
    );
    let alone = Instant::now();
    world.w(["wait", &world.submit(&["p.yaml"])]).exits(0);
    let alone = alone.elapsed();
    let daemon = world.daemon_pid();
    let before = resident_kib(daemon);

    let start = Instant::now();
    let run = world.submit(&["p.yaml"]);
    let path = format!("{run}/a");
    let mut followers: Vec<_> = (0..STUCK).map(|_| world.start(["logs", &path, "-f"])).collect();
    for follower in &mut followers {
        let mut first = [0; 3];
        follower.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
        assert_eq!(&first, b"up\n");
    }
    world.w(["wait", &run]).exits(0);
    let beside = start.elapsed();
    // Starting the followers takes time too.
    assert!(beside < alone * 2 + Duration::from_secs(3), "{beside:?}, without them {alone:?}");
    let grown = resident_kib(daemon).saturating_sub(before);
    let limit = STUCK as u64 * PER_FOLLOWER_KIB + SLACK_KIB;
    assert!(grown <= limit, "the daemon grew by {grown} KiB, more than {limit}");
    for follower in &mut followers {
        let pid = i32::try_from(follower.id()).unwrap();
        assert!(resident_kib(pid) < 64 << 10, "a follower holds {} KiB", resident_kib(pid));
        let mut rest = Vec::new();
        follower.stdout.as_mut().unwrap().read_to_end(&mut rest).unwrap();
        assert_eq!(rest.len(), 60_000_000, "the follower gets every byte once it reads");
        assert!(follower.wait().unwrap().success());
    }
}

/// Memory of a process that is in RAM.
fn resident_kib(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// A follower goes on across a killed daemon, with no byte lost or doubled.
#[test]
fn following_survives_the_daemon() {
    let world = World::new();
    world.put(
        "p.yaml",
        "version: 1\nsteps:\n  a: {run: 'for i in $(seq 40); do echo line $i; sleep 0.05; done'}\n",
    );
    let run = world.submit(&["p.yaml"]);
    let mut follower = world.start(["logs", &format!("{run}/a"), "-f"]);
    until(SOON, "the first line", || {
        world.w(["logs", &format!("{run}/a")]).text().contains("line 1\n").then_some(())
    });
    windlass_tests::kill(world.daemon_pid());
    let mut all = String::new();
    follower.stdout.as_mut().unwrap().read_to_string(&mut all).unwrap();
    let expected: String = (1..=40).map(|i| format!("line {i}\n")).collect();
    assert_eq!(all, expected);
    assert!(follower.wait().unwrap().success());
}
