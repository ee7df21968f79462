use serde_json::Value;
use uuid::Uuid;
use windlass_core::nearest;
use windlass_proto::api::v1::NamedText;

use crate::error::CliError;

/// Most runs of one sweep.
const MAX_RUNS: usize = 1_000;

/// Label that the runs of a sweep share.
pub(crate) const GROUP: &str = "group";

/// Longest part of a made group name that names the parameters.
const MAX_NAMES: usize = 40;

/// One run for each combination of values.
#[derive(clap::Args, Clone, Default)]
pub(crate) struct Sweep {
    /// Make one run for each value of this parameter, which `-p 'NAME=[…]'` gives as a list; of
    /// several, one for each combination
    #[arg(long = "sweep", value_name = "NAME")]
    names: Vec<String>,
    /// Name the sweep, for `windlass best --group NAME`; otherwise it gets a readable name
    #[arg(long, value_name = "NAME", requires = "names")]
    group: Option<String>,
}

impl Sweep {
    /// True where there is something to sweep over.
    pub(crate) fn wanted(&self) -> bool {
        !self.names.is_empty()
    }

    /// The name of the group.
    pub(crate) fn group(&self) -> String {
        self.group.clone().unwrap_or_else(|| {
            let word = |c: &char| c.is_ascii_alphanumeric() || *c == '-';
            let names = self.names.join("-").replace(['.', '_'], "-");
            let names: String = names.chars().filter(word).take(MAX_NAMES).collect();
            let mark = Uuid::new_v4().simple().to_string();
            format!("sweep-{names}-{}", &mark[..4])
        })
    }

    /// What `-p` is for each run, in order: the last name varies first.
    pub(crate) fn combinations(&self, cli: &[NamedText]) -> Result<Vec<Combination>, CliError> {
        let mut axes: Vec<(&str, Vec<String>)> = Vec::new();
        for name in &self.names {
            if axes.iter().any(|(known, _)| known == name) {
                return Err(CliError::refused(format!("--sweep {name}: given twice")));
            }
            axes.push((name, values(name, cli)?));
        }
        let count = axes.iter().try_fold(1_usize, |count, axis| count.checked_mul(axis.1.len()));
        let count = count.filter(|count| *count <= MAX_RUNS).ok_or_else(|| {
            let lengths: Vec<_> = axes.iter().map(|axis| axis.1.len().to_string()).collect();
            CliError::refused(format!(
                "the sweep has {} combinations; at most {MAX_RUNS} runs can be made at once",
                lengths.join(" × ")
            ))
        })?;
        let rest = cli.iter().filter(|given| !self.names.contains(&given.name));
        let rest: Vec<_> = rest.cloned().collect();
        let combination = |number: usize| {
            let mut left = number;
            let mut swept = Vec::new();
            for (name, values) in axes.iter().rev() {
                let text = values[left % values.len()].clone();
                left /= values.len();
                swept.push(NamedText { name: (*name).to_owned(), text });
            }
            swept.reverse();
            let cli = rest.iter().cloned().chain(swept.iter().cloned()).collect();
            Combination { swept, cli }
        };
        Ok((0..count).map(combination).collect())
    }
}

/// One run of a sweep.
pub(crate) struct Combination {
    /// The swept parameters alone.
    pub(crate) swept: Vec<NamedText>,
    /// All that `-p` gives.
    pub(crate) cli: Vec<NamedText>,
}

/// The list that `-p` gives a parameter, each item as JSON.
fn values(name: &str, cli: &[NamedText]) -> Result<Vec<String>, CliError> {
    let given = cli.iter().rev().find(|given| given.name == name).ok_or_else(|| {
        let near = nearest(name, cli.iter().map(|given| given.name.as_str()));
        let help = match near {
            Some(near) => format!("did you mean `--sweep {near}`?"),
            None => format!("give its values: -p '{name}=[0.1, 0.2]'"),
        };
        CliError::refused_with(format!("--sweep {name}: no -p gives `{name}` a list"), help)
    })?;
    match serde_json::from_str(&given.text) {
        Ok(Value::Array(items)) if !items.is_empty() => {
            Ok(items.iter().map(Value::to_string).collect())
        }
        Ok(Value::Array(_)) => Err(CliError::refused(format!("--sweep {name}: the list is empty"))),
        Ok(_) | Err(_) => Err(CliError::refused_with(
            format!("--sweep {name}: `{}` is no JSON list", given.text),
            format!("write -p '{name}=[0.1, 0.2]'; texts in it need quotes: [\"a\", \"b\"]"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::{CliError, NamedText, Sweep};

    fn given(pairs: &[(&str, &str)]) -> Vec<NamedText> {
        let named =
            |(name, text): &(&str, &str)| NamedText { name: (*name).into(), text: (*text).into() };
        pairs.iter().map(named).collect()
    }

    fn sweep(names: &[&str]) -> Sweep {
        Sweep { names: names.iter().map(ToString::to_string).collect(), group: None }
    }

    #[test]
    fn every_combination_is_there_once_and_the_last_name_varies_first() {
        let cli = given(&[("lr", "[0.1, 0.2]"), ("n", "5"), ("kind", "[\"a\", \"1\"]")]);
        let found = sweep(&["lr", "kind"]).combinations(&cli).unwrap();
        let texts: Vec<Vec<_>> = found
            .iter()
            .map(|one| one.cli.iter().map(|p| format!("{}={}", p.name, p.text)).collect())
            .collect();
        assert_eq!(texts[0], ["n=5", "lr=0.1", "kind=\"a\""]);
        assert_eq!(texts[1], ["n=5", "lr=0.1", "kind=\"1\""]);
        assert_eq!((texts.len(), texts[3][1].as_str()), (4, "lr=0.2"));
        assert!(sweep(&["lr", "a.b_c"]).group().starts_with("sweep-lr-a-b-c-"));
    }

    #[test]
    fn what_cannot_be_swept_is_refused() {
        let long = format!("[{}]", vec!["1"; 40].join(","));
        let cli = given(&[("rate", "[1]"), ("n", "5"), ("none", "[]"), ("a", &long), ("b", &long)]);
        for (names, message) in [
            (&["rte"][..], "--sweep rte: no -p gives `rte` a list"),
            (&["n"][..], "--sweep n: `5` is no JSON list"),
            (&["none"][..], "--sweep none: the list is empty"),
            (&["rate", "rate"][..], "--sweep rate: given twice"),
            (&["a", "b"][..], "the sweep has 40 × 40 combinations; at most 1000"),
        ] {
            let Err(CliError::Refused(found)) = sweep(names).combinations(&cli) else { panic!() };
            assert!(found[0].message.starts_with(message), "{found:?}");
        }
    }
}
