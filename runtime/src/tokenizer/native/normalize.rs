//! Unicode normalization form C, as the reference has it.
//!
//! The `tokenizers` crate normalizes by Unicode 9: characters that are younger have no decomposition and no combining
//! class there, and text that holds them comes out as it went in. A model has seen text in that form, so it is this
//! form that is wanted. Normalization of older characters never changes; what changes is that the younger ones now
//! take part. [`YOUNGER`] has those, and text is normalized between them.

use std::borrow::Cow;

use super::unicode_tables::YOUNGER;
use crate::host;

/// The text in normalization form C.
pub(super) fn nfc(text: &str) -> Cow<'_, str> {
    // What is normalized with the younger characters is so without them, piece by piece.
    if text.is_ascii() || host::is_nfc(text) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len());
    for piece in text.split_inclusive(is_younger) {
        match piece.chars().next_back().filter(|last| is_younger(*last)) {
            None => out.push_str(&host::nfc(piece)),
            Some(last) => {
                out.push_str(&host::nfc(piece.get(..piece.len() - last.len_utf8()).unwrap_or_default()));
                out.push(last);
            }
        }
    }
    out.into()
}

/// The character takes part in normalization today, and did not in Unicode 9.
fn is_younger(c: char) -> bool {
    let at = YOUNGER.partition_point(|(_, last)| *last < c);
    YOUNGER.get(at).is_some_and(|(first, _)| *first <= c)
}

#[cfg(test)]
mod tests {
    use tokenizers::{NormalizedString, Normalizer, normalizers::NFC};

    use super::nfc;

    #[test]
    fn every_character_as_in_the_reference() {
        for c in '\0'..=char::MAX {
            // By itself; and where any combining class would move it, and older characters beside it compose.
            for text in [c.to_string(), format!("e\u{345}{c}\u{334}\u{301}{c}A\u{30A}")] {
                let mut expected = NormalizedString::from(text.as_str());
                NFC.normalize(&mut expected).unwrap();
                assert_eq!(nfc(&text), expected.get(), "{text:?}");
            }
        }
    }
}
