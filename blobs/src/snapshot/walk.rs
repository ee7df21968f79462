use std::{
    fs::{self, DirEntry, FileType},
    io,
    path::Path,
    rc::Rc,
};

use super::{
    LeftOut, Options, SnapshotError, Why,
    rules::{Rules, Wanted, is_environment, is_never, link_target},
};
use crate::{MAX_ENTRIES, Node, Stamp, stamp::is_executable, tree::InsertError};

/// What a walk came upon.
#[derive(Default)]
pub(super) struct Found {
    /// Files by relative path, whose content is still to be known.
    pub(super) files: Vec<Seen>,
    /// Links and empty directories.
    pub(super) others: Vec<(String, Node)>,
    pub(super) left_out: Vec<LeftOut>,
}

/// A file as the walk saw it.
pub(super) struct Seen {
    /// Relative to the root.
    pub(super) path: String,
    pub(super) stamp: Stamp,
    pub(super) executable: bool,
}

/// Lists what belongs to the project in `root`.
pub(super) fn walk(root: &Path, options: &Options) -> Result<Found, SnapshotError> {
    let wanted = Wanted::new(root, &options.files)?;
    let mut walk = Walk { wanted, max_file: options.max_file, found: Found::default() };
    let rules = Rules::above(root);
    walk.directory(root, "", rules, Stance::Ruled)?;
    Ok(walk.found)
}

/// What decides on the entries of a directory.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stance {
    /// The rules of git.
    Ruled,
    /// The directory is left out: only what `files:` names is taken, and nothing is remarked.
    Closed,
    /// `files:` names the directory: everything is taken.
    Open,
}

struct Walk {
    wanted: Wanted,
    max_file: u64,
    found: Found,
}

struct Entry<'a> {
    path: &'a Path,
    /// Relative to the root.
    name: String,
    entry: &'a DirEntry,
    kind: FileType,
}

impl Walk {
    fn directory(
        &mut self,
        dir: &Path,
        relative: &str,
        around: Option<Rc<Rules>>,
        stance: Stance,
    ) -> Result<(), SnapshotError> {
        let listed = fs::read_dir(dir).and_then(|entries| entries.collect::<io::Result<Vec<_>>>());
        let entries = match listed {
            Err(error) if !relative.is_empty() && is_gone(&error) => return Ok(()),
            listed => listed.map_err(SnapshotError::read(dir))?,
        };
        let has = |name: &str| entries.iter().any(|entry| entry.file_name() == name);
        let has_ignore = has(".gitignore");
        let rules = Rules::entering(around, dir, has(".git"), has_ignore);
        let mut stance = stance;
        if stance == Stance::Ruled && !relative.is_empty() {
            let environment = is_environment(dir, has);
            // A directory that ignores its own rules ignores itself, as tools' caches do.
            let itself =
                has_ignore && Rules::ignore(rules.as_ref(), &dir.join(".gitignore"), false);
            if environment || itself {
                self.leave_out(format!("{relative}/"), Why::Ignored);
                if !self.wanted.may_name_below(relative, environment) {
                    return Ok(());
                }
                stance = Stance::Closed;
            }
        }
        let before = self.found.files.len() + self.found.others.len();
        for entry in &entries {
            self.entry(entry, relative, rules.as_ref(), stance)?;
        }
        let taken = self.found.files.len() + self.found.others.len() - before;
        if taken == 0 && stance != Stance::Closed && !relative.is_empty() {
            self.found.others.push((relative.to_owned(), Node::EmptyDir));
        }
        Ok(())
    }

    fn entry(
        &mut self,
        entry: &DirEntry,
        relative: &str,
        rules: Option<&Rc<Rules>>,
        stance: Stance,
    ) -> Result<(), SnapshotError> {
        let path = entry.path();
        let Some(kind) = unless_gone(&path, entry.file_type())? else { return Ok(()) };
        let under = |name: &str| match relative {
            "" => name.to_owned(),
            _ => format!("{relative}/{name}"),
        };
        let name = match entry.file_name().into_string() {
            Ok(name) if is_never(&name) => return Ok(()),
            Ok(name) => under(&name),
            Err(name) => {
                if stance != Stance::Closed {
                    self.leave_out(under(&name.to_string_lossy()), Why::NotUtf8);
                }
                return Ok(());
            }
        };
        let here = Entry { path: &path, name, entry, kind };
        let named = self.wanted.names(here.path, kind.is_dir());
        let refused = self.wanted.refuses(here.path, kind.is_dir());
        match stance {
            _ if named => self.take(&here, rules, Stance::Open),
            Stance::Open if !refused => self.take(&here, rules, Stance::Open),
            Stance::Ruled if !Rules::ignore(rules, here.path, kind.is_dir()) => {
                self.take(&here, rules, Stance::Ruled)
            }
            Stance::Closed => self.pass_by(here, rules, true),
            Stance::Open | Stance::Ruled => self.pass_by(here, rules, false),
        }
    }

    /// An entry that is not taken itself; something below it may be.
    fn pass_by(
        &mut self,
        here: Entry<'_>,
        rules: Option<&Rc<Rules>>,
        silent: bool,
    ) -> Result<(), SnapshotError> {
        let is_dir = here.kind.is_dir();
        if is_dir {
            let environment = here.path.join("pyvenv.cfg").exists();
            if self.wanted.may_name_below(&here.name, environment) {
                self.directory(here.path, &here.name, rules.cloned(), Stance::Closed)?;
            }
        }
        if !silent {
            let path = if is_dir { here.name + "/" } else { here.name };
            self.leave_out(path, Why::Ignored);
        }
        Ok(())
    }

    fn take(
        &mut self,
        here: &Entry<'_>,
        rules: Option<&Rc<Rules>>,
        stance: Stance,
    ) -> Result<(), SnapshotError> {
        let Entry { path, name, entry, kind } = here;
        if kind.is_dir() {
            return self.directory(path, name, rules.cloned(), stance);
        }
        if self.found.files.len() + self.found.others.len() >= MAX_ENTRIES {
            let source = InsertError::TooMany;
            return Err(SnapshotError::Unfit { path: path.to_path_buf(), source });
        }
        if kind.is_symlink() {
            match unless_gone(path, link_target(path))? {
                None => {}
                Some(Some(target)) => {
                    let link = Node::Link { target: target.into() };
                    self.found.others.push((name.clone(), link));
                }
                Some(None) => self.leave_out(name.clone(), Why::NotUtf8),
            }
        } else if kind.is_file() {
            let Some(meta) = unless_gone(path, entry.metadata())? else { return Ok(()) };
            if stance != Stance::Open && meta.len() > self.max_file {
                self.leave_out(name.clone(), Why::TooLarge);
            } else {
                let (stamp, executable) = (Stamp::from(&meta), is_executable(&meta));
                self.found.files.push(Seen { path: name.clone(), stamp, executable });
            }
        } else {
            self.leave_out(name.clone(), Why::Special);
        }
        Ok(())
    }

    fn leave_out(&mut self, path: String, why: Why) {
        self.found.left_out.push(LeftOut { path, why });
    }
}

/// True for what was removed after it was listed, or became something else: it is not there.
fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn unless_gone<T>(path: &Path, found: io::Result<T>) -> Result<Option<T>, SnapshotError> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if is_gone(&error) => Ok(None),
        Err(error) => Err(SnapshotError::read(path)(error)),
    }
}
