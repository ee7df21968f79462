use std::{collections::HashMap, rc::Rc};

use tree_sitter::{Node, Parser, TreeCursor};

use super::{Signature, class::Class};

/// Largest module that is looked into, in bytes; a larger one may hold any name.
const MAX_SOURCE: usize = 4 << 20;

/// What the text of one module says.
#[derive(Debug, Default)]
pub(super) struct Module {
    /// What each name at the top of the module was last bound to.
    pub(super) names: HashMap<String, Name>,
    /// Every import of the module, wherever it stands.
    pub(super) imports: Vec<Import>,
    /// True where names may appear that the text does not show.
    pub(super) open: bool,
    /// Line and column of the first syntax error, from 1.
    pub(super) broken: Option<(u32, u32)>,
}

/// What a name stands for.
#[derive(Clone, Debug)]
pub(super) enum Name {
    Function(Rc<Signature>),
    /// `from MODULE import NAME`.
    Imported {
        from: Import,
        name: String,
    },
    Class(Rc<Class>),
    /// A variable, a module.
    Other,
}

/// A module as an import names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Import {
    /// Dots before the name: 0 for an absolute import.
    pub(super) dots: usize,
    /// May be empty after dots.
    pub(super) module: String,
    /// What is taken from it, which may be modules too.
    pub(super) names: Vec<String>,
    pub(super) star: bool,
}

impl Module {
    /// Reads a module's text.
    pub(super) fn parse(source: &[u8]) -> Self {
        let open = || Self { open: true, ..Self::default() };
        if source.len() > MAX_SOURCE {
            return open();
        }
        let source = source.strip_prefix(b"\xef\xbb\xbf").unwrap_or(source);
        let mut parser = Parser::new();
        if parser.set_language(&tree_sitter_python::LANGUAGE.into()).is_err() {
            return open();
        }
        let Some(tree) = parser.parse(source, None) else { return open() };
        let mut module = Self::default();
        let mut walk = Walk { source, module: &mut module, cursor: tree.walk() };
        walk.everything();
        if tree.root_node().has_error() {
            module.broken = first_error(tree.root_node());
        }
        module.open |= module.names.contains_key("__getattr__");
        module
    }

    /// Names of the functions that are defined here.
    pub(super) fn functions(&self) -> impl Iterator<Item = (&str, &Rc<Signature>)> {
        self.names.iter().filter_map(|(name, bound)| match bound {
            Name::Function(signature) => Some((name.as_str(), signature)),
            Name::Imported { .. } | Name::Class(_) | Name::Other => None,
        })
    }
}

fn first_error(root: Node<'_>) -> Option<(u32, u32)> {
    let mut first: Option<Node<'_>> = None;
    let mut stack = vec![root];
    while let Some(node) = stack.pop() {
        if node.is_error() || node.is_missing() {
            if first.is_none_or(|known| node.start_byte() < known.start_byte()) {
                first = Some(node);
            }
        } else if node.has_error() {
            stack.extend(node.children(&mut node.walk()));
        }
    }
    let place = first?.start_position();
    let small = |n: usize| u32::try_from(n + 1).unwrap_or(u32::MAX);
    Some((small(place.row), small(place.column)))
}

/// Walks through a module without recursion, whatever its depth.
struct Walk<'t, 'm> {
    source: &'t [u8],
    module: &'m mut Module,
    cursor: TreeCursor<'t>,
}

