//! The pipeline file that `windlass init` writes.

use std::{collections::BTreeSet, path::Path};

use windlass_proto::api::v1::{FunctionArgument, FunctionInfo};

/// Longest name of a step.
const MAX_NAME: usize = 64;

/// What else a step may have, for a reader who has not seen the reference.
const MORE: &str = "  # More that a step may have:
  #   needs: [other]                      # instead of: after the step above
  #   when: ${{ metrics.accuracy > 0.9 }} # else it is skipped
  #   foreach: ${{ params.chunks }}       # once for each item; `as: NAME` is the argument
  #   retry: {times: 2, backoff: 10s}
  #   timeout: 1h
  #   resources: {cpu: 2, memory: 4GiB}
";

/// True for a function whose name a step can have.
pub(crate) fn can_be_step(function: &FunctionInfo) -> bool {
    let name = &function.name;
    name.len() <= MAX_NAME && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// The pipeline of a module's functions, in their order. Where a function needs what no function
/// before it gives, the one before it is taken to return it; else it becomes a parameter.
pub(crate) fn text(module: &str, file: &Path, functions: &[FunctionInfo]) -> String {
    let links = Links::of(functions);
    let shown = file.display().to_string().replace(char::is_control, "?");
    let name = name(module);
    let mut out = format!(
        "# Made from the functions of {module}. Look for mistakes: windlass check {shown}\n\
         # See what would run: windlass plan {shown}. Run it: windlass run {shown}\n\
         version: 1\nname: {name}\n"
    );
    if !links.params.is_empty() {
        out += "\n# What the caller gives: -p NAME=VALUE. With a default: NAME: value\nparams:\n";
        for (param, kind) in &links.params {
            let kind = if kind.is_empty() { String::new() } else { format!("type: {kind}, ") };
            out += &format!("  {param}: {{{kind}help: argument of a step}}\n");
        }
    }
    out += "\n# One after the other; an argument gets the output of that name from a step above.\n\
            steps:\n";
    for (function, gives) in functions.iter().zip(&links.outputs) {
        out += &step(module, function, gives.as_deref());
    }
    out += MORE;
    out
}

fn step(module: &str, function: &FunctionInfo, gives: Option<&str>) -> String {
    let mut out = String::new();
    if !function.help.is_empty() {
        out += &format!("  # {}\n", function.help.replace(char::is_control, " "));
    }
    out += &format!("  {}:\n", function.name);
    // JSON texts are YAML too.
    let target = serde_json::Value::from(format!("{module}:{}", function.name));
    out += &format!("    python: {target}\n");
    match gives {
        Some(name) => {
            out += &format!("    out: {name}  # what it returns; `out: [a, b]` for a tuple\n")
        }
        None => out += "    # out: NAME  # else what it returns is the output `result`\n",
    }
    let optional: Vec<_> = function.arguments.iter().filter(|arg| !arg.required).collect();
    if let Some(first) = optional.iter().find(|arg| arg.default_json.is_some()) {
        let default = first.default_json.as_deref().unwrap_or_default();
        out += &format!("    # with: {{{}: {}}}\n", first.name, one_line(default));
    }
    if optional.len() > 1 {
        let names: Vec<_> = optional.iter().skip(1).map(|arg| arg.name.as_str()).collect();
        out += &format!("    # also takes {}\n", names.join(", "));
    }
    out + "\n"
}

/// Longest default that is shown, in characters.
const MAX_DEFAULT: usize = 60;

fn one_line(text: &str) -> String {
    let short: String = text.chars().take(MAX_DEFAULT).collect();
    short.replace(char::is_control, " ")
}

/// What goes from function to function.
struct Links {
    /// By function: the name of what it returns.
    outputs: Vec<Option<String>>,
    /// Name and type of what comes from outside.
    params: Vec<(String, String)>,
}

impl Links {
    fn of(functions: &[FunctionInfo]) -> Self {
        let mut links = Self { outputs: vec![None; functions.len()], params: Vec::new() };
        let mut there = BTreeSet::new();
        for (at, function) in functions.iter().enumerate() {
            for argument in function.arguments.iter().filter(|argument| argument.required) {
                if !there.insert(argument.name.clone()) {
                    continue;
                }
                let before = at.checked_sub(1).and_then(|before| links.outputs.get_mut(before));
                match before {
                    Some(output @ None) => *output = Some(argument.name.clone()),
                    Some(Some(_)) | None => links.params.push(param(argument)),
                }
            }
        }
        links
    }
}

fn param(argument: &FunctionArgument) -> (String, String) {
    const KINDS: [&str; 6] = ["int", "float", "str", "bool", "list", "map"];
    let known = KINDS.contains(&argument.r#type.as_str());
    (argument.name.clone(), if known { argument.r#type.clone() } else { String::new() })
}

/// The pipeline's name: the last part of the module's, as far as a name may have it.
fn name(module: &str) -> String {
    let last = module.trim_end_matches(".py").rsplit(['/', '.']).next().unwrap_or_default();
    let clean = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' };
    let name: String = last.chars().map(clean).take(MAX_NAME).collect();
    if name.starts_with(|c: char| c.is_ascii_alphabetic()) { name } else { format!("p{name}") }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{FunctionArgument, FunctionInfo, text};

    #[test]
    fn a_chain_of_functions_is_linked_by_its_arguments() {
        let function = |name: &str, help: &str, arguments: &[(&str, &str, Option<&str>)]| {
            let argument = |(name, kind, default): &(&str, &str, Option<&str>)| FunctionArgument {
                name: (*name).into(),
                r#type: (*kind).into(),
                required: default.is_none(),
                default_json: default.map(Into::into),
            };
            let arguments = arguments.iter().map(argument).collect();
            FunctionInfo { name: name.into(), arguments, help: help.into() }
        };
        let functions = [
            function("load", "Load the rows", &[("path", "str", None)]),
            function(
                "train",
                "",
                &[("df", "", None), ("n", "int", Some("100")), ("k", "", Some("1"))],
            ),
            function("evaluate", "", &[("model", "", None), ("df", "", None), ("goal", "", None)]),
        ];
        let expected = "\
# Made from the functions of src/churn.py. Look for mistakes: windlass check p.yaml
# See what would run: windlass plan p.yaml. Run it: windlass run p.yaml
version: 1
name: churn

# What the caller gives: -p NAME=VALUE. With a default: NAME: value
params:
  path: {type: str, help: argument of a step}
  goal: {help: argument of a step}

# One after the other; an argument gets the output of that name from a step above.
steps:
  # Load the rows
  load:
    python: \"src/churn.py:load\"
    out: df  # what it returns; `out: [a, b]` for a tuple

  train:
    python: \"src/churn.py:train\"
    out: model  # what it returns; `out: [a, b]` for a tuple
    # with: {n: 100}
    # also takes k

  evaluate:
    python: \"src/churn.py:evaluate\"
    # out: NAME  # else what it returns is the output `result`

";
        let made = text("src/churn.py", Path::new("p.yaml"), &functions);
        assert_eq!(made, format!("{expected}{}", super::MORE));
    }
}
