//! Text to tokens.

use super::ParseError;

/// Longest text that is read.
pub(super) const MAX_TEXT: usize = 64 << 20;

/// What a token is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind<'a> {
    /// `[A-Za-z_][A-Za-z0-9_]*`.
    Word(&'a str),
    /// `%` and `[A-Za-z0-9_.]+`, without the `%`.
    Id(&'a str),
    /// A quoted string, unescaped.
    Text(String),
    /// Digits with an optional fraction and exponent, or `0x` and hexadecimal digits. No sign.
    Number(&'a str),
    /// One of `{}[](),:=+-*`.
    Mark(char),
    /// The end of the text.
    End,
}

/// A token and where it starts.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token<'a> {
    pub(super) kind: Kind<'a>,
    pub(super) line: usize,
    pub(super) column: usize,
}

impl Token<'_> {
    pub(super) fn error(&self, message: impl Into<String>) -> ParseError {
        ParseError { line: self.line, column: self.column, message: message.into() }
    }

    /// The token in words, for errors.
    pub(super) fn describe(&self) -> String {
        match &self.kind {
            Kind::Word(text) | Kind::Number(text) => format!("`{text}`"),
            Kind::Id(text) => format!("`%{text}`"),
            Kind::Text(_) => "a string".into(),
            Kind::Mark(mark) => format!("`{mark}`"),
            Kind::End => "the end of the text".into(),
        }
    }
}

/// All tokens, the last of them [`Kind::End`].
pub(super) fn tokenize(text: &str) -> Result<Vec<Token<'_>>, ParseError> {
    if text.len() > MAX_TEXT {
        let message = format!("the text has more than {MAX_TEXT} bytes");
        return Err(ParseError { line: 1, column: 1, message });
    }
    let mut lexer = Lexer { rest: text, line: 1, column: 1 };
    let mut tokens = Vec::new();
    loop {
        let token = lexer.next_token()?;
        let done = token.kind == Kind::End;
        tokens.push(token);
        if done {
            return Ok(tokens);
        }
    }
}

struct Lexer<'a> {
    rest: &'a str,
    line: usize,
    column: usize,
}

impl<'a> Lexer<'a> {
    fn next_token(&mut self) -> Result<Token<'a>, ParseError> {
        self.skip_blank();
        let (line, column) = (self.line, self.column);
        let kind = self.next_kind()?;
        Ok(Token { kind, line, column })
    }

    fn next_kind(&mut self) -> Result<Kind<'a>, ParseError> {
        let Some(first) = self.rest.chars().next() else {
            return Ok(Kind::End);
        };
        match first {
            'A'..='Z' | 'a'..='z' | '_' => Ok(Kind::Word(self.take_while(is_word))),
            '0'..='9' => Ok(Kind::Number(self.number())),
            '"' => self.string().map(Kind::Text),
            '%' => {
                self.advance(1);
                match self.take_while(|c| is_word(c) || c == '.') {
                    "" => Err(self.error("a name must follow `%`")),
                    id => Ok(Kind::Id(id)),
                }
            }
            '{' | '}' | '[' | ']' | '(' | ')' | ',' | ':' | '=' | '+' | '-' | '*' => {
                self.advance(1);
                Ok(Kind::Mark(first))
            }
            other => Err(self.error(format!("unexpected character {other:?}"))),
        }
    }

    fn error(&self, message: impl Into<String>) -> ParseError {
        ParseError { line: self.line, column: self.column, message: message.into() }
    }

    fn skip_blank(&mut self) {
        loop {
            self.take_while(|c| matches!(c, ' ' | '\t' | '\r'));
            if self.rest.starts_with("//") {
                self.take_while(|c| c != '\n');
            }
            if !self.rest.starts_with('\n') {
                return;
            }
            self.advance(1);
            (self.line, self.column) = (self.line + 1, 1);
        }
    }

    /// Steps over `count` characters, none of them a line feed.
    fn advance(&mut self, count: usize) -> &'a str {
        let at = self.rest.char_indices().nth(count).map_or(self.rest.len(), |(at, _)| at);
        let (taken, rest) = self.rest.split_at(at);
        self.rest = rest;
        self.column += count;
        taken
    }

    fn take_while(&mut self, mut keep: impl FnMut(char) -> bool) -> &'a str {
        let end = self.rest.find(|c| !keep(c)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        self.column += taken.chars().count();
        taken
    }

    fn number(&mut self) -> &'a str {
        let start = self.rest;
        self.take_while(|c| c.is_ascii_alphanumeric() || c == '.');
        // `1e-6`: the sign of an exponent belongs to the number.
        let taken = &start[..start.len() - self.rest.len()];
        if taken.ends_with(['e', 'E']) && !taken.starts_with("0x") && self.rest.starts_with(['+', '-']) {
            self.advance(1);
            self.take_while(|c| c.is_ascii_digit());
        }
        &start[..start.len() - self.rest.len()]
    }

    fn string(&mut self) -> Result<String, ParseError> {
        self.advance(1);
        let mut out = String::new();
        loop {
            out.push_str(self.take_while(|c| !matches!(c, '"' | '\\' | '\n')));
            match self.rest.chars().next() {
                Some('"') => {
                    self.advance(1);
                    return Ok(out);
                }
                Some('\\') => out.push(self.escape()?),
                _ => return Err(self.error("the string does not end on its line")),
            }
        }
    }

    fn escape(&mut self) -> Result<char, ParseError> {
        let escape = self.advance(2);
        Ok(match escape {
            "\\n" => '\n',
            "\\r" => '\r',
            "\\t" => '\t',
            "\\\"" => '"',
            "\\\\" => '\\',
            "\\u" if self.rest.starts_with('{') => {
                self.advance(1);
                let digits = self.take_while(|c| c.is_ascii_hexdigit());
                let code = u32::from_str_radix(digits, 16).ok().and_then(char::from_u32);
                match code {
                    Some(code) if self.rest.starts_with('}') => {
                        self.advance(1);
                        code
                    }
                    _ => return Err(self.error("an escape must be `\\u{hex}` of a character")),
                }
            }
            _ => return Err(self.error("an unknown escape in a string")),
        })
    }
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}
