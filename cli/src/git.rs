//! Facts that git knows about a project.

use std::{
    os::fd::OwnedFd,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use tokio::{io::AsyncReadExt, net::unix::pipe::Receiver, time::timeout};
use windlass_proto::api::v1::GitState;

/// How long git may think; then the run is recorded without it.
const GIT_LIMIT: Duration = Duration::from_secs(2);

/// Longest diff that is kept.
const MAX_DIFF: u64 = 16 << 20;

/// Longest listing of changes that is read.
const MAX_STATUS: u64 = 1 << 20;

/// Commit, branch and whether anything below `root` differs from the commit (files that git does
/// not know included, for the snapshot has them), with the text of the difference.
///
/// `None` outside a repository, without git, or where git takes too long.
pub(crate) async fn facts(root: &Path) -> Option<(GitState, Option<Vec<u8>>)> {
    if !root.ancestors().any(|dir| dir.join(".git").exists()) {
        return None;
    }
    let args = ["status", "--porcelain=v2", "--branch", "--untracked-files=normal", "--", "."];
    let (status, _) = git(root, &args, MAX_STATUS).await?;
    let state = parse(&String::from_utf8_lossy(&status));
    if !state.dirty || state.commit.is_empty() {
        return Some((state, None));
    }
    let args = ["diff", "--no-color", "--no-ext-diff", "--binary", "HEAD", "--", "."];
    let diff = git(root, &args, MAX_DIFF).await;
    let whole = diff.and_then(|(diff, cut)| (!cut && !diff.is_empty()).then_some(diff));
    Some((state, whole))
}

/// What git prints, and whether there was more than `limit`.
async fn git(root: &Path, args: &[&str], limit: u64) -> Option<(Vec<u8>, bool)> {
    let mut child = Command::new("git")
        .arg("-C")
        .arg(root)
        .args(args)
        .env("GIT_OPTIONAL_LOCKS", "0")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let stdout = Receiver::from_owned_fd(OwnedFd::from(child.stdout.take()?)).ok()?;
    let mut stdout = stdout.take(limit + 1);
    let mut bytes = Vec::new();
    let read = timeout(GIT_LIMIT, stdout.read_to_end(&mut bytes)).await;
    let cut = u64::try_from(bytes.len()).is_ok_and(|len| len > limit);
    let whole = matches!(read, Ok(Ok(_))) && !cut;
    if !whole {
        child.kill().ok()?;
    }
    let ended = child.wait().ok()?;
    (cut || (whole && ended.success())).then_some((bytes, cut))
}

fn parse(status: &str) -> GitState {
    let mut state = GitState::default();
    for line in status.lines() {
        if let Some(commit) = line.strip_prefix("# branch.oid ") {
            commit.clone_into(&mut state.commit);
        } else if let Some(branch) = line.strip_prefix("# branch.head ") {
            branch.clone_into(&mut state.branch);
        } else if !line.starts_with('#') {
            state.dirty = true;
        }
    }
    if state.commit == "(initial)" {
        state.commit.clear();
    }
    if state.branch == "(detached)" {
        state.branch.clear();
    }
    state
}

#[cfg(test)]
mod tests {
    use super::{facts, parse};

    #[test]
    fn git_status_is_read() {
        let clean = parse("# branch.oid 0123\n# branch.head main\n# branch.upstream o/main\n");
        assert_eq!(
            (clean.commit.as_str(), clean.branch.as_str(), clean.dirty),
            ("0123", "main", false)
        );
        let dirty = parse("# branch.oid (initial)\n# branch.head (detached)\n? new.py\n");
        assert_eq!((dirty.commit.as_str(), dirty.branch.as_str(), dirty.dirty), ("", "", true));
    }

    #[tokio::test]
    async fn a_changed_project_has_a_diff() {
        let dir = tempfile::tempdir().unwrap();
        assert!(facts(dir.path()).await.is_none(), "no repository");
        let git = |args: &[&str]| {
            let user = ["-c", "user.name=t", "-c", "user.email=t@example.com"];
            let mut git = std::process::Command::new("git");
            let git = git.arg("-C").arg(dir.path()).args(user).args(args);
            assert!(git.output().unwrap().status.success(), "{args:?}");
        };
        let file = dir.path().join("sub/a.py");
        std::fs::create_dir(file.parent().unwrap()).unwrap();
        std::fs::write(&file, "one\n").unwrap();
        git(&["init", "-q", "-b", "main"]);
        git(&["add", "."]);
        git(&["commit", "-qm", "one"]);
        let (state, diff) = facts(&dir.path().join("sub")).await.unwrap();
        assert_eq!((state.commit.len(), state.branch.as_str(), state.dirty), (40, "main", false));
        assert_eq!(diff, None);

        std::fs::write(&file, "two\n").unwrap();
        let (state, diff) = facts(dir.path()).await.unwrap();
        assert!(state.dirty);
        assert!(String::from_utf8(diff.unwrap()).unwrap().contains("+two"));
    }
}
