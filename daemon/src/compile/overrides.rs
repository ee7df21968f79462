use std::{
    collections::{BTreeMap, HashMap},
    rc::Rc,
};

use windlass_core::{Given, Givens, Kind, Source, nearest};
use windlass_proto::{api::v1::PipelineError, common::v1::CallOverride};

use super::python::{Callable, Functions, Project};

/// Call arguments that are set from outside, by the dotted names that set them.
#[derive(Default)]
pub(super) struct Overrides {
    /// The functions that each step's function can reach; empty where nothing is set.
    reach: HashMap<(String, String), Rc<Functions>>,
    set: Vec<Set>,
}

/// One argument of one function, set from outside.
struct Set {
    dotted: String,
    module: String,
    function: String,
    arg: String,
    json: String,
    source: Source,
}

impl Overrides {
    /// Finds the function and argument that every dotted name means; `taken` are names that mean
    /// something else.
    pub(super) fn find(
        givens: &Givens,
        callables: &[Option<Rc<Callable>>],
        project: &Project<'_>,
        taken: impl Fn(&str) -> bool,
    ) -> (Self, Vec<PipelineError>) {
        let mut found = Self::default();
        let mut mistakes = vec![];
        let dotted: Vec<_> =
            givens.iter().filter(|(name, ..)| name.contains('.') && !taken(name)).collect();
        if dotted.is_empty() {
            return (found, mistakes);
        }
        found.reach = reach(callables, project);
        let mut all = Functions::new();
        for functions in found.reach.values() {
            all.extend(functions.iter().map(|(key, value)| (key.clone(), Rc::clone(value))));
        }
        for (name, given, source) in dotted {
            match resolve(name, given, source, &all) {
                Ok(sets) => found.set.extend(sets),
                // Variables of the environment may be meant for something else.
                Err(_) if source == Source::Env => {}
                Err((message, help)) => {
                    let path = place(source).to_owned();
                    mistakes.push(PipelineError {
                        path,
                        message,
                        help,
                        ..PipelineError::default()
                    });
                }
            }
        }
        (found, mistakes)
    }

    /// The dotted name that sets an argument of a step's own function.
    pub(super) fn own(&self, callable: &Callable, arg: &str) -> Option<String> {
        let set = self.set.iter().find(|set| {
            set.arg == arg && set.function == callable.function && set.module == callable.module
        });
        set.map(|set| set.dotted.clone())
    }

    /// What is set in the calls that a step's function can reach.
    pub(super) fn of(&self, callable: &Callable) -> Vec<CallOverride> {
        let Some(reach) = self.reach.get(&key(callable)) else { return vec![] };
        let inside = self.set.iter().filter(|set| {
            let own = set.function == callable.function && set.module == callable.module;
            !own && reach.contains_key(&(set.module.clone(), set.function.clone()))
        });
        let call = |set: &Set| CallOverride {
            module: set.module.clone(),
            function: set.function.clone(),
            arg: set.arg.clone(),
            json: set.json.clone(),
            source: set.source.code(),
        };
        inside.map(call).collect()
    }

    /// Each dotted name with its value and source.
    pub(super) fn values(&self) -> BTreeMap<&str, (&str, Source)> {
        self.set.iter().map(|set| (set.dotted.as_str(), (set.json.as_str(), set.source))).collect()
    }
}

/// What a person calls a source, as the place of a mistake.
pub(super) fn place(source: Source) -> &'static str {
    match source {
        Source::Cli => "-p",
        Source::File => "--params",
        Source::Env | Source::With | Source::Output | Source::Pipeline | Source::Signature => "",
    }
}

