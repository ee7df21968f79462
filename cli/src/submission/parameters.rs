use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use windlass_proto::{
    MAX_GIVEN_BYTES,
    api::v1::{NamedText, ParamValues},
};

use crate::{config::Config, error::CliError};

/// Prefix of the variables that set parameters.
pub(crate) const PARAM_VARIABLE: &str = "WINDLASS_PARAM_";

/// What stands for stdin where a file is named, and how it is called in messages.
const STDIN: (&str, &str) = ("-", "stdin");

/// Where parameters come from.
#[derive(clap::Args, Clone, Default)]
pub(crate) struct Parameters {
    /// Set a parameter, a part of one (`KEY.SUB=…`), an argument, or an argument of a call inside
    /// (`FUNCTION.ARGUMENT=…`); JSON, else text
    #[arg(short = 'p', long = "param", value_name = "NAME=VALUE")]
    values: Vec<String>,
    /// Take parameters from a YAML, JSON, TOML or dotenv file, or from stdin (`-`); may be given
    /// several times, the last one wins
    #[arg(long = "params", value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Refuse values that -p, the environment and --params give differently
    #[arg(long)]
    strict: bool,
}

impl Parameters {
    /// What `-p` gives.
    pub(crate) fn cli(&self) -> Result<Vec<NamedText>, CliError> {
        self.values.iter().map(|text| pair(text, "-p")).collect()
    }

    /// Everything that sets parameters: options, environment, files.
    pub(crate) fn read(&self, config: &Config) -> Result<ParamValues, CliError> {
        let text = |(name, value): (&std::ffi::OsString, &std::ffi::OsString)| {
            let name = name.to_str()?.strip_prefix(PARAM_VARIABLE)?.to_owned();
            Some(NamedText { name, text: value.to_str()?.to_owned() })
        };
        let env = config.env.iter().filter_map(text).collect();
        let files = read_files(&config.cwd, &self.files, "--params", &mut io::stdin())?;
        Ok(ParamValues { cli: self.cli()?, env, files, strict: self.strict })
    }
}

/// Reads `NAME=VALUE`.
pub(crate) fn pair(text: &str, option: &str) -> Result<NamedText, CliError> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => {
            Ok(NamedText { name: name.trim().to_owned(), text: value.to_owned() })
        }
        _ => Err(CliError::refused(format!("{option} {text}: write {option} NAME=VALUE"))),
    }
}

/// The files that an option names, as names and texts.
pub(super) fn read_files(
    cwd: &Path,
    paths: &[PathBuf],
    option: &str,
    stdin: &mut dyn Read,
) -> Result<Vec<NamedText>, CliError> {
    let of_stdin = |path: &&PathBuf| path.as_os_str() == STDIN.0;
    if paths.iter().filter(of_stdin).count() > 1 {
        return Err(CliError::refused(format!("{option} -: stdin can be read only once")));
    }
    let read = |path: &PathBuf| {
        if of_stdin(&path) {
            let text = text_of(stdin).map_err(|error| unreadable(STDIN.1, &error))?;
            return Ok(NamedText { name: STDIN.1.into(), text });
        }
        let name = path.display().to_string();
        let file = fs::File::open(cwd.join(path)).and_then(|mut file| text_of(&mut file));
        file.map(|text| NamedText { name: name.clone(), text })
            .map_err(|error| unreadable(&name, &error))
    };
    paths.iter().map(read).collect()
}

fn text_of(from: &mut dyn Read) -> io::Result<String> {
    let mut text = String::new();
    // One byte more than may be sent tells that there is more.
    from.take(MAX_GIVEN_BYTES + 1).read_to_string(&mut text)?;
    Ok(text)
}

/// Refuses more than the daemon takes in one request, naming the file that is too much.
pub(super) fn check_given<'a>(
    files: impl IntoIterator<Item = &'a NamedText>,
) -> Result<(), CliError> {
    let mut total = 0;
    for file in files {
        total += file.text.len() as u64;
        if total > MAX_GIVEN_BYTES {
            let limit = MAX_GIVEN_BYTES >> 20;
            return Err(CliError::refused_with(
                format!(
                    "{} is too large: parameters and mocks have at most {limit} MiB",
                    file.name
                ),
                "put large data into a file of the project, and give its path as a parameter",
            ));
        }
    }
    Ok(())
}

fn unreadable(name: &str, error: &io::Error) -> CliError {
    CliError::refused(match error.kind() {
        io::ErrorKind::NotFound => format!("no file {name}"),
        io::ErrorKind::InvalidData => format!("{name} is not UTF-8 text"),
        _ => format!("cannot read {name}: {error}"),
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{pair, read_files};
    use crate::error::CliError;

    #[test]
    fn pairs_are_split_at_the_first_sign() {
        let found = pair("a.b=c=d", "-p").unwrap();
        assert_eq!((found.name.as_str(), found.text.as_str()), ("a.b", "c=d"));
        assert_eq!(pair("a=", "-p").unwrap().text, "");
        assert!(pair("a", "-p").is_err() && pair("=1", "-p").is_err());
    }

    #[test]
    fn stdin_is_a_file_once() {
        let read = |paths: &[&str], mut stdin: &[u8]| {
            let paths: Vec<_> = paths.iter().map(Into::into).collect();
            read_files(Path::new("/"), &paths, "--params", &mut stdin)
        };
        let found = read(&["-"], b"{a: 1}").unwrap();
        assert_eq!((found[0].name.as_str(), found[0].text.as_str()), ("stdin", "{a: 1}"));
        let message = |error| match error {
            CliError::Refused(problems) => problems[0].message.clone(),
            other => other.to_string(),
        };
        let twice = read(&["-", "-"], b"").unwrap_err();
        assert_eq!(message(twice), "--params -: stdin can be read only once");
        assert_eq!(message(read(&["-"], b"\xff").unwrap_err()), "stdin is not UTF-8 text");
        assert_eq!(message(read(&["no/such"], b"").unwrap_err()), "no file no/such");
    }
}
