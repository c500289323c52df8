//! JSON, read with little code: the module for the web reads all of its files with this. Values stay as they are written: order
//! of keys, whole numbers and fractions.

mod parse;
mod read;
mod serde_impls;

use std::fmt;

pub use read::{FromJson, Object, Trouble};
pub(crate) use read::{name_from_json, struct_from_json};

/// A JSON value.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A whole number, written without a fraction. Those beyond 64 bits become [`Json::Float`].
    Int(i128),
    /// Another number.
    Float(f64),
    /// A string.
    Text(String),
    /// An array.
    List(Vec<Json>),
    /// An object; keys are unique, in the order of their first appearance, with the last value given.
    Map(Vec<(String, Json)>),
}

impl Json {
    /// Parses a text. The nesting is bounded (128 levels).
    ///
    /// # Errors
    /// [`JsonError`], with line and column.
    pub fn parse(text: &str) -> Result<Self, JsonError> {
        parse::parse(text, false)
    }

    /// Parses bytes.
    ///
    /// # Errors
    /// As [`Json::parse`]; also for bytes that are no UTF-8.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, JsonError> {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::parse(text),
            Err(_) => Err(JsonError::new("the text is not UTF-8")),
        }
    }

    /// Parses bytes in which no object has a key twice: who else reads them may take the other value.
    ///
    /// # Errors
    /// As [`Json::from_bytes`]; also for a key that is there twice.
    pub fn from_strict_bytes(bytes: &[u8]) -> Result<Self, JsonError> {
        match std::str::from_utf8(bytes) {
            Ok(text) => parse::parse(text, true),
            Err(_) => Err(JsonError::new("the text is not UTF-8")),
        }
    }

    /// The value of a key of an object.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Json> {
        self.pairs()?.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// The pairs of an object.
    #[must_use]
    pub fn pairs(&self) -> Option<&[(String, Json)]> {
        if let Self::Map(pairs) = self { Some(pairs) } else { None }
    }

    /// The elements of an array.
    #[must_use]
    pub fn items(&self) -> Option<&[Json]> {
        if let Self::List(items) = self { Some(items) } else { None }
    }

    /// The string, when it is one.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// The truth value, when it is one.
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        if let Self::Bool(value) = self { Some(*value) } else { None }
    }

    /// The whole number, when it is one from 0 to 2^64 - 1.
    #[must_use]
    pub fn as_u64(&self) -> Option<u64> {
        if let Self::Int(value) = self { u64::try_from(*value).ok() } else { None }
    }

    /// The number, when it is one.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "as JavaScript has it")]
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Int(value) => Some(*value as f64),
            Self::Float(value) => Some(*value),
            _ => None,
        }
    }
}

impl From<&str> for Json {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<bool> for Json {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

/// A text is no JSON, or not of the shape that is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonError {
    /// Where in the value, such as `buffers[3].bytes`; empty for the text as a whole.
    path: String,
    message: String,
}

impl JsonError {
    pub(crate) fn new(message: &str) -> Self {
        Self { path: String::new(), message: message.to_owned() }
    }

    /// The same of a part of a value: a field, or `[3]`.
    fn within(mut self, part: &str) -> Self {
        let dot = if self.path.is_empty() || self.path.starts_with('[') { "" } else { "." };
        self.path.insert_str(0, dot);
        self.path.insert_str(0, part);
        self
    }
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "`{}`: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for JsonError {}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn order_and_kinds_of_numbers_survive() {
        let text = r#"{"b":1,"a":[1.0,-2,18446744073709551615,true,null,"é"],"c":{}}"#;
        let value = Json::parse(text).unwrap();
        assert_eq!(serde_json::to_string(&value).unwrap(), text);
        assert_eq!(Json::parse(r#"{"a":1,"b":2,"a":3}"#).unwrap(), Json::parse(r#"{"a":3,"b":2}"#).unwrap());
        let deep = "[".repeat(1000) + &"]".repeat(1000);
        assert!(Json::parse(&deep).is_err());
    }

    /// What one takes the other takes, to the same value.
    #[test]
    fn texts_are_read_as_by_serde_json() {
        let many: String = (0..100).map(|at| format!(r#""{}":{at},"#, at % 40)).collect();
        let many = format!("{{{many}\"x\":0}}");
        let deep = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        for text in [
            "",
            " ",
            "null",
            "nul",
            "true",
            "false",
            "truex",
            "1",
            "-1",
            "01",
            "-",
            "1.",
            ".5",
            "1.5",
            "1e5",
            "1E+5",
            "1e-5",
            "1e",
            "1e400",
            "-0",
            "0",
            "-0.0",
            "9223372036854775807",
            "18446744073709551616",
            "-9223372036854775809",
            "+1",
            "\"a\"",
            "\"a",
            "\"\\n\\t\\\\\\/\\\"\\b\\f\\r\"",
            "\"\\x\"",
            "\"\\u00e9\"",
            "\"\\u00E\"",
            "\"\\ud83d\\udc4d\"",
            "\"\\ud83d\"",
            "\"\\udc4d\"",
            "\"\\ud83dx\"",
            "\"\\ud83d\\u0041\"",
            "\"\n\"",
            "\"\u{7f}\"",
            "[",
            "[]",
            "[1]",
            "[1,]",
            "[,1]",
            "[1 2]",
            "[1,2]",
            "{",
            "{}",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{a:1}",
            "{\"a\":1 \"b\":2}",
            " { \"a\" : [ 1 , { } ] } ",
            "[1]x",
            "\u{feff}1",
            "[\u{a0}1]",
            "1 2",
            "NaN",
            "'a'",
            &many,
            &deep(127),
            &deep(128),
            "{\"a\":1,\"a\":{\"b\":2},\"\":[]}",
            "123456789012345678901234567890",
            "1.7976931348623157e308",
            "5e-324",
            "1e-400",
        ] {
            let theirs: Result<Json, _> = serde_json::from_str(text);
            assert_eq!(Json::parse(text).ok(), theirs.ok(), "{text:.80}");
        }
    }

    #[test]
    fn errors_say_where() {
        let error = |text: &str| Json::parse(text).unwrap_err().to_string();
        assert_eq!(error("{\n \"a\": 1,\n \"b\": x}"), "a value is expected at line 3, column 7");
        assert_eq!(error("[1"), "the text ends too early at line 1, column 3");
        let error = JsonError::new("must be text").within("c").within("[3]").within("a").to_string();
        assert_eq!(error, "`a[3].c`: must be text");
    }
}
