use tree_sitter::Node;
use windlass_core::{Fallback, Hint, Json, Kind};

use super::literal;

/// The arguments that a function takes.
#[derive(Debug, Default)]
pub(in crate::compile) struct Signature {
    pub(in crate::compile) parameters: Vec<Parameter>,
    /// True where it takes any other argument by name.
    pub(in crate::compile) takes_any: bool,
}

/// One argument of a function.
#[derive(Debug)]
pub(in crate::compile) struct Parameter {
    pub(in crate::compile) name: String,
    pub(in crate::compile) role: Role,
    pub(in crate::compile) hint: Hint,
    pub(in crate::compile) fallback: Fallback,
}

/// How an argument is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::compile) enum Role {
    PositionalOnly,
    Normal,
    KeywordOnly,
    /// `*args`: takes the rest by position, and nothing by name.
    Rest,
}

impl Signature {
    /// Reads a `function_definition`.
    pub(super) fn read(def: Node<'_>, source: &[u8]) -> Self {
        let mut signature = Self::default();
        let Some(list) = def.child_by_field_name("parameters") else { return signature };
        let mut role = Role::Normal;
        for node in list.named_children(&mut list.walk()) {
            match node.kind() {
                "positional_separator" => {
                    for parameter in &mut signature.parameters {
                        parameter.role = Role::PositionalOnly;
                    }
                }
                "keyword_separator" => role = Role::KeywordOnly,
                _ => signature.add(node, source, &mut role),
            }
        }
        signature
    }

    fn add(&mut self, node: Node<'_>, source: &[u8], role: &mut Role) {
        let name_node = node.child_by_field_name("name").or_else(|| match node.kind() {
            "typed_parameter" => node.named_child(0),
            _ => Some(node),
        });
        let Some(name_node) = name_node else { return };
        let text = |node: Node<'_>| node.utf8_text(source).unwrap_or_default().to_owned();
        match name_node.kind() {
            "identifier" => {}
            "dictionary_splat_pattern" => {
                self.takes_any = true;
                return;
            }
            "list_splat_pattern" => {
                let name = name_node.named_child(0).map(text).unwrap_or_default();
                let rest = Parameter {
                    name,
                    role: Role::Rest,
                    hint: Hint::default(),
                    fallback: Fallback::InCode,
                };
                self.parameters.push(rest);
                *role = Role::KeywordOnly;
                return;
            }
            _ => return,
        }
        let fallback = match node.child_by_field_name("value") {
            None => Fallback::Required,
            Some(value) => match literal::to_json(value, source) {
                Some(json) => Fallback::Literal(Json::from(json)),
                None => Fallback::InCode,
            },
        };
        let mut hint =
            node.child_by_field_name("type").map_or_else(Hint::default, |t| hint(&text(t)));
        // `def f(x: int = None)` is common, and means that None will do.
        if let Fallback::Literal(json) = &fallback
            && hint.check(json).is_err()
        {
            if json.value().is_null() { hint.optional = true } else { hint = Hint::default() }
        }
        self.parameters.push(Parameter { name: text(name_node), role: *role, hint, fallback });
    }

    /// The argument of that name that can be given by name.
    pub(in crate::compile) fn parameter(&self, name: &str) -> Option<&Parameter> {
        self.given_by_name().find(|parameter| parameter.name == name)
    }

    /// Every argument that a value can be bound to.
    pub(in crate::compile) fn given_by_name(&self) -> impl Iterator<Item = &Parameter> {
        self.parameters.iter().filter(|parameter| parameter.role != Role::Rest)
    }
}

/// What an annotation says of a JSON value; anything that is not plain says nothing.
fn hint(annotation: &str) -> Hint {
    let text = annotation.trim().trim_matches(['"', '\'']).trim();
    let union = split_top(text, '|');
    if union.len() > 1 {
        let optional = union.contains(&"None");
        let mut others = union.iter().filter(|part| **part != "None");
        return match (others.next(), others.next()) {
            (Some(only), None) => Hint { optional, ..hint(only) },
            _ => Hint::default(),
        };
    }
    let (base, inner) = match text.split_once('[') {
        Some((base, rest)) => (base.trim(), rest.strip_suffix(']').unwrap_or(rest)),
        None => (text, ""),
    };
    let kind = match base.rsplit('.').next().unwrap_or(base) {
        "Optional" => return Hint { optional: true, ..hint(inner) },
        "Annotated" => return hint(split_top(inner, ',').first().unwrap_or(&"")),
        "int" => Kind::Int,
        "float" => Kind::Float,
        "str" => Kind::Str,
        "bool" => Kind::Bool,
        "list" | "List" => Kind::List,
        "dict" | "Dict" => Kind::Map,
        _ => Kind::Any,
    };
    Hint { kind, optional: false }
}

/// Splits at `mark` outside of brackets.
fn split_top(text: &str, mark: char) -> Vec<&str> {
    let mut depth = 0i32;
    let parts = text.split(|c: char| {
        depth += i32::from(matches!(c, '[' | '(')) - i32::from(matches!(c, ']' | ')'));
        c == mark && depth == 0
    });
    parts.map(str::trim).collect()
}

#[cfg(test)]
mod tests {
    use windlass_core::{Hint, Kind};

    use super::hint;

    #[test]
    fn hints_are_read_where_they_are_plain() {
        let plain = |kind| Hint { kind, optional: false };
        let optional = |kind| Hint { kind, optional: true };
        for (text, wanted) in [
            ("int", plain(Kind::Int)),
            ("'float'", plain(Kind::Float)),
            ("list[int]", plain(Kind::List)),
            ("typing.Dict[str, int]", plain(Kind::Map)),
            ("int | None", optional(Kind::Int)),
            ("Optional[list[str | int]]", optional(Kind::List)),
            ("Annotated[str, 'x', 1]", plain(Kind::Str)),
            ("int | str", plain(Kind::Any)),
            ("Union[int, None]", plain(Kind::Any)),
            ("pd.DataFrame", plain(Kind::Any)),
            ("", plain(Kind::Any)),
        ] {
            assert_eq!(hint(text), wanted, "{text}");
        }
    }
}
