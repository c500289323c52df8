//! The interpreter in Rust.

mod arrange;
mod ast;
mod call;
mod date;
mod dumps;
mod eval;
mod expression;
mod filters;
mod lexer;
mod methods;
mod number;
mod parser;
mod repr;
mod text;
mod value;

use self::ast::Program;
use self::eval::Eval;
use self::value::Value;
use super::Trouble;
use crate::chat::Json;

/// Longest template, in bytes.
const MAX_TEMPLATE_BYTES: usize = 1 << 20;
/// Work that a rendering may do besides what its input's size allows: about an instruction, or 64 bytes, each.
const BASE_FUEL: u64 = 1_000_000;
/// More work for every byte of input.
const FUEL_PER_BYTE: u64 = 4;

/// A template, parsed.
pub(super) struct Compiled(Program);

/// Trouble with what is not the template's own words.
fn trouble(line: usize, message: impl Into<String>) -> Trouble {
    Trouble { line, message: message.into(), raised: false }
}

impl Compiled {
    pub(super) fn new(source: &str) -> Result<Self, Trouble> {
        if source.len() > MAX_TEMPLATE_BYTES {
            let bytes = source.len();
            return Err(trouble(0, format!("it has {bytes} bytes, at most {MAX_TEMPLATE_BYTES} are read")));
        }
        // Jinja reads every end of line as one line feed.
        let source = source.replace("\r\n", "\n").replace('\r', "\n");
        parser::parse(&source).map(Self)
    }

    /// Renders with these variables: an object.
    pub(super) fn render(&self, variables: &Json) -> Result<String, Trouble> {
        let fuel = size(variables).saturating_mul(FUEL_PER_BYTE).saturating_add(BASE_FUEL);
        let Json::Map(pairs) = variables else {
            return Err(trouble(0, "its variables are no object"));
        };
        let mut globals = Vec::new();
        for (name, value) in pairs {
            let value = Value::from_json(value).map_err(|message| trouble(0, message))?;
            globals.push((name.as_str(), value));
        }
        let mut eval = Eval::new(&self.0, &globals, fuel);
        match eval.run() {
            Ok(()) => Ok(eval.out),
            Err(message) => Err(Trouble { line: eval.line, message, raised: eval.raised }),
        }
    }
}

/// About how many bytes a value takes.
fn size(value: &Json) -> u64 {
    let length = |bytes: usize| u64::try_from(bytes).unwrap_or(u64::MAX);
    match value {
        Json::Text(text) => length(text.len()).saturating_add(32),
        Json::List(items) => items.iter().map(size).fold(32, u64::saturating_add),
        Json::Map(pairs) => pairs
            .iter()
            .map(|(key, value)| size(value).saturating_add(length(key.len())))
            .fold(32, u64::saturating_add),
        _ => 32,
    }
}
