use windlass_core::nearest;

use super::{
    forms::ResourcesFile,
    types::{
        ConcurrencyFile, EnvironmentFile, LoopFile, ParamFields, PickFields, PipelineFile,
        RetryFile, SecretFields, SecretFromFile, StepFile,
    },
};
use crate::compile::yaml::{Fault, What, keys_of};

/// A mapping of the file: its keys now, and those that the contract promises for later.
struct Section {
    /// Where it is, as in "belongs …".
    place: &'static str,
    keys: &'static [&'static str],
    later: &'static [&'static str],
}

fn sections() -> [Section; 11] {
    let section = |place, keys| Section { place, keys, later: &[] };
    [
        Section {
            later: &["on_failure", "labels", "profile", "cache"],
            ..section("at the top level of the file", keys_of::<PipelineFile>())
        },
        Section {
            later: &["labels", "image", "profile", "cache"],
            ..section("in a step", keys_of::<StepFile>())
        },
        section("under `retry`", keys_of::<RetryFile>()),
        section("under `loop`", keys_of::<LoopFile>()),
        section("under `resources`", ResourcesFile::KEYS),
        Section {
            later: &["image"],
            ..section("under the top level's `env`", keys_of::<EnvironmentFile>())
        },
        section("in a parameter", keys_of::<ParamFields>()),
        section("in an output", keys_of::<PickFields>()),
        section("under the top level's `concurrency`", keys_of::<ConcurrencyFile>()),
        section("in a secret", keys_of::<SecretFields>()),
        section("under a secret's `from`", keys_of::<SecretFromFile>()),
    ]
}

/// Message and help for a fault of the file's form.
pub(in crate::compile) fn explain(fault: &Fault) -> (String, String) {
    let help = match &fault.what {
        What::UnknownKey { key, known } => return explain_key(key, known),
        What::UnknownWord { word, known } => match nearest(word, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("it is one of {}", list(known)),
        },
        What::MissingKey("version") => "the first line of a pipeline is `version: 1`".to_owned(),
        What::MissingKey("steps") => "a pipeline has at least one step under `steps:`".to_owned(),
        What::MissingKey("max") => {
            "a loop has a bound: say how often it may go round at most".to_owned()
        }
        What::MissingKey("until") => {
            "say when it ends: `until: ${{ outputs.x > 1 }}`; `foreach` repeats a known number of \
             times"
                .to_owned()
        }
        What::MissingKey(_) => String::new(),
        What::Wrong(message)
            if message.starts_with("expected text") || message.starts_with("expected a string") =>
        {
            "write it in quotes".to_owned()
        }
        What::Wrong(_) => String::new(),
    };
    (fault.to_string(), help)
}

fn explain_key(key: &str, known: &'static [&'static str]) -> (String, String) {
    let all = sections();
    let own = all.iter().find(|section| section.keys == known);
    if own.is_some_and(|section| section.later.contains(&key)) {
        let message = format!("`{key}` is not supported yet");
        return (message, "remove it: this version of Windlass would not do what it says".into());
    }
    let elsewhere =
        |section: &&Section| section.keys.contains(&key) || section.later.contains(&key);
    if let Some(section) = all.iter().find(elsewhere) {
        return (format!("misplaced key `{key}`"), format!("it belongs {}", section.place));
    }
    let message = format!("unknown key `{key}`");
    if let Some(near) = nearest(key, known.iter().copied()) {
        return (message, format!("did you mean `{near}`?"));
    }
    let kind = match own {
        Some(section) if section.place == "in a parameter" => {
            "; for a mapping as default write `{type: map, default: {…}}`"
        }
        _ => "",
    };
    (message, format!("the keys here are {}{kind}", list(known)))
}

fn list(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}
