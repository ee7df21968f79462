use std::collections::{HashMap, HashSet};

use windlass_core::{
    Bound, Fallback, Givens, Hint, Json, Kind, Misfit, Slot, Source, StepIndex, Unbound, bind,
};
use windlass_proto::{
    api::v1::PipelineError,
    common::v1::{
        BoundArg, OutputRef, PipelineSpec, PlannedStep, StepSpec, bound_arg::Value,
        step_spec::Action,
    },
};

use crate::compile::{
    Mode,
    overrides::{self, Overrides},
    python::{Callable, Signature},
    report::{Part, Report},
    validate::declared,
};

/// The step above that feeds each argument, where one does.
pub(super) type Fed<'a> = HashMap<&'a str, Option<StepIndex>>;

/// Binds the arguments of every step of one plan.
pub(super) struct Binder<'a, 'r> {
    spec: &'a PipelineSpec,
    givens: &'a Givens,
    overrides: &'a Overrides,
    mode: Mode,
    report: &'a mut Report<'r>,
    params: HashMap<String, Option<(Json, Source)>>,
    /// Parameters of whose missing or unfit value was told already.
    told: HashSet<String>,
}

impl<'a, 'r> Binder<'a, 'r> {
    /// Resolves the declared parameters.
    pub(super) fn new(
        spec: &'a PipelineSpec,
        givens: &'a Givens,
        overrides: &'a Overrides,
        mode: Mode,
        report: &'a mut Report<'r>,
    ) -> Self {
        let mut params = HashMap::new();
        let mut told = HashSet::new();
        for param in &spec.params {
            let value = declared(param).resolve(givens).unwrap_or_else(|(source, misfit)| {
                report.push(misfit_error(&param.name, source, &misfit));
                told.insert(param.name.clone());
                None
            });
            params.insert(param.name.clone(), value);
        }
        Self { spec, givens, overrides, mode, report, params, told }
    }

    /// The arguments of one step.
    pub(super) fn arguments(
        &mut self,
        i: usize,
        callable: Option<&Callable>,
        fed: &Fed<'_>,
    ) -> Vec<BoundArg> {
        let step = &self.spec.steps[i];
        let with = |name: &str| step.with_json.get(name).and_then(|json| Json::parse(json));
        let mut args = match (&step.action, callable) {
            (Some(Action::Python(_)), Some(callable)) => match &callable.signature {
                Some(signature) => self.of_function(i, callable, signature, fed),
                None => self.of_unknown_function(step),
            },
            (Some(Action::Run(_) | Action::Script(_) | Action::Command(_)), _) => {
                self.of_command(step)
            }
            (Some(_) | None, _) => vec![],
        };
        let bound: HashSet<&str> = args.iter().map(|arg| arg.name.as_str()).collect();
        let mut others: Vec<&String> =
            step.with_json.keys().filter(|name| !bound.contains(name.as_str())).collect();
        others.sort_unstable();
        for name in others {
            args.extend(with(name).map(|value| json_arg(name, &value, Source::With)));
        }
        args
    }

    fn of_function(
        &mut self,
        i: usize,
        callable: &Callable,
        signature: &Signature,
        fed: &Fed<'_>,
    ) -> Vec<BoundArg> {
        let step = &self.spec.steps[i];
        let mut args = vec![];
        for parameter in signature.given_by_name() {
            let name = parameter.name.as_str();
            let giver = fed.get(name).copied().flatten();
            let slot = Slot {
                name,
                hint: parameter.hint,
                fallback: &parameter.fallback,
                with: step.with_json.get(name).and_then(|json| Json::parse(json)),
                fed: giver.is_some(),
                dotted: self.overrides.own(callable, name),
            };
            match (bind(&slot, &self.params, self.givens), giver) {
                (Ok(Bound::Json(value, source)), _) => args.push(json_arg(name, &value, source)),
                (Ok(Bound::Output), Some(StepIndex(step))) => {
                    let output = OutputRef { step, name: name.to_owned() };
                    let source = Source::Output.code();
                    args.push(BoundArg {
                        name: name.to_owned(),
                        source,
                        value: Some(Value::Output(output)),
                    });
                }
                (Ok(Bound::Output | Bound::InCode), _) => {}
                (Err(unbound), _) => self.unbound(i, name, &unbound),
            }
        }
        args
    }

    /// A function whose arguments are not known takes what `with` says and, where it is all that
    /// runs, whatever is given.
    fn of_unknown_function(&self, step: &StepSpec) -> Vec<BoundArg> {
        if self.spec.steps.len() > 1 {
            return vec![];
        }
        let mut args = vec![];
        for (name, given, source) in self.givens.iter() {
            let on_purpose = matches!(source, Source::Cli | Source::File);
            let taken = step.with_json.contains_key(name) || name.contains('.');
            if on_purpose && !taken {
                let declared = self.params.get(name).and_then(Option::as_ref);
                let value =
                    declared.map_or_else(|| given.read(Kind::Any), |(value, _)| value.clone());
                args.push(json_arg(name, &value, source));
            }
        }
        args
    }

