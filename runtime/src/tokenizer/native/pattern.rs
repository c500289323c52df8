//! Cutting text into words, each of which is merged by itself: what the model's pre-tokenizer does with a regular
//! expression. Each of the expressions below matches at every place, so that words lie end to end; the functions
//! here are their alternatives, in order.

use super::unicode::{Class, class};

/// The expression by which text is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// GPT-2's, which the `tokenizers` crate has built in as `ByteLevel`:
    /// `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
    Gpt2,
    /// The one of Qwen2, Qwen2.5 and Qwen3:
    /// `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
    Qwen2,
    /// Qwen3.5's, which takes combining marks for letters:
    /// `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
    Qwen35,
}

impl Pattern {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Gpt2, Self::Qwen2, Self::Qwen35];

    /// The expression, as a `tokenizer.json` has it.
    #[must_use]
    pub fn expression(self) -> &'static str {
        match self {
            Self::Gpt2 => r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
            Self::Qwen2 => {
                r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
            }
            Self::Qwen35 => {
                r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
            }
        }
    }

    /// A name for people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Gpt2 => "GPT-2",
            Self::Qwen2 => "Qwen2",
            Self::Qwen35 => "Qwen3.5",
        }
    }

    /// The number by which a table names it.
    pub(super) fn number(self) -> u32 {
        match self {
            Self::Gpt2 => 0,
            Self::Qwen2 => 1,
            Self::Qwen35 => 2,
        }
    }

    pub(super) fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|pattern| pattern.number() == number)
    }

    /// The first word of a text that is not empty, and the rest.
    pub(super) fn first_word(self, text: &str) -> (&str, &str) {
        let end = match self {
            Self::Gpt2 => gpt2(text),
            Self::Qwen2 => qwen(text, |class| class == Class::Letter),
            Self::Qwen35 => qwen(text, |class| matches!(class, Class::Letter | Class::Mark)),
        };
        // Ends are ends of characters, and never 0: no text is left over, and the loop over words comes to its end.
        text.split_at_checked(end).filter(|(word, _)| !word.is_empty()).unwrap_or((text, ""))
    }
}

/// Where the characters from byte `from` on that belong end.
fn run(text: &str, from: usize, belongs: impl Fn(char) -> bool) -> usize {
    let rest = text.get(from..).unwrap_or_default();
    from + rest.find(|c| !belongs(c)).unwrap_or(rest.len())
}

fn is_newline(c: char) -> bool {
    matches!(c, '\r' | '\n')
}

fn gpt2(text: &str) -> usize {
    let mut chars = text.chars();
    let Some(first) = chars.next() else { return 0 };
    // 's|'t|'re|'ve|'m|'ll|'d
    if first == '\'' {
        const ENDINGS: [&str; 7] = ["s", "t", "re", "ve", "m", "ll", "d"];
        if let Some(ending) = ENDINGS.into_iter().find(|ending| chars.as_str().starts_with(ending)) {
            return 1 + ending.len();
        }
    }
    //  ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+
    let (start, of) = match chars.next() {
        Some(second) if first == ' ' && class(second) != Class::Space => (1, class(second)),
        _ => (0, class(first)),
    };
    match of {
        Class::Letter => run(text, start, |c| class(c) == Class::Letter),
        Class::Number => run(text, start, |c| class(c) == Class::Number),
        Class::Mark | Class::Other => run(text, start, |c| matches!(class(c), Class::Mark | Class::Other)),
        Class::Space => spaces(text),
    }
}

/// Both of Qwen's expressions; `letter` says what counts as a letter.
fn qwen(text: &str, letter: impl Fn(Class) -> bool) -> usize {
    let mut chars = text.chars();
    let Some(first) = chars.next() else { return 0 };
    let second = chars.clone().next();
    // (?i:'s|'t|'re|'ve|'m|'ll|'d)
    if first == '\''
        && let Some(length) = ending(chars.as_str())
    {
        return 1 + length;
    }
    // [^\r\n\p{L}\p{N}]?\p{L}+
    let of = class(first);
    if letter(of) {
        return run(text, 0, |c| letter(class(c)));
    }
    let prefix = of != Class::Number && !is_newline(first);
    if prefix && second.is_some_and(|c| letter(class(c))) {
        return run(text, first.len_utf8(), |c| letter(class(c)));
    }
    // \p{N}
    if of == Class::Number {
        return first.len_utf8();
    }
    //  ?[^\s\p{L}\p{N}]+[\r\n]*
    let start = usize::from(first == ' ');
    let end = run(text, start, |c| {
        let of = class(c);
        !letter(of) && matches!(of, Class::Mark | Class::Other)
    });
    if end > start {
        return run(text, end, is_newline);
    }
    // \s*[\r\n]+ takes white space up to the last line end in it.
    let white = text.get(..run(text, 0, char::is_whitespace)).unwrap_or_default();
    if let Some(last) = white.rfind(is_newline) {
        return last + 1;
    }
    spaces(text)
}

/// What ends a contraction, in any case. The long s is a case of s.
fn ending(text: &str) -> Option<usize> {
    let mut chars = text.chars();
    let first = chars.next()?;
    if matches!(first, 's' | 'S' | '\u{17F}' | 't' | 'T' | 'm' | 'M' | 'd' | 'D') {
        return Some(first.len_utf8());
    }
    let pair = (first.to_ascii_lowercase(), chars.next()?.to_ascii_lowercase());
    matches!(pair, ('r' | 'v', 'e') | ('l', 'l')).then_some(2)
}

/// `\s+(?!\S)|\s+`: all white space at the end of the text; else all but its last character, which goes with the word
/// behind it; else that one.
fn spaces(text: &str) -> usize {
    let end = run(text, 0, char::is_whitespace);
    let white = text.get(..end).unwrap_or_default();
    match white.char_indices().next_back() {
        Some((last, _)) if end < text.len() && last > 0 => last,
        _ => end,
    }
}
