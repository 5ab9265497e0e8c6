//! The schema of a JSON value: what scripts rely on, without the values.

use std::collections::BTreeSet;

use serde_json::Value;

/// The schema's name, and every path with the kinds of value found there.
pub fn shape(value: &Value) -> String {
    let mut found = BTreeSet::new();
    walk("", value, &mut found);
    let paths: Vec<String> = found.into_iter().collect();
    format!("{}\n{}", value["schema"].as_str().unwrap(), paths.join("\n"))
}

fn walk(path: &str, value: &Value, found: &mut BTreeSet<String>) {
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(items) => {
            items.iter().for_each(|item| walk(&format!("{path}[]"), item, found));
            "array"
        }
        Value::Object(members) => {
            members.iter().for_each(|(name, each)| walk(&format!("{path}.{name}"), each, found));
            "object"
        }
    };
    found.insert(format!("{path}: {kind}"));
}
