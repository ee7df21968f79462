//! The same steps in every kind of working directory that this machine offers: what is captured
//! must be the same, and what is shared must stay as it was.
//!
//! A program of its own, since a process with threads cannot enter a user namespace. It plays the
//! worker (`suite DIR`, once more as another user where it is root) and, started by itself, the
//! keeper (`keeper`) and its probe (`probe`). `timing` prints what one step costs.

mod suite;
mod timing;
#[path = "../../src/workspace/mod.rs"]
#[expect(unused_imports, reason = "the worker uses more of it")]
mod workspace;

use std::{
    env,
    error::Error,
    fs,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::Path,
    process::Command,
};

use workspace::Overlay;

type Outcome = Result<(), Box<dyn Error>>;

/// An ordinary user: none of the machine's, who owns nothing else.
const NOBODY: u32 = 54_321;

fn main() -> Outcome {
    let args: Vec<String> = env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["keeper", overlay, script] => keeper(Path::new(overlay), script),
        ["probe", dir] => Ok(workspace::probe_child(Path::new(dir))?),
        ["suite", dir] => suite::run(Path::new(dir)),
        ["timing"] => timing::run(),
        _ => everybody(),
    }
}

/// The suite as who runs this, and as an ordinary user where that can be arranged.
fn everybody() -> Outcome {
    let dir = tempfile::tempdir()?;
    suite::run(dir.path())?;
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    let exe = dir.path().join("exe");
    fs::copy(env::current_exe()?, &exe)?;
    fs::set_permissions(&exe, fs::Permissions::from_mode(0o755))?;
    std::os::unix::fs::chown(dir.path(), Some(NOBODY), Some(NOBODY))?;
    let mut suite = Command::new(&exe);
    suite.arg("suite").arg(dir.path()).current_dir("/").uid(NOBODY).gid(NOBODY);
    let status = suite.status()?;
    if status.success() { Ok(()) } else { Err(format!("as user {NOBODY}: {status}").into()) }
}

/// Mounts, runs and unmounts, in a user namespace where the overlay asks for it.
fn keeper(overlay: &Path, script: &str) -> Outcome {
    let overlay: Overlay = serde_json::from_slice(&fs::read(overlay)?)?;
    if overlay.userxattr {
        workspace::enter_user_namespace()?;
    }
    overlay.mount()?;
    let status = shell(script, &overlay.target);
    overlay.unmount()?;
    status
}

fn shell(script: &str, cwd: &Path) -> Outcome {
    let status = Command::new("sh").args(["-c", script]).current_dir(cwd).status()?;
    if status.success() { Ok(()) } else { Err(format!("the step ended with {status}").into()) }
}