    /// A command takes every parameter of the pipeline.
    fn of_command(&mut self, step: &StepSpec) -> Vec<BoundArg> {
        let mut args = vec![];
        let spec = self.spec;
        for (i, param) in spec.params.iter().enumerate() {
            let name = param.name.as_str();
            let slot = Slot {
                name,
                hint: Hint::default(),
                fallback: &Fallback::Required,
                with: step.with_json.get(name).and_then(|json| Json::parse(json)),
                fed: false,
                dotted: None,
            };
            match bind(&slot, &self.params, self.givens) {
                Ok(Bound::Json(value, source)) => args.push(json_arg(name, &value, source)),
                Ok(Bound::Output | Bound::InCode) => {}
                Err(_) => self.missing_param(i),
            }
        }
        args
    }

    fn missing_param(&mut self, i: usize) {
        let name = &self.spec.params[i].name;
        if self.mode == Mode::Run && self.told.insert(name.clone()) {
            let message = format!("parameter `{name}` has no value");
            let help = format!("give it with `-p {name}=…`, or give it a default");
            self.report.key(self.spec, &[Part::Param(i)], (message, help));
        }
    }

    fn unbound(&mut self, i: usize, name: &str, unbound: &Unbound) {
        let step = &self.spec.steps[i];
        let Unbound::Misfit { source_of_value, misfit } = unbound else {
            if self.mode == Mode::Run && !self.told.contains(name) {
                let message = format!("step `{}` has no value for argument `{name}`", step.name);
                let help = format!(
                    "give it with `-p {name}=…`, under `params:` or under the step's `with:`"
                );
                self.report.value(
                    self.spec,
                    &[Part::Step(i), Part::Key("python")],
                    (message, help),
                );
            }
            return;
        };
        let message = format!("step `{}`: `{name}`: {misfit}", step.name);
        match source_of_value {
            Source::With => {
                let parts = [Part::Step(i), Part::Key("with"), Part::Key(name)];
                self.report.value(self.spec, &parts, (message, String::new()));
            }
            Source::Pipeline => {
                let param = self.spec.params.iter().position(|param| param.name == name);
                let parts = [Part::Param(param.unwrap_or_default()), Part::Key("default")];
                self.report.value(self.spec, &parts, (message, String::new()));
            }
            Source::Cli | Source::Env | Source::File | Source::Output | Source::Signature => {
                self.report.push(misfit_error(name, *source_of_value, misfit));
            }
        }
    }

    /// The run's parameters: the declared ones, what else was given, and the calls' arguments. The
    /// arguments of a function that runs alone are all parameters of its run.
    pub(super) fn params(&self, steps: &[PlannedStep]) -> Vec<BoundArg> {
        let mut params: Vec<BoundArg> = vec![];
        for param in &self.spec.params {
            if let Some((value, source)) = self.params.get(&param.name).and_then(Option::as_ref) {
                params.push(json_arg(&param.name, value, *source));
            }
        }
        let is_alone = self.spec.params.is_empty() && steps.len() == 1;
        let mut others = HashSet::new();
        for arg in steps.iter().flat_map(|step| &step.args) {
            let source = Source::from_code(arg.source);
            let given = matches!(source, Some(Source::Cli | Source::Env | Source::File));
            let is_json = matches!(arg.value, Some(Value::Json(_)));
            let new = !self.params.contains_key(&arg.name) && is_json && (given || is_alone);
            if new && others.insert(arg.name.as_str()) {
                params.push(arg.clone());
            }
        }
        for (dotted, (json, source)) in self.overrides.values() {
            let value = Some(Value::Json(json.to_owned()));
            params.push(BoundArg { name: dotted.to_owned(), source: source.code(), value });
        }
        params
    }
}

fn json_arg(name: &str, value: &Json, source: Source) -> BoundArg {
    let value = Some(Value::Json(value.text().to_owned()));
    BoundArg { name: name.to_owned(), source: source.code(), value }
}

fn misfit_error(name: &str, source: Source, misfit: &Misfit) -> PipelineError {
    let shown =
        if source == Source::Env { format!("WINDLASS_PARAM_{name}") } else { name.to_owned() };
    let message = match misfit {
        Misfit::Type { .. } => format!("{shown}: {misfit}"),
        Misfit::Range { .. } | Misfit::Choice { .. } => format!("{shown} {misfit}"),
    };
    let path = overrides::place(source).to_owned();
    PipelineError { path, message, ..PipelineError::default() }
}
