//! What is refused, and what is not, before there is a run.

use super::{Stage, run};
use crate::error::Exit;
use windlass_proto::api::v1;

fn stage() -> Stage {
    let stage = Stage::new();
    stage.daemon.state().runs.push(run("calm-fox", v1::run::State::Queued, vec![]));
    stage.write("churn.yaml", "version: 1\n");
    stage.write("functions.py", "def train(): ...\n");
    stage
}

#[tokio::test]
async fn a_project_that_changes_meanwhile_is_taken_again() {
    let stage = stage();
    let project = stage.config.cwd.clone();
    stage.write("gone.txt", "1");
    // Once: a file goes, another gets other bytes of the same length.
    let mut left = 1;
    stage.daemon.state().meddle = Some(Box::new(move || {
        if left > 0 {
            left -= 1;
            std::fs::remove_file(project.join("gone.txt")).unwrap();
            std::fs::write(project.join("functions.py"), "def train(): 123\n").unwrap();
        }
    }));
    let said = stage.say(&["submit", "functions.py:train"]).await;
    assert_eq!(said.exit, Exit::Ok, "{}", said.err);
    let digest = stage.daemon.state().created[0].source.clone().unwrap().snapshot;
    let tree = String::from_utf8(stage.daemon.state().blobs[&digest].clone()).unwrap();
    assert!(!tree.contains("gone.txt"), "{tree}");

    // For ever.
    stage.write("functions.py", "def train(): 100\n");
    let (project, mut n) = (stage.config.cwd.clone(), 100);
    stage.daemon.state().meddle = Some(Box::new(move || {
        n += 1;
        std::fs::write(project.join("functions.py"), format!("def train(): {n}\n")).unwrap();
    }));
    let said = stage.say(&["submit", "functions.py:train"]).await;
    assert_eq!(said.exit, Exit::Refused);
    assert!(said.err.contains("functions.py changed while the snapshot was taken"), "{}", said.err);
    assert!(said.err.contains("put it into .gitignore"), "{}", said.err);
}

#[tokio::test]
async fn a_missing_or_old_interpreter_is_refused_before_there_is_a_run() {
    let mut stage = stage();
    stage.config.env = [("PATH".into(), stage.dir.path().join("bin").into())].into();
    let said = stage.say(&["submit", "functions.py:train"]).await;
    assert_eq!(said.exit, Exit::Refused);
    assert!(said.err.contains("no python3"), "{}", said.err);

    let python = stage.dir.path().join("bin/python3");
    std::fs::create_dir_all(python.parent().unwrap()).unwrap();
    let version = |text: &str| {
        std::fs::write(&python, format!("#!/bin/sh\necho Python {text}\n")).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&python, mode).unwrap();
    };
    version("3.6.9");
    for command in ["submit", "check"] {
        let said = stage.say(&[command, "functions.py:train"]).await;
        assert_eq!(said.exit, Exit::Refused);
        assert!(said.err.contains("is Python 3.6; steps need 3.8 or later"), "{}", said.err);
    }
    version("3.8.1");
    assert_eq!(stage.say(&["submit", "functions.py:train"]).await.exit, Exit::Ok);

    stage.write("p.yaml", "version: 1\nenv: {python: /nowhere}\nsteps: {a: {run: 'true'}}\n");
    let said = stage.say(&["submit", "p.yaml"]).await;
    assert_eq!(said.exit, Exit::Refused);
    assert!(said.err.contains("/nowhere is no interpreter"), "{}", said.err);
}

#[tokio::test]
async fn what_is_too_large_is_named_with_the_mend() {
    let stage = stage();
    stage.write("big.yaml", &format!("a: {}\n", "x".repeat(6 << 20)));
    let said = stage.say(&["submit", "churn.yaml", "--params", "big.yaml"]).await;
    assert_eq!(said.exit, Exit::Refused);
    assert!(said.err.contains("big.yaml is too large"), "{}", said.err);
    assert!(said.err.contains("at most 2 MiB"), "{}", said.err);
    let said = stage.say(&["submit", "big.yaml"]).await;
    assert!(said.err.contains("a pipeline file has at most 1048576"), "{}", said.err);
}

#[tokio::test]
async fn an_id_may_be_deleted_twice() {
    let stage = stage();
    let id = stage.daemon.state().runs[0].run_id.clone();
    // The fake's ids are not of the shape that real ones have.
    let id = format!("{}000000000000", &id[..24]);
    for _ in 0..2 {
        let said = stage.say(&["rm", &id]).await;
        assert_eq!((said.exit, said.out), (Exit::Ok, format!("{id} deleted\n")));
    }
    assert_eq!(stage.say(&["rm", "nobody"]).await.exit, Exit::Refused);
}
