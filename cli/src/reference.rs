//! How people name runs and steps on the command line.

use windlass_core::nearest;
use windlass_proto::api::v1;

use crate::{
    connect::{Link, insist},
    error::CliError,
};

/// `RUN` or `RUN/STEP`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reference {
    pub(crate) run: String,
    pub(crate) step: Option<String>,
}

impl std::str::FromStr for Reference {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (run, step) = match text.split_once('/') {
            Some((run, step)) => (run, Some(step.to_owned())),
            None => (text, None),
        };
        if run.is_empty() || step.as_ref().is_some_and(String::is_empty) {
            return Err("write RUN or RUN/STEP".into());
        }
        Ok(Self { run: run.to_owned(), step })
    }
}

/// A run with everything that is recorded of it.
pub(crate) async fn run(link: &Link, name: &str) -> Result<v1::Run, CliError> {
    get(link, name, false).await?.ok_or_else(|| CliError::refused(format!("no run `{name}`")))
}

/// A run without its steps.
pub(crate) async fn run_alone(link: &Link, name: &str) -> Result<v1::Run, CliError> {
    get(link, name, true).await?.ok_or_else(|| CliError::refused(format!("no run `{name}`")))
}

/// Reading may be repeated, so a daemon that goes away in between is waited for.
async fn get(link: &Link, name: &str, without_steps: bool) -> Result<Option<v1::Run>, CliError> {
    let request = v1::GetRunRequest { run: name.to_owned(), without_steps };
    let get = || {
        let (mut runs, request) = (link.runs(), request.clone());
        async move { runs.get_run(request).await }
    };
    Ok(insist(link, get).await?.run)
}

/// The step of that name.
pub(crate) fn step<'r>(run: &'r v1::Run, name: &str) -> Result<&'r v1::Step, CliError> {
    run.steps.iter().find(|step| step.step == name).ok_or_else(|| {
        let names = run.steps.iter().map(|step| step.step.as_str());
        unknown(&format!("run {} has no step `{name}`", run.name), name, names)
    })
}

/// The steps that a reference means: one, or all.
pub(crate) fn steps<'r>(
    run: &'r v1::Run,
    reference: &Reference,
) -> Result<Vec<&'r v1::Step>, CliError> {
    match &reference.step {
        Some(name) => Ok(vec![step(run, name)?]),
        None => Ok(run.steps.iter().collect()),
    }
}

/// Most names that a refusal lists.
const MAX_LISTED: usize = 10;

/// A refusal that names the nearest thing there is, or all of the few.
pub(crate) fn unknown<'a>(
    message: &str,
    name: &str,
    there: impl Iterator<Item = &'a str> + Clone,
) -> CliError {
    if let Some(near) = nearest(name, there.clone()) {
        return CliError::refused_with(message, format!("did you mean `{near}`?"));
    }
    let listed: Vec<_> = there.clone().take(MAX_LISTED).collect();
    if listed.is_empty() {
        return CliError::refused(message);
    }
    let more = if there.count() > MAX_LISTED { ", …" } else { "" };
    CliError::refused_with(message, format!("there are: {}{more}", listed.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::{CliError, Reference, step, unknown};
    use windlass_proto::api::v1;

    #[test]
    fn references_are_read() {
        let parse = |text: &str| text.parse::<Reference>();
        let reference = |run: &str, step: Option<&str>| Reference {
            run: run.into(),
            step: step.map(Into::into),
        };
        assert_eq!(parse("@last").unwrap(), reference("@last", None));
        assert_eq!(parse("a-b/outer/train[2]").unwrap(), reference("a-b", Some("outer/train[2]")));
        for bad in ["", "/", "/x", "x/"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_not_there_is_named_with_the_nearest() {
        let steps = vec![v1::Step { step: "train".into(), ..Default::default() }];
        let run = v1::Run { name: "calm-fox".into(), steps, ..Default::default() };
        assert_eq!(step(&run, "train").unwrap().step, "train");
        let Err(CliError::Refused(problems)) = step(&run, "trian") else { panic!() };
        assert_eq!(problems[0].message, "run calm-fox has no step `trian`");
        assert_eq!(problems[0].help, "did you mean `train`?");
        let many: Vec<_> = (0..20).map(|n| format!("step{n}xxxxxxx")).collect();
        let error = unknown("no", "q", many.iter().map(String::as_str));
        let CliError::Refused(problems) = error else { panic!() };
        assert!(problems[0].help.ends_with(", …"), "{problems:?}");
    }
}
