use windlass_core::Json;
use windlass_proto::common::v1::{PipelineSpec, step_spec::Action};

use super::safe_path;
use crate::compile::{
    python::Target,
    report::{Part, Report},
};

/// Longest text of a shell step, in bytes.
const MAX_SCRIPT: usize = 1 << 20;

/// Most words of a command.
const MAX_ARGV: usize = 10_000;

pub(super) fn check(spec: &PipelineSpec, i: usize, report: &mut Report<'_>) {
    let step = &spec.steps[i];
    match &step.action {
        None => {
            let message = format!("step `{}` does not say what it does", step.name);
            let help = "give it one of `python`, `run`, `script`, `notebook`, `pipeline`, `stub`"
                .to_owned();
            report.key(spec, &[Part::Step(i)], (message, help));
        }
        Some(Action::Python(python)) => {
            if let Err(words) = Target::parse(&python.target) {
                report.value(spec, &[Part::Step(i), Part::Key("python")], words);
            }
        }
        Some(Action::Run(run)) => check_run(spec, i, &run.script, report),
        Some(Action::Script(script)) => check_script(spec, i, &script.argv, report),
        Some(Action::Command(command)) => {
            check_argv(spec, &[Part::Step(i), Part::Key("run")], &command.argv, report);
        }
        Some(Action::Notebook(notebook)) => {
            check_path(spec, i, ("notebook", ".ipynb"), &notebook.path, report);
        }
        Some(Action::Pipeline(inner)) => {
            check_path(spec, i, ("pipeline", ""), &inner.path, report);
        }
        Some(Action::Stub(_)) => {}
    }
    for (name, json) in &step.with_json {
        let parts = [Part::Step(i), Part::Key("with"), Part::Key(name)];
        if Json::parse(json).is_none() {
            let message = format!("`{}` is not JSON", json.escape_debug());
            report.value(spec, &parts, (message, String::new()));
        }
    }
    for (name, value) in &step.env {
        if value.contains("${{") {
            let parts = [Part::Step(i), Part::Key("env"), Part::Key(name)];
            let message = "`${{ … }}` is not evaluated in `env`".to_owned();
            let help = "put it under `with`: the step gets it as $WINDLASS_PARAM_<name>".to_owned();
            report.value(spec, &parts, (message, help));
        }
    }
}

fn check_path(
    spec: &PipelineSpec,
    i: usize,
    (key, ending): (&str, &str),
    path: &str,
    report: &mut Report<'_>,
) {
    let parts = [Part::Step(i), Part::Key(key)];
    if let Err(words) = safe_path(path) {
        report.value(spec, &parts, words);
    } else if !path.ends_with(ending) {
        let message = format!("`{}` is no {key}", path.escape_debug());
        report.value(spec, &parts, (message, format!("name a file with the ending {ending}")));
    }
}

fn check_script(spec: &PipelineSpec, i: usize, argv: &[String], report: &mut Report<'_>) {
    let parts = [Part::Step(i), Part::Key("script")];
    check_argv(spec, &parts, argv, report);
    if let Some(Err(words)) = argv.first().map(|file| safe_path(file)) {
        report.value(spec, &parts, words);
    }
    if argv.iter().any(|word| word.contains("${{")) {
        let message = "`${{ … }}` is not supported in a command".to_owned();
        let help = "read $WINDLASS_PARAM_<name> in the script".to_owned();
        report.value(spec, &parts, (message, help));
    }
}

fn check_argv(spec: &PipelineSpec, parts: &[Part<'_>], argv: &[String], report: &mut Report<'_>) {
    let message = if argv.first().is_none_or(String::is_empty) {
        "there is no command"
    } else if argv.len() > MAX_ARGV {
        "the command has more than 10,000 words"
    } else if argv.iter().any(|word| word.contains('\0')) {
        "a word of the command has a NUL in it"
    } else {
        return;
    };
    report.value(spec, parts, (message.to_owned(), String::new()));
}

fn check_run(spec: &PipelineSpec, i: usize, script: &str, report: &mut Report<'_>) {
    let parts = [Part::Step(i), Part::Key("run")];
    if script.len() > MAX_SCRIPT {
        let message = format!("the text has {} bytes, more than {MAX_SCRIPT}", script.len());
        let help = "put it into a file and name that under `script`".to_owned();
        report.value(spec, &parts, (message, help));
    }
    if script.contains('\0') {
        report.value(spec, &parts, ("the text has a NUL in it".to_owned(), String::new()));
    }
    if let Some((_, rest)) = script.split_once("${{") {
        let inner = rest.split("}}").next().unwrap_or_default().trim();
        let message = "`${{` is never spliced into shell text".to_owned();
        report.value(spec, &parts, (message, format!("use {} instead", variable_for(inner))));
    }
}

/// What a shell reads in place of an expression.
fn variable_for(expression: &str) -> String {
    let is_word = |c: &char| c.is_ascii_alphanumeric() || *c == '_';
    let param: Option<String> =
        expression.strip_prefix("params.").map(|rest| rest.chars().take_while(is_word).collect());
    match param {
        Some(name) if !name.is_empty() => format!("\"$WINDLASS_PARAM_{name}\""),
        _ if expression.contains("output") => "the files in \"$WINDLASS_INPUTS\"".to_owned(),
        _ => "\"$WINDLASS_PARAM_<name>\", or the files in \"$WINDLASS_INPUTS\",".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::variable_for;

    #[test]
    fn expressions_have_a_variable_in_their_place() {
        assert_eq!(variable_for("params.x"), "\"$WINDLASS_PARAM_x\"");
        assert_eq!(variable_for("params.rate * 2"), "\"$WINDLASS_PARAM_rate\"");
        assert!(variable_for("steps.a.outputs.b").contains("$WINDLASS_INPUTS"));
        assert!(variable_for("whatever").contains("$WINDLASS_PARAM_<name>"));
    }
}
