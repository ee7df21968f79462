use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    thread,
};

use windlass_proto::common::v1::{CallOverride, MetricPick, OutputSpec};

use super::{ArgValue, Collected, Failure, Frame, StepFiles, StepRequest};

/// Every interpreter of this machine that pyenv has, else `python3`; the last number sorts them.
fn interpreters() -> Vec<(Vec<u32>, PathBuf)> {
    let home = std::env::home_dir().unwrap_or_default();
    let versions = fs::read_dir(home.join(".pyenv/versions")).into_iter().flatten().flatten();
    let mut found: Vec<(Vec<u32>, PathBuf)> = versions
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let numbers = name.split('.').map(|n| n.parse().ok()).collect::<Option<_>>()?;
            Some((numbers, entry.path().join("bin/python")))
        })
        .collect();
    found.sort();
    if found.is_empty() { vec![(vec![3, 8], "python3".into())] } else { found }
}

fn newest() -> PathBuf {
    interpreters().pop().unwrap().1
}

/// Runs the step `target` in `project` as a worker does.
fn run(place: &Path, python: &Path, request: &StepRequest<'_>) -> (Output, Collected, StepFiles) {
    let runner = super::install(place).unwrap();
    let files = StepFiles::new(&place.join("io"));
    fs::create_dir_all(&files.outputs).unwrap();
    super::write_request(&files, request).unwrap();
    let argv = super::command(python, &runner, &files.request);
    let output = Command::new(&argv[0])
        .args(&argv[1..])
        .current_dir(request.project)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let collected = super::collect(&files);
    (output, collected, files)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn the_runner_keeps_its_promises_under_every_python() {
    let tests = concat!(env!("CARGO_MANIFEST_DIR"), "/runners/tests");
    let supported = interpreters().into_iter().filter(|(version, _)| *version >= vec![3, 8]);
    let running: Vec<_> = supported
        .map(|(_, python)| {
            thread::spawn(move || {
                (
                    Command::new(&python)
                        .args(["-m", "unittest", "discover", "-s", tests])
                        .output()
                        .unwrap(),
                    python,
                )
            })
        })
        .collect();
    assert!(!running.is_empty(), "no Python from 3.8 on");
    for thread in running {
        let (output, python) = thread.join().unwrap();
        assert!(output.status.success(), "{}:\n{}", python.display(), text(&output.stderr));
    }
}

#[test]
fn an_old_python_says_so() {
    let place = tempfile::tempdir().unwrap();
    let request = StepRequest {
        target: "f:go",
        project: place.path(),
        args: &[],
        outputs: &[],
        metrics: None,
        overrides: &[],
    };
    for (version, python) in interpreters().iter().filter(|(version, _)| *version < vec![3, 8]) {
        let (output, _, _) = run(place.path(), python, &request);
        let dotted = version.iter().map(u32::to_string).collect::<Vec<_>>().join(".");
        let said = format!("Python {dotted} at {} is too old: 3.8 or later", python.display());
        assert!(!output.status.success());
        assert!(text(&output.stderr).contains(&said), "{}", text(&output.stderr));
    }
}

#[test]
fn a_request_goes_in_and_everything_comes_back() {
    let place = tempfile::tempdir().unwrap();
    let project = place.path().join("p é");
    fs::create_dir(&project).unwrap();
    let code = "def inner(n, x=1): return n * 2\ndef go(a, b): return {'y': inner(a), 'b': b}\n";
    fs::write(project.join("f.py"), code).unwrap();
    let input = place.path().join("b.json");
    fs::write(&input, "[1, {}]").unwrap();
    let spec = |name: &str, pick: &str| OutputSpec {
        name: name.into(),
        pick: pick.into(),
        ..OutputSpec::default()
    };
    let set = |function: &str, arg: &str| CallOverride {
        module: "f".into(),
        function: function.into(),
        arg: arg.into(),
        json: "7".into(),
        source: 0,
    };
    let args = [("a", ArgValue::Json("1")), ("b", ArgValue::File { codec: "json", path: &input })];
    let overrides = [set("inner", "n"), set("other", "z")];
    let request = StepRequest {
        target: "f:go",
        project: &project,
        args: &args,
        outputs: &[spec("y", ".y"), spec("first", ".b[0]")],
        metrics: Some(&[MetricPick { name: "m".into(), pick: ".y".into() }]),
        overrides: &overrides,
    };

    let (output, collected, files) = run(place.path(), &newest(), &request);

    assert!(output.status.success(), "{}", text(&output.stderr));
    let results = [("y", "14"), ("first", "1")].map(|(name, json)| (name.into(), json.into()));
    assert_eq!(collected.results, results);
    assert_eq!(fs::read_to_string(&files.metrics).unwrap(), "{\"name\": \"m\", \"value\": 14}\n");
    let [call] = &collected.calls[..] else { panic!("{collected:?}") };
    assert_eq!((call.function.as_str(), call.module.as_str()), ("inner", "f"));
    assert_eq!(call.args_json, r#"{"n":7,"x":1}"#);
    assert_eq!(collected.unused(&overrides), ["other.z"]);
    assert_eq!(collected.failure, None);
}

#[test]
fn a_failure_names_the_users_own_line() {
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("f.py"), "def go():\n    return int('x')\n").unwrap();
    let request = StepRequest {
        target: "f:go",
        project: place.path(),
        args: &[],
        outputs: &[],
        metrics: None,
        overrides: &[],
    };
    let (output, collected, _) = run(place.path(), &newest(), &request);
    assert_eq!(output.status.code(), Some(1));
    let shown = collected.failure.unwrap().to_string();
    let said = "ValueError: invalid literal for int() with base 10: 'x'";
    assert_eq!(shown, format!("{said}\nf.py:2 in go: return int('x')"));
}

#[test]
fn a_damaged_installation_is_mended() {
    let place = tempfile::tempdir().unwrap();
    let first = super::install(place.path()).unwrap();
    let file = first.path().join("windlass_runner/watch.py");
    fs::write(&file, "broken").unwrap();
    let second = super::install(place.path()).unwrap();
    assert_eq!(first.path(), second.path());
    assert!(fs::read_to_string(&file).unwrap().contains("class ProjectLoader"));
}

#[test]
fn a_nul_in_a_request_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let request = StepRequest {
        target: "f:\0go",
        project: place.path(),
        args: &[],
        outputs: &[],
        metrics: None,
        overrides: &[],
    };
    let files = StepFiles::new(place.path());
    let error = super::write_request(&files, &request).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    assert!(!files.request.exists());
}

