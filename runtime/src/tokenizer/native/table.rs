//! The file `model/tokenizer.bin`: reading it. Version 1; all numbers are little-endian.
//!
//! ```text
//! "QWTK"           4 bytes
//! version          u32         1
//! pattern          u32         0 GPT-2, 1 Qwen2, 2 Qwen3.5
//! flags            u32         bit 0: NFC
//! tokens           u32         T, one more than the largest id
//! token_bytes      u32         B
//! merges           u32         M
//! added            u32         A
//! added_bytes      u32         C
//! lengths          T x u16     bytes that id 0, 1, .. stands for
//! kinds            T x u8      bit 0: the id stands for something; bit 1: merging its bytes gives the token itself;
//!                              bit 2: special
//! content          B bytes     the tokens' bytes, one after the other
//! byte_ids         256 x u32   the token of each byte
//! merge            M x 3 u32   left, right and resulting id, best rank first
//! added            A x 3 u32   id; bit 0: lstrip, 1: rstrip, 2: matched in normalized text; bytes of its text
//! added_content    C bytes     the added tokens' texts, UTF-8, one after the other
//! ```
//!
//! Nothing else may follow. Indexes for lookups are not in the file: they are made when it is read, in linear time,
//! which is less work than hashing a file that is three times as long.

use super::error::TableError;
use super::pattern::Pattern;
use crate::tokenizer::TABLE_VERSION;

pub(super) const MAGIC: &[u8; 4] = b"QWTK";
/// Most tokens.
pub(super) const MAX_TOKENS: u32 = 1 << 20;
/// Most merges.
pub(super) const MAX_MERGES: u32 = 1 << 20;
/// Most added tokens.
pub(super) const MAX_ADDED: u32 = 1 << 16;
/// Most bytes of all tokens' content, and of all added tokens' texts.
pub(super) const MAX_CONTENT: u32 = 32 << 20;

/// Bit of `flags`: text is normalized.
pub(super) const NFC: u32 = 1;
/// Bit of a kind: the id stands for something.
pub(super) const EXISTS: u8 = 1;
/// Bit of a kind: merging the token's bytes gives the token itself.
pub(super) const WHOLE: u8 = 2;
/// Bit of a kind: the token is special.
pub(super) const SPECIAL: u8 = 4;
/// Bits of an added token.
pub(super) const LSTRIP: u32 = 1;
pub(super) const RSTRIP: u32 = 2;
pub(super) const NORMALIZED: u32 = 4;

/// Where kinds begin, for the writer.
pub(super) fn kinds_at(tokens: usize) -> usize {
    HEADER + tokens * 2
}

/// Bytes in front of `lengths`.
const HEADER: usize = 9 * 4;

/// What each id stands for.
#[derive(Debug)]
pub(super) struct TokenStore {
    /// End of each token in `content`; the first begins at 0, each other where the one in front of it ends.
    ends: Vec<u32>,
    kinds: Vec<u8>,
    content: Vec<u8>,
}

impl TokenStore {
    pub(super) fn len(&self) -> usize {
        self.kinds.len()
    }

    pub(super) fn existing(&self) -> usize {
        self.kinds.iter().filter(|kind| **kind & EXISTS != 0).count()
    }

    pub(super) fn kind(&self, id: u32) -> u8 {
        self.kinds.get(id as usize).copied().unwrap_or(0)
    }

    /// The bytes of an id that stands for something.
    pub(super) fn bytes(&self, id: u32) -> Option<&[u8]> {
        if self.kind(id) & EXISTS == 0 {
            return None;
        }
        let at = id as usize;
        let start = if at == 0 { 0 } else { *self.ends.get(at - 1)? };
        self.content.get(start as usize..*self.ends.get(at)? as usize)
    }
}

/// An added token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AddedToken {
    pub(super) id: u32,
    pub(super) lstrip: bool,
    pub(super) rstrip: bool,
    pub(super) normalized: bool,
    pub(super) text: String,
}

/// A merge: left, right and resulting id.
pub(super) type Merge = [u32; 3];

/// A table, checked.
pub(super) struct Table {
    pub(super) pattern: Pattern,
    pub(super) nfc: bool,
    pub(super) store: TokenStore,
    pub(super) byte_ids: [u32; 256],
    pub(super) merges: Vec<Merge>,
    pub(super) added: Vec<AddedToken>,
}

/// Reads from the front of the bytes that are left.
struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// The next `count` bytes. The sizes of all sections were added up before, so that they are there.
    fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at_checked(count).unwrap_or((self.rest, &[]));
        self.rest = rest;
        taken
    }

    fn words(&mut self, count: usize) -> impl Iterator<Item = u32> + use<'a> {
        self.bytes(count * 4).as_chunks().0.iter().map(|word| u32::from_le_bytes(*word))
    }

    fn triples(&mut self, count: usize) -> impl Iterator<Item = [u32; 3]> + use<'a> {
        let word = |bytes: [u8; 4]| u32::from_le_bytes(bytes);
        self.bytes(count * 12).as_chunks().0.iter().map(
            move |&[a, b, c, d, e, f, g, h, i, j, k, l]: &[u8; 12]| {
                [word([a, b, c, d]), word([e, f, g, h]), word([i, j, k, l])]
            },
        )
    }
}

fn invalid(what: &'static str, index: usize, problem: &'static str) -> TableError {
    TableError::Invalid { what, index, problem }
}

