use windlass_core::Fallback;
use windlass_proto::api::v1::{FunctionArgument, FunctionInfo, PipelineError};

use super::{
    SnapshotFiles,
    python::{Callable, Listed, Parameter, Project, Target, Unresolved},
    report::plain,
};

/// The functions of a module that can be steps, with their arguments.
pub(crate) fn functions(
    module: &str,
    files: &dyn SnapshotFiles,
) -> Result<Vec<FunctionInfo>, Vec<PipelineError>> {
    let wrong = |(message, help): (String, String)| {
        vec![plain(PipelineError { path: module.to_owned(), message, help, ..Default::default() })]
    };
    // A module is read like the place of a function in it.
    let form = || ("write `module` or `path/file.py`".to_owned(), String::new());
    let place = Target::parse(&format!("{module}:f")).map_err(|_| wrong(form()))?.place;
    let project = Project::new(files);
    let unresolved = |why| match why {
        Unresolved::Target(message, help) => wrong((message, help)),
        Unresolved::Code(error) => vec![error],
    };
    let mut functions = Vec::new();
    for Listed { name, help } in project.listed(&place).map_err(unresolved)? {
        let target = Target { place: place.clone(), function: name.clone() };
        let callable = project.resolve(&target).map_err(unresolved)?;
        functions.push(FunctionInfo { name, arguments: arguments(&callable), help });
    }
    Ok(functions)
}

fn arguments(callable: &Callable) -> Vec<FunctionArgument> {
    let signature = callable.signature.as_ref();
    let parameters = signature.into_iter().flat_map(|signature| signature.given_by_name());
    let argument = |parameter: &Parameter| FunctionArgument {
        name: parameter.name.clone(),
        r#type: parameter.hint.kind.word().to_owned(),
        required: matches!(parameter.fallback, Fallback::Required),
        default_json: match &parameter.fallback {
            Fallback::Literal(json) => Some(json.text().to_owned()),
            Fallback::Required | Fallback::InCode => None,
        },
    };
    parameters.map(argument).collect()
}
