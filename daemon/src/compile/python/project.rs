use std::{
    borrow::Cow,
    cell::RefCell,
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    rc::Rc,
};

use windlass_core::nearest;
use windlass_proto::api::v1::PipelineError;

use super::{
    Signature, Target,
    module::{Import, Module, Name},
    target::Place,
};
use crate::compile::SnapshotFiles;

/// Most modules that are followed from one function.
const MAX_REACHED: usize = 2_000;

/// Longest row of `from … import` that is followed to a function.
const MAX_HOPS: usize = 8;

/// The project's Python code, read when asked for and then remembered.
pub(in crate::compile) struct Project<'f> {
    pub(super) files: &'f dyn SnapshotFiles,
    modules: RefCell<HashMap<String, Option<Rc<Module>>>>,
}

/// Functions by the module that defines them and their name.
pub(in crate::compile) type Functions = BTreeMap<(String, String), Rc<Signature>>;

/// A function that a step calls.
#[derive(Debug)]
pub(in crate::compile) struct Callable {
    /// Name of the module that the target names, as Python will know it.
    pub(in crate::compile) module: String,
    pub(in crate::compile) function: String,
    /// `None` where the text does not show its arguments.
    pub(in crate::compile) signature: Option<Rc<Signature>>,
    /// Path of the module that the target names.
    pub(super) path: String,
    /// Directories where its imports are looked up, in order; empty for the project's root.
    roots: Vec<String>,
}

/// Why a target cannot be called.
#[derive(Debug)]
pub(in crate::compile) enum Unresolved {
    /// The target is wrong; message and help.
    Target(String, String),
    /// The code is wrong, at a place of its own.
    Code(PipelineError),
}

impl<'f> Project<'f> {
    pub(in crate::compile) fn new(files: &'f dyn SnapshotFiles) -> Self {
        Self { files, modules: RefCell::default() }
    }

    /// Finds the function that a target names.
    pub(in crate::compile) fn resolve(&self, target: &Target) -> Result<Callable, Unresolved> {
        let (module, path, roots) = self.locate(&target.place)?;
        let Some(code) = self.module(&path) else {
            return Err(self.no_module(&target.place));
        };
        if let Some((line, column)) = code.broken {
            let message = "the module has a syntax error".to_owned();
            let help =
                format!("Python cannot import it, so `{}` cannot be called", target.function);
            return Err(Unresolved::Code(PipelineError { path, line, column, message, help }));
        }
        let function = target.function.clone();
        let mut callable = Callable { module, function, signature: None, path, roots };
        callable.signature = self.find(&code, &callable)?;
        Ok(callable)
    }

    /// The arguments of a function, as far as the text shows them.
    fn find(&self, code: &Module, to: &Callable) -> Result<Option<Rc<Signature>>, Unresolved> {
        let (first, inner) = match to.function.split_once('.') {
            Some((first, _)) => (first, true),
            None => (to.function.as_str(), false),
        };
        match code.names.get(first) {
            Some(Name::Class(class)) if inner => class.method(to),
            Some(_) if inner => Ok(None),
            Some(Name::Function(signature)) => Ok(Some(Rc::clone(signature))),
            Some(Name::Class(_) | Name::Other) => Ok(None),
            Some(Name::Imported { from, name }) => Ok(self.follow(to, from.clone(), name.clone())),
            None if code.open => Ok(None),
            None => self.find_below_stars(code, to, first),
        }
    }

    /// Looks for a name in the modules of which everything is imported.
    fn find_below_stars(
        &self,
        code: &Module,
        to: &Callable,
        name: &str,
    ) -> Result<Option<Rc<Signature>>, Unresolved> {
        for star in code.imports.iter().filter(|import| import.star) {
            let Some((_, path)) = self.imported(star, &to.module, &to.path, &to.roots) else {
                return Ok(None);
            };
            match self.module(&path).as_ref().map(|code| code.names.get(name)) {
                Some(Some(Name::Function(signature))) => return Ok(Some(Rc::clone(signature))),
                Some(None) if !self.may_hold_more(&path) => {}
                _ => return Ok(None),
            }
        }
        Err(no_function(code, &to.path, &to.function))
    }

    fn may_hold_more(&self, path: &str) -> bool {
        self.module(path).is_none_or(|code| code.open || code.imports.iter().any(|i| i.star))
    }

    /// Follows `from … import` to a function, while it stays within the project.
    fn follow(&self, to: &Callable, from: Import, name: String) -> Option<Rc<Signature>> {
        let (mut module, mut path) = (to.module.clone(), to.path.clone());
        let (mut from, mut name) = (from, name);
        for _ in 0..MAX_HOPS {
            (module, path) = self.imported(&from, &module, &path, &to.roots)?;
            match self.module(&path)?.names.get(&name)? {
                Name::Function(signature) => return Some(Rc::clone(signature)),
                Name::Imported { from: next, name: taken } => {
                    (from, name) = (next.clone(), taken.clone());
                }
                Name::Class(_) | Name::Other => return None,
            }
        }
        None
    }

