//! Text from ids that come one at a time.

use super::Tokenizer;

/// Turns ids into text as they come. A token may end inside of a character: its bytes are held back until the rest is
/// there, or until it is clear that there is none. All that [`push`](Self::push) gives, and what
/// [`finish`](Self::finish) gives at the end, is together what [`Tokenizer::decode`] gives for all ids.
#[derive(Clone, Debug, Default)]
pub struct Detokenizer {
    skip_special: bool,
    /// At most three bytes of a character that is not complete.
    held: Vec<u8>,
}

impl Detokenizer {
    /// At the start of a text. Special tokens are left out when `skip_special`.
    #[must_use]
    pub fn new(skip_special: bool) -> Self {
        Self { skip_special, held: Vec::new() }
    }

    /// The text that is complete with this id; may be empty.
    #[must_use]
    pub fn push(&mut self, tokenizer: &Tokenizer, id: u32) -> String {
        let bytes = tokenizer.shown(id, self.skip_special);
        if self.held.is_empty()
            && let Ok(text) = std::str::from_utf8(bytes)
        {
            return text.to_owned();
        }
        self.held.extend_from_slice(bytes);
        let mut out = String::with_capacity(self.held.len());
        let mut rest = self.held.as_slice();
        let open = loop {
            let error = match std::str::from_utf8(rest) {
                Ok(text) => {
                    out.push_str(text);
                    break 0;
                }
                Err(error) => error,
            };
            let (valid, invalid) = rest.split_at_checked(error.valid_up_to()).unwrap_or((rest, &[]));
            out.push_str(std::str::from_utf8(valid).unwrap_or_default());
            // No length: the text ends inside of a character that may still be completed.
            let Some(length) = error.error_len() else { break invalid.len() };
            out.push(char::REPLACEMENT_CHARACTER);
            rest = invalid.get(length..).unwrap_or_default();
        };
        self.held.drain(..self.held.len() - open);
        out
    }

    /// What is left at the end: U+FFFD when the last character is not complete.
    #[must_use]
    pub fn finish(&mut self) -> String {
        let held = std::mem::take(&mut self.held);
        String::from_utf8_lossy(&held).into_owned()
    }
}
