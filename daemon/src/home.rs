//! Finds and prepares the directory in which everything lies.

use std::{
    ffi::OsString,
    fs, io,
    os::unix::{
        ffi::OsStrExt,
        fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    },
    path::{Path, PathBuf},
};

use windlass_core::Home;

/// Owner only.
const PRIVATE: u32 = 0o700;

/// Hex digits of the key that tells homes apart in a shared directory.
const KEY_LEN: usize = 16;

/// Longest name of a directory of sockets: the system's 107 bytes less `/windlass-KEY/daemon.sock`.
const MAX_SHORT_DIR: usize = 107 - "/windlass-".len() - KEY_LEN - "/daemon.sock".len();

/// What `main` found in the environment about places.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// `$WINDLASS_HOME`.
    pub windlass_home: Option<OsString>,
    /// `$XDG_DATA_HOME`.
    pub data_home: Option<OsString>,
    /// `$HOME`.
    pub home: Option<OsString>,
    /// `$XDG_RUNTIME_DIR`.
    pub runtime_dir: Option<OsString>,
    /// `std::env::current_dir`, against which a relative path is read.
    pub current_dir: PathBuf,
}

/// Why there is no usable home.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    #[error(
        "neither WINDLASS_HOME, XDG_DATA_HOME nor HOME is set; set WINDLASS_HOME to a directory"
    )]
    Nowhere,
    #[error("the home {path} contains a NUL or a newline; choose another with WINDLASS_HOME")]
    Unspeakable { path: PathBuf },
    #[error("{path} is not a directory; move it away or choose another home with WINDLASS_HOME")]
    NotADirectory { path: PathBuf },
    #[error(
        "cannot write to {path}; give yourself access (chmod u+rwx) or choose another home with \
         WINDLASS_HOME"
    )]
    NotWritable {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{path} belongs to another user (uid {owner}); choose another home with WINDLASS_HOME")]
    Foreign { path: PathBuf, owner: u32 },
    #[error("cannot prepare {path}")]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// The home: `explicit`, else `$WINDLASS_HOME`, else `$XDG_DATA_HOME/windlass`, else
/// `~/.local/share/windlass`. Nothing is touched.
///
/// Sockets whose path the system would refuse lie in `$XDG_RUNTIME_DIR/windlass-KEY`, or in
/// `/tmp/windlass-UID/windlass-KEY` where that is unset or too long itself.
pub fn locate_home(explicit: Option<PathBuf>, places: &Places) -> Result<Home, HomeError> {
    let set = |value: &Option<OsString>| value.clone().filter(|v| !v.is_empty()).map(PathBuf::from);
    // The XDG rules say that a relative value is to be ignored.
    let absolute = |value: &Option<OsString>| set(value).filter(|path| path.is_absolute());
    let chosen = explicit
        .filter(|path| !path.as_os_str().is_empty())
        .or_else(|| set(&places.windlass_home))
        .or_else(|| absolute(&places.data_home).map(|data| data.join("windlass")))
        .or_else(|| absolute(&places.home).map(|home| home.join(".local/share/windlass")))
        .ok_or(HomeError::Nowhere)?;
    let root = plain(&places.current_dir.join(chosen));
    if root.as_os_str().as_bytes().iter().any(|byte| matches!(byte, 0 | b'\n')) {
        return Err(HomeError::Unspeakable { path: root });
    }
    let digest = blake3::hash(root.as_os_str().as_bytes()).to_hex();
    let runtime = absolute(&places.runtime_dir)
        .filter(|dir| dir.as_os_str().len() <= MAX_SHORT_DIR && dir.is_dir());
    let shared = || format!("/tmp/windlass-{}", rustix::process::getuid().as_raw());
    let short = runtime.unwrap_or_else(|| PathBuf::from(shared()));
    Ok(Home::new(root, &short, &digest[..KEY_LEN]))
}

/// Makes every directory of the home; those that hold secrets or sockets are closed to others even
/// if they were open before.
pub fn prepare(home: &Home) -> Result<(), HomeError> {
    own_private(home.root())?;
    own_private(&home.run())?;
    prepare_sockets(home)?;
    let private = [home.caller_environments(), home.logs(), home.work()];
    private.iter().try_for_each(|dir| make(dir))?;
    [home.blobs(), home.envs(), home.cache()].iter().try_for_each(|dir| make(dir))?;
    // Whether the kernel lets us write is only known by writing (read-only mounts, quotas, ACLs).
    let probe = home.run().join(format!(".probe-{}", std::process::id()));
    let not_writable = |source| HomeError::NotWritable { path: home.root().to_owned(), source };
    fs::write(&probe, b"windlass").map_err(not_writable)?;
    fs::remove_file(&probe).map_err(not_writable)
}

/// Makes the directory of the sockets, where it is not the home's own.
pub(crate) fn prepare_sockets(home: &Home) -> Result<(), HomeError> {
    if home.sockets() == home.run() {
        return Ok(());
    }
    shared_dir(home).into_iter().try_for_each(own_private)?;
    own_private(home.sockets())
}

/// Takes the directory of the sockets away again, unless something lies in it.
pub(crate) fn discard_sockets(home: &Home) {
    if home.sockets() == home.run() {
        return;
    }
    for dir in [Some(home.sockets()), shared_dir(home)].into_iter().flatten() {
        if let Err(error) = fs::remove_dir(dir) {
            tracing::debug!(%error, "{} stays", dir.display());
            return;
        }
    }
}

/// `/tmp/windlass-UID`, which is ours too but lies where others may write.
fn shared_dir(home: &Home) -> Option<&Path> {
    home.sockets().parent().filter(|dir| dir.starts_with("/tmp/"))
}

/// Makes `path` a directory of ours that nobody else can enter.
fn own_private(path: &Path) -> Result<(), HomeError> {
    make(path)?;
    let io = |source| HomeError::Io { path: path.to_owned(), source };
    // Not followed: a link planted in /tmp must not lead us elsewhere.
    let found =
        if path.starts_with("/tmp") { fs::symlink_metadata(path) } else { fs::metadata(path) };
    let found = found.map_err(io)?;
    if !found.is_dir() {
        return Err(HomeError::NotADirectory { path: path.to_owned() });
    }
    if found.uid() != rustix::process::geteuid().as_raw() {
        return Err(HomeError::Foreign { path: path.to_owned(), owner: found.uid() });
    }
    if found.mode() & 0o7777 != PRIVATE {
        fs::set_permissions(path, fs::Permissions::from_mode(PRIVATE)).map_err(io)?;
    }
    Ok(())
}

fn make(path: &Path) -> Result<(), HomeError> {
    match fs::DirBuilder::new().recursive(true).mode(PRIVATE).create(path) {
        Ok(()) => Ok(()),
        Err(source) => Err(explain(path, source)),
    }
}

/// Says which existing ancestor is in the way.
fn explain(path: &Path, source: io::Error) -> HomeError {
    let existing = path.ancestors().find(|dir| dir.symlink_metadata().is_ok()).unwrap_or(path);
    match source.kind() {
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            HomeError::NotADirectory { path: existing.to_owned() }
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            HomeError::NotWritable { path: existing.to_owned(), source }
        }
        _ => HomeError::Io { path: path.to_owned(), source },
    }
}

