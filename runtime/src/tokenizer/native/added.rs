//! Added tokens: texts that become one id wherever they stand, before anything else looks at the text.

use super::error::TableError;
use super::table::AddedToken;
use crate::order::sorted;

/// A part of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// Text between added tokens, never empty.
    Text(&'a str),
    /// An added token.
    Token(u32),
}

/// A set of added tokens that are looked for together.
#[derive(Debug)]
pub(super) struct AddedTokens {
    /// Sorted by text.
    tokens: Vec<AddedToken>,
    /// Whether a token begins with a byte.
    begins: [bool; 256],
}

impl AddedTokens {
    pub(super) fn new(tokens: Vec<AddedToken>) -> Result<Self, TableError> {
        let tokens = sorted(&tokens, |a, b| a.text < b.text);
        if let Some(at) = tokens.windows(2).position(|pair| matches!(pair, [a, b] if a.text == b.text)) {
            let problem = "has the text of another one";
            return Err(TableError::Invalid { what: "added token", index: at, problem });
        }
        let mut begins = [false; 256];
        for first in tokens.iter().filter_map(|token| token.text.as_bytes().first()) {
            if let Some(begin) = begins.get_mut(usize::from(*first)) {
                *begin = true;
            }
        }
        Ok(Self { tokens, begins })
    }

    pub(super) fn len(&self) -> usize {
        self.tokens.len()
    }

    /// The id of a text.
    pub(super) fn find(&self, text: &str) -> Option<u32> {
        let at = self.tokens.binary_search_by(|token| token.text.as_str().cmp(text)).ok()?;
        self.tokens.get(at).map(|token| token.id)
    }

    /// Cuts the tokens out of a text: of those that begin leftmost, the longest; the next one behind its end.
    ///
    /// A token may take the white space around it along. What it takes on its left ends where the token before it ended;
    /// what it takes on its right is still looked through for the next token, as in the reference.
    pub(super) fn split<'t>(&self, text: &'t str, give: &mut impl FnMut(Piece<'t>)) {
        let mut done = 0;
        let mut at = 0;
        while let Some((start, end, token)) = self.next(text, at) {
            at = end;
            let before = text.get(..start).unwrap_or_default();
            let behind = text.get(end..).unwrap_or_default();
            let from = if token.lstrip { before.trim_end().len().max(done) } else { start };
            if let Some(between) = text.get(done..from).filter(|between| !between.is_empty()) {
                give(Piece::Text(between));
            }
            give(Piece::Token(token.id));
            done = if token.rstrip { end + behind.len() - behind.trim_start().len() } else { end };
        }
        if let Some(rest) = text.get(done..).filter(|rest| !rest.is_empty()) {
            give(Piece::Text(rest));
        }
    }

    /// The first token at or behind byte `from`: its start, its end, and itself.
    fn next(&self, text: &str, from: usize) -> Option<(usize, usize, &AddedToken)> {
        if self.tokens.is_empty() {
            return None;
        }
        let bytes = text.as_bytes();
        let begins = |byte: &u8| self.begins.get(usize::from(*byte)).is_some_and(|begins| *begins);
        let mut at = from;
        loop {
            at += bytes.get(at..)?.iter().position(begins)?;
            if let Some(token) = bytes.get(at..).and_then(|rest| self.longest(rest)) {
                return Some((at, at + token.text.len(), token));
            }
            at += 1;
        }
    }

    /// The longest token with which the bytes begin: the sorted list is walked like a trie, one byte deeper at a time.
    fn longest(&self, bytes: &[u8]) -> Option<&AddedToken> {
        let mut range = self.tokens.as_slice();
        let mut found = None;
        for (depth, byte) in bytes.iter().enumerate() {
            let at = |token: &AddedToken| token.text.as_bytes().get(depth).copied();
            let start = range.partition_point(|token| at(token) < Some(*byte));
            let end = range.partition_point(|token| at(token) <= Some(*byte));
            range = range.get(start..end).unwrap_or_default();
            // Of the tokens that begin alike, one that ends here comes first.
            let Some(first) = range.first() else { break };
            if first.text.len() == depth + 1 {
                found = Some(first);
            }
        }
        found
    }
}
