use std::{
    fs,
    io::{self, Read},
    os::fd::OwnedFd,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use prost::bytes::Bytes;
use tokio::{
    io::AsyncReadExt,
    net::unix::pipe::Receiver,
    time::{Instant, sleep, timeout_at},
};
use windlass_proto::common::v1::{SecretSpec, secret_spec::From};

use super::dotenv;
use crate::{config::Config, error::Problem};

/// Largest secret, in bytes.
const MAX_SECRET: u64 = 64 << 10;

/// Largest dotenv file, in bytes.
const MAX_DOTENV: u64 = 1 << 20;

/// How long a command that gives a secret may take; it may ask a person for a password.
const COMMAND_LIMIT: Duration = Duration::from_secs(60);

/// Pause between two looks whether a command that closed its output has ended.
const LOOK: Duration = Duration::from_millis(5);

/// The environment variable that a secret is taken from.
pub(super) fn variable(secret: &SecretSpec) -> Option<&str> {
    match &secret.from {
        Some(From::Env(name)) => Some(name),
        None => Some(&secret.name),
        Some(From::Dotenv(_) | From::File(_) | From::Command(_)) => None,
    }
}

/// The value of a secret, or what is wrong with the place it is said to be in.
pub(super) async fn look(
    config: &Config,
    root: &Path,
    secret: &SecretSpec,
) -> Result<Bytes, Problem> {
    let name = &secret.name;
    let value = match &secret.from {
        None | Some(From::Env(_)) => of_variable(config, name, variable(secret).unwrap_or(name))?,
        Some(From::Dotenv(path)) => of_dotenv(root, name, path)?,
        Some(From::File(path)) => of_file(root, name, path)?,
        Some(From::Command(command)) => of_command(config, root, name, command).await?,
    };
    if value.is_empty() {
        return Err(missing(name, "what was found there is empty", ""));
    }
    Ok(value.into())
}

fn of_variable(config: &Config, name: &str, variable: &str) -> Result<Vec<u8>, Problem> {
    let value = config.var(variable).map(|value| value.as_encoded_bytes().to_vec());
    value.ok_or_else(|| {
        let help = format!(
            "export {variable}, or say in the pipeline where it is: \
             secrets: [{{name: {name}, from: {{dotenv: .env}}}}] (or file, command)"
        );
        missing(name, &format!("the environment variable {variable} is not set"), &help)
    })
}

fn of_dotenv(root: &Path, name: &str, path: &str) -> Result<Vec<u8>, Problem> {
    let bytes = read(root, path, MAX_DOTENV).map_err(|why| missing(name, &why, ""))?;
    let text = String::from_utf8(bytes)
        .map_err(|_| missing(name, &format!("{path} is not UTF-8 text"), ""))?;
    match dotenv::lookup(&text, name) {
        Ok(Some(value)) => Ok(value.into_bytes()),
        Ok(None) => Err(missing(name, &format!("{path} has no line {name}=…"), "")),
        Err(fault) => Err(Problem {
            path: path.to_owned(),
            line: fault.line,
            column: 1,
            message: format!("no value for the secret `{name}`: {}", fault.message),
            help: String::new(),
        }),
    }
}

fn of_file(root: &Path, name: &str, path: &str) -> Result<Vec<u8>, Problem> {
    let value = read(root, path, MAX_SECRET).map_err(|why| missing(name, &why, ""))?;
    Ok(without_line_break(value))
}

async fn of_command(
    config: &Config,
    root: &Path,
    name: &str,
    command: &str,
) -> Result<Vec<u8>, Problem> {
    let why = |why: String| missing(name, &format!("the command `{command}` {why}"), "");
    let failed = |error: io::Error| why(format!("cannot be run: {error}"));
    let stdin = if config.stdin_terminal { Stdio::inherit() } else { Stdio::null() };
    let mut child = Command::new("sh")
        .arg("-c")
        .arg(command)
        .current_dir(root)
        .env_clear()
        .envs(&config.env)
        .stdin(stdin)
        .stdout(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let ended = output_of(&mut child).await;
    if !matches!(ended, Ok(Some(_))) {
        // Late, or more than it may be: either way nobody waits for the rest.
        child.kill().and_then(|()| child.wait()).map_err(failed)?;
    }
    let (value, status) = ended.map_err(failed)?.ok_or_else(|| {
        let secs = COMMAND_LIMIT.as_secs();
        why(format!("took longer than {secs} s, or printed more than {MAX_SECRET} bytes"))
    })?;
    match status.code() {
        Some(0) => Ok(without_line_break(value)),
        Some(code) => Err(why(format!("ended with exit code {code}"))),
        None => Err(why("was ended by a signal".into())),
    }
}

/// What a command printed and how it ended; `None` where it went beyond a bound.
async fn output_of(child: &mut Child) -> io::Result<Option<(Vec<u8>, std::process::ExitStatus)>> {
    let deadline = Instant::now() + COMMAND_LIMIT;
    let stdout = child.stdout.take().ok_or_else(|| io::Error::other("it has no output"))?;
    let mut stdout = Receiver::from_owned_fd(OwnedFd::from(stdout))?.take(MAX_SECRET + 1);
    let mut bytes = Vec::new();
    let Ok(read) = timeout_at(deadline, stdout.read_to_end(&mut bytes)).await else {
        return Ok(None);
    };
    if u64::try_from(read?).is_ok_and(|read| read > MAX_SECRET) {
        return Ok(None);
    }
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some((bytes, status)));
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        sleep(LOOK).await;
    }
}

/// The content of a file of at most `limit` bytes, else why there is none.
fn read(root: &Path, path: &str, limit: u64) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let file = fs::File::open(root.join(path));
    let read = file.and_then(|file| file.take(limit + 1).read_to_end(&mut bytes));
    match read {
        Ok(read) if u64::try_from(read).is_ok_and(|read| read > limit) => {
            Err(format!("{path} has more than {limit} bytes"))
        }
        Ok(_) => Ok(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(format!("there is no file {path} in {}", root.display()))
        }
        Err(error) => Err(format!("{path} cannot be read: {error}")),
    }
}

fn without_line_break(mut value: Vec<u8>) -> Vec<u8> {
    if value.ends_with(b"\n") {
        value.pop();
        if value.ends_with(b"\r") {
            value.pop();
        }
    }
    value
}

fn missing(name: &str, why: &str, help: &str) -> Problem {
    Problem {
        message: format!("no value for the secret `{name}`: {why}"),
        help: help.to_owned(),
        ..Problem::default()
    }
}
