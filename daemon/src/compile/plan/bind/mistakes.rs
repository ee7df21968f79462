//! What is said of arguments that have no value, or one that will not do.
use windlass_core::{Source, Unbound};

use super::Binder;
use crate::compile::{Mode, plan::params::misfit_error, report::Part};

impl Binder<'_, '_, '_> {
    pub(super) fn missing_param(&mut self, place: usize) {
        let name = &self.level.spec.params[place].name;
        if self.from.mode == Mode::Run && self.values.tell(name) {
            let message = format!("parameter `{name}` has no value");
            let help = format!("give it with `-p {name}=…`, or give it a default");
            self.report.key(&self.level.spec, &[Part::Param(place)], (message, help));
        }
    }

    pub(super) fn unbound(&mut self, i: usize, name: &str, unbound: &Unbound) {
        let spec = &self.level.spec;
        let step = &spec.steps[i];
        let action = if self.level.inner[i].is_some() { "pipeline" } else { "python" };
        let Unbound::Misfit { source_of_value, misfit } = unbound else {
            if self.from.mode == Mode::Run && !self.values.is_told(name) {
                let message = format!("step `{}` has no value for argument `{name}`", step.name);
                let by_name = if self.level.is_outermost() {
                    format!("with `-p {name}=…`, ")
                } else {
                    String::new()
                };
                let help = format!("give it {by_name}under `params:` or under the step's `with:`");
                self.report.value(spec, &[Part::Step(i), Part::Key(action)], (message, help));
            }
            return;
        };
        let message = format!("step `{}`: `{name}`: {misfit}", step.name);
        match source_of_value {
            Source::With => {
                let parts = [Part::Step(i), Part::Key("with"), Part::Key(name)];
                self.report.value(spec, &parts, (message, String::new()));
            }
            Source::Pipeline => {
                let param = spec.params.iter().position(|param| param.name == name);
                let parts = [Part::Param(param.unwrap_or_default()), Part::Key("default")];
                self.report.value(spec, &parts, (message, String::new()));
            }
            Source::Cli | Source::Env | Source::File | Source::Output | Source::Signature => {
                self.report.push(misfit_error(name, *source_of_value, misfit));
            }
        }
    }
}