    /// Every function of the modules that a function's module imports, directly or not, and of
    /// its own, by the module that defines it.
    pub(in crate::compile) fn reachable(&self, callable: &Callable) -> Functions {
        let mut functions = Functions::new();
        let mut seen = HashSet::new();
        let mut queue = VecDeque::from([(callable.module.clone(), callable.path.clone())]);
        for (dot, _) in callable.module.match_indices('.') {
            let package = callable.module[..dot].to_owned();
            queue.extend(self.find_module(&package, &callable.roots).map(|path| (package, path)));
        }
        while let Some((name, path)) = queue.pop_front() {
            if seen.len() >= MAX_REACHED || !seen.insert(name.clone()) {
                continue;
            }
            let Some(code) = self.module(&path) else { continue };
            for import in &code.imports {
                let base = absolute(import, &name, &path);
                let inner = import.names.iter().map(|taken| format!("{base}.{taken}"));
                // Importing a module runs the packages around it.
                let parents = base.match_indices('.').map(|(dot, _)| base[..dot].to_owned());
                for module in parents.chain([base.clone()]).chain(inner) {
                    if let Some(path) = self.find_module(&module, &callable.roots) {
                        queue.push_back((module, path));
                    }
                }
            }
            for (function, signature) in code.functions() {
                functions.insert((name.clone(), function.to_owned()), Rc::clone(signature));
            }
        }
        functions
    }

    /// Name, path and roots of the module of a target.
    pub(super) fn locate(
        &self,
        place: &Place,
    ) -> Result<(String, String, Vec<String>), Unresolved> {
        let root = String::new();
        match place {
            Place::File(path) => {
                let (directory, file) = path.rsplit_once('/').unwrap_or(("", path));
                let name = file.strip_suffix(".py").unwrap_or(file).to_owned();
                let mut roots = vec![directory.to_owned()];
                if !directory.is_empty() {
                    roots.push(root);
                }
                Ok((name, path.clone(), roots))
            }
            Place::Module(name) => {
                let top = name.split('.').next().unwrap_or_default();
                let roots = if self.has_top(top, "") || !self.has_top(top, "src") {
                    vec![root]
                } else {
                    vec!["src".to_owned(), root]
                };
                let path = self.find_module(name, &roots).ok_or_else(|| self.no_module(place))?;
                Ok((name.clone(), path, roots))
            }
        }
    }

    /// True where a module or a directory of that name is below `root`.
    fn has_top(&self, top: &str, root: &str) -> bool {
        let base = join(root, top);
        let (file, below) = (format!("{base}.py"), format!("{base}/"));
        let is_there = |path: &str| self.module(path).is_some();
        is_there(&file)
            || is_there(&format!("{below}__init__.py"))
            || self.files.paths().any(|path| path.starts_with(&below) && path.ends_with(".py"))
    }

    fn find_module(&self, name: &str, roots: &[String]) -> Option<String> {
        let below = name.replace('.', "/");
        let candidates = roots.iter().flat_map(|root| {
            let base = join(root, &below);
            [format!("{base}/__init__.py"), format!("{base}.py")]
        });
        candidates.into_iter().find(|path| self.module(path).is_some())
    }

    /// Name and path of the module that an import takes from, where it is the project's own.
    fn imported(
        &self,
        import: &Import,
        module: &str,
        path: &str,
        roots: &[String],
    ) -> Option<(String, String)> {
        let name = absolute(import, module, path);
        self.find_module(&name, roots).map(|path| (name, path))
    }

    fn module(&self, path: &str) -> Option<Rc<Module>> {
        if let Some(known) = self.modules.borrow().get(path) {
            return known.clone();
        }
        let source: Option<Cow<'_, [u8]>> = self.files.read(path);
        let module = source.map(|source| Rc::new(Module::parse(&source)));
        self.modules.borrow_mut().insert(path.to_owned(), module.clone());
        module
    }

    fn no_module(&self, place: &Place) -> Unresolved {
        let python = || self.files.paths().filter(|path| path.ends_with(".py"));
        let (message, near) = match place {
            Place::File(path) => (
                format!("no file `{path}` in the project"),
                nearest(path, python()).map(str::to_owned),
            ),
            Place::Module(name) => {
                let dotted = |path: &str| {
                    let path = path
                        .strip_prefix("src/")
                        .unwrap_or(path)
                        .strip_suffix(".py")
                        .unwrap_or(path);
                    path.strip_suffix("/__init__").unwrap_or(path).replace('/', ".")
                };
                let names: Vec<String> = python().map(dotted).collect();
                let near = nearest(name, names.iter().map(String::as_str)).map(str::to_owned);
                (format!("no module `{name}` in the project"), near)
            }
        };
        let help = match (near, place) {
            (Some(near), _) => format!("did you mean `{near}`?"),
            (None, Place::File(_)) => "name a file relative to the project's root".to_owned(),
            (None, Place::Module(_)) => {
                "modules are looked up at the project's root and in src/; a file that .gitignore \
                 hides can be named under `files:`"
                    .to_owned()
            }
        };
        Unresolved::Target(message, help)
    }
}

/// The name of the module that an import means, as seen from `module` at `path`.
fn absolute(import: &Import, module: &str, path: &str) -> String {
    if import.dots == 0 {
        return import.module.clone();
    }
    let mut parts: Vec<&str> = module.split('.').collect();
    let up = import.dots - usize::from(path.ends_with("/__init__.py"));
    parts.truncate(parts.len().saturating_sub(up));
    parts.extend(Some(import.module.as_str()).filter(|name| !name.is_empty()));
    parts.join(".")
}

fn join(root: &str, path: &str) -> String {
    if root.is_empty() { path.to_owned() } else { format!("{root}/{path}") }
}

fn no_function(code: &Module, path: &str, function: &str) -> Unresolved {
    let mut names: Vec<&str> = code.functions().map(|(name, _)| name).collect();
    names.sort_unstable();
    let help = match nearest(function, names.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if names.is_empty() => "the module defines no functions".to_owned(),
        None => format!("its functions are {}", names.join(", ")),
    };
    Unresolved::Target(format!("no function `{function}` in {path}"), help)
}
