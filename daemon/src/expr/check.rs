//! What can be refused of an expression before there is anything to evaluate it over.
use cel::{
    IdedExpr,
    common::ast::{Expr, LiteralValue, operators},
};
use windlass_core::nearest;

use super::{BadExpression, Expression, functions, parse};

/// Most comprehensions inside each other.
const MAX_NESTED: usize = 3;

pub(super) fn check(expression: &Expression) -> Result<(), BadExpression> {
    walk(expression, expression.root(), 0)
}

fn walk(expression: &Expression, part: &IdedExpr, nested: usize) -> Result<(), BadExpression> {
    let refuse = |message: String, help: String| {
        Err(BadExpression { column: expression.column(part), message, help })
    };
    let mut below = nested;
    match &part.expr {
        Expr::Struct(_) => return refuse("expressions make no messages".to_owned(), json_only()),
        Expr::Literal(LiteralValue::Bytes(_)) => {
            return refuse("expressions have no bytes".to_owned(), json_only());
        }
        Expr::List(list) if !list.optional_indices.is_empty() => {
            return refuse("optional items are not supported".to_owned(), String::new());
        }
        Expr::Comprehension(_) => {
            below += 1;
            if below > MAX_NESTED {
                let message =
                    format!("more than {MAX_NESTED} lists are gone through inside each other");
                return refuse(message, "compute the value in a step".to_owned());
            }
        }
        Expr::Call(call) => {
            let name = call.func_name.as_str();
            let is_operator = operator(name) && call.target.is_none();
            if !is_operator && !functions::fits(name, call.target.is_some(), call.args.len()) {
                let (message, help) = unknown(name, call.target.is_some());
                return refuse(message, help);
            }
        }
        _ => {}
    }
    parse::parts(&part.expr).into_iter().try_for_each(|part| walk(expression, part, below))
}

fn json_only() -> String {
    "they work on JSON values".to_owned()
}

fn operator(name: &str) -> bool {
    use operators::{
        ADD, CONDITIONAL, DIVIDE, EQUALS, GREATER, GREATER_EQUALS, IN, INDEX, LESS, LESS_EQUALS,
        LOGICAL_AND, LOGICAL_NOT, LOGICAL_OR, MODULO, MULTIPLY, NEGATE, NOT_EQUALS,
        NOT_STRICTLY_FALSE, SUBSTRACT,
    };
    [
        ADD,
        CONDITIONAL,
        DIVIDE,
        EQUALS,
        GREATER,
        GREATER_EQUALS,
        IN,
        INDEX,
        LESS,
        LESS_EQUALS,
        LOGICAL_AND,
        LOGICAL_NOT,
        LOGICAL_OR,
        MODULO,
        MULTIPLY,
        NEGATE,
        NOT_EQUALS,
        NOT_STRICTLY_FALSE,
        SUBSTRACT,
    ]
    .contains(&name)
}

fn unknown(name: &str, method: bool) -> (String, String) {
    let macros = ["all", "exists", "exists_one", "filter", "map", "has"];
    if let Some(usage) = functions::usage(name) {
        return (format!("`{name}` is not called like this"), format!("write `{usage}`"));
    }
    if macros.contains(&name) {
        let usage =
            if name == "has" { "has(a.b)".to_owned() } else { format!("list.{name}(x, …)") };
        return (format!("`{name}` is not called like this"), format!("write `{usage}`"));
    }
    let known: Vec<&str> = functions::NAMES.iter().copied().chain(macros).collect();
    let help = match nearest(name, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("the functions are {}", known.join(", ")),
    };
    (format!("no {} `{name}`", if method { "method" } else { "function" }), help)
}
