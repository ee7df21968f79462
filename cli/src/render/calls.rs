use serde_json::Value;
use windlass_proto::common::v1::CallRecord;

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
    use super::call;
    use windlass_proto::common::v1::CallRecord;

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