/// `path` without `.` and `..`, by its text: links are kept as the user wrote them, so that the
/// same words always name the same home.
fn plain(path: &Path) -> PathBuf {
    use std::path::Component::{CurDir, ParentDir};
    path.components().fold(PathBuf::new(), |mut out, part| {
        match part {
            CurDir => {}
            ParentDir => {
                out.pop();
            }
            _ => out.push(part),
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(home: &str) -> Places {
        Places { windlass_home: Some(home.into()), current_dir: "/cwd".into(), ..Places::default() }
    }

    #[test]
    fn the_first_place_named_wins() {
        let mut places = Places {
            windlass_home: Some("/w".into()),
            data_home: Some("/data".into()),
            home: Some("/u".into()),
            runtime_dir: None,
            current_dir: "/cwd".into(),
        };
        let root = |explicit: Option<&str>, places: &Places| {
            locate_home(explicit.map(PathBuf::from), places).unwrap().root().to_owned()
        };
        assert_eq!(root(Some("a/../b"), &places), Path::new("/cwd/b"));
        assert_eq!(root(None, &places), Path::new("/w"));
        places.windlass_home = Some("".into());
        assert_eq!(root(None, &places), Path::new("/data/windlass"));
        places.data_home = Some("relative".into());
        assert_eq!(root(None, &places), Path::new("/u/.local/share/windlass"));
        places.home = None;
        assert!(matches!(locate_home(None, &places), Err(HomeError::Nowhere)));
    }

    #[test]
    fn sockets_of_a_long_home_lie_in_a_shorter_place() {
        let long = format!("/{}", "x".repeat(120));
        let home = locate_home(None, &places(&long)).unwrap();
        assert!(home.daemon_socket().as_os_str().len() <= 107);
        assert!(home.sockets().starts_with("/tmp"));
        let other = locate_home(None, &places(&format!("{long}y"))).unwrap();
        assert_ne!(home.sockets(), other.sockets());

        let mut with_runtime = places(&long);
        let runtime = tempfile::tempdir().unwrap();
        with_runtime.runtime_dir = Some(runtime.path().into());
        let home = locate_home(None, &with_runtime).unwrap();
        assert!(home.sockets().starts_with(runtime.path()));
        with_runtime.runtime_dir = Some(long.into());
        assert!(locate_home(None, &with_runtime).unwrap().sockets().starts_with("/tmp"));
    }

    #[test]
    fn preparing_closes_what_was_open_and_can_be_repeated() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("deep/home");
        fs::create_dir_all(root.join("run")).unwrap();
        for path in [root.clone(), root.join("run")] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let home = locate_home(Some(root.clone()), &Places::default()).unwrap();
        prepare(&home).unwrap();
        prepare(&home).unwrap();
        for path in [home.root(), &home.run(), &home.logs(), &home.caller_environments()] {
            assert_eq!(fs::metadata(path).unwrap().mode() & 0o777, 0o700, "{path:?}");
        }
        assert_eq!(fs::read_dir(home.run()).unwrap().count(), 1, "only the env directory");
    }

    #[test]
    fn a_file_in_the_way_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        for root in [file.clone(), file.join("home")] {
            let home = locate_home(Some(root), &Places::default()).unwrap();
            let error = prepare(&home).unwrap_err();
            assert!(
                matches!(&error, HomeError::NotADirectory { path } if *path == file),
                "{error}"
            );
        }
    }

    #[test]
    fn a_home_without_access_is_named_with_the_mend() {
        // The kernel's own file system refuses even root.
        let home = locate_home(Some("/proc/windlass/home".into()), &Places::default()).unwrap();
        let error = prepare(&home).unwrap_err().to_string();
        assert!(error.contains("/proc"), "{error}");

        let source = io::Error::from(io::ErrorKind::PermissionDenied);
        let error = explain(Path::new("/etc/windlass/home"), source).to_string();
        assert!(error.starts_with("cannot write to /etc"), "{error}");
        assert!(error.contains("WINDLASS_HOME"), "{error}");
    }
}
