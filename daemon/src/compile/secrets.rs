use std::collections::HashMap;

use prost::bytes::Bytes;
use windlass_core::nearest;
use windlass_proto::{
    api::v1::PipelineError,
    common::v1::{SecretSpec, secret_spec::From},
};

/// Longest value of a secret, in bytes.
const MAX_SECRET: usize = 64 << 10;

/// What is wrong with the secrets that were given for a run: every declared one must be there, and
/// no other. `params` are the names of parameters, which may be secret as well.
pub(super) fn check(
    declared: &[SecretSpec],
    params: &[String],
    given: &HashMap<String, Bytes>,
) -> Vec<PipelineError> {
    let error = |message: String, help: String| PipelineError {
        path: "secrets".to_owned(),
        message,
        help,
        ..PipelineError::default()
    };
    let mut mistakes = vec![];
    for secret in declared {
        let name = &secret.name;
        match given.get(name) {
            None => {
                let (place, mend) = looked_for(secret);
                mistakes.push(error(format!("secret `{name}` has no value: {place}"), mend));
            }
            Some(value) if value.is_empty() || value.len() > MAX_SECRET || value.contains(&0) => {
                let message = format!(
                    "the value of secret `{name}` is empty, longer than {MAX_SECRET} bytes, or has \
                     a NUL in it"
                );
                mistakes.push(error(message, String::new()));
            }
            Some(_) => {}
        }
    }
    let known = || declared.iter().map(|secret| secret.name.as_str());
    let mut unknown: Vec<&String> = given.keys().collect();
    unknown.retain(|name| !known().any(|known| known == *name) && !params.contains(name));
    unknown.sort_unstable();
    for name in unknown {
        let message = format!("the pipeline declares no secret `{}`", name.escape_debug());
        let help = match nearest(name, known()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "declare it under the pipeline's `secrets`".to_owned(),
        };
        mistakes.push(error(message, help));
    }
    mistakes
}

/// Where a secret is looked for, and what would mend that it is not there.
fn looked_for(secret: &SecretSpec) -> (String, String) {
    let name = &secret.name;
    match &secret.from {
        None => (
            format!("the environment has no variable {name}"),
            format!(
                "export {name}=…, or say where it is: `{{name: {name}, from: {{dotenv: .env}}}}`"
            ),
        ),
        Some(From::Env(variable)) => {
            (format!("the environment has no variable {variable}"), format!("export {variable}=…"))
        }
        Some(From::Dotenv(path)) => {
            (format!("`{path}` does not have it"), format!("add a line {name}=… to `{path}`"))
        }
        Some(From::File(path)) => (format!("the file `{path}` could not be read"), String::new()),
        Some(From::Command(command)) => {
            (format!("the command `{command}` gave none"), String::new())
        }
    }
}
