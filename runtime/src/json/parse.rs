//! From text to values.

use super::{Json, JsonError};
use crate::host;
use crate::order::order;

/// Deepest nesting.
const MAX_DEPTH: usize = 127;
/// Objects of more keys than this are looked through for equal ones in the order of the keys.
const FEW_KEYS: usize = 16;

/// Parses a text; with `strict` no object may have a key twice.
pub(super) fn parse(text: &str, strict: bool) -> Result<Json, JsonError> {
    let mut parser = Parser { text, at: 0, depth: 0, strict };
    let value = parser.value();
    parser.blank();
    match value {
        Ok(value) if parser.at == text.len() => Ok(value),
        outcome => {
            let message = outcome.err().unwrap_or("nothing more is expected");
            let message = if parser.at >= text.len() { "the text ends too early" } else { message };
            let before = text.get(..parser.at).unwrap_or(text);
            let line = before.matches('\n').count() + 1;
            let column = before.rsplit('\n').next().map_or(0, |line| line.chars().count()) + 1;
            Err(JsonError::new(&format!("{message} at line {line}, column {column}")))
        }
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    strict: bool,
}

/// What is wrong; the place is where the parser stands.
type Trouble = &'static str;

impl Parser<'_> {
    fn peek(&self) -> u8 {
        self.text.as_bytes().get(self.at).copied().unwrap_or(0)
    }

    fn blank(&mut self) {
        while matches!(self.peek(), b' ' | b'\n' | b'\r' | b'\t') {
            self.at += 1;
        }
    }

    /// Takes this byte, after white space, if it is there.
    fn eat(&mut self, byte: u8) -> bool {
        self.blank();
        let found = self.peek() == byte;
        self.at += usize::from(found);
        found
    }

    fn value(&mut self) -> Result<Json, Trouble> {
        self.blank();
        match self.peek() {
            b'{' | b'[' if self.depth >= MAX_DEPTH => Err("the nesting is too deep"),
            b'{' => {
                self.depth += 1;
                self.at += 1;
                let mut pairs = Vec::new();
                if !self.eat(b'}') {
                    loop {
                        self.blank();
                        if self.peek() != b'"' {
                            return Err("a key is expected");
                        }
                        let key = self.string()?;
                        if !self.eat(b':') {
                            return Err("a colon is expected");
                        }
                        pairs.push((key, self.value()?));
                        if self.eat(b'}') {
                            break;
                        }
                        if !self.eat(b',') {
                            return Err("a comma is expected");
                        }
                    }
                }
                self.depth -= 1;
                let count = pairs.len();
                let pairs = unique(pairs);
                if self.strict && pairs.len() < count {
                    return Err("a key is there twice in an object that ends");
                }
                Ok(Json::Map(pairs))
            }
            b'[' => {
                self.depth += 1;
                self.at += 1;
                let mut items = Vec::new();
                if !self.eat(b']') {
                    loop {
                        items.push(self.value()?);
                        if self.eat(b']') {
                            break;
                        }
                        if !self.eat(b',') {
                            return Err("a comma is expected");
                        }
                    }
                }
                self.depth -= 1;
                Ok(Json::List(items))
            }
            b'"' => self.string().map(Json::Text),
            b'-' | b'0'..=b'9' => self.number(),
            _ => {
                let words = [("null", Json::Null), ("true", Json::Bool(true)), ("false", Json::Bool(false))];
                for (word, value) in words {
                    if self
                        .text
                        .as_bytes()
                        .get(self.at..)
                        .is_some_and(|rest| rest.starts_with(word.as_bytes()))
                    {
                        self.at += word.len();
                        return Ok(value);
                    }
                }
                Err("a value is expected")
            }
        }
    }

    fn digits(&mut self) -> Result<(), Trouble> {
        let start = self.at;
        while self.peek().is_ascii_digit() {
            self.at += 1;
        }
        if self.at == start { Err("a digit is expected") } else { Ok(()) }
    }

    fn number(&mut self) -> Result<Json, Trouble> {
        let start = self.at;
        self.at += usize::from(self.peek() == b'-');
        if self.peek() == b'0' {
            self.at += 1;
        } else {
            self.digits()?;
        }
        let mut whole = true;
        if self.peek() == b'.' {
            whole = false;
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), b'e' | b'E') {
            whole = false;
            self.at += 1;
            self.at += usize::from(matches!(self.peek(), b'+' | b'-'));
            self.digits()?;
        }
        let text = self.text.get(start..self.at).unwrap_or_default();
        // A zero with a sign is not a whole number: it would lose the sign.
        if whole && text != "-0" {
            if let Ok(value) = text.parse::<i64>() {
                return Ok(Json::Int(value.into()));
            }
            if let Ok(value) = text.parse::<u64>() {
                return Ok(Json::Int(value.into()));
            }
        }
        host::parse_float(text)
            .filter(|value| value.is_finite())
            .map(Json::Float)
            .ok_or("the number is too large")
    }

    /// A string, from its opening quote on.
    fn string(&mut self) -> Result<String, Trouble> {
        self.at += 1;
        let mut out = String::new();
        loop {
            let start = self.at;
            while !matches!(self.peek(), b'"' | b'\\' | 0..=0x1f) {
                self.at += 1;
            }
            // Bytes of one character are never among those that end the loop.
            out.push_str(self.text.get(start..self.at).unwrap_or_default());
            match self.peek() {
                b'"' => {
                    self.at += 1;
                    return Ok(out);
                }
                b'\\' => {
                    self.at += 1;
                    let escape = self.peek();
                    self.at += 1;
                    out.push(match escape {
                        b'"' | b'\\' | b'/' => char::from(escape),
                        b'n' => '\n',
                        b't' => '\t',
                        b'r' => '\r',
                        b'b' => '\u{8}',
                        b'f' => '\u{c}',
                        b'u' => self.escaped()?,
                        _ => return Err("an escape is not known"),
                    });
                }
                _ => return Err("a control character is in a string"),
            }
        }
    }

    /// The character of `\u`, which may take two.
    fn escaped(&mut self) -> Result<char, Trouble> {
        let bad = "an escape names no character";
        let high = self.hex()?;
        let mut code = u32::from(high);
        if (0xd800..0xdc00).contains(&high) {
            if !self.text.as_bytes().get(self.at..).is_some_and(|rest| rest.starts_with(b"\\u")) {
                return Err(bad);
            }
            self.at += 2;
            let low = self.hex()?;
            if !(0xdc00..0xe000).contains(&low) {
                return Err(bad);
            }
            code = 0x10000 + ((code & 0x3ff) << 10) + u32::from(low & 0x3ff);
        }
        char::from_u32(code).ok_or(bad)
    }

    fn hex(&mut self) -> Result<u16, Trouble> {
        let digits = self
            .text
            .get(self.at..self.at.saturating_add(4))
            .filter(|it| it.bytes().all(|c| c.is_ascii_hexdigit()));
        let value = digits.and_then(|digits| u16::from_str_radix(digits, 16).ok());
        self.at += if value.is_some() { 4 } else { 0 };
        value.ok_or("four hexadecimal digits are expected")
    }
}

/// Of equal keys the last value, in the place of the first.
fn unique(mut pairs: Vec<(String, Json)>) -> Vec<(String, Json)> {
    let differ =
        |at: usize| pairs.iter().take(at).all(|(key, _)| pairs.get(at).is_some_and(|(it, _)| it != key));
    if pairs.len() <= FEW_KEYS && (1..pairs.len()).all(differ) {
        return pairs;
    }
    let key = |at: &usize| pairs.get(*at).map(|(key, _)| key.as_str());
    let order = order(pairs.len(), &mut |a, b| key(&a) < key(&b));
    // Of every run of equal keys: its first place, and its last.
    let runs: Vec<(usize, usize)> = order
        .chunk_by(|a, b| key(a) == key(b))
        .filter_map(|run| Some((*run.first()?, *run.last()?)))
        .collect();
    let mut kept = vec![false; pairs.len()];
    for (first, last) in runs {
        pairs.swap(first, last);
        if let Some(kept) = kept.get_mut(first) {
            *kept = true;
        }
    }
    let mut kept = kept.into_iter();
    pairs.retain(|_| kept.next().unwrap_or(true));
    pairs
}
