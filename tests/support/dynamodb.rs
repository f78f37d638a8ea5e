//! DynamoDB's JSON, in which each value names its type.

use serde_json::{Value, json};

/// A value as an attribute.
pub(crate) fn attribute(value: &Value) -> Value {
    match value {
        Value::Null => json!({ "NULL": true }),
        Value::Bool(value) => json!({ "BOOL": value }),
        Value::Number(number) => json!({ "N": number.to_string() }),
        Value::String(text) => json!({ "S": text }),
        Value::Array(items) => json!({ "L": items.iter().map(attribute).collect::<Vec<_>>() }),
        Value::Object(members) => {
            let members = members.iter().map(|(name, value)| (name.clone(), attribute(value)));
            json!({ "M": members.collect::<serde_json::Map<_, _>>() })
        }
    }
}
