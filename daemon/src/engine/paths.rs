//! Where steps are: `all[3]/tune[1]`.

use std::fmt::Write;

use windlass_core::StepIndex;

use super::live::LiveRun;

impl LiveRun {
    /// The path of a step.
    pub(super) fn path(&self, step: StepIndex) -> String {
        let mut above = Vec::new();
        let mut next = Some(step);
        while let Some((step, key)) = next.and_then(|step| Some((step, self.machine.key(step)?))) {
            above.push((step, key));
            next = key.parent;
        }
        let mut path = String::new();
        for (step, key) in above.into_iter().rev() {
            // Writing to a string does not fail.
            match key.ordinal {
                Some(ordinal) => write!(path, "[{ordinal}]").ok(),
                None => {
                    let slash = if key.parent.is_some() { "/" } else { "" };
                    write!(path, "{slash}{}", self.name(step)).ok()
                }
            };
        }
        path
    }

    /// The name of a step in its pipeline.
    fn name(&self, step: StepIndex) -> &str {
        let spec = self.template(step).and_then(|planned| planned.spec.as_ref());
        spec.map_or("", |spec| &spec.name)
    }

    /// The step at a path, as far as it is there already.
    pub(super) fn find(&self, path: &str) -> Option<StepIndex> {
        let top: Vec<StepIndex> = (0..self.machine.graph().top()).map(StepIndex).collect();
        let mut found = None;
        for part in path.split('/') {
            let (name, ordinals) =
                part.split_once('[').map_or((part, ""), |(name, rest)| (name, rest));
            let beside = found.map_or(top.as_slice(), |around| self.machine.children(around));
            let mut step = *beside.iter().find(|step| self.name(**step) == name)?;
            for ordinal in ordinals.split('[').filter(|ordinal| !ordinal.is_empty()) {
                let ordinal: usize = ordinal.strip_suffix(']')?.parse().ok()?;
                step = *self.machine.children(step).get(ordinal)?;
            }
            found = Some(step);
        }
        found
    }
}
