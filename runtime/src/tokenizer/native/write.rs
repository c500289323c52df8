//! Writing a table. The compiler fills a [`TableDraft`]; the format is beside its reader, in `table.rs`.

use super::Tokenizer;
use super::error::TableError;
use super::merge::Merger;
use super::pattern::Pattern;
use super::table::{
    EXISTS, LSTRIP, MAGIC, MAX_ADDED, MAX_CONTENT, MAX_MERGES, MAX_TOKENS, NFC, NORMALIZED, RSTRIP, SPECIAL,
    WHOLE, kinds_at,
};
use crate::tokenizer::TABLE_VERSION;

/// What an id stands for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenDraft {
    /// The bytes that it contributes to text, at most 65,535.
    pub bytes: Vec<u8>,
    /// Readers of the text should not see it.
    pub special: bool,
    /// A word of these bytes is this token, whatever the merges say (`ignore_merges`). Words for which the merges say
    /// so are found when the table is written.
    pub whole: bool,
}

/// A text that becomes one id wherever it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddedDraft {
    /// The id.
    pub id: u32,
    /// The text, not empty; for a `normalized` token, normalized.
    pub text: String,
    /// It takes white space on its left along.
    pub lstrip: bool,
    /// It takes white space on its right along.
    pub rstrip: bool,
    /// It is looked for in normalized text, not in the text as it is.
    pub normalized: bool,
}

/// A table to be written.
#[derive(Clone, Debug)]
pub struct TableDraft {
    /// How text is cut into words.
    pub pattern: Pattern,
    /// Normalize to NFC first.
    pub nfc: bool,
    /// What each id stands for; `None` for one that stands for nothing.
    pub tokens: Vec<Option<TokenDraft>>,
    /// The token of each byte.
    pub byte_ids: [u32; 256],
    /// Left, right and resulting id, best rank first, each pair once.
    pub merges: Vec<[u32; 3]>,
    /// Added tokens. Their ids are among `tokens`.
    pub added: Vec<AddedDraft>,
}

impl TableDraft {
    /// The bytes of the table, which [`Tokenizer::from_bytes`] takes.
    ///
    /// # Errors
    /// [`TableError`] when the draft is beyond a limit, or says something that no table may say.
    pub fn to_bytes(&self) -> Result<Vec<u8>, TableError> {
        let mut bytes = self.without_words()?;
        let tokenizer = Tokenizer::from_bytes(&bytes)?;
        let (mut merger, mut ids) = (Merger::default(), Vec::new());
        let kinds = bytes.get_mut(kinds_at(self.tokens.len())..).unwrap_or_default();
        for (id, (token, kind)) in (0_u32..).zip(self.tokens.iter().zip(kinds)) {
            let Some(token) = token else { continue };
            ids.clear();
            tokenizer.merged(&token.bytes, &mut merger, &mut ids);
            if ids == [id] {
                *kind |= WHOLE;
            }
        }
        Ok(bytes)
    }

    /// The table, in which only those tokens are [`WHOLE`] of which the draft says so.
    fn without_words(&self) -> Result<Vec<u8>, TableError> {
        let tokens = self.tokens.iter().flatten();
        let content: usize = tokens.map(|token| token.bytes.len()).sum();
        let added_content: usize = self.added.iter().map(|token| token.text.len()).sum();
        let mut out = MAGIC.to_vec();
        let header = [
            TABLE_VERSION,
            self.pattern.number(),
            if self.nfc { NFC } else { 0 },
            count("tokens", self.tokens.len(), MAX_TOKENS)?,
            count("bytes of tokens", content, MAX_CONTENT)?,
            count("merges", self.merges.len(), MAX_MERGES)?,
            count("added tokens", self.added.len(), MAX_ADDED)?,
            count("bytes of added tokens", added_content, MAX_CONTENT)?,
        ];
        put(&mut out, header);
        for token in &self.tokens {
            let length = token.as_ref().map_or(0, |token| token.bytes.len());
            let length = u16::try_from(length).map_err(|_| TableError::TooMany {
                what: "bytes of a token",
                found: length as u64,
                max: u16::MAX.into(),
            })?;
            out.extend(length.to_le_bytes());
        }
        out.extend(self.tokens.iter().map(|token| match token {
            None => 0,
            Some(token) => {
                EXISTS | if token.special { SPECIAL } else { 0 } | if token.whole { WHOLE } else { 0 }
            }
        }));
        for token in self.tokens.iter().flatten() {
            out.extend_from_slice(&token.bytes);
        }
        put(&mut out, self.byte_ids);
        for merge in &self.merges {
            put(&mut out, *merge);
        }
        for token in &self.added {
            let flags = [(token.lstrip, LSTRIP), (token.rstrip, RSTRIP), (token.normalized, NORMALIZED)];
            let flags = flags.into_iter().filter(|(set, _)| *set).map(|(_, bit)| bit).sum();
            put(
                &mut out,
                [token.id, flags, count("bytes of an added token", token.text.len(), MAX_CONTENT)?],
            );
        }
        for token in &self.added {
            out.extend_from_slice(token.text.as_bytes());
        }
        Ok(out)
    }
}

fn put<const N: usize>(out: &mut Vec<u8>, words: [u32; N]) {
    out.extend(words.into_iter().flat_map(u32::to_le_bytes));
}

fn count(what: &'static str, found: usize, max: u32) -> Result<u32, TableError> {
    match u32::try_from(found) {
        Ok(count) if count <= max => Ok(count),
        _ => Err(TableError::TooMany { what, found: found as u64, max: max.into() }),
    }
}
