//! What a run may be of.
use windlass_proto::{
    api::v1::{RunSource, run_source::Target},
    common::v1::{
        CommandAction, EnvironmentSpec, ParamSpec, PipelineSpec, PythonAction, ShellAction,
        StepNames, StepSpec, environment_spec::Kind, step_spec::Action,
    },
};

use super::{Files, cli, function, plan, refused, source, words};
use crate::compile::check;

fn shell(name: &str) -> StepSpec {
    let action = Some(Action::Run(ShellAction { script: "true".into() }));
    StepSpec { name: name.into(), action, ..StepSpec::default() }
}

#[test]
fn a_function_and_a_command_are_pipelines_of_one_step() {
    let files = Files::of(&[("f.py", "def train(n=1): ...\n")]);
    let done = plan(&function("f:train"), &cli(&[("n", "2")]), &files);
    assert_eq!(done.spec.unwrap().name, "train");
    assert_eq!((done.steps[0].path.as_str(), done.params.len()), ("train", 1));
    let argv = ["/usr/bin/python3", "train.py", "--lr", "0.1"].map(str::to_owned).to_vec();
    let command = source(Target::Command(CommandAction { argv }));
    let done = plan(&command, &cli(&[]), &files);
    assert_eq!(done.steps[0].path, "python3");
    assert!(words(&refused(&command, &cli(&[("x", "1")]), &files)).contains("`x`"));
    let empty = source(Target::Command(CommandAction::default()));
    assert!(words(&refused(&empty, &cli(&[]), &files)).contains("no command"));
    assert_eq!(check(&RunSource::default(), &files).len(), 1);
}

#[test]
fn a_spec_is_checked_as_a_file_is_and_places_are_fields() {
    let python = |target: &str| Some(Action::Python(PythonAction { target: target.into() }));
    let spec = PipelineSpec {
        name: "sent".into(),
        params: vec![ParamSpec { name: "n".into(), r#type: "itn".into(), ..ParamSpec::default() }],
        environment: Some(EnvironmentSpec { kind: Some(Kind::Requirements("../r".into())) }),
        files: vec!["ok".into(), "/x".into()],
        steps: vec![
            shell("a"),
            StepSpec {
                needs: Some(StepNames { names: vec!["a".into(), "bb".into()] }),
                ..shell("b")
            },
            StepSpec { action: python("f:user"), ..shell("c") },
            StepSpec { action: None, ..shell("a") },
            StepSpec { with_json: [("x".to_owned(), "{".to_owned())].into(), ..shell("d") },
        ],
        ..PipelineSpec::default()
    };
    let files = Files::of(&[("f.py", "def use(): ...\n")]);
    let errors = check(&source(Target::Spec(spec)), &files);
    let mut paths: Vec<&str> = errors.iter().map(|error| error.path.as_str()).collect();
    paths.sort_unstable();
    let wanted = [
        "env.requirements",
        "files[1]",
        "params[0].type",
        "steps[1].needs[1]",
        "steps[2].python",
        "steps[3]",
        "steps[3]",
        "steps[4].with.x",
    ];
    assert_eq!(paths, wanted, "{}", words(&errors));
    let good = PipelineSpec {
        name: "sent".into(),
        steps: vec![shell("a"), shell("b")],
        ..PipelineSpec::default()
    };
    assert_eq!(plan(&source(Target::Spec(good)), &cli(&[]), &files).steps[1].needs, [0]);
}
