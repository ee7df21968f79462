use std::fs;
use std::os::unix::fs::PermissionsExt;

use windlass_tests::World;

/// Every mistake is named with place and mend, at once, and leaves no run behind.
#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn mistakes_in_the_file_are_named() {
    let world = World::new();
    world.put("f.py", "raise SystemExit('imported')\n").put("g.py", "def use(n, rate=0.5): ...\n");
    world.put("broken.py", "def f(:\n");
    let bomb = format!(
        "a: &a [x,x,x,x,x,x,x,x,x]\n{}",
        (0..12)
            .map(|i| {
                let (name, of) = (char::from(b'b' + i), char::from(b'a' + i));
                format!("{name}: &{name} [{}]\n", vec![format!("*{of}"); 9].join(","))
            })
            .collect::<String>()
    );
    let deep = format!("version: 1\nsteps: {}{}\n", "[".repeat(10_000), "]".repeat(10_000));
    let cases: &[(&str, &str, &[&str])] = &[
        (
            "key",
            "version: 1\nsteps:\n  a: {run: 'true', retyr: {times: 2}}\n",
            &["key.yaml:3", "retyr", "retry"],
        ),
        ("top", "version: 1\nstep:\n  a: {run: 'true'}\n", &["top.yaml:2", "steps"]),
        (
            "twice",
            "version: 1\nsteps:\n  a: {run: 'true'}\n  a: {run: 'false'}\n",
            &["twice.yaml:4"],
        ),
        (
            "cycle",
            "version: 1\nsteps:\n  a: {run: 'true', needs: [b]}\n  b: {run: 'true', needs: [a]}\n",
            &["cycle"],
        ),
        (
            "needs",
            "version: 1\nsteps:\n  build: {run: 'true'}\n  b: {run: 'true', needs: [biuld]}\n",
            &["biuld", "build"],
        ),
        ("both", "version: 1\nsteps:\n  a: {run: 'true', python: 'g:use'}\n", &["run", "python"]),
        ("module", "version: 1\nsteps:\n  a: {python: 'h:use'}\n", &["h"]),
        ("function", "version: 1\nsteps:\n  a: {python: 'g:user'}\n", &["user", "use"]),
        ("syntax", "version: 1\nsteps:\n  a: {python: 'broken:f'}\n", &["broken.py", "1"]),
        ("missing", "version: 1\nsteps:\n  a: {python: 'g:use'}\n", &["n", "-p n="]),
        ("tab", "version: 1\nsteps:\n\ta: {run: 'true'}\n", &["tab"]),
        (
            "type",
            "version: 1\nsteps:\n  a: {run: 'true', timeout: soon}\n",
            &["type.yaml:3", "timeout"],
        ),
        ("files", "version: 1\nfiles: ['../up']\nsteps:\n  a: {run: 'true'}\n", &[".."]),
        (
            "absolute",
            "version: 1\nfiles: ['/etc/passwd']\nsteps:\n  a: {run: 'true'}\n",
            &["/etc/passwd"],
        ),
        (
            "splice",
            "version: 1\nparams: {x: 1}\nsteps:\n  a: {run: 'echo ${{ params.x }}'}\n",
            &["WINDLASS_PARAM_x"],
        ),
        (
            "range",
            "version: 1\nparams: {x: {type: int, default: 5, max: 3}}\nsteps:\n  a: {run: 'true'}\n",
            &["x", "3"],
        ),
        ("version", "version: 2\nsteps:\n  a: {run: 'true'}\n", &["version"]),
        ("empty", "", &["empty.yaml"]),
        ("bomb", &bomb, &["bomb.yaml"]),
        ("deep", &deep, &["deep.yaml"]),
    ];
    for (name, text, says) in cases {
        let file = format!("{name}.yaml");
        world.put(&file, text);
        world.w(["run", &file]).refused(says);
        let checked = world.w(["check", &file, "--json"]);
        if *name != "missing" {
            assert_eq!(checked.exits(2).json()["ok"], false, "{name}");
        }
    }
    world.w(["run", "nowhere.yaml"]).refused(&["nowhere.yaml"]);
    world.w(["run", "f:nothing"]).refused(&["nothing"]);
    world.w(["show", "zzz"]).refused(&["zzz"]);
    world.w(["run", "g:use", "-p", "n=1", "--on", "nowhere"]).refused(&["nowhere"]);
    assert_eq!(world.w(["ls", "--json"]).json().as_array().unwrap().len(), 0);
}

/// A home that cannot be used is said so, with what to do.
#[test]
fn homes_that_cannot_be_used() {
    let mut world = World::new();
    world.put("p.yaml", "version: 1\nsteps:\n  a: {run: 'true'}\n");
    world.put("file", "");
    let file = world.project().join("file");
    world.set("WINDLASS_HOME", file.to_string_lossy());
    let told = world.w(["run", "p.yaml"]);
    assert_ne!(told.code, 0);
    assert!(told.stderr.contains(&*file.to_string_lossy()), "{}", told.stderr);
}

/// A database of a newer version is refused and left alone.
#[test]
fn newer_database_is_refused() {
    let world = World::new();
    world.put("p.yaml", "version: 1\nsteps:\n  a: {run: 'true'}\n");
    world.run(&["p.yaml"]);
    world.w(["daemon", "stop"]).exits(0);
    let script = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('PRAGMA user_version = 9999')";
    let database = world.home().join("windlass.db");
    let done = std::process::Command::new("python3").args(["-c", script]).arg(&database).status();
    assert!(done.unwrap().success());
    let told = world.w(["run", "p.yaml"]).exits(4);
    assert!(told.stderr.contains("newer"), "{}", told.stderr);
}

/// A home whose socket's path would be too long works all the same.
#[test]
fn long_homes_get_a_shorter_socket() {
    let mut world = World::new();
    let long = world.top().join("x".repeat(120));
    world.set("WINDLASS_HOME", long.to_string_lossy());
    world.put("p.yaml", "version: 1\nsteps:\n  a: {run: 'true'}\n");
    assert_eq!(world.run(&["p.yaml"])["state"], "succeeded");
    let status = world.w(["daemon", "status", "--json"]).exits(0).json();
    assert!(status["socket"].as_str().unwrap().len() <= 107, "{status}");
    let mode = fs::metadata(&long).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    world.w(["daemon", "stop"]).exits(0);
}
