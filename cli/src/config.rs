use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    path::PathBuf,
};

use windlass_core::Home;

/// What the process was started with. Made once, by `main`.
pub(crate) struct Config {
    /// Environment variables of the caller.
    pub(crate) env: BTreeMap<OsString, OsString>,
    pub(crate) args: Vec<OsString>,
    pub(crate) cwd: PathBuf,
    /// This executable, which is daemon and worker too.
    pub(crate) exe: PathBuf,
    pub(crate) home: Home,
    pub(crate) stdin_terminal: bool,
    pub(crate) stdout: Surface,
    pub(crate) stderr: Surface,
    /// When the command began, by the wall clock.
    pub(crate) now: jiff::Timestamp,
}

/// One of the two places that a command writes to.
#[derive(Clone, Copy)]
pub(crate) struct Surface {
    pub(crate) terminal: bool,
    pub(crate) colour: bool,
    /// Columns of the terminal; where there is none, what pages are laid out for.
    pub(crate) width: usize,
    /// Lines of the terminal; where there is none, those of an old one.
    pub(crate) height: usize,
}

/// Lines of a terminal that does not say how many it has.
const PAGE_HEIGHT: usize = 24;

/// Columns of a page that no terminal limits.
pub(crate) const PAGE_WIDTH: usize = 100;

impl Config {
    /// The variable of that name, unless it is unset or empty.
    pub(crate) fn var(&self, name: &str) -> Option<&OsStr> {
        variable(&self.env, name)
    }

    /// Who runs this.
    pub(crate) fn user(&self) -> String {
        let named = self.var("USER").or_else(|| self.var("LOGNAME"));
        named.map_or_else(account, |name| name.to_string_lossy().into_owned())
    }

    /// Name of this machine.
    pub(crate) fn host(&self) -> String {
        rustix::system::uname().nodename().to_string_lossy().into_owned()
    }

    /// True where a person watches and can answer.
    pub(crate) fn interactive(&self) -> bool {
        self.stdin_terminal && self.stderr.terminal
    }
}

impl Surface {
    /// Looks at an open stream; `NO_COLOR` and `CLICOLOR_FORCE` count unless empty.
    pub(crate) fn of(stream: impl rustix::fd::AsFd, env: &BTreeMap<OsString, OsString>) -> Self {
        let terminal = rustix::termios::isatty(&stream);
        let size = rustix::termios::tcgetwinsize(&stream);
        let (columns, lines) = size.map_or((0, 0), |size| (size.ws_col, size.ws_row));
        let height = if terminal && lines > 0 { usize::from(lines) } else { PAGE_HEIGHT };
        let width = if terminal && columns > 0 { usize::from(columns) } else { PAGE_WIDTH };
        Self { terminal, colour: colour(terminal, env), width, height }
    }

    /// A file or pipe.
    #[cfg(test)]
    pub(crate) const PLAIN: Self =
        Self { terminal: false, colour: false, width: PAGE_WIDTH, height: PAGE_HEIGHT };
}

/// The name of our account, where no variable says it; its number where it has none.
fn account() -> String {
    let number = rustix::process::getuid().as_raw().to_string();
    let accounts = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = accounts.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == number).then(|| name.to_owned())
    });
    name.unwrap_or(number)
}

fn colour(terminal: bool, env: &BTreeMap<OsString, OsString>) -> bool {
    let forced = variable(env, "CLICOLOR_FORCE").is_some_and(|value| value != "0");
    let dumb = variable(env, "TERM").is_some_and(|term| term == "dumb");
    variable(env, "NO_COLOR").is_none() && (forced || (terminal && !dumb))
}

fn variable<'a>(env: &'a BTreeMap<OsString, OsString>, name: &str) -> Option<&'a OsStr> {
    env.get(OsStr::new(name)).map(OsString::as_os_str).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::colour;

    #[test]
    fn colour_follows_the_conventions() {
        let env =
            |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| (k.into(), v.into())).collect();
        for (terminal, pairs, expected) in [
            (true, &[][..], true),
            (false, &[][..], false),
            (true, &[("NO_COLOR", "1")][..], false),
            (true, &[("NO_COLOR", "")][..], true),
            (false, &[("NO_COLOR", "")][..], false),
            (false, &[("CLICOLOR_FORCE", "1")][..], true),
            (false, &[("CLICOLOR_FORCE", "0")][..], false),
            (true, &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")][..], false),
            (true, &[("TERM", "dumb")][..], false),
        ] {
            assert_eq!(colour(terminal, &env(pairs)), expected, "{terminal} {pairs:?}");
        }
    }
}
