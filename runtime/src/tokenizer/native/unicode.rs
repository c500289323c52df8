//! Classes of characters, as the regular expressions of pre-tokenizers know them.

use super::unicode_tables::CLASSES;

/// What a character is: `\p{L}`, `\p{M}`, `\p{N}`, `\s`, or none of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Other,
    Letter,
    Mark,
    Number,
    Space,
}

/// The class of a character.
pub(super) fn class(c: char) -> Class {
    match c {
        'a'..='z' | 'A'..='Z' => Class::Letter,
        '0'..='9' => Class::Number,
        ' ' | '\t'..='\r' => Class::Space,
        '\0'..='\x7F' => Class::Other,
        _ => beyond_ascii(c),
    }
}

/// `\p{L}`
#[cfg(feature = "chat")]
pub(crate) fn is_letter(c: char) -> bool {
    class(c) == Class::Letter
}

/// `\p{N}`
#[cfg(feature = "chat")]
pub(crate) fn is_number(c: char) -> bool {
    class(c) == Class::Number
}

fn beyond_ascii(c: char) -> Class {
    let code = u32::from(c);
    // The last change at or in front of the character.
    let behind = CLASSES.partition_point(|change| change >> 3 <= code);
    match behind.checked_sub(1).and_then(|at| CLASSES.get(at)).map_or(0, |change| change & 7) {
        1 => Class::Letter,
        2 => Class::Mark,
        3 => Class::Number,
        4 => Class::Space,
        _ => Class::Other,
    }
}
