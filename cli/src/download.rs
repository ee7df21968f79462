//! Fetches blobs.

use std::{
    fs::{self, File, Permissions},
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use windlass_proto::api::v1::DownloadBlobRequest;

use crate::{
    app::App,
    config::Config,
    connect::Link,
    error::{CliError, Exit},
};

/// Longest blob that is read as text: the target of a link.
const MAX_TEXT: usize = 4_096;

/// Where a blob goes.
pub(crate) enum Destination {
    Stdout,
    File { path: PathBuf, executable: bool },
}

impl Destination {
    /// The file that was named, one of the blob's own name in the directory that was named, or
    /// stdout.
    pub(crate) fn of(
        config: &Config,
        named: Option<PathBuf>,
        own_name: &str,
        executable: bool,
    ) -> Self {
        let Some(path) = named.filter(|path| path.as_os_str() != "-") else { return Self::Stdout };
        let path = config.cwd.join(path);
        let base = Path::new(own_name).file_name().filter(|_| path.is_dir());
        let path = base.map_or_else(|| path.clone(), |base| path.join(base));
        Self::File { path, executable }
    }
}

/// Fetches a blob. A file appears whole or not at all.
pub(crate) async fn blob(
    app: &mut App<'_>,
    link: &Link,
    digest: &str,
    to: Destination,
) -> Result<Exit, CliError> {
    match to {
        Destination::Stdout => {
            copy(link, digest, app.out).await?;
            app.out.flush()?;
        }
        Destination::File { path, executable } => {
            let unwritable = || CliError::io(format!("cannot write {}", path.display()));
            let mut partial = Partial::beside(&path).map_err(unwritable())?;
            copy(link, digest, &mut partial.file).await.map_err(|error| match error {
                CliError::Io { source, .. } => unwritable()(source),
                other => other,
            })?;
            partial.keep(&path, executable).map_err(unwritable())?;
        }
    }
    Ok(Exit::Ok)
}

/// A small blob as text.
pub(crate) async fn text(link: &Link, digest: &str) -> Result<String, CliError> {
    let mut bytes = Vec::new();
    copy(link, digest, &mut bytes).await?;
    bytes.truncate(MAX_TEXT);
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

async fn copy(link: &Link, digest: &str, out: &mut (dyn Write + '_)) -> Result<(), CliError> {
    let request = DownloadBlobRequest { digest: digest.to_owned(), offset: 0 };
    let mut chunks = link.blobs().download_blob(request).await?.into_inner();
    while let Some(chunk) = chunks.message().await? {
        out.write_all(&chunk.data)?;
    }
    Ok(())
}

/// A file under another name until it is complete; removed if it never is.
struct Partial {
    file: File,
    path: PathBuf,
    kept: bool,
}

impl Partial {
    fn beside(target: &Path) -> io::Result<Self> {
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        let path = target.with_file_name(format!(".{name}.{}.partial", std::process::id()));
        Ok(Self { file: File::create(&path)?, path, kept: false })
    }

    fn keep(mut self, target: &Path, executable: bool) -> io::Result<()> {
        if executable {
            let mode = self.file.metadata()?.permissions().mode();
            self.file.set_permissions(Permissions::from_mode(mode | (mode & 0o444) >> 2))?;
        }
        fs::rename(&self.path, target)?;
        self.kept = true;
        Ok(())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.kept {
            // Best effort: there is nobody to tell any more.
            drop(fs::remove_file(&self.path));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write, os::unix::fs::PermissionsExt};

    use super::Partial;

    #[test]
    fn a_file_appears_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("run.sh");
        fs::write(&target, "old").unwrap();
        Partial::beside(&target).unwrap().file.write_all(b"half").unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"old");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);

        let mut partial = Partial::beside(&target).unwrap();
        partial.file.write_all(b"new").unwrap();
        partial.keep(&target, true).unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"new");
        assert_ne!(fs::metadata(&target).unwrap().permissions().mode() & 0o100, 0);
    }
}
