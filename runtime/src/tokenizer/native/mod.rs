//! The reader of tables without a browser.
//!
//! Text becomes ids in the steps, and with the results, of the `tokenizers` crate: added tokens are cut out, what lies
//! between them is normalized (NFC), cut into words by the model's pattern, and each word's bytes are merged by rank.
//! Nothing here depends on a regular expression engine, and nothing needs to know what a `tokenizer.json` is.

mod added;
mod detokenize;
mod error;
mod index;
mod merge;
mod normalize;
mod pattern;
mod table;
mod unicode;
mod unicode_tables;
mod write;

pub use detokenize::Detokenizer;
pub use error::TableError;
pub use pattern::Pattern;
#[cfg(feature = "chat")]
pub(crate) use unicode::{is_letter, is_number};
pub use write::{AddedDraft, TableDraft, TokenDraft};

use added::{AddedTokens, Piece};
use index::{PairIndex, WordIndex};
use merge::Merger;
use table::{SPECIAL, TokenStore, WHOLE};

/// A tokenizer. It holds no more than a few times the size of its table.
#[derive(Debug)]
pub struct Tokenizer {
    pattern: Pattern,
    nfc: bool,
    store: TokenStore,
    byte_ids: [u32; 256],
    pairs: PairIndex,
    words: WordIndex,
    /// Added tokens that are looked for in the text as it is.
    raw: AddedTokens,
    /// Added tokens that are looked for in normalized text.
    normalized: AddedTokens,
}

/// What is in a tokenizer, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenizerFacts {
    /// Ids that stand for something: of the vocabulary and of added tokens.
    pub tokens: u32,
    /// Merges.
    pub merges: u32,
    /// Added tokens.
    pub added: u32,
    /// How text is cut into words.
    pub pattern: Pattern,
    /// Text is normalized to NFC first.
    pub nfc: bool,
}

impl std::fmt::Display for TokenizerFacts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { tokens, merges, added, pattern, nfc } = self;
        write!(f, "{tokens} tokens, {merges} merges, {added} added tokens, words as {}", pattern.name())?;
        if *nfc { write!(f, ", NFC") } else { Ok(()) }
    }
}

impl Tokenizer {
    /// Reads a table. It may come from anywhere: whatever it says, reading takes time and memory in proportion to its
    /// size, and using it does not panic.
    ///
    /// # Errors
    /// [`TableError`] when it is no valid table.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, TableError> {
        let table = table::Table::parse(bytes)?;
        let pairs = PairIndex::new(&table.merges)?;
        let words = WordIndex::new(&table.store)?;
        let (normalized, raw) = table.added.into_iter().partition(|token| token.normalized);
        Ok(Self {
            pattern: table.pattern,
            nfc: table.nfc,
            store: table.store,
            byte_ids: table.byte_ids,
            pairs,
            words,
            raw: AddedTokens::new(raw)?,
            normalized: AddedTokens::new(normalized)?,
        })
    }

    /// What is in it.
    #[must_use]
    pub fn facts(&self) -> TokenizerFacts {
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        TokenizerFacts {
            tokens: count(self.store.existing()),
            merges: count(self.pairs.len()),
            added: count(self.raw.len() + self.normalized.len()),
            pattern: self.pattern,
            nfc: self.nfc,
        }
    }

    /// The ids of `text`, added and special tokens recognised. No id is put in front or behind.
    #[must_use]
    pub fn encode(&self, text: &str) -> Vec<u32> {
        let mut ids = Vec::with_capacity(text.len() / 3 + 4);
        let mut merger = Merger::default();
        self.raw.split(text, &mut |piece| match piece {
            Piece::Token(id) => ids.push(id),
            Piece::Text(text) => {
                let text = if self.nfc { normalize::nfc(text) } else { text.into() };
                self.normalized.split(&text, &mut |piece| match piece {
                    Piece::Token(id) => ids.push(id),
                    Piece::Text(text) => self.encode_plain(text, &mut merger, &mut ids),
                });
            }
        });
        ids
    }

    /// Appends the ids of text without added tokens, already normalized.
    fn encode_plain(&self, mut text: &str, merger: &mut Merger, ids: &mut Vec<u32>) {
        while !text.is_empty() {
            let (word, rest) = self.pattern.first_word(text);
            self.encode_word(word.as_bytes(), merger, ids);
            text = rest;
        }
    }

    fn encode_word(&self, word: &[u8], merger: &mut Merger, ids: &mut Vec<u32>) {
        match self.words.find(&self.store, word, WHOLE) {
            // Merging this word ends with this token: the compiler tried.
            Some(id) => ids.push(id),
            None => merger.merge(word, &self.byte_ids, &self.pairs, ids),
        }
    }

    /// What merging alone makes of a word. The writer of tables asks.
    fn merged(&self, word: &[u8], merger: &mut Merger, ids: &mut Vec<u32>) {
        merger.merge(word, &self.byte_ids, &self.pairs, ids);
    }

    /// The text of `ids`. Ids that stand for nothing are left out, and special tokens too when `skip_special`. Bytes that
    /// are no UTF-8 become U+FFFD, as [`String::from_utf8_lossy`] has it.
    #[must_use]
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> String {
        let mut bytes = Vec::with_capacity(ids.len() * 4);
        for id in ids {
            bytes.extend_from_slice(self.shown(*id, skip_special));
        }
        match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
        }
    }

    /// The bytes that an id contributes to text.
    fn shown(&self, id: u32, skip_special: bool) -> &[u8] {
        if skip_special && self.is_special(id) {
            return &[];
        }
        self.store.bytes(id).unwrap_or_default()
    }

    /// The id of a token by its text: an added token's content (`<|im_end|>`), or what a token of the vocabulary stands
    /// for (a space, not the `Ġ` by which vocabularies write it).
    #[must_use]
    pub fn token_to_id(&self, text: &str) -> Option<u32> {
        self.raw
            .find(text)
            .or_else(|| self.normalized.find(text))
            .or_else(|| self.words.find(&self.store, text.as_bytes(), 0))
    }

    /// The bytes that an id stands for, which need not be UTF-8 by themselves. `None` for an id that stands for nothing.
    #[must_use]
    pub fn id_to_bytes(&self, id: u32) -> Option<&[u8]> {
        self.store.bytes(id)
    }

    /// The id is a special token, which readers of the text should not see.
    #[must_use]
    pub fn is_special(&self, id: u32) -> bool {
        self.store.kind(id) & SPECIAL != 0
    }

    /// One more than the largest id.
    #[must_use]
    pub fn id_bound(&self) -> u32 {
        u32::try_from(self.store.len()).unwrap_or(u32::MAX)
    }
}
