//! `json.dumps`.

use std::cmp::Ordering;
use std::fmt::Write as _;
use std::rc::Rc;

use super::repr::{MAX_BYTES, float, too_large};
use super::value::{Refusal, Value};

/// The options of `json.dumps` that transformers gives to templates.
#[derive(Debug)]
pub(super) struct Dumps {
    pub(super) ensure_ascii: bool,
    pub(super) indent: Option<usize>,
    pub(super) item_separator: Rc<str>,
    pub(super) key_separator: Rc<str>,
    pub(super) sort_keys: bool,
}

impl Dumps {
    /// `json.dumps(value)`.
    pub(super) fn dump(&self, value: &Value) -> Result<String, Refusal> {
        let mut out = String::new();
        self.value(value, &mut out, 0)?;
        Ok(out)
    }

    fn value(&self, value: &Value, out: &mut String, depth: usize) -> Result<(), Refusal> {
        if out.len() > MAX_BYTES {
            return Err(too_large());
        }
        match value {
            Value::None => out.push_str("null"),
            Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Value::Int(value) => {
                let _ = write!(out, "{value}");
            }
            Value::Float(value) => out.push_str(&match *value {
                _ if value.is_nan() => "NaN".to_owned(),
                f64::INFINITY => "Infinity".to_owned(),
                f64::NEG_INFINITY => "-Infinity".to_owned(),
                value => float(value),
            }),
            Value::Text(text) => self.string(text, out),
            Value::List(list) | Value::Tuple(list) => {
                out.push('[');
                for (at, item) in list.items.iter().enumerate() {
                    self.between(at, out, depth + 1);
                    self.value(item, out, depth + 1)?;
                }
                self.close(list.items.len(), ']', out, depth);
            }
            Value::Map(map) => {
                let mut pairs: Vec<&(Value, Value)> = Vec::new();
                for pair in &map.pairs {
                    let comes_before = |other: &&(Value, Value)| {
                        !self.sort_keys
                            || matches!(other.0.order(&pair.0), Ok(Ordering::Less | Ordering::Equal))
                    };
                    let at = pairs.iter().rposition(comes_before).map_or(0, |at| at + 1);
                    pairs.insert(at, pair);
                }
                out.push('{');
                for (at, (key, value)) in pairs.into_iter().enumerate() {
                    self.between(at, out, depth + 1);
                    match key {
                        Value::Text(text) => self.string(text, out),
                        Value::None | Value::Bool(_) | Value::Int(_) | Value::Float(_) => {
                            let mut text = String::new();
                            self.value(key, &mut text, depth + 1)?;
                            self.string(&text, out);
                        }
                        _ => return Err(format!("a key of JSON cannot be of type {}", key.kind())),
                    }
                    out.push_str(&self.key_separator);
                    self.value(value, out, depth + 1)?;
                }
                self.close(map.pairs.len(), '}', out, depth);
            }
            _ => return Err(format!("a value of type {} has no JSON", value.kind())),
        }
        Ok(())
    }

    fn line(&self, out: &mut String, depth: usize) {
        if let Some(indent) = self.indent {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', indent * depth));
        }
    }

    fn between(&self, before: usize, out: &mut String, depth: usize) {
        if before > 0 {
            out.push_str(&self.item_separator);
        }
        self.line(out, depth);
    }

    fn close(&self, items: usize, bracket: char, out: &mut String, depth: usize) {
        if items > 0 {
            self.line(out, depth);
        }
        out.push(bracket);
    }

    fn string(&self, text: &str, out: &mut String) {
        out.push('"');
        for c in text.chars() {
            match c {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '\u{8}' => out.push_str("\\b"),
                '\u{c}' => out.push_str("\\f"),
                _ if c < ' ' || (self.ensure_ascii && c > '~') => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        let _ = write!(out, "\\u{unit:04x}");
                    }
                }
                _ => out.push(c),
            }
        }
        out.push('"');
    }
}
