//! The arguments of steps.
mod mistakes;

use std::collections::HashSet;

use windlass_core::{
    Bound, Fallback, Givens, Hint, Json, Kind, Slot, Source, StepIndex, Unbound, bind,
};
use windlass_proto::common::v1::{
    BoundArg, ItemRef, IterationRef, OutputRef, ParamSpec, StepSpec, bound_arg::Value,
    foreach_spec::Items, step_spec::Action,
};

use super::{
    Ingredients,
    level::Level,
    params::{Param, Values, arg, json_arg},
};
use crate::{
    compile::{
        overrides::Overrides,
        python::{Callable, Signature},
        report::{Part, Report},
        validate::{brought, declared},
    },
    expr::{Root, Scope, Template},
};

/// Binds the arguments of the steps of one level.
pub(super) struct Binder<'a, 'r, 'o> {
    pub(super) level: &'a Level,
    pub(super) from: &'a Ingredients<'a>,
    pub(super) overrides: &'a Overrides,
    pub(super) values: &'a Values,
    /// Names that were given and that only functions with `**kwargs` take.
    pub(super) extras: &'a [String],
    pub(super) report: &'r mut Report<'o>,
}

/// One argument before it is bound.
struct Wanted<'a> {
    name: &'a str,
    hint: Hint,
    fallback: &'a Fallback,
    dotted: Option<String>,
}

