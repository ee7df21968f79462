use std::{fs, os::unix::net::UnixListener, path::Path};

/// Takes the socket of a keeper that leaves away, and the directory that was made for nothing but
/// sockets. While the listener is open nobody else makes a socket of that name.
pub(super) fn discard(listener: &UnixListener) {
    let address = listener.local_addr();
    let Some(path) = address.as_ref().ok().and_then(|address| address.as_pathname()) else {
        return;
    };
    if fs::remove_file(path).is_err() {
        return;
    }
    let is_ours = |dir: &&Path| {
        dir.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"windlass-"))
    };
    for dir in path.ancestors().skip(1).take_while(is_ours) {
        // It stays where another service has something in it.
        if fs::remove_dir(dir).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::net::UnixListener};

    use super::discard;

    #[test]
    fn a_directory_of_sockets_goes_with_the_last_one() {
        let top = tempfile::tempdir().unwrap();
        let shared = top.path().join("windlass-0");
        for (home, other) in [("windlass-a", true), ("windlass-b", false)] {
            let dir = shared.join(home);
            fs::create_dir_all(&dir).unwrap();
            let listener = UnixListener::bind(dir.join("keeper.sock")).unwrap();
            if other {
                fs::write(dir.join("daemon.sock"), "").unwrap();
            }
            discard(&listener);
            assert_eq!(dir.exists(), other);
            fs::remove_dir_all(&dir).ok();
        }
        assert!(!shared.exists() && top.path().exists());
    }
}