impl<'t> Walk<'t, '_> {
    fn everything(&mut self) {
        // How many functions and classes are around the node.
        let mut inside = 0usize;
        loop {
            let node = self.cursor.node();
            let statement = self.visit(node, inside > 0);
            if statement && self.cursor.goto_first_child() {
                inside += usize::from(is_scope(node));
                continue;
            }
            while !self.cursor.goto_next_sibling() {
                if !self.cursor.goto_parent() {
                    return;
                }
                inside -= usize::from(is_scope(self.cursor.node()));
            }
        }
    }

    /// Takes what a statement says; true where more statements may be inside.
    fn visit(&mut self, node: Node<'t>, inner: bool) -> bool {
        match node.kind() {
            "import_statement" => self.import(node, inner),
            "import_from_statement" => self.import_from(node, inner),
            "function_definition" if !inner => {
                let signature = Rc::new(Signature::read(node, self.source));
                self.bind(node.child_by_field_name("name"), Name::Function(signature));
            }
            "class_definition" if !inner => {
                let class = Rc::new(Class::read(node, self.source));
                self.bind(node.child_by_field_name("name"), Name::Class(class));
            }
            "expression_statement" if !inner => {
                for child in node.named_children(&mut node.walk()) {
                    self.assign(child);
                }
            }
            _ => {}
        }
        matches!(
            node.kind(),
            "module"
                | "block"
                | "function_definition"
                | "class_definition"
                | "decorated_definition"
                | "if_statement"
                | "elif_clause"
                | "else_clause"
                | "try_statement"
                | "except_clause"
                | "except_group_clause"
                | "finally_clause"
                | "with_statement"
                | "for_statement"
                | "while_statement"
                | "match_statement"
                | "case_clause"
        )
    }

    fn text(&self, node: Node<'_>) -> String {
        node.utf8_text(self.source).unwrap_or_default().split_whitespace().collect()
    }

    fn bind(&mut self, name: Option<Node<'_>>, bound: Name) {
        if let Some(name) = name {
            self.module.names.insert(self.text(name), bound);
        }
    }

    /// Binds every name on the left of an assignment, and of those to its right.
    fn assign(&mut self, node: Node<'t>) {
        let mut next = Some(node).filter(|node| node.kind() == "assignment");
        while let Some(assignment) = next {
            let mut stack: Vec<_> = assignment.child_by_field_name("left").into_iter().collect();
            while let Some(left) = stack.pop() {
                match left.kind() {
                    "identifier" => self.bind(Some(left), Name::Other),
                    "pattern_list" | "tuple_pattern" | "list_pattern" => {
                        stack.extend(left.named_children(&mut left.walk()));
                    }
                    _ => {}
                }
            }
            let right = assignment.child_by_field_name("right");
            next = right.filter(|node| node.kind() == "assignment");
        }
    }

    fn import(&mut self, node: Node<'t>, inner: bool) {
        for name in node.children_by_field_name("name", &mut node.walk()) {
            let module = self.text(name.child_by_field_name("name").unwrap_or(name));
            if !inner {
                let alias = name.child_by_field_name("alias").map(|alias| self.text(alias));
                let top = module.split('.').next().unwrap_or_default().to_owned();
                self.module.names.insert(alias.unwrap_or(top), Name::Other);
            }
            self.module.imports.push(Import { dots: 0, module, names: vec![], star: false });
        }
    }

    fn import_from(&mut self, node: Node<'t>, inner: bool) {
        let Some(from) = node.child_by_field_name("module_name") else { return };
        let text = self.text(from);
        let module = text.trim_start_matches('.').to_owned();
        let dots = text.len() - module.len();
        let mut import = Import { dots, module, names: vec![], star: false };
        let mut bound = vec![];
        for name in node.children_by_field_name("name", &mut node.walk()) {
            let taken = self.text(name.child_by_field_name("name").unwrap_or(name));
            let alias = name.child_by_field_name("alias").map(|alias| self.text(alias));
            bound.push((alias.unwrap_or_else(|| taken.clone()), taken.clone()));
            import.names.push(taken);
        }
        import.star = node.named_children(&mut node.walk()).any(|c| c.kind() == "wildcard_import");
        if !inner {
            for (name, taken) in bound {
                let from = import.clone();
                self.module.names.insert(name, Name::Imported { from, name: taken });
            }
        }
        self.module.imports.push(import);
    }
}

fn is_scope(node: Node<'_>) -> bool {
    matches!(node.kind(), "function_definition" | "class_definition")
}
