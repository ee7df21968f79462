use std::{
    ffi::OsString,
    os::unix::{ffi::OsStrExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use nix::sys::signal::{SigSet, Signal};
use rustix::{
    fs::{Access, access},
    io::Errno,
};

use super::protocol::{Start, to_os_string, to_path};

/// Where commands are looked for when the step has no PATH.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Signals that the keeper takes from a descriptor, and that a step must not inherit as blocked.
pub(super) fn own_signals() -> SigSet {
    [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP].into_iter().collect()
}

/// Starts the process, in a group of its own, with pipes for its output.
///
/// The error is a text for people. `Command` takes `posix_spawn` here, which a `pre_exec` or a
/// program to be looked up in a changed PATH would prevent.
pub(super) fn spawn(start: Start) -> Result<Child, String> {
    let cwd = to_path(&start.cwd);
    let mut argv = start.argv.into_iter().map(to_os_string);
    let name = argv.next().ok_or("there is no command to start")?;
    let path = start.env.iter().find(|var| var.name == b"PATH").map(|var| var.value.clone());
    let program = find_program(&name, path.map(to_os_string).as_deref(), &cwd)?;
    let mut command = Command::new(program);
    command
        .arg0(&name)
        .args(argv)
        .env_clear()
        .envs(start.env.into_iter().map(|v| (to_os_string(v.name), to_os_string(v.value))))
        .current_dir(&cwd)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let blocked = own_signals();
    blocked.thread_unblock().map_err(|error| error.to_string())?;
    let child = command.spawn();
    blocked.thread_block().map_err(|error| error.to_string())?;
    child.map_err(|error| {
        let cause = if cwd.is_dir() { "" } else { "its working directory is gone: " };
        format!("cannot start `{}`: {cause}{}", name.display(), plain(&error))
    })
}

/// The text of an error without the number of the system.
fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}

fn find_program(
    name: &OsString,
    path: Option<&std::ffi::OsStr>,
    cwd: &Path,
) -> Result<PathBuf, String> {
    let failed = |why: &str| Err(format!("cannot start `{}`: {why}", name.display()));
    if name.is_empty() {
        return failed("the command is empty");
    }
    if name.as_bytes().contains(&b'/') {
        let program = cwd.join(name);
        return match program.metadata() {
            Err(error) => failed(&plain(&error)),
            Ok(meta) if meta.is_dir() => failed("it is a directory"),
            Ok(_) if access(&program, Access::EXEC_OK).is_err() => {
                failed("permission denied: it is not executable")
            }
            Ok(_) => Ok(program),
        };
    }
    let path = path.unwrap_or(std::ffi::OsStr::new(DEFAULT_PATH));
    let places = path.as_bytes().split(|&byte| byte == b':').map(|dir| cwd.join(to_path(dir)));
    let mut forbidden = false;
    for program in places.map(|dir| dir.join(name)) {
        match access(&program, Access::EXEC_OK) {
            Ok(()) if program.is_file() => return Ok(program),
            Err(Errno::ACCESS) => forbidden |= program.is_file(),
            Ok(()) | Err(_) => {}
        }
    }
    failed(if forbidden { "permission denied" } else { "command not found" })
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    #[test]
    fn programs_are_found_as_a_shell_would() {
        let dir = tempfile::tempdir().unwrap();
        let cwd = dir.path();
        for (name, mode) in [("tool", 0o755), ("data", 0o644)] {
            fs::write(cwd.join(name), "#!/bin/sh\n").unwrap();
            fs::set_permissions(cwd.join(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        let find = |name: &str, path: Option<&str>| {
            find_program(&name.into(), path.map(std::ffi::OsStr::new), cwd)
        };

        assert_eq!(find("./tool", None).unwrap(), cwd.join("./tool"));
        assert_eq!(find("tool", Some("/nowhere:.")).unwrap(), cwd.join(".").join("tool"));
        assert!(find("sh", None).is_ok());
        let refusals = [
            ("./data", "permission denied: it is not executable"),
            ("./none", "no such file or directory"),
            ("/", "it is a directory"),
            ("none", "command not found"),
            ("", "the command is empty"),
        ];
        for (name, why) in refusals {
            let message = find(name, Some("/usr/bin")).unwrap_err();
            assert!(message.starts_with("cannot start") && message.ends_with(why), "{message}");
        }
    }
}
