//! From a document to the table.

use std::collections::HashMap;

use qwenc_runtime::tokenizer::{AddedDraft, TableDraft, TokenDraft};

use super::document::Document;
use super::shown;

/// More than any id of the table's format.
const MAX_ID: u32 = 1 << 20;

/// The characters by which vocabularies write bytes: printable ones as they are, the others from U+0100 on.
struct Alphabet {
    of_byte: [char; 256],
    to_byte: HashMap<char, u8>,
}

impl Alphabet {
    fn new() -> Self {
        let mut of_byte = ['\0'; 256];
        let mut next = 0x100;
        for (byte, to) in (0_u8..=255).zip(&mut of_byte) {
            let itself = matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
            *to = if itself {
                char::from(byte)
            } else {
                next += 1;
                char::from_u32(next - 1).unwrap_or_default()
            };
        }
        let to_byte = (0_u8..=255).zip(&of_byte).map(|(byte, c)| (*c, byte)).collect();
        Self { of_byte, to_byte }
    }

    /// The bytes that a token is written for; `None` when a character of it is for no byte.
    fn bytes(&self, token: &str) -> Option<Vec<u8>> {
        token.chars().map(|c| self.to_byte.get(&c).copied()).collect()
    }
}

/// The table's content. Added tokens, and what ids show as, are asked of the crate, which has rules for both.
pub(super) fn draft(document: &Document, reference: &tokenizers::Tokenizer) -> Result<TableDraft, String> {
    let alphabet = Alphabet::new();
    let vocab = &document.vocab;
    let added = added(reference)?;
    let largest = vocab.values().copied().chain(added.iter().map(|token| token.id)).max().unwrap_or(0);
    if largest >= MAX_ID {
        return Err(format!("`model.vocab`: id {largest} is too large; ids below {MAX_ID} can be compiled"));
    }
    let mut tokens: Vec<Option<TokenDraft>> = vec![None; largest as usize + 1];
    for (token, id) in vocab {
        let bytes = alphabet.bytes(token);
        let whole = document.ignore_merges && bytes.is_some();
        // The crate shows a token of other characters as it is written.
        let bytes = bytes.unwrap_or_else(|| token.as_bytes().to_vec());
        let Some(slot) = tokens.get_mut(*id as usize) else { continue };
        if slot.replace(TokenDraft { bytes, special: false, whole }).is_some() {
            return Err(format!("`model.vocab`: id {id} is that of two tokens"));
        }
    }
    let vocabulary = reference.get_added_vocabulary();
    for token in &added {
        let text = vocabulary.simple_id_to_token(token.id).unwrap_or_default();
        let Some(slot) = tokens.get_mut(token.id as usize) else { continue };
        if slot.is_some() && vocab.get(&token.text) != Some(&token.id) {
            return Err(format!(
                "`added_tokens`: id {} of {} is that of another token",
                token.id,
                shown(&token.text)
            ));
        }
        let whole = slot.as_ref().is_some_and(|token| token.whole);
        let special = vocabulary.is_special_token(&text);
        let bytes = alphabet.bytes(&text).unwrap_or_else(|| text.into_bytes());
        *slot = Some(TokenDraft { bytes, special, whole });
    }
    let mut byte_ids = [0; 256];
    for (c, id) in alphabet.of_byte.iter().zip(&mut byte_ids) {
        let found = vocab.get(c.encode_utf8(&mut [0; 4]) as &str);
        *id = *found.ok_or_else(|| format!("`model.vocab` has no token for the byte that is written {c}"))?;
    }
    Ok(TableDraft {
        pattern: document.pattern,
        nfc: document.nfc,
        tokens,
        byte_ids,
        merges: merges(document)?,
        added,
    })
}

fn merges(document: &Document) -> Result<Vec<[u32; 3]>, String> {
    // Of a pair that stands there twice, the last one counts.
    let mut ranked: HashMap<(u32, u32), (usize, u32)> = HashMap::with_capacity(document.merges.len());
    for (rank, (left, right)) in document.merges.iter().enumerate() {
        let id = |token: &str| {
            let missing = || format!("`model.merges`: merge {rank} has {}, which is no token", shown(token));
            document.vocab.get(token).copied().ok_or_else(missing)
        };
        ranked.insert((id(left)?, id(right)?), (rank, id(&format!("{left}{right}"))?));
    }
    let mut merges: Vec<_> =
        ranked.into_iter().map(|((left, right), (rank, id))| (rank, [left, right, id])).collect();
    merges.sort_unstable();
    Ok(merges.into_iter().map(|(_, merge)| merge).collect())
}

/// The added tokens as the crate has them, in the order of their ids.
fn added(reference: &tokenizers::Tokenizer) -> Result<Vec<AddedDraft>, String> {
    let vocabulary = reference.get_added_vocabulary();
    let mut added = Vec::new();
    for (id, token) in vocabulary.get_added_tokens_decoder() {
        if token.single_word {
            return Err(format!(
                "`added_tokens`: {} has `single_word`, which is not supported",
                shown(&token.content)
            ));
        }
        // A token whose text is another one's has no id of its own.
        if reference.token_to_id(&token.content) != Some(*id) {
            return Err(format!("`added_tokens`: {} has two ids", shown(&token.content)));
        }
        let matched = if token.normalized { vocabulary.simple_id_to_token(*id) } else { None };
        added.push(AddedDraft {
            id: *id,
            text: matched.unwrap_or_else(|| token.content.clone()),
            lstrip: token.lstrip,
            rstrip: token.rstrip,
            normalized: token.normalized,
        });
    }
    added.sort_unstable_by_key(|token| token.id);
    Ok(added)
}