#[test]
fn garbage_is_left_out_and_floods_are_cut() {
    let place = tempfile::tempdir().unwrap();
    let files = StepFiles::new(place.path());
    let good = r#"{"function": "f", "module": "m", "args": {}, "seconds": 0.5, "error": "E"}"#;
    let bad = [
        "",
        "nonsense",
        "[]",
        r#"{"function": 1, "module": "m", "args": {}, "seconds": 1}"#,
        r#"{"function": "f", "module": "m", "args": [], "seconds": 1}"#,
        r#"{"function": "f", "module": "m", "args": {}, "seconds": -1}"#,
        r#"{"set": -4}"#,
    ];
    let long = format!(r#"{{"function": "{}", "module""#, "x".repeat(600_000));
    let mut lines: Vec<&str> = bad.to_vec();
    lines.push(&long);
    lines.extend(std::iter::repeat_n(good, 1500));
    fs::write(&files.calls, lines.join("\n")).unwrap();
    fs::write(&files.failure, "{").unwrap();
    let own = files.results.to_str().unwrap();
    for garbage in ["", "\0", "a\0x\0", "a\0end\0", "a\0x\0end"] {
        fs::write(&files.results, format!("{own}\0{garbage}")).unwrap();
        assert_eq!(super::collect(&files).results, [], "{garbage:?}");
    }
    fs::write(&files.results, "/of/another/results\0a\0x\0end\0").unwrap();
    assert_eq!(super::collect(&files).results, []);
    fs::write(&files.results, own.to_owned() + "\0a\0x\0end\0").unwrap();
    assert_eq!(super::collect(&files).results, [("a".to_owned(), "x".to_owned())]);

    let collected = super::collect(&files);

    assert_eq!(collected.calls.len(), 1000);
    assert_eq!(collected.calls[0].error, "E");
    assert!(collected.overrides_set.is_empty());
    assert_eq!(collected.failure, None);
}

#[test]
fn failures_in_words() {
    let frame = |file: &str, function: &str| Frame {
        file: file.into(),
        line: 3,
        function: function.into(),
        source: "x".into(),
    };
    let failure = |kind: &str, message: &str, frames| Failure {
        kind: kind.into(),
        message: message.into(),
        frames,
        missing: String::new(),
    };
    let own = vec![frame("f.py", "go"), frame("/lib/pandas.py", "read")];
    assert_eq!(failure("KeyError", "'x'", own).to_string(), "KeyError: 'x'\nf.py:3 in go: x");
    assert_eq!(failure("StepError", "output: no", vec![]).to_string(), "output: no");
    assert_eq!(
        failure("AssertionError", "", vec![frame("f.py", "<module>")]).to_string(),
        "AssertionError\nf.py:3: x"
    );
}
