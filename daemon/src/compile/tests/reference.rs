//! The reference page and the schema say the same.
use std::collections::BTreeSet;

use serde_json::Value;

use crate::compile::schema;

const PAGE: &str = include_str!("../../../../docs/pipeline.md");

/// The page's sections with the part of the schema that each is about.
const SECTIONS: [(&str, &str); 11] = [
    ("The file", ""),
    ("A parameter", "ParamFields"),
    ("The environment", "EnvironmentFile"),
    ("A secret", "SecretFields"),
    ("Where a secret is found", "SecretFromFile"),
    ("Concurrency", "ConcurrencyFile"),
    ("A step", "StepFile"),
    ("An output", "PickFields"),
    ("Retry", "RetryFile"),
    ("Resources", "ResourcesFile"),
    ("Loop", "LoopFile"),
];

fn section(title: &str) -> &'static str {
    let all = PAGE.split("\n## ").find_map(|part| part.strip_prefix(title)?.strip_prefix('\n'));
    all.unwrap_or_else(|| panic!("no section {title:?}"))
}

#[test]
fn every_key_is_on_the_page_and_no_other() {
    let schema: Value = serde_json::from_str(&schema()).unwrap();
    for (title, definition) in SECTIONS {
        let of = if definition.is_empty() { &schema } else { &schema["definitions"][definition] };
        let keys = of["properties"].as_object().unwrap_or_else(|| panic!("{definition}: {of:#}"));
        let keys: BTreeSet<&str> = keys.keys().map(String::as_str).collect();
        let rows = section(title).lines().filter_map(|line| line.strip_prefix("| `"));
        let told: BTreeSet<&str> = rows.filter_map(|row| Some(row.split_once('`')?.0)).collect();
        assert_eq!(told, keys, "{title}");
    }
    let known: BTreeSet<&str> = SECTIONS.iter().map(|(_, definition)| *definition).collect();
    for (name, definition) in schema["definitions"].as_object().unwrap() {
        let has_keys = definition.get("properties").is_some();
        assert!(!has_keys || known.contains(name.as_str()), "{name} is on no section of the page");
    }
}

#[test]
fn every_word_of_a_closed_list_is_on_the_page() {
    let schema: Value = serde_json::from_str(&schema()).unwrap();
    let mut stack = vec![&schema];
    let mut words = 0;
    while let Some(value) = stack.pop() {
        match value {
            Value::Array(items) => stack.extend(items),
            Value::Object(map) => {
                let constant = map.get("const").into_iter();
                let listed = map.get("enum").and_then(Value::as_array).into_iter().flatten();
                for word in constant.chain(listed).filter_map(Value::as_str) {
                    words += 1;
                    assert!(PAGE.contains(&format!("`{word}`")) || PAGE.contains(word), "{word}");
                }
                stack.extend(map.values());
            }
            _ => {}
        }
    }
    assert!(words > 15, "{words}");
}

#[test]
fn the_schema_tells_which_keys_go_together() {
    let schema: Value = serde_json::from_str(&schema()).unwrap();
    let step = &schema["definitions"]["StepFile"];
    let actions = step["oneOf"].as_array().unwrap();
    assert_eq!(actions.len(), 6);
    for action in actions {
        let key = action["required"][0].as_str().unwrap();
        assert!(step["properties"].get(key).is_some(), "{key}");
    }
    assert_eq!(step["dependencies"]["as"][0], "foreach");
    assert_eq!(step["allOf"].as_array().unwrap().len(), 3);
    let resources = &schema["definitions"]["ResourcesFile"];
    assert_eq!(resources["additionalProperties"]["type"], "integer", "{resources:#}");
    let unknown = |name: &str| schema["definitions"][name]["additionalProperties"] == false;
    assert!(
        ["StepFile", "RetryFile", "LoopFile", "ParamFields", "SecretFields"]
            .into_iter()
            .all(unknown)
    );
}
