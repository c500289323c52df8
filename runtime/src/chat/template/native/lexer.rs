//! From a template's text to pieces: text, and tags with their tokens. White space goes as `trim_blocks` and `lstrip_blocks`
//! have it.

use super::text::is_space;
use super::{Trouble, trouble};
use crate::host;

/// A piece of a template.
#[derive(Debug, PartialEq)]
pub(super) enum Piece {
    Text(String),
    /// `{{ … }}`
    Output(Vec<Token>),
    /// `{% … %}`
    Block(Vec<Token>),
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    Name(String),
    Text(String),
    Int(i128),
    Float(f64),
    Symbol(&'static str),
}

/// What stands before the end of a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    None,
    /// `-`
    Strip,
    /// `+`
    Keep,
}

/// The longest first.
const SYMBOLS: [&str; 27] = [
    "**", "//", "==", "!=", "<=", ">=", "+", "-", "*", "/", "%", "~", "<", ">", "=", ".", ",", ":", "|", "(",
    ")", "[", "]", "{", "}", ";", "!",
];

struct Lexer<'a> {
    rest: &'a str,
    line: usize,
    /// The text so far ends a line.
    line_start: bool,
    /// The tag before strips white space after it.
    strip: bool,
    out: Vec<(usize, Piece)>,
}

/// The pieces of a template, each with the line that it begins on.
pub(super) fn pieces(source: &str) -> Result<Vec<(usize, Piece)>, Trouble> {
    // One line feed at the very end is not part of the text.
    let source = source.strip_suffix('\n').unwrap_or(source);
    let mut lexer = Lexer { rest: source, line: 1, line_start: true, strip: false, out: Vec::new() };
    while !lexer.rest.is_empty() {
        lexer.step()?;
    }
    Ok(lexer.out)
}

impl<'a> Lexer<'a> {
    fn advance(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at_checked(bytes).unwrap_or((self.rest, ""));
        self.line += taken.matches('\n').count();
        self.rest = rest;
        taken
    }

    fn step(&mut self) -> Result<(), Trouble> {
        let opens = |text: &str| ["{{", "{%", "{#"].iter().any(|open| text.starts_with(open));
        let next = self.rest.match_indices('{').map(|(at, _)| at).find(|at| opens(&self.rest[*at..]));
        let line = self.line;
        let mut text = self.advance(next.unwrap_or(self.rest.len()));
        if std::mem::take(&mut self.strip) {
            text = text.trim_start_matches(is_space);
        }
        let kind = self.rest.as_bytes().get(1).copied().unwrap_or(0);
        let mark = self.rest.as_bytes().get(2).copied().unwrap_or(0);
        if mark == b'-' {
            text = text.trim_end_matches(is_space);
        } else if mark != b'+' && (kind == b'%' || kind == b'#') {
            // A tag alone on its line takes the indent with it.
            let start = text.rfind('\n').map_or(0, |at| at + 1);
            if (start > 0 || self.line_start) && text[start..].chars().all(is_space) {
                text = &text[..start];
            }
        }
        if !text.is_empty() {
            self.out.push((line, Piece::Text(text.to_owned())));
        }
        if self.rest.is_empty() {
            return Ok(());
        }
        let marked = mark == b'-' || (mark == b'+' && kind != b'{');
        self.advance(if marked { 3 } else { 2 });
        let line = self.line;
        match kind {
            b'#' => {
                let end = self.rest.find("#}").ok_or_else(|| trouble(line, "a comment has no end"))?;
                let comment = self.advance(end);
                let strip = comment.ends_with('-');
                let keep = comment.ends_with('+');
                self.advance(2);
                self.close(strip, !strip && !keep);
            }
            b'{' => {
                let (tokens, mark) = self.tokens("}}")?;
                self.close(mark == Mark::Strip, false);
                self.out.push((line, Piece::Output(tokens)));
            }
            _ => {
                let (tokens, mark) = self.tokens("%}")?;
                self.close(mark == Mark::Strip, mark == Mark::None);
                if tokens == [Token::Name("raw".to_owned())] {
                    self.raw(line)?;
                } else {
                    self.out.push((line, Piece::Block(tokens)));
                }
            }
        }
        Ok(())
    }

    /// Behind the end of a tag: what becomes of the white space there.
    fn close(&mut self, strip: bool, trim: bool) {
        self.strip = strip;
        self.line_start = trim && self.rest.starts_with('\n');
        if self.line_start {
            self.advance(1);
        }
    }

