//! Text of untrusted files for people: names in messages, labels, reports.
//!
//! A terminal obeys control characters, and characters that turn the direction of writing make a line say something else
//! than it does. Both are shown by their numbers.

/// The text on one line, at most `max` characters of it, with nothing in it that a terminal or a reader would obey.
#[must_use]
pub fn printable(text: &str, max: usize) -> String {
    let mut out = String::new();
    for character in text.chars().take(max) {
        if is_harmless(character) {
            out.push(character);
        } else {
            out.extend(character.escape_unicode());
        }
    }
    if text.chars().nth(max).is_some() {
        out.push('…');
    }
    out
}

/// True for text that [`printable`] leaves as it is.
#[must_use]
pub fn is_printable(text: &str) -> bool {
    text.chars().all(is_harmless)
}

fn is_harmless(character: char) -> bool {
    // Line and paragraph separators, marks and overrides of direction, and the invisible mark at the start of files.
    let invisible = matches!(
        character,
        '\u{061C}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{2069}' | '\u{FEFF}'
    );
    !character.is_control() && !invisible
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_shown_by_number() {
        assert_eq!(printable("/model/größe 层", 100), "/model/größe 层");
        assert_eq!(printable("a\u{1b}[2J\nb", 100), "a\\u{1b}[2J\\u{a}b");
        assert_eq!(printable("gpj.\u{202E}exe", 100), "gpj.\\u{202e}exe");
        assert_eq!(printable("abcdef", 3), "abc…");
        assert!(is_printable("a b") && !is_printable("a\u{9b}"));
    }
}
