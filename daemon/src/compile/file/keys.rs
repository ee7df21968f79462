use windlass_core::nearest;

use super::types::{
    EnvironmentFile, ParamFields, PickFields, PipelineFile, ResourcesFile, RetryFile, StepFile,
};
use crate::compile::yaml::{Fault, What, keys_of};

/// A mapping of the file: its keys now, and those that the contract promises for later.
struct Section {
    /// Where it is, as in "belongs …".
    place: &'static str,
    keys: &'static [&'static str],
    later: &'static [&'static str],
}

fn sections() -> [Section; 7] {
    [
        Section {
            place: "at the top level of the file",
            keys: keys_of::<PipelineFile>(),
            later: &["secrets", "concurrency", "on_failure", "labels", "profile"],
        },
        Section {
            place: "in a step",
            keys: keys_of::<StepFile>(),
            later: &[
                "when",
                "foreach",
                "as",
                "matrix",
                "max_parallel",
                "reduce",
                "loop",
                "notebook",
                "pipeline",
                "on_failure",
                "continue_on_error",
                "labels",
                "image",
                "secrets",
            ],
        },
        Section { place: "under `retry`", keys: keys_of::<RetryFile>(), later: &[] },
        Section { place: "under `resources`", keys: keys_of::<ResourcesFile>(), later: &["gpu"] },
        Section {
            place: "under the top level's `env`",
            keys: keys_of::<EnvironmentFile>(),
            later: &["image"],
        },
        Section { place: "in a parameter", keys: keys_of::<ParamFields>(), later: &[] },
        Section { place: "in an output", keys: keys_of::<PickFields>(), later: &[] },
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
        What::MissingKey(_) => String::new(),
        What::Wrong(message) if message.starts_with("expected a string") => {
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
