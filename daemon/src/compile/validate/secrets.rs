use std::collections::HashSet;

use windlass_proto::common::v1::{PipelineSpec, concurrency_spec::WhenFull, secret_spec::From};

use super::{MAX_LISTED, bad_time, is_identifier, safe_path};
use crate::compile::report::{Part, Report};

/// Checks what the top level says besides parameters and steps.
pub(super) fn check(spec: &PipelineSpec, report: &mut Report<'_>) {
    if spec.timeout.as_ref().is_some_and(bad_time) {
        let words = ("a timeout is longer than nothing".to_owned(), String::new());
        report.value(spec, &[Part::Key("timeout")], words);
    }
    if let Some(concurrency) = &spec.concurrency {
        let place = |key| [Part::Key("concurrency"), Part::Key(key)];
        if concurrency.limit == 0 {
            let message = "`limit` must be at least 1, got 0".to_owned();
            report.value(spec, &place("limit"), (message, "no run could ever start".to_owned()));
        }
        if WhenFull::try_from(concurrency.when_full).is_err() {
            let message = "what to do when it is full is not known".to_owned();
            report.value(spec, &place("when_full"), (message, String::new()));
        }
    }
    if spec.secrets.len() > MAX_LISTED {
        let message = format!("more than {MAX_LISTED} secrets");
        report.key(spec, &[Part::Key("secrets")], (message, String::new()));
        return;
    }
    let mut seen = HashSet::new();
    for (i, secret) in spec.secrets.iter().enumerate() {
        let parts = [Part::Key("secrets"), Part::Item(i)];
        let shown = secret.name.escape_debug();
        let mut refuse = |message: String, help: &str| {
            report.value(spec, &parts, (message, help.to_owned()));
        };
        if !is_identifier(&secret.name) || secret.name.starts_with("WINDLASS_") {
            let help = "a letter or `_`, then letters, digits and `_`; not WINDLASS_…";
            refuse(format!("`{shown}` is no name for a secret"), help);
        }
        if !seen.insert(secret.name.as_str()) {
            refuse(format!("two secrets are named `{shown}`"), "remove one");
        }
        if spec.params.iter().any(|param| param.name == secret.name) {
            refuse(format!("`{shown}` is a parameter as well"), "rename one of them");
        }
        match &secret.from {
            Some(From::Dotenv(path)) => {
                if let Err((message, help)) = safe_path(path) {
                    refuse(message, &help);
                }
            }
            Some(From::Env(text) | From::File(text) | From::Command(text))
                if text.is_empty() || text.contains('\0') =>
            {
                refuse(format!("where secret `{shown}` is found is empty or has a NUL in it"), "");
            }
            Some(From::Env(_) | From::File(_) | From::Command(_)) | None => {}
        }
    }
}
