//! The JSON Schema in `docs/` is that of the types.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod fixture;

use std::path::Path;

use qwenc_runtime::format::json_schema;
use serde_json::Value;

fn documented() -> (std::path::PathBuf, Value) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/bundle.schema.json");
    let text = std::fs::read_to_string(&path).unwrap();
    (path, serde_json::from_str(&text).unwrap())
}

/// With the environment variable `QWENC_UPDATE_SCHEMA` set, writes the file instead.
#[test]
fn the_documented_schema_is_that_of_the_types() {
    let schema = json_schema();
    if std::env::var_os("QWENC_UPDATE_SCHEMA").is_some() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/bundle.schema.json");
        std::fs::write(path, serde_json::to_string_pretty(&schema).unwrap() + "\n").unwrap();
    }
    let (path, documented) = documented();
    assert_eq!(
        documented,
        schema,
        "{} is out of date; run this test with QWENC_UPDATE_SCHEMA=1",
        path.display()
    );
}

/// Every field of a real bundle's JSON stands in the schema, and every required field of the schema in the JSON.
#[test]
fn a_bundle_has_the_schemas_shape() {
    let toy = fixture::Toy::new();
    let (_, schema) = documented();
    let manifest = serde_json::to_value(&toy.manifest).unwrap();
    let schedule = serde_json::to_value(&toy.schedule).unwrap();
    check(&schema, &schema["$defs"]["Manifest"], &manifest, "manifest");
    check(&schema, &schema["$defs"]["Schedule"], &schedule, "schedule");
}

/// Follows a value through the part of JSON Schema that structs, lists and maps need.
fn check(root: &Value, schema: &Value, value: &Value, at: &str) {
    if let Some(reference) = schema["$ref"].as_str() {
        let target = root.pointer(reference.trim_start_matches('#')).unwrap();
        return check(root, target, value, at);
    }
    match value {
        Value::Object(fields) if schema["properties"].is_object() => {
            for required in schema["required"].as_array().into_iter().flatten() {
                assert!(fields.contains_key(required.as_str().unwrap()), "{at} lacks {required}");
            }
            for (name, field) in fields {
                let known = &schema["properties"][name];
                assert!(!known.is_null(), "{at} has `{name}`, which the schema does not know");
                check(root, known, field, &format!("{at}.{name}"));
            }
        }
        Value::Object(fields) => {
            for (name, field) in fields {
                check(root, &schema["additionalProperties"], field, &format!("{at}.{name}"));
            }
        }
        Value::Array(items) => {
            for item in items {
                check(root, &schema["items"], item, &format!("{at}[]"));
            }
        }
        _ => {}
    }
}
