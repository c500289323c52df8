//! The interpreter in JavaScript: `runtime/web/src/template/template.js`.

use std::fmt;

use wasm_bindgen::prelude::*;

use super::Trouble;
use crate::chat::Json;

#[wasm_bindgen(raw_module = "../src/template/template.js")]
extern "C" {
    type Template;
    #[wasm_bindgen(constructor)]
    fn new(source: &str) -> Template;
    #[wasm_bindgen(method, getter)]
    fn trouble(this: &Template) -> Option<String>;
    #[wasm_bindgen(method, getter)]
    fn line(this: &Template) -> u32;
    #[wasm_bindgen(method, getter)]
    fn raised(this: &Template) -> bool;
    #[wasm_bindgen(method)]
    fn render(this: &Template, variables: &JsValue) -> String;

    /// A list of these.
    fn list(items: Vec<JsValue>) -> JsValue;
    /// A dict: every key with its value behind it.
    fn dict(members: Vec<JsValue>) -> JsValue;
}

/// A template in JavaScript.
pub(super) struct Compiled(Template);

impl fmt::Debug for Compiled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Compiled")
    }
}

impl Compiled {
    pub(super) fn new(source: &str) -> Result<Self, Trouble> {
        let compiled = Self(Template::new(source));
        compiled.outcome().map(|()| compiled)
    }

    pub(super) fn render(&self, variables: &Json) -> Result<String, Trouble> {
        let text = self.0.render(&value(variables));
        self.outcome().map(|()| text)
    }

    fn outcome(&self) -> Result<(), Trouble> {
        let Some(message) = self.0.trouble() else { return Ok(()) };
        let line = usize::try_from(self.0.line()).unwrap_or(0);
        Err(Trouble { line, message, raised: self.0.raised() })
    }
}

/// A value as the interpreter has it: a whole number is a `bigint`.
fn value(json: &Json) -> JsValue {
    match json {
        Json::Null => JsValue::NULL,
        Json::Bool(value) => JsValue::from(*value),
        Json::Int(value) => JsValue::from(*value),
        Json::Float(value) => JsValue::from(*value),
        Json::Text(text) => JsValue::from(text.as_str()),
        Json::List(items) => list(items.iter().map(value).collect()),
        Json::Map(pairs) => {
            dict(pairs.iter().flat_map(|(key, it)| [JsValue::from(key.as_str()), value(it)]).collect())
        }
    }
}
