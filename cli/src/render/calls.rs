use serde_json::Value;
use windlass_proto::{api::v1, common::v1::CallRecord};

use super::json;

/// A call as one would write it in Python, arguments by name.
pub(crate) fn call(call: &CallRecord) -> String {
    let args = match json::value(&call.args_json) {
        Value::Object(args) => {
            let arg = |(name, value): (&String, &Value)| format!("{name}={}", literal(value));
            args.iter().map(arg).collect::<Vec<_>>().join(", ")
        }
        Value::Null => String::new(),
        other => other.to_string(),
    };
    format!("{}({args})", call.function)
}

/// Calls of one function in a row that are listed one by one; of more only the number is told.
const LISTED: usize = 3;

/// A line of the list of calls.
pub(crate) struct Line<'r> {
    pub(crate) step: &'r v1::Step,
    pub(crate) text: String,
    pub(crate) seconds: f64,
    pub(crate) error: &'r str,
}

/// Calls as a page lists them: many of the same function in a row, ended alike, as one.
pub(crate) fn folded<'r>(calls: &[(&'r v1::Step, &'r CallRecord)]) -> Vec<Line<'r>> {
    let alike = |(a, one): &(&v1::Step, &CallRecord), (b, other): &(&v1::Step, &CallRecord)| {
        let same = one.function == other.function && one.module == other.module;
        a.step == b.step && same && one.error == other.error
    };
    let mut out = Vec::new();
    for row in calls.chunk_by(alike) {
        let line = |(step, record): &(&'r v1::Step, &'r CallRecord), text, seconds| Line {
            step,
            text,
            seconds,
            error: &record.error,
        };
        if let Some(first) = row.first().filter(|_| row.len() > LISTED) {
            let text = format!("{} x{}", first.1.function, row.len());
            out.push(line(first, text, row.iter().map(|(_, record)| record.seconds).sum()));
        } else {
            out.extend(row.iter().map(|each| line(each, call(each.1), each.1.seconds)));
        }
    }
    out
}

/// A value as Python writes it.
fn literal(value: &Value) -> String {
    match value {
        Value::Null => "None".into(),
        Value::Bool(true) => "True".into(),
        Value::Bool(false) => "False".into(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::{call, folded};
    use windlass_proto::{api::v1, common::v1::CallRecord};

    #[test]
    fn equal_functions_in_a_row_are_one_line() {
        let record = |function: &str, args: &str, error: &str| CallRecord {
            function: function.into(),
            args_json: args.into(),
            seconds: 0.5,
            error: error.into(),
            ..CallRecord::default()
        };
        let many = |n: usize| record("many", &format!("{{\"n\": {n}}}"), "");
        let mut calls = vec![record("load", r#"{"n": 1}"#, ""), record("load", r#"{"n": 2}"#, "")];
        calls.extend((0..997).map(many));
        calls.push(record("many", r#"{"n": 3}"#, "ValueError"));
        let step = v1::Step::default();
        let calls: Vec<_> = calls.iter().map(|call| (&step, call)).collect();
        let found = folded(&calls);
        let found: Vec<_> =
            found.iter().map(|line| (line.text.as_str(), line.seconds, line.error)).collect();
        let expected = [
            ("load(n=1)", 0.5, ""),
            ("load(n=2)", 0.5, ""),
            ("many x997", 498.5, ""),
            ("many(n=3)", 0.5, "ValueError"),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn calls_read_like_python() {
        let record = |args: &str| CallRecord {
            function: "train_model".into(),
            args_json: args.into(),
            ..CallRecord::default()
        };
        let text = call(&record(r#"{"n": 100, "path": "a\"b", "deep": true, "x": null}"#));
        assert_eq!(text, r#"train_model(n=100, path="a\"b", deep=True, x=None)"#);
        assert_eq!(call(&record("")), "train_model()");
    }
}
