use windlass_proto::common::v1::{
    CommandAction, NotebookAction, OutputSpec, PipelineAction, PythonAction, ResourceSpec,
    ShellAction, StepNames, StepSpec, StubAction, step_spec::Action,
};

use super::{
    duration,
    flow::{Fan, bare, repeat, retry},
    outputs::{Giver, metrics, outputs},
};
use crate::compile::{
    file::{
        forms::{ResourcesFile, RunFile},
        types::StepFile,
    },
    report::Report,
    yaml::{Place, Tree},
};

/// A step of the file.
pub(super) fn spec(
    name: String,
    mut step: StepFile,
    report: &mut Report<'_>,
    tree: &Tree,
) -> StepSpec {
    let action = action(&name, &mut step, report, tree);
    let giver = match &action {
        Some(Action::Python(_)) => Giver::Python,
        Some(Action::Pipeline(_)) => Giver::Pipeline,
        Some(_) | None => Giver::Other,
    };
    let outputs = match step.out {
        None if giver == Giver::Python => {
            vec![OutputSpec { name: "result".to_owned(), ..OutputSpec::default() }]
        }
        None => vec![],
        Some(out) => outputs(out, giver),
    };
    let place = |key: &str| place_of(tree, &name, key);
    if step.foreach.is_some() && step.matrix.is_some() {
        report.at(place("matrix"), "a step has `foreach` or `matrix`, not both", "keep one");
    }
    let has_items = step.foreach.is_some() || step.matrix.is_some();
    let beside = [
        ("as", step.item.is_some() && step.foreach.is_none()),
        ("max_parallel", step.max_parallel.is_some() && !has_items),
        ("reduce", step.reduce.is_some() && !has_items),
    ];
    for (key, _) in beside.into_iter().filter(|(_, alone)| *alone) {
        let message = format!("`{key}` says something only beside `foreach`");
        report.at(place(key), message, "remove it, or say what the step is run for each of");
    }
    if step.max_parallel == Some(0) {
        report.at(place("max_parallel"), "`max_parallel` must be at least 1, got 0", "");
    }
    if step.retry.as_ref().is_some_and(|retry| retry.on.as_ref().is_some_and(Vec::is_empty)) {
        let help = "remove `on`, or name ends that are tried again";
        report.at(place("retry"), "the retry can never come: `on` names no end", help);
    }
    let metrics_given = step.metrics.is_some();
    let with = step.with.unwrap_or_default().0.into_iter();
    let env = step.env.unwrap_or_default().0.into_iter();
    let fan = Fan {
        foreach: step.foreach,
        item: step.item,
        matrix: step.matrix,
        max_parallel: step.max_parallel,
        reduce: step.reduce,
    };
    StepSpec {
        name,
        action,
        needs: step.needs.map(|names| StepNames { names }),
        with_json: with.map(|(name, value)| (name, value.to_string())).collect(),
        outputs,
        metrics: step.metrics.map(metrics).unwrap_or_default(),
        metrics_given,
        retry: step.retry.map(retry),
        timeout: step.timeout.map(duration),
        env: env.map(|(name, value)| (name, value.0)).collect(),
        resources: step.resources.map(resources),
        idempotent: step.idempotent.unwrap_or_default(),
        when: step.when.map(|when| bare(&when.0)).unwrap_or_default(),
        foreach: fan.spec(),
        r#loop: step.repeat.map(repeat),
        on_failure: step.on_failure.unwrap_or_default(),
        continue_on_error: step.continue_on_error.unwrap_or_default(),
        secrets: step.secrets.unwrap_or_default(),
    }
}

fn place_of(tree: &Tree, step: &str, key: &str) -> Place {
    let entry = tree.entry("steps").and_then(|steps| steps.value.entry(step));
    entry.and_then(|entry| entry.value.entry(key)).map(|entry| entry.place).unwrap_or_default()
}

fn resources(resources: ResourcesFile) -> ResourceSpec {
    ResourceSpec {
        cpu_millis: resources.cpu.map_or(0, |cpu| cpu.0),
        memory_bytes: resources.memory.map_or(0, |memory| memory.0),
        gpu: resources.gpu.unwrap_or_default(),
        named: resources.named.into_iter().collect(),
    }
}

/// What the step does, where it says it once.
fn action(name: &str, step: &mut StepFile, report: &mut Report<'_>, tree: &Tree) -> Option<Action> {
    if step.stub == Some(false) {
        let help = "remove it";
        report.at(place_of(tree, name, "stub"), "`stub` is either true or not there", help);
    }
    let argv = step.script.take().map(|text| {
        shlex::split(&text).unwrap_or_else(|| {
            let place = place_of(tree, name, "script");
            report.at(place, "a quote of the command is not closed", "");
            vec![text]
        })
    });
    let python = step.python.take().map(|target| Action::Python(PythonAction { target }));
    let run = step.run.take().map(|run| match run {
        RunFile::Text(script) => Action::Run(ShellAction { script }),
        RunFile::Words(argv) => Action::Command(CommandAction { argv }),
    });
    let notebook = step.notebook.take().map(|path| Action::Notebook(NotebookAction { path }));
    let pipeline = step.pipeline.take().map(|path| Action::Pipeline(PipelineAction { path }));
    let actions = [
        ("python", python),
        ("run", run),
        ("script", argv.map(|argv| Action::Script(CommandAction { argv }))),
        ("notebook", notebook),
        ("pipeline", pipeline),
        ("stub", step.stub.map(|_| Action::Stub(StubAction {}))),
    ];
    let given = actions.into_iter().filter_map(|(key, action)| Some((key, action?)));
    let mut given: Vec<_> = given.collect();
    if given.len() > 1 {
        let names: Vec<_> = given.iter().map(|(key, _)| format!("`{key}`")).collect();
        let message = format!("step `{name}` has more than one action: {}", names.join(" and "));
        let entry = tree.entry("steps").and_then(|steps| steps.value.entry(name));
        let place = entry.map(|entry| entry.place).unwrap_or_default();
        report.at(place, message, "keep one, or make two steps");
    }
    if given.is_empty() { None } else { Some(given.remove(0).1) }
}
