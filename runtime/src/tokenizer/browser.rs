//! The tokenizer in JavaScript: `runtime/web/src/tokenizer/tokenizer.js`.

use std::fmt;

use wasm_bindgen::prelude::*;

mod js {
    use wasm_bindgen::prelude::*;

    #[wasm_bindgen(raw_module = "../src/tokenizer/tokenizer.js")]
    extern "C" {
        pub(super) type Tokenizer;
        #[wasm_bindgen(constructor, catch)]
        pub(super) fn new(table: &[u8]) -> Result<Tokenizer, JsValue>;
        #[wasm_bindgen(method)]
        pub(super) fn encode(this: &Tokenizer, text: &str) -> Vec<u32>;
        #[wasm_bindgen(method)]
        pub(super) fn decode(this: &Tokenizer, ids: &[u32], skip_special: bool) -> String;
        #[wasm_bindgen(method, js_name = tokenToId)]
        pub(super) fn token_to_id(this: &Tokenizer, text: &str) -> Option<u32>;

        pub(super) type Detokenizer;
        #[wasm_bindgen(constructor)]
        pub(super) fn new(skip_special: bool) -> Detokenizer;
        #[wasm_bindgen(method)]
        pub(super) fn push(this: &Detokenizer, tokenizer: &Tokenizer, id: u32) -> String;
        #[wasm_bindgen(method)]
        pub(super) fn finish(this: &Detokenizer) -> String;
    }

    #[wasm_bindgen]
    extern "C" {
        #[wasm_bindgen(js_name = Error)]
        pub(super) type Failure;
        #[wasm_bindgen(method, getter)]
        pub(super) fn message(this: &Failure) -> String;
    }
}

/// A table is not valid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("tokenizer.bin: {0}")]
pub struct TableError(String);

/// A tokenizer.
pub struct Tokenizer(js::Tokenizer);

impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tokenizer")
    }
}

impl Tokenizer {
    /// Reads a table.
    ///
    /// # Errors
    /// [`TableError`] when it is no valid table.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, TableError> {
        let failed = |error: JsValue| TableError(error.unchecked_into::<js::Failure>().message());
        js::Tokenizer::new(bytes).map(Self).map_err(failed)
    }

    /// The ids of `text`, added and special tokens recognised.
    #[must_use]
    pub fn encode(&self, text: &str) -> Vec<u32> {
        self.0.encode(text)
    }

    /// The text of `ids`, without special tokens when `skip_special`.
    #[must_use]
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> String {
        self.0.decode(ids, skip_special)
    }

    /// The id of a token by its text.
    #[must_use]
    pub fn token_to_id(&self, text: &str) -> Option<u32> {
        self.0.token_to_id(text)
    }
}

/// Turns ids into text as they come.
pub struct Detokenizer(js::Detokenizer);

impl fmt::Debug for Detokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Detokenizer")
    }
}

impl Detokenizer {
    /// At the start of a text. Special tokens are left out when `skip_special`.
    #[must_use]
    pub fn new(skip_special: bool) -> Self {
        Self(js::Detokenizer::new(skip_special))
    }

    /// The text that is complete with this id; may be empty.
    #[must_use]
    pub fn push(&mut self, tokenizer: &Tokenizer, id: u32) -> String {
        self.0.push(&tokenizer.0, id)
    }

    /// What is left at the end: U+FFFD when the last character is not complete.
    #[must_use]
    pub fn finish(&mut self) -> String {
        self.0.finish()
    }
}
