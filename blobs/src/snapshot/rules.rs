//! Which paths belong to a project: the rules of git, and the patterns of `files:`.

use std::{fs, path::Path, rc::Rc};

use ignore::{
    Match,
    gitignore::{Gitignore, GitignoreBuilder},
};

use super::SnapshotError;

/// Rules of one place and, behind them, those that yield to it.
pub(super) struct Rules {
    matcher: Gitignore,
    behind: Option<Rc<Rules>>,
}

impl Rules {
    /// What holds at `root` before its own `.gitignore` is read: that of the directories above it
    /// as far as the git repository goes, `info/exclude` and the user's excludes. Outside a
    /// repository nothing does.
    pub(super) fn above(root: &Path) -> Option<Rc<Self>> {
        let top = root.ancestors().find(|dir| dir.join(".git").exists())?;
        if top == root {
            return None; // `entering` finds the repository by itself
        }
        let mut rules = Self::of_repository(top);
        let between = root.ancestors().skip(1).take_while(|dir| dir.starts_with(top));
        for dir in between.collect::<Vec<_>>().into_iter().rev() {
            rules = Self::with_file(rules, dir, &dir.join(".gitignore"));
        }
        rules
    }

    /// What holds in `dir`, given what holds around it and which of the files it has.
    pub(super) fn entering(
        around: Option<Rc<Self>>,
        dir: &Path,
        has_git: bool,
        has_ignore: bool,
    ) -> Option<Rc<Self>> {
        let rules = if has_git { Self::of_repository(dir) } else { around };
        if has_ignore { Self::with_file(rules, dir, &dir.join(".gitignore")) } else { rules }
    }

    fn of_repository(top: &Path) -> Option<Rc<Self>> {
        let (global, _) = GitignoreBuilder::new(top).build_global();
        let global = Self::push(None, global);
        Self::with_file(global, top, &top.join(".git/info/exclude"))
    }

    /// Wrong patterns in the file are passed over, as git does.
    fn with_file(behind: Option<Rc<Self>>, dir: &Path, file: &Path) -> Option<Rc<Self>> {
        let mut builder = GitignoreBuilder::new(dir);
        if let Some(error) = builder.add(file) {
            tracing::debug!(%error, "not all of an ignore file holds");
        }
        Self::push(behind, builder.build().unwrap_or_else(|_| Gitignore::empty()))
    }

    fn push(behind: Option<Rc<Self>>, matcher: Gitignore) -> Option<Rc<Self>> {
        if matcher.is_empty() { behind } else { Some(Rc::new(Self { matcher, behind })) }
    }

    /// True where the rules leave out `path`, an absolute one.
    pub(super) fn ignore(rules: Option<&Rc<Self>>, path: &Path, is_dir: bool) -> bool {
        let mut next = rules;
        while let Some(here) = next {
            match here.matcher.matched(path, is_dir) {
                Match::Ignore(_) => return true,
                Match::Whitelist(_) => return false,
                Match::None => next = here.behind.as_ref(),
            }
        }
        false
    }
}

/// The patterns of `files:`.
pub(super) struct Wanted {
    matcher: Gitignore,
    /// Literal directory that each pattern starts in; `None` for one that holds at any depth.
    starts: Vec<Option<String>>,
}

impl Wanted {
    pub(super) fn new(root: &Path, globs: &[String]) -> Result<Self, SnapshotError> {
        let mut builder = GitignoreBuilder::new(root);
        builder.allow_unclosed_class(false);
        let mut starts = Vec::new();
        for glob in globs {
            let wrong = |source| SnapshotError::Pattern { glob: glob.clone(), source };
            let line = glob.strip_prefix("./").unwrap_or(glob);
            let is_outside = line.split('/').any(|segment| segment == "..");
            if line.is_empty() || is_outside || line.starts_with('#') || line.contains('\n') {
                return Err(wrong(None));
            }
            builder.add_line(None, line).map_err(|error| wrong(Some(error)))?;
            if !line.starts_with('!') {
                starts.push(literal_start(line));
            }
        }
        let glob = globs.join(", ");
        let wrong = |error| SnapshotError::Pattern { glob, source: Some(error) };
        Ok(Self { matcher: builder.build().map_err(wrong)?, starts })
    }

    /// True where a pattern names `path`, an absolute one, itself.
    pub(super) fn names(&self, path: &Path, is_dir: bool) -> bool {
        self.matcher.matched(path, is_dir).is_ignore()
    }

    /// True where a pattern takes `path` out again.
    pub(super) fn refuses(&self, path: &Path, is_dir: bool) -> bool {
        self.matcher.matched(path, is_dir).is_whitelist()
    }

    /// True where a pattern may name something below `path`, a relative directory. Into an
    /// environment only patterns go that start there.
    pub(super) fn may_name_below(&self, path: &str, is_environment: bool) -> bool {
        let within = |inner: &str, outer: &str| {
            inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.starts.iter().any(|start| match start.as_deref() {
            None | Some("") => !is_environment,
            Some(start) => within(start, path) || (!is_environment && within(path, start)),
        })
    }
}

fn literal_start(line: &str) -> Option<String> {
    let anchored = line.trim_end_matches('/').contains('/');
    let line = line.strip_prefix('/').unwrap_or(line);
    let dir = line.trim_end_matches('/').rsplit_once('/').map_or("", |(dir, _)| dir);
    let literal = |segment: &&str| !segment.contains(['*', '?', '[', '\\']);
    anchored.then(|| dir.split('/').take_while(literal).collect::<Vec<_>>().join("/"))
}

/// True where `dir` is something that grew beside the project rather than in it.
pub(super) fn is_environment(dir: &Path, has: impl Fn(&str) -> bool) -> bool {
    has("pyvenv.cfg") || (has("windlass.db") && dir.join("blobs").is_dir())
}

/// True for the text that `Wanted` and the rules never see: what is no file of the project.
pub(super) fn is_never(name: &str) -> bool {
    matches!(name, ".git" | "__pycache__" | ".windlass")
}

/// The bytes of a link's target, where they are text.
pub(super) fn link_target(path: &Path) -> std::io::Result<Option<String>> {
    Ok(fs::read_link(path)?.into_os_string().into_string().ok())
}
