use std::{collections::HashMap, rc::Rc};

use tree_sitter::Node;

use windlass_core::nearest;

use super::{Callable, Signature, Unresolved, signature::Role};

/// What the text of a class says of its methods.
#[derive(Debug, Default)]
pub(super) struct Class {
    methods: HashMap<String, Method>,
    /// True where it may have methods that the text does not show.
    open: bool,
}

/// A method, as it is called through its class.
#[derive(Clone, Debug)]
enum Method {
    /// A static or class method, with the arguments that a caller gives.
    Callable(Rc<Signature>),
    /// It is called on an object.
    OfObject,
    /// What its decorators make of it is not known.
    Unknown,
}

impl Class {
    /// Reads a `class_definition`.
    pub(super) fn read(class: Node<'_>, source: &[u8]) -> Self {
        let bases = class.child_by_field_name("superclasses");
        let has_bases = bases.is_some_and(|bases| bases.named_child_count() > 0);
        let decorated =
            class.parent().is_some_and(|around| around.kind() == "decorated_definition");
        let mut read = Self { open: has_bases || decorated, ..Self::default() };
        let Some(body) = class.child_by_field_name("body") else { return read };
        for node in body.named_children(&mut body.walk()) {
            let (def, decorators) = match node.kind() {
                "function_definition" => (node, vec![]),
                "decorated_definition" => match node.child_by_field_name("definition") {
                    Some(def) => (def, decorators(node, source)),
                    None => continue,
                },
                // Assignments, conditions: names may come from anywhere.
                "expression_statement" | "comment" | "pass_statement" => {
                    let child = node.named_child(0);
                    read.open |= child.is_some_and(|child| child.kind() == "assignment");
                    continue;
                }
                _ => {
                    read.open = true;
                    continue;
                }
            };
            let Some(name) = def.child_by_field_name("name") else { continue };
            let name = name.utf8_text(source).unwrap_or_default().to_owned();
            read.methods.insert(name, method(def, &decorators, source));
        }
        read
    }

    /// The arguments of a method that is called through its class.
    pub(super) fn method(&self, to: &Callable) -> Result<Option<Rc<Signature>>, Unresolved> {
        let (name, method) = to.function.split_once('.').unwrap_or((&to.function, ""));
        let refuse = |message: String, help: String| Err(Unresolved::Target(message, help));
        match self.methods.get(method) {
            Some(Method::Callable(signature)) => Ok(Some(Rc::clone(signature))),
            Some(Method::Unknown) => Ok(None),
            Some(Method::OfObject) => {
                let message =
                    format!("`{method}` of class `{name}` in {} wants an object", to.path);
                let help = "make it a `@staticmethod` or `@classmethod`, or call it in a function";
                refuse(message, help.to_owned())
            }
            None if self.open || method.contains('.') => Ok(None),
            None => {
                let mut names: Vec<&str> = self.methods.keys().map(String::as_str).collect();
                names.sort_unstable();
                let help = match nearest(method, names.iter().copied()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None if names.is_empty() => "the class has no methods".to_owned(),
                    None => format!("its methods are {}", names.join(", ")),
                };
                refuse(format!("no method `{method}` of class `{name}` in {}", to.path), help)
            }
        }
    }
}

fn decorators<'s>(node: Node<'_>, source: &'s [u8]) -> Vec<&'s str> {
    let all = node
        .named_children(&mut node.walk())
        .filter(|n| n.kind() == "decorator")
        .collect::<Vec<_>>();
    let text =
        |node: &Node<'_>| node.utf8_text(source).unwrap_or_default().trim_start_matches('@').trim();
    all.iter().map(text).collect()
}

fn method(def: Node<'_>, decorators: &[&str], source: &[u8]) -> Method {
    if def.kind() != "function_definition" {
        return Method::Unknown;
    }
    let mut signature = Signature::read(def, source);
    match decorators {
        [] => Method::OfObject,
        ["staticmethod"] => Method::Callable(Rc::new(signature)),
        ["classmethod"] => {
            // The class itself comes first, unless it is among `*args`.
            if signature.parameters.first().is_some_and(|first| first.role != Role::Rest) {
                signature.parameters.remove(0);
            }
            Method::Callable(Rc::new(signature))
        }
        _ => Method::Unknown,
    }
}
