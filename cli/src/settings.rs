//! `windlass.toml` of a project, and the user's own `config.toml`.

use std::{collections::BTreeMap, fs, io, ops::Range, path::Path};

use serde::Deserialize;
use windlass_core::nearest;

use crate::{
    config::Config,
    error::{CliError, Problem},
};

/// Name of the file that marks a project's root.
pub(crate) const PROJECT_FILE: &str = "windlass.toml";

/// Largest file that a snapshot takes, unless `files` names it.
const DEFAULT_MAX_FILE_SIZE: u64 = 100 << 20;

/// Profiles that exist without being configured.
const BUILT_IN: [&str; 2] = ["local", "process"];

/// Settings in force for a project.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) max_file_size: u64,
    /// Globs of files that the snapshot takes although `.gitignore` hides them.
    pub(crate) files: Vec<String>,
    /// Executor by profile.
    profiles: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct SettingsFile {
    #[serde(default)]
    capture: Capture,
    #[serde(default)]
    profile: BTreeMap<String, Profile>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Capture {
    max_file_size: Option<Size>,
    files: Option<Vec<String>>,
}

/// The keys of the contract; those of other executors are carried, not understood.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Profile {
    executor: String,
    #[serde(rename = "image")]
    _image: Option<String>,
    #[serde(rename = "base")]
    _base: Option<String>,
    #[serde(rename = "host")]
    _host: Option<String>,
}

/// `1048576` or `"100MiB"`.
struct Size(u64);

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        match toml::Value::deserialize(from)? {
            toml::Value::Integer(bytes) => u64::try_from(bytes).ok(),
            toml::Value::String(text) => parse_size(&text),
            _ => None,
        }
        .map(Size)
        .ok_or_else(|| D::Error::custom("not a size: write bytes, or a text like \"100MiB\""))
    }
}

fn parse_size(text: &str) -> Option<u64> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let factor = match unit.trim() {
        "" | "B" => 1,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

impl Settings {
    /// Reads both files: what the project says wins over what the user says.
    pub(crate) fn load(config: &Config, root: &Path) -> Result<Self, CliError> {
        let base = config.var("XDG_CONFIG_HOME").map(Into::into);
        let base = base.or_else(|| Some(Path::new(config.var("HOME")?).join(".config")));
        let mut user = match base {
            Some(base) => read(&base.join("windlass/config.toml"), None)?,
            None => SettingsFile::default(),
        };
        let project = read(&root.join(PROJECT_FILE), Some(PROJECT_FILE))?;
        user.profile.extend(project.profile);
        let size = project.capture.max_file_size.or(user.capture.max_file_size);
        Ok(Self {
            max_file_size: size.map_or(DEFAULT_MAX_FILE_SIZE, |size| size.0),
            files: project.capture.files.or(user.capture.files).unwrap_or_default(),
            profiles: user.profile.into_iter().map(|(name, p)| (name, p.executor)).collect(),
        })
    }

    /// Names of the profiles there are.
    pub(crate) fn profile_names(&self) -> Vec<String> {
        let built_in = BUILT_IN.iter().map(|name| (*name).to_owned());
        let mut names: Vec<_> = built_in.chain(self.profiles.keys().cloned()).collect();
        names.sort();
        names.dedup();
        names
    }

    /// Sees that a profile exists and can be used.
    pub(crate) fn check_profile(&self, name: &str) -> Result<(), CliError> {
        let executor = self.profiles.get(name).map(String::as_str);
        let executor = executor.or_else(|| BUILT_IN.contains(&name).then_some("process"));
        match executor {
            Some("process") => Ok(()),
            Some(other) => Err(CliError::refused(format!(
                "profile `{name}` wants the executor `{other}`, which this version does not have"
            ))),
            None => {
                let known = BUILT_IN.into_iter().chain(self.profiles.keys().map(String::as_str));
                let known: Vec<_> = known.collect();
                let help = nearest(name, known.iter().copied()).map_or_else(
                    || format!("there are: {}", known.join(", ")),
                    |near| format!("did you mean `{near}`?"),
                );
                Err(CliError::refused_with(format!("no profile `{name}`"), help))
            }
        }
    }
}

fn read(path: &Path, shown: Option<&str>) -> Result<SettingsFile, CliError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(SettingsFile::default()),
        Err(error) => return Err(CliError::io(format!("cannot read {}", path.display()))(error)),
    };
    toml::from_str(&text).map_err(|error| {
        let place = error.span().map(|span| place(&text, &span));
        let shown = shown.map_or_else(|| path.display().to_string(), str::to_owned);
        CliError::Refused(vec![problem(error.message(), shown, place)])
    })
}

fn problem(message: &str, path: String, place: Option<(u32, u32)>) -> Problem {
    let (line, column) = place.unwrap_or_default();
    let mut quoted = message.split('`').skip(1).step_by(2);
    let wrong = quoted.next().unwrap_or_default();
    let known: Vec<_> = quoted.collect();
    let (message, help) = if message.starts_with("unknown field") {
        let help = match nearest(wrong, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known here: {}", known.join(", ")),
        };
        (format!("unknown key `{wrong}`"), help)
    } else {
        (message.trim().to_owned(), String::new())
    };
    Problem { path, line, column, message, help }
}

/// Line and column, from 1, of the start of a span.
fn place(text: &str, span: &Range<usize>) -> (u32, u32) {
    let before = text.get(..span.start).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (u32::try_from(line).unwrap_or(u32::MAX), u32::try_from(column).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::{CliError, parse_size, place, read};

    #[test]
    fn sizes() {
        assert_eq!(parse_size("100MiB"), Some(100 << 20));
        assert_eq!(parse_size("5 MB"), Some(5_000_000));
        for bad in ["", "MiB", "-1", "1 TiBs", "99999999999999999999"] {
            assert_eq!(parse_size(bad), None, "{bad}");
        }
    }

    #[test]
    fn unknown_keys_are_named_with_place_and_mend() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("windlass.toml");
        for (text, line, message, help) in [
            ("[capture]\nmax_file_sise = 1\n", 2, "unknown key `max_file_sise`", "max_file_size"),
            ("[captrue]\n", 1, "unknown key `captrue`", "capture"),
            ("\n[profile.x]\nexecutor = \"process\"\nimag = 1\n", 4, "unknown key `imag`", "image"),
            ("[capture]\nmax_file_size = \"1 furlong\"\n", 2, "not a size", ""),
            ("[capture\n", 1, "", ""),
        ] {
            std::fs::write(&path, text).unwrap();
            let Err(CliError::Refused(problems)) = read(&path, Some("windlass.toml")) else {
                panic!("{text} was read")
            };
            let problem = &problems[0];
            assert_eq!(
                (problem.path.as_str(), problem.line),
                ("windlass.toml", line),
                "{problem:?}"
            );
            assert!(
                problem.message.contains(message) && problem.help.contains(help),
                "{problem:?}"
            );
        }
        assert_eq!(place("ab\ncdé f", &(8..9)), (2, 5));
    }
}