fn at_most(what: &'static str, found: u32, max: u32) -> Result<usize, TableError> {
    if found > max {
        return Err(TableError::TooMany { what, found: found.into(), max: max.into() });
    }
    Ok(found as usize)
}

impl Table {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, TableError> {
        let found = bytes.len() as u64;
        let mut reader = Reader { rest: bytes };
        if reader.bytes(4) != MAGIC {
            return Err(TableError::NoTable);
        }
        let mut header = [0_u32; 8];
        if bytes.len() < HEADER {
            return Err(TableError::Size { expected: HEADER as u64, found });
        }
        for (field, value) in header.iter_mut().zip(reader.words(8)) {
            *field = value;
        }
        let [version, pattern, flags, tokens, token_bytes, merges, added, added_bytes] = header;
        if version != TABLE_VERSION {
            return Err(TableError::Version { found: version, expected: TABLE_VERSION });
        }
        let pattern = Pattern::from_number(pattern).ok_or(invalid(
            "header field",
            2,
            "names no pattern that is known",
        ))?;
        if flags & !NFC != 0 {
            return Err(invalid("header field", 3, "has a flag that is not known"));
        }
        let tokens = at_most("tokens", tokens, MAX_TOKENS)?;
        let token_bytes = at_most("bytes of tokens", token_bytes, MAX_CONTENT)?;
        let merges = at_most("merges", merges, MAX_MERGES)?;
        let added = at_most("added tokens", added, MAX_ADDED)?;
        let added_bytes = at_most("bytes of added tokens", added_bytes, MAX_CONTENT)?;
        let expected = HEADER + tokens * 3 + token_bytes + 256 * 4 + merges * 12 + added * 12 + added_bytes;
        if expected as u64 != found {
            return Err(TableError::Size { expected: expected as u64, found });
        }
        let store = tokens_of(&mut reader, tokens, token_bytes)?;
        Ok(Self {
            pattern,
            nfc: flags & NFC != 0,
            byte_ids: byte_ids(&mut reader, &store)?,
            merges: merges_of(&mut reader, merges, &store)?,
            added: added_of(&mut reader, added, added_bytes, &store)?,
            store,
        })
    }
}

fn tokens_of(reader: &mut Reader<'_>, count: usize, bytes: usize) -> Result<TokenStore, TableError> {
    let mut end = 0_u32;
    let mut ends = Vec::with_capacity(count);
    for length in reader.bytes(count * 2).as_chunks().0 {
        end = end.saturating_add(u16::from_le_bytes(*length).into());
        ends.push(end);
    }
    if end as usize != bytes {
        return Err(invalid("the end of token", count, "is not the end of the tokens' bytes"));
    }
    let kinds = reader.bytes(count).to_vec();
    if let Some(id) = kinds.iter().position(|kind| kind & !(EXISTS | WHOLE | SPECIAL) != 0) {
        return Err(invalid("token", id, "has a flag that is not known"));
    }
    Ok(TokenStore { ends, kinds, content: reader.bytes(bytes).to_vec() })
}

fn byte_ids(reader: &mut Reader<'_>, store: &TokenStore) -> Result<[u32; 256], TableError> {
    let mut ids = [0; 256];
    for (byte, (id, value)) in (0_u8..=255).zip(ids.iter_mut().zip(reader.words(256))) {
        if store.bytes(value) != Some(&[byte]) {
            return Err(invalid("byte", byte.into(), "is not what its token stands for"));
        }
        *id = value;
    }
    Ok(ids)
}

fn merges_of(reader: &mut Reader<'_>, count: usize, store: &TokenStore) -> Result<Vec<Merge>, TableError> {
    let mut merges = Vec::with_capacity(count);
    for (rank, merge) in reader.triples(count).enumerate() {
        if merge.iter().any(|id| store.kind(*id) & EXISTS == 0) {
            return Err(invalid("merge", rank, "has an id that stands for nothing"));
        }
        merges.push(merge);
    }
    Ok(merges)
}

fn added_of(
    reader: &mut Reader<'_>,
    count: usize,
    bytes: usize,
    store: &TokenStore,
) -> Result<Vec<AddedToken>, TableError> {
    let records = reader.triples(count);
    let mut content = Reader { rest: reader.bytes(bytes) };
    let mut added = Vec::with_capacity(count);
    for (index, [id, flags, length]) in records.enumerate() {
        let fail = |problem| invalid("added token", index, problem);
        if store.kind(id) & EXISTS == 0 {
            return Err(fail("has an id that stands for nothing"));
        }
        if flags & !(LSTRIP | RSTRIP | NORMALIZED) != 0 {
            return Err(fail("has a flag that is not known"));
        }
        if length == 0 || length as usize > content.rest.len() {
            return Err(fail("is empty, or longer than what is left"));
        }
        let text = std::str::from_utf8(content.bytes(length as usize)).map_err(|_| fail("is not UTF-8"))?;
        added.push(AddedToken {
            id,
            lstrip: flags & LSTRIP != 0,
            rstrip: flags & RSTRIP != 0,
            normalized: flags & NORMALIZED != 0,
            text: text.to_owned(),
        });
    }
    if !content.rest.is_empty() {
        return Err(invalid("the end of added token", count, "is not the end of their texts"));
    }
    Ok(added)
}