    /// Text up to the end of a `raw` block.
    fn raw(&mut self, line: usize) -> Result<(), Trouble> {
        let rest = self.rest;
        for (at, _) in rest.match_indices("{%") {
            let inside = &rest[at + 2..];
            let name = inside.trim_start_matches(['-', '+']).trim_start_matches(is_space);
            let Some(end) = name.strip_prefix("endraw") else { continue };
            let end = end.trim_start_matches(is_space);
            let marked = end.trim_start_matches(['-', '+']);
            let Some(after) = marked.strip_prefix("%}") else { continue };
            let mut text = &rest[..at];
            if std::mem::take(&mut self.strip) {
                text = text.trim_start_matches(is_space);
            }
            if inside.starts_with('-') {
                text = text.trim_end_matches(is_space);
            }
            self.out.push((line, Piece::Text(text.to_owned())));
            self.advance(rest.len() - after.len());
            self.close(end.starts_with('-'), !end.starts_with(['-', '+']));
            return Ok(());
        }
        Err(trouble(line, "`raw` has no `endraw`"))
    }

    /// The tokens up to the end of a tag, which is taken, too.
    fn tokens(&mut self, close: &str) -> Result<(Vec<Token>, Mark), Trouble> {
        let start = self.line;
        let (mut tokens, mut braces) = (Vec::new(), 0_usize);
        loop {
            let blank = self.rest.len() - self.rest.trim_start_matches(is_space).len();
            self.advance(blank);
            let Some(first) = self.rest.chars().next() else {
                return Err(trouble(start, "a tag has no end"));
            };
            if braces == 0 {
                for (prefix, mark) in [("", Mark::None), ("-", Mark::Strip), ("+", Mark::Keep)] {
                    if self.rest.strip_prefix(prefix).is_some_and(|rest| rest.starts_with(close)) {
                        self.advance(prefix.len() + close.len());
                        return Ok((tokens, mark));
                    }
                }
            }
            let token = match first {
                '"' | '\'' => self.string(first)?,
                '0'..='9' => self.number()?,
                _ if first == '_' || first.is_alphabetic() => {
                    let end = self.rest.find(|c: char| c != '_' && !c.is_alphanumeric());
                    Token::Name(self.advance(end.unwrap_or(self.rest.len())).to_owned())
                }
                _ => {
                    let symbol = SYMBOLS.into_iter().find(|symbol| self.rest.starts_with(symbol));
                    let symbol = symbol
                        .ok_or_else(|| trouble(self.line, format!("unexpected character {first:?}")))?;
                    match symbol {
                        "{" => braces += 1,
                        "}" => braces = braces.saturating_sub(1),
                        _ => {}
                    }
                    self.advance(symbol.len());
                    Token::Symbol(symbol)
                }
            };
            tokens.push(token);
        }
    }

    fn number(&mut self) -> Result<Token, Trouble> {
        let digits = |text: &str| text.find(|c: char| c != '_' && !c.is_ascii_digit()).unwrap_or(text.len());
        let mut end = digits(self.rest);
        let mut float = false;
        let next = |at: usize| self.rest.as_bytes().get(at).copied().unwrap_or(0);
        if next(end) == b'.' && next(end + 1).is_ascii_digit() {
            float = true;
            end += 1 + digits(&self.rest[end + 1..]);
        }
        if matches!(next(end), b'e' | b'E') {
            let sign = usize::from(matches!(next(end + 1), b'-' | b'+'));
            if next(end + 1 + sign).is_ascii_digit() {
                float = true;
                end += 1 + sign + digits(&self.rest[end + 1 + sign..]);
            }
        }
        let line = self.line;
        let text = self.advance(end).replace('_', "");
        let token = if float {
            host::parse_float(&text).map(Token::Float)
        } else {
            text.parse().ok().map(Token::Int)
        };
        token.ok_or_else(|| trouble(line, "a number is too large"))
    }

    fn string(&mut self, quote: char) -> Result<Token, Trouble> {
        let line = self.line;
        let mut text = String::new();
        let mut letters = self.rest.char_indices().skip(1);
        let end = loop {
            match letters.next() {
                None => return Err(trouble(line, "a string has no end")),
                Some((at, c)) if c == quote => break at + 1,
                Some((_, '\\')) => match letters.next().map_or('\\', |(_, c)| c) {
                    'n' => text.push('\n'),
                    't' => text.push('\t'),
                    'r' => text.push('\r'),
                    'b' => text.push('\u{8}'),
                    'f' => text.push('\u{c}'),
                    'v' => text.push('\u{b}'),
                    'a' => text.push('\u{7}'),
                    '\n' => {}
                    c @ ('x' | 'u' | 'U') => {
                        let length = match c {
                            'x' => 2,
                            'u' => 4,
                            _ => 8,
                        };
                        let hex: String = letters.by_ref().take(length).map(|(_, c)| c).collect();
                        let code = u32::from_str_radix(&hex, 16).ok().filter(|_| hex.len() == length);
                        let c = code.and_then(char::from_u32);
                        text.push(c.ok_or_else(|| trouble(line, "an escape names no character"))?);
                    }
                    c @ ('\\' | '\'' | '"') => text.push(c),
                    c => text.extend(['\\', c]),
                },
                Some((_, c)) => text.push(c),
            }
        };
        self.advance(end);
        Ok(Token::Text(text))
    }
}
