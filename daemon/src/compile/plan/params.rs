//! The parameters of a pipeline, as steps see them.
use std::{
    cell::RefCell,
    collections::{HashMap, HashSet},
};

use prost::bytes::Bytes;
use serde_json::Map;
use windlass_core::{Givens, Json, Kind, Misfit, Source};
use windlass_proto::{
    api::v1::PipelineError,
    common::v1::{BoundArg, PipelineSpec, PlannedStep, bound_arg::Value},
};

use crate::compile::{
    overrides::{self, Overrides},
    report::Report,
    validate::{declared, fits_pattern},
};

/// What is known of one parameter.
#[derive(Clone, Debug)]
pub(super) enum Param {
    Known(Json, Source),
    /// Nobody gave it a value.
    Unset,
    /// Of an inner pipeline: known when the pipeline step begins.
    Later(Source),
    /// The secret parameter of that name of the outermost pipeline.
    Secret(String, Source),
}

/// The parameters of one level.
#[derive(Debug, Default)]
pub(super) struct Values {
    params: HashMap<String, Param>,
    /// The known ones again, as binding takes them.
    pub(super) for_binding: HashMap<String, Option<(Json, Source)>>,
    secrets: HashMap<String, Bytes>,
    /// Parameters of whose missing or unfit value was told already.
    told: RefCell<HashSet<String>>,
}

impl Values {
    pub(super) fn get(&self, name: &str) -> Option<&Param> {
        self.params.get(name)
    }

    /// The value, where it is known before the run.
    pub(super) fn known(&self, name: &str) -> Option<&Json> {
        match self.params.get(name)? {
            Param::Known(value, _) => Some(value),
            Param::Unset | Param::Later(_) | Param::Secret(..) => None,
        }
    }

    /// All known values, for expressions.
    pub(super) fn scope(&self) -> Map<String, serde_json::Value> {
        let known = self.params.keys().filter_map(|name| Some((name, self.known(name)?)));
        known.map(|(name, value)| (name.clone(), value.value().clone())).collect()
    }

    /// The values of secret parameters.
    pub(super) fn secrets(&self) -> HashMap<String, Bytes> {
        self.secrets.clone()
    }

    /// Takes down that a parameter's mistake is told; false where it was before.
    pub(super) fn tell(&self, name: &str) -> bool {
        self.told.borrow_mut().insert(name.to_owned())
    }

    /// True where a parameter's mistake was told.
    pub(super) fn is_told(&self, name: &str) -> bool {
        self.told.borrow().contains(name)
    }

    fn insert(&mut self, name: &str, param: Param) {
        let known = match &param {
            Param::Known(value, source) => Some(Some((value.clone(), *source))),
            Param::Unset => Some(None),
            Param::Later(_) | Param::Secret(..) => None,
        };
        self.for_binding.extend(known.map(|known| (name.to_owned(), known)));
        self.params.insert(name.to_owned(), param);
    }
}

/// Resolves the parameters of the outermost pipeline.
pub(super) fn resolve(spec: &PipelineSpec, givens: &Givens, report: &mut Report<'_>) -> Values {
    let mut values = Values::default();
    for param in &spec.params {
        let resolved = declared(param).resolve(givens).unwrap_or_else(|(source, misfit)| {
            report.push(misfit_error(&param.name, source, &misfit));
            values.tell(&param.name);
            None
        });
        let unfit = resolved.as_ref().and_then(|(value, source)| {
            // A default of null stands for "nothing", whatever the pattern.
            Some((fits_pattern(param, value).err()?, *source))
        });
        if let Some((misfit, source)) = unfit {
            let (path, shown) = (overrides::place(source).to_owned(), shown(&param.name, source));
            let message = format!("{shown} {misfit}");
            report.push(PipelineError { path, message, ..PipelineError::default() });
            values.tell(&param.name);
        }
        let is_secret = Kind::from_word(&param.r#type) == Some(Kind::Secret);
        let known = match resolved {
            None => Param::Unset,
            Some((value, source)) if is_secret => {
                let text = value.value().as_str().unwrap_or_default().to_owned();
                values.secrets.insert(param.name.clone(), Bytes::from(text));
                Param::Secret(param.name.clone(), source)
            }
            Some((value, source)) => Param::Known(value, source),
        };
        values.insert(&param.name, known);
    }
    values
}

/// The parameters of an inner pipeline, from the arguments of its step.
pub(super) fn of_inner(args: &[BoundArg]) -> Values {
    let mut values = Values::default();
    for arg in args {
        let source = Source::from_code(arg.source).unwrap_or(Source::With);
        let param = match &arg.value {
            Some(Value::Secret(name)) => Param::Secret(name.clone(), source),
            Some(_) | None => Param::Later(source),
        };
        values.insert(&arg.name, param);
    }
    values
}

/// The run's parameters: the declared ones, what else was given, and the calls' arguments. The
/// arguments of a function that runs alone are all parameters of its run.
pub(super) fn of_run(
    spec: &PipelineSpec,
    values: &Values,
    overrides: &Overrides,
    steps: &[PlannedStep],
) -> Vec<BoundArg> {
    let mut params: Vec<BoundArg> = vec![];
    for param in &spec.params {
        match values.get(&param.name) {
            Some(Param::Known(value, source)) => params.push(json_arg(&param.name, value, *source)),
            Some(Param::Secret(name, source)) => {
                params.push(arg(&param.name, *source, Value::Secret(name.clone())));
            }
            Some(Param::Unset | Param::Later(_)) | None => {}
        }
    }
    let is_alone = spec.params.is_empty() && steps.len() == 1;
    let mut others = HashSet::new();
    let outer = steps.iter().filter(|step| step.parent.is_none());
    for arg in outer.flat_map(|step| &step.args) {
        let source = Source::from_code(arg.source);
        let given = matches!(source, Some(Source::Cli | Source::Env | Source::File));
        let is_json = matches!(arg.value, Some(Value::Json(_)));
        let new = values.get(&arg.name).is_none() && is_json && (given || is_alone);
        if new && others.insert(arg.name.as_str()) {
            params.push(arg.clone());
        }
    }
    for (dotted, (json, source)) in overrides.values() {
        params.push(arg(dotted, source, Value::Json(json.to_owned())));
    }
    params
}

pub(super) fn json_arg(name: &str, value: &Json, source: Source) -> BoundArg {
    arg(name, source, Value::Json(value.text().to_owned()))
}

pub(super) fn arg(name: &str, source: Source, value: Value) -> BoundArg {
    BoundArg { name: name.to_owned(), source: source.code(), value: Some(value) }
}

/// A name as its giver wrote it.
fn shown(name: &str, source: Source) -> String {
    if source == Source::Env { format!("WINDLASS_PARAM_{name}") } else { name.to_owned() }
}

/// Says that a value from outside will not do.
pub(super) fn misfit_error(name: &str, source: Source, misfit: &Misfit) -> PipelineError {
    let shown = shown(name, source);
    let message = match misfit {
        Misfit::Type { .. } => format!("{shown}: {misfit}"),
        Misfit::Range { .. } | Misfit::Choice { .. } => format!("{shown} {misfit}"),
    };
    let path = overrides::place(source).to_owned();
    PipelineError { path, message, ..PipelineError::default() }
}
