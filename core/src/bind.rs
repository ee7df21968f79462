//! Where an argument's value comes from, first that has it: `with`, an output of a step above,
//! `-p`, the caller's environment, a parameter file, the pipeline's default, the signature's.
mod given;
mod value;

use std::collections::HashMap;

pub use given::{Given, Givens};
pub use value::{Hint, Json, Kind, Misfit, Ranged};

/// Where a bound value came from. The numbers are those of `windlass.common.v1.ValueSource`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    With = 1,
    Output = 2,
    Cli = 3,
    Env = 4,
    File = 5,
    Pipeline = 6,
    Signature = 7,
}

impl Source {
    /// The number that stands for it in the API.
    pub fn code(self) -> i32 {
        self as i32
    }

    /// The source of that number.
    pub fn from_code(code: i32) -> Option<Self> {
        use Source::{Cli, Env, File, Output, Pipeline, Signature, With};
        [With, Output, Cli, Env, File, Pipeline, Signature].into_iter().find(|s| s.code() == code)
    }
}

/// A parameter as the pipeline declares it.
#[derive(Clone, Debug)]
pub struct Param {
    pub name: String,
    pub kind: Kind,
    pub default: Option<Json>,
    pub min: Option<f64>,
    pub max: Option<f64>,
    /// Empty: any value.
    pub choices: Vec<Json>,
}

impl Param {
    /// Checks a value against type, range and choices.
    pub fn check(&self, value: &Json) -> Result<(), Misfit> {
        Hint { kind: self.kind, optional: false }.check(value)?;
        if let Some(number) = value.value().as_f64() {
            let got = || value.text().to_owned();
            match (self.min, self.max) {
                (Some(min), _) if number < min => {
                    return Err(Misfit::Range { bound: Ranged::AtLeast(min), got: got() });
                }
                (_, Some(max)) if number > max => {
                    return Err(Misfit::Range { bound: Ranged::AtMost(max), got: got() });
                }
                _ => {}
            }
        }
        if self.choices.is_empty() || self.choices.iter().any(|choice| choice.same(value)) {
            return Ok(());
        }
        let choices = self.choices.iter().map(|choice| choice.text().to_owned()).collect();
        Err(Misfit::Choice { choices, got: value.text().to_owned() })
    }

    /// The parameter's value for a run: what was given, else its default, else `None`.
    pub fn resolve(&self, givens: &Givens) -> Result<Option<(Json, Source)>, (Source, Misfit)> {
        let Some((given, source)) = givens.get(&self.name) else {
            let default = self.default.clone().map(|default| (default, Source::Pipeline));
            return self.with_parts(default, givens);
        };
        let value = given.read(self.kind);
        self.check(&value).map_err(|misfit| (source, misfit))?;
        self.with_parts(Some((value, source)), givens)
    }

    /// Sets the keys of a map that were given one by one, as `-p model.depth=3` does.
    fn with_parts(
        &self,
        whole: Option<(Json, Source)>,
        givens: &Givens,
    ) -> Result<Option<(Json, Source)>, (Source, Misfit)> {
        let mut parts = givens.below(&self.name).peekable();
        if self.kind != Kind::Map || parts.peek().is_none() {
            return Ok(whole);
        }
        let (mut map, mut source) = match whole {
            Some((json, source)) => (json.into_value(), source),
            None => (serde_json::Value::Object(serde_json::Map::new()), Source::Cli),
        };
        for (path, given, from) in parts {
            let mut place = &mut map;
            for key in path.split('.') {
                if !place.is_object() {
                    *place = serde_json::Value::Object(serde_json::Map::new());
                }
                place = &mut place[key];
            }
            *place = given.read(Kind::Any).into_value();
            source = from;
        }
        Ok(Some((Json::from(map), source)))
    }
}

/// What an argument falls back to when nobody gives a value.
#[derive(Clone, Debug, PartialEq)]
pub enum Fallback {
    /// Nothing: it must be given.
    Required,
    /// A default in the code that is no literal.
    InCode,
    Literal(Json),
}

/// One argument of a step, with all that its own step says of it.
#[derive(Clone, Debug)]
pub struct Slot<'a> {
    pub name: &'a str,
    pub hint: Hint,
    pub fallback: &'a Fallback,
    pub with: Option<Json>,
    /// True where an output of a step above has its name.
    pub fed: bool,
    /// Dotted name that gives this argument of this step alone: `train_model.n_estimators`.
    pub dotted: Option<String>,
}

/// What became of an argument.
#[derive(Clone, Debug, PartialEq)]
pub enum Bound {
    Json(Json, Source),
    /// The output of that name, of the step above that gives it.
    Output,
    /// Left out: the code has its own default.
    InCode,
}

/// Why an argument has no value, or not this one.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Unbound {
    #[error("nothing gives it a value")]
    Missing,
    #[error("{misfit}")]
    Misfit { source_of_value: Source, misfit: Misfit },
}

/// Binds one argument; `params` are the declared parameters as resolved for this run.
///
/// A parameter that is declared without a default and was not given leaves the argument to the
/// signature.
pub fn bind(
    slot: &Slot<'_>,
    params: &HashMap<String, Option<(Json, Source)>>,
    givens: &Givens,
) -> Result<Bound, Unbound> {
    let fit = |value: Json, source: Source| match slot.hint.check(&value) {
        Ok(()) => Ok(Bound::Json(value, source)),
        Err(misfit) => Err(Unbound::Misfit { source_of_value: source, misfit }),
    };
    if let Some(value) = &slot.with {
        return fit(value.clone(), Source::With);
    }
    if slot.fed {
        return Ok(Bound::Output);
    }
    if let Some((given, source)) = slot.dotted.as_deref().and_then(|dotted| givens.get(dotted)) {
        return fit(given.read_for(slot.hint), source);
    }
    match params.get(slot.name) {
        Some(Some((value, source))) => return fit(value.clone(), *source),
        Some(None) => {}
        None => {
            if let Some((given, source)) = givens.get(slot.name) {
                return fit(given.read_for(slot.hint), source);
            }
        }
    }
    match slot.fallback {
        Fallback::Literal(value) => Ok(Bound::Json(value.clone(), Source::Signature)),
        Fallback::InCode => Ok(Bound::InCode),
        Fallback::Required => Err(Unbound::Missing),
    }
}

#[cfg(test)]
mod tests;