impl Binder<'_, '_, '_> {
    /// The arguments of one step.
    pub(super) fn arguments(&mut self, i: usize) -> Vec<BoundArg> {
        let level = self.level;
        let step = &level.spec.steps[i];
        let mut args = match (&step.action, &level.callables[i], &level.inner[i]) {
            (Some(Action::Python(_)), Some(callable), _) => match &callable.signature {
                Some(signature) => self.of_function(i, callable, signature),
                None => self.of_unknown_function(step),
            },
            (Some(Action::Pipeline(_)), _, Some(inner)) => self.of_pipeline(i, inner),
            (
                Some(Action::Run(_) | Action::Script(_) | Action::Command(_) | Action::Notebook(_)),
                ..,
            ) => self.of_command(i),
            (Some(_) | None, ..) => vec![],
        };
        let bound: HashSet<String> = args.iter().map(|arg| arg.name.clone()).collect();
        let mut others: Vec<&str> = step.with_json.keys().map(String::as_str).collect();
        others.extend(brought(step));
        others.retain(|name| !bound.contains(*name));
        others.sort_unstable();
        for name in others {
            args.extend(self.own_value(i, name, Hint::default()));
        }
        args
    }

    fn givens(&self) -> Option<&Givens> {
        self.level.is_outermost().then_some(self.from.givens)
    }

    /// What the step itself says of an argument: its item or iteration, or `with`. A mistake in it
    /// is reported and gives nothing.
    fn own_value(&mut self, i: usize, name: &str, hint: Hint) -> Option<BoundArg> {
        let level = self.level;
        let step = &level.spec.steps[i];
        if step.r#loop.as_ref().is_some_and(|repeat| !name.is_empty() && repeat.index == name) {
            return Some(arg(name, Source::With, Value::Iteration(IterationRef {})));
        }
        if brought(step).contains(&name) {
            let foreach = step.foreach.as_ref().and_then(|foreach| foreach.items.as_ref());
            let is_matrix = matches!(foreach, Some(Items::Matrix(_)));
            let axis = if is_matrix { name.to_owned() } else { String::new() };
            return Some(arg(name, Source::With, Value::Item(ItemRef { axis })));
        }
        let json = step.with_json.get(name)?;
        let Some(template) = level.told[i].with.get(name) else {
            let value = Json::parse(json)?;
            return self.checked(i, name, (value, hint));
        };
        if let Some(secret) = self.secret(template, json) {
            return Some(arg(name, Source::With, Value::Secret(secret)));
        }
        if self.reads_secret(template) {
            let message = "a secret is handed on as it is, and nothing is made of it".to_owned();
            let help = "write `${{ params.NAME }}` and nothing else".to_owned();
            let parts = [Part::Step(i), Part::Key("with"), Part::Key(name)];
            self.report.value(&level.spec, &parts, (message, help));
            return None;
        }
        if !self.is_known(template) {
            return Some(arg(name, Source::With, Value::TemplateJson(json.clone())));
        }
        match template.evaluate(&Scope::of_params(self.values.scope())) {
            Ok(value) => self.checked(i, name, (Json::from(value), hint)),
            Err(error) => {
                let parts = [Part::Step(i), Part::Key("with"), Part::Key(name)];
                self.report.value(&level.spec, &parts, (error.to_string(), String::new()));
                None
            }
        }
    }

    fn checked(&mut self, i: usize, name: &str, (value, hint): (Json, Hint)) -> Option<BoundArg> {
        if let Err(misfit) = hint.check(&value) {
            let unbound = Unbound::Misfit { source_of_value: Source::With, misfit };
            self.unbound(i, name, &unbound);
            return None;
        }
        Some(json_arg(name, &value, Source::With))
    }

    /// True where all that a template reads is known before the run.
    fn is_known(&self, template: &Template) -> bool {
        let mut references = template.expressions().into_iter().flat_map(|e| e.references());
        self.level.is_outermost()
            && references.all(|reference| {
                let name = reference.path.first();
                reference.root == Root::Params
                    && name.is_some_and(|name| self.values.known(name).is_some())
            })
    }

    /// The secret parameter that a template is and nothing else.
    fn secret(&self, template: &Template, json: &str) -> Option<String> {
        let [expression] = template.expressions()[..] else { return None };
        let text: String = serde_json::from_str(json).ok()?;
        let name = expression.text().strip_prefix("params.")?;
        let whole = Template::only(&text) == Ok(expression.text());
        match self.values.get(name) {
            Some(Param::Secret(secret, _)) if whole => Some(secret.clone()),
            Some(_) | None => None,
        }
    }

    fn reads_secret(&self, template: &Template) -> bool {
        let mut references = template.expressions().into_iter().flat_map(|e| e.references());
        references.any(|reference| {
            let param = reference.path.first().and_then(|name| self.values.get(name));
            reference.root == Root::Params && matches!(param, Some(Param::Secret(..)))
        })
    }

    /// Binds one argument by the order of the contract.
    fn bind(&mut self, i: usize, wanted: &Wanted<'_>) -> Result<Option<BoundArg>, Unbound> {
        let level = self.level;
        let step = &level.spec.steps[i];
        let Wanted { name, hint, fallback, dotted } = wanted;
        if step.with_json.contains_key(*name) || brought(step).contains(name) {
            return Ok(self.own_value(i, name, *hint));
        }
        // Commands get outputs as files, and their parameters as they are.
        let is_call = matches!(step.action, Some(Action::Python(_) | Action::Pipeline(_)));
        if let Some(giver) = level.edges[i].fed.get(*name).filter(|_| is_call) {
            self.check_fed(i, (name, *hint), *giver);
            let output = OutputRef { step: giver.0, name: (*name).to_owned() };
            return Ok(Some(arg(name, Source::Output, Value::Output(output))));
        }
        match self.values.get(name) {
            Some(Param::Secret(secret, source)) => {
                return Ok(Some(arg(name, *source, Value::Secret(secret.clone()))));
            }
            Some(Param::Later(source)) => {
                return Ok(Some(arg(name, *source, Value::Param((*name).to_owned()))));
            }
            Some(Param::Known(..) | Param::Unset) | None => {}
        }
        let none = Givens::default();
        let slot = Slot {
            name,
            hint: *hint,
            fallback,
            with: None,
            fed: false,
            dotted: dotted.clone().filter(|_| level.is_outermost()),
        };
        let givens = self.givens().unwrap_or(&none);
        match bind(&slot, &self.values.for_binding, givens)? {
            Bound::Json(value, source) => Ok(Some(json_arg(name, &value, source))),
            Bound::Output | Bound::InCode => Ok(None),
        }
    }

    /// A step that is run for each of a list gives lists.
    fn check_fed(&mut self, i: usize, (name, hint): (&str, Hint), giver: StepIndex) {
        let Some(giver) = self.level.step(giver) else { return };
        let gives_list = giver.foreach.as_ref().is_some_and(|foreach| foreach.reduce.is_empty());
        let wants_other = !matches!(hint.kind, Kind::Any | Kind::List);
        if gives_list && wants_other {
            let step = &self.level.spec.steps[i].name;
            let kind = hint.kind.word();
            let message = format!(
                "step `{step}`: `{name}` is of type {kind}, and `{}` gives a list of them",
                giver.name
            );
            let help = format!("take a list, or say `reduce` in step `{}`", giver.name);
            self.report.value(&self.level.spec, &[Part::Step(i)], (message, help));
        }
    }

    fn of_function(
        &mut self,
        i: usize,
        callable: &Callable,
        signature: &Signature,
    ) -> Vec<BoundArg> {
        let mut args = vec![];
        for parameter in signature.given_by_name() {
            let wanted = Wanted {
                name: &parameter.name,
                hint: parameter.hint,
                fallback: &parameter.fallback,
                dotted: self.overrides.own(callable, &parameter.name),
            };
            match self.bind(i, &wanted) {
                Ok(bound) => args.extend(bound),
                Err(unbound) => self.unbound(i, &parameter.name, &unbound),
            }
        }
        if let (true, Some(givens)) = (signature.takes_any, self.givens()) {
            let own = &self.level.spec.steps[i].with_json;
            for name in self.extras.iter().filter(|name| !own.contains_key(*name)) {
                if let Some((given, source)) = givens.get(name) {
                    args.push(json_arg(name, &given.read(Kind::Any), source));
                }
            }
        }
        args
    }

    /// A pipeline is called as a function whose arguments are its parameters.
    fn of_pipeline(&mut self, i: usize, inner: &Level) -> Vec<BoundArg> {
        let mut args = vec![];
        for param in &inner.spec.params {
            let own = declared(param);
            let default = own.default.clone();
            let hint = Hint {
                kind: own.kind,
                optional: default.as_ref().is_some_and(|json| json.value().is_null()),
            };
            let fallback = default.map_or(Fallback::Required, Fallback::Literal);
            let wanted = Wanted { name: &param.name, hint, fallback: &fallback, dotted: None };
            match self.bind(i, &wanted) {
                Ok(Some(mut bound)) => {
                    if bound.source == Source::Signature.code() {
                        bound.source = Source::Pipeline.code();
                    }
                    self.check_inner(i, param, &bound);
                    args.push(bound);
                }
                Ok(None) => {}
                Err(unbound) => self.unbound(i, &param.name, &unbound),
            }
        }
        args
    }

    /// Checks a value against what the inner pipeline declares of the parameter.
    fn check_inner(&mut self, i: usize, param: &ParamSpec, bound: &BoundArg) {
        let is_secret = param.r#type == Kind::Secret.word();
        if is_secret && !matches!(bound.value, Some(Value::Secret(_))) {
            let step = &self.level.spec.steps[i].name;
            let message =
                format!("step `{step}`: `{}` is a secret, and its value is none", param.name);
            let help =
                format!("declare `{}: {{type: secret}}` under this file's `params:`", param.name);
            self.report.value(&self.level.spec, &[Part::Step(i)], (message, help));
            return;
        }
        let Some(Value::Json(json)) = &bound.value else { return };
        let Some(value) = Json::parse(json).filter(|json| !json.value().is_null()) else { return };
        let misfit = declared(param).check(&value).map_err(|misfit| misfit.to_string());
        let pattern = || crate::compile::validate::fits_pattern(param, &value);
        if let Err(misfit) = misfit.and_then(|()| pattern()) {
            let step = &self.level.spec.steps[i].name;
            let message = format!("step `{step}`: `{}` {misfit}", param.name);
            self.report.value(&self.level.spec, &[Part::Step(i)], (message, String::new()));
        }
    }

    /// A function whose arguments are not known takes what `with` says and, where it is all that
    /// runs, whatever is given.
    fn of_unknown_function(&self, step: &StepSpec) -> Vec<BoundArg> {
        let (1, Some(givens)) = (self.level.spec.steps.len(), self.givens()) else {
            return vec![];
        };
        let mut args = vec![];
        for (name, given, source) in givens.iter() {
            let on_purpose = matches!(source, Source::Cli | Source::File);
            let taken = step.with_json.contains_key(name) || name.contains('.');
            if !on_purpose || taken {
                continue;
            }
            match self.values.get(name) {
                Some(Param::Secret(secret, source)) => {
                    args.push(arg(name, *source, Value::Secret(secret.clone())));
                }
                Some(Param::Known(value, source)) => args.push(json_arg(name, value, *source)),
                Some(Param::Unset | Param::Later(_)) | None => {
                    args.push(json_arg(name, &given.read(Kind::Any), source));
                }
            }
        }
        args
    }

    /// A command takes every parameter of the pipeline.
    fn of_command(&mut self, i: usize) -> Vec<BoundArg> {
        let mut args = vec![];
        for (place, param) in self.level.spec.params.iter().enumerate() {
            let fallback = Fallback::Required;
            let (name, hint) = (param.name.as_str(), Hint::default());
            match self.bind(i, &Wanted { name, hint, fallback: &fallback, dotted: None }) {
                Ok(bound) => args.extend(bound),
                Err(_) => self.missing_param(place),
            }
        }
        args
    }
}
