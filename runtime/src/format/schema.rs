//! The JSON Schema of both files, derived from the types.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};
use std::borrow::Cow;

use super::{Expr, Manifest, Schedule};

impl JsonSchema for Expr {
    fn schema_name() -> Cow<'static, str> {
        "Expr".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let expr = generator.subschema_for::<Expr>();
        let operator = |name: &str, operands: Value| {
            json!({
                "type": "object",
                "properties": { name: operands },
                "required": [name],
                "additionalProperties": false,
            })
        };
        let many = json!({ "type": "array", "items": expr, "minItems": 1 });
        let pair = json!({ "type": "array", "items": expr, "minItems": 2, "maxItems": 2 });
        let mut variants =
            vec![json!({ "type": "integer" }), json!({ "type": "string", "description": "a symbol" })];
        variants.extend(["add", "mul", "min", "max"].map(|name| operator(name, many.clone())));
        variants.extend(["floor_div", "ceil_div", "mod"].map(|name| operator(name, pair.clone())));
        json_schema!({ "description": "An integer expression over symbols.", "anyOf": variants })
    }
}

/// A JSON Schema with the definitions `Manifest` and `Schedule`, of `manifest.json` and `schedule.json`.
#[must_use]
pub fn json_schema() -> Value {
    let mut generator = SchemaGenerator::default();
    let manifest = generator.subschema_for::<Manifest>();
    let schedule = generator.subschema_for::<Schedule>();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "qwenc bundle, format version 1",
        "description": "manifest.json is a Manifest, schedule.json a Schedule.",
        "anyOf": [manifest, schedule],
        "$defs": generator.take_definitions(true),
    })
}
