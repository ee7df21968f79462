use crate::compile::validate::safe_path;

/// Which function a step calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::compile) struct Target {
    pub(in crate::compile) place: Place,
    /// A name, or names with dots between them for what is inside a class.
    pub(in crate::compile) function: String,
}

/// Where the function is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::compile) enum Place {
    /// Names with dots between them.
    Module(String),
    /// Path of a file within the project.
    File(String),
}

impl Target {
    /// Reads `module:function` or `path/file.py:function`; else says what is wrong and the mend.
    pub(in crate::compile) fn parse(text: &str) -> Result<Self, (String, String)> {
        let form = "write `module:function` or `path/file.py:function`".to_owned();
        let shown = text.escape_debug();
        let Some((place, function)) = text.rsplit_once(':') else {
            return Err((format!("`{shown}` does not name a function"), form));
        };
        if !function.split('.').all(is_name) {
            let message =
                format!("`{}` in `{shown}` is no name of a function", function.escape_debug());
            return Err((message, form));
        }
        let function = function.to_owned();
        if place.ends_with(".py") || place.contains(['/', '\\', '\0']) || place.starts_with("..") {
            safe_path(place)?;
            if !place.ends_with(".py") {
                return Err((format!("`{}` is no Python file", place.escape_debug()), form));
            }
            let parts = place.split('/').filter(|part| !part.is_empty() && *part != ".");
            let path = parts.collect::<Vec<_>>().join("/");
            return Ok(Self { place: Place::File(path), function });
        }
        if !place.split('.').all(is_name) {
            return Err((format!("`{}` is no name of a module", place.escape_debug()), form));
        }
        Ok(Self { place: Place::Module(place.to_owned()), function })
    }
}

/// True for what Python takes as a name, in any alphabet.
fn is_name(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(|c| c.is_alphabetic() || c == '_')
        && chars.all(|c| c.is_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::{Place, Target};

    #[test]
    fn targets() {
        let file = |path: &str| Place::File(path.to_owned());
        let module = |name: &str| Place::Module(name.to_owned());
        for (text, place) in [
            ("f:go", module("f")),
            ("a.b.c:go", module("a.b.c")),
            ("src/train.py:go", file("src/train.py")),
            ("./train.py:go", file("train.py")),
            ("größe:go", module("größe")),
        ] {
            assert_eq!(Target::parse(text).unwrap().place, place, "{text}");
        }
        for bad in [
            "",
            "f",
            "f:",
            ":go",
            "f:1",
            "a..b:go",
            "../a.py:go",
            "/a.py:go",
            "a/../b.py:go",
            "a/b:go",
            "a\0.py:go",
            "a b:go",
            "f:go()",
            "..a:go",
        ] {
            assert!(Target::parse(bad).is_err(), "{bad:?}");
        }
    }
}