/// The dotted name that sets an argument of that name, where calls can reach such a function.
pub(super) fn near_dotted(
    name: &str,
    callables: &[Option<Rc<Callable>>],
    project: &Project<'_>,
) -> Option<String> {
    let reach = reach(callables, project);
    let functions = reach.values().flat_map(|functions| functions.iter());
    let all: Vec<(String, String)> = functions
        .flat_map(|((_, function), signature)| {
            let args = signature.given_by_name();
            args.map(|arg| (arg.name.clone(), format!("{function}.{}", arg.name)))
                .collect::<Vec<_>>()
        })
        .collect();
    let near = nearest(name, all.iter().map(|(arg, _)| arg.as_str()))?;
    all.iter().find(|(arg, _)| arg == near).map(|(_, dotted)| dotted.clone())
}

fn key(callable: &Callable) -> (String, String) {
    (callable.module.clone(), callable.function.clone())
}

fn reach(
    callables: &[Option<Rc<Callable>>],
    project: &Project<'_>,
) -> HashMap<(String, String), Rc<Functions>> {
    let mut reach: HashMap<(String, String), Rc<Functions>> = HashMap::new();
    let mut by_module: HashMap<&str, Rc<Functions>> = HashMap::new();
    for callable in callables.iter().flatten() {
        let functions = by_module
            .entry(&callable.module)
            .or_insert_with(|| Rc::new(project.reachable(callable)));
        reach.entry(key(callable)).or_insert_with(|| Rc::clone(functions));
    }
    reach
}

/// Reads `function.argument` or `module.function.argument`.
fn resolve(
    dotted: &str,
    given: &Given,
    source: Source,
    all: &Functions,
) -> Result<Vec<Set>, (String, String)> {
    let (path, arg) = dotted.rsplit_once('.').unwrap_or(("", dotted));
    let (module, function) = path.rsplit_once('.').unwrap_or(("", path));
    let in_module = |name: &str| {
        module.is_empty()
            || name == module
            || name.strip_suffix(module).is_some_and(|rest| rest.ends_with('.'))
    };
    let fits: Vec<_> = all.iter().filter(|((m, f), _)| f == function && in_module(m)).collect();
    if fits.is_empty() {
        let mut names: Vec<&str> = all.keys().map(|(_, function)| function.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        let help = match nearest(function, names.iter().copied()) {
            Some(near) if near == function => {
                let (module, _) =
                    all.keys().find(|(_, f)| f == function).cloned().unwrap_or_default();
                format!("did you mean `{module}.{function}.{arg}`?")
            }
            Some(near) => format!("did you mean `{near}.{arg}`?"),
            None if names.is_empty() => {
                "the run calls no Python function of the project".to_owned()
            }
            None => format!("the functions are {}", names.join(", ")),
        };
        return Err((format!("`{dotted}`: no function `{path}` that the run can call"), help));
    }
    let sets: Vec<Set> = fits
        .iter()
        .filter_map(|((module, function), signature)| {
            let hint = match signature.parameter(arg) {
                Some(parameter) => parameter.hint,
                None if signature.takes_any => {
                    windlass_core::Hint { kind: Kind::Any, optional: true }
                }
                None => return None,
            };
            let value = given.read_for(hint);
            let checked = hint.check(&value).map_err(|misfit| misfit.to_string());
            Some(checked.map(|()| Set {
                dotted: dotted.to_owned(),
                module: module.clone(),
                function: function.clone(),
                arg: arg.to_owned(),
                json: value.text().to_owned(),
                source,
            }))
        })
        .collect::<Result<_, String>>()
        .map_err(|misfit| (format!("`{dotted}`: {misfit}"), String::new()))?;
    if sets.is_empty() {
        let args: Vec<&str> =
            fits.iter().flat_map(|(_, s)| s.given_by_name()).map(|p| p.name.as_str()).collect();
        let help = match nearest(arg, args.iter().copied()) {
            Some(near) => format!("did you mean `{path}.{near}`?"),
            None if args.is_empty() => format!("`{path}` takes no arguments"),
            None => format!("the arguments of `{path}` are {}", args.join(", ")),
        };
        return Err((format!("`{dotted}`: `{path}` has no argument `{arg}`"), help));
    }
    Ok(sets)
}
