//! Making and reading plain JavaScript objects.

use js_sys::{Array, Object, Reflect};
use wasm_bindgen::prelude::*;

#[wasm_bindgen]
extern "C" {
    /// Whether a text has another one in it: JavaScript's search is there already.
    #[wasm_bindgen(js_namespace = ["String", "prototype", "includes"], js_name = call)]
    pub(crate) fn includes(text: &str, part: &str) -> bool;
}

/// An object of these properties.
pub(crate) fn object<const N: usize>(properties: [(&str, JsValue); N]) -> Object {
    let object = Object::new();
    for (name, value) in properties {
        set(&object, name, &value);
    }
    object
}

/// Sets a property of an object that lets itself be changed.
pub(crate) fn set(object: &Object, name: &str, value: &JsValue) {
    // Only frozen objects and proxies refuse, and these are our own.
    let _ = Reflect::set(object, &name.into(), value);
}

/// A property; `undefined` when it cannot be read.
pub(crate) fn get(object: &JsValue, name: &str) -> JsValue {
    Reflect::get(object, &name.into()).unwrap_or(JsValue::UNDEFINED)
}

/// A property that is a number, or NaN.
pub(crate) fn number(object: &JsValue, name: &str) -> f64 {
    get(object, name).as_f64().unwrap_or(f64::NAN)
}

/// An array of values.
pub(crate) fn array<T: Into<JsValue>>(values: impl IntoIterator<Item = T>) -> Array {
    values.into_iter().map(Into::into).collect()
}

/// A number of bytes, exact up to 2^53, which no memory has.
#[expect(clippy::cast_precision_loss, reason = "sizes stay far below 2^53")]
pub(crate) fn size(bytes: u64) -> f64 {
    bytes as f64
}

/// What a thrown value says.
pub(crate) fn words(thrown: &JsValue) -> String {
    let message = get(thrown, "message").as_string().filter(|text| !text.is_empty());
    message.or_else(|| thrown.as_string()).unwrap_or_else(|| "an unknown error".to_owned())
}
