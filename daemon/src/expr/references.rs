use cel::{IdedExpr, common::ast::Expr};

use super::{Expression, parse};

/// The names that expressions start from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Root {
    Params,
    Steps,
    Outputs,
    Metrics,
    Unknown(String),
}

impl Root {
    /// The names themselves.
    pub(crate) const NAMES: [&'static str; 4] = ["params", "steps", "outputs", "metrics"];

    fn of(name: &str) -> Self {
        match name {
            "params" => Self::Params,
            "steps" => Self::Steps,
            "outputs" => Self::Outputs,
            "metrics" => Self::Metrics,
            other => Self::Unknown(other.to_owned()),
        }
    }
}

/// One use of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reference {
    pub(crate) root: Root,
    /// The names below it as far as the text shows them: for `steps.a.outputs.x[i]` these are `a`,
    /// `outputs`, `x`. Empty where the whole root is used, or a name that is computed.
    pub(crate) path: Vec<String>,
    /// From 1.
    pub(crate) column: u32,
    /// Only asked for by `has(…)`: it need not be there.
    pub(crate) tested: bool,
}

impl Expression {
    /// Every use of a name that the expression has not bound itself, in the order of the text.
    pub(crate) fn references(&self) -> Vec<Reference> {
        let mut found = vec![];
        self.collect(self.root(), &mut vec![], &mut found);
        found
    }

    fn collect<'a>(
        &'a self,
        part: &'a IdedExpr,
        bound: &mut Vec<&'a str>,
        found: &mut Vec<Reference>,
    ) {
        if let Some(path) = parse::path(part) {
            if let Some((root, names)) = path.split_first()
                && !bound.contains(root)
                && !root.starts_with('@')
            {
                found.push(Reference {
                    root: Root::of(root),
                    path: names.iter().map(|name| (*name).to_owned()).collect(),
                    column: self.column(part),
                    tested: matches!(&part.expr, Expr::Select(select) if select.test),
                });
            }
            return;
        }
        if let Expr::Comprehension(comprehension) = &part.expr {
            self.collect(&comprehension.iter_range, bound, found);
            bound.push(&comprehension.iter_var);
            for inner in [&comprehension.loop_cond, &comprehension.loop_step, &comprehension.result]
            {
                self.collect(inner, bound, found);
            }
            bound.pop();
            return;
        }
        for inner in parse::parts(&part.expr) {
            self.collect(inner, bound, found);
        }
    }
}
