//! Lookups of pairs and of words: flat arrays in place of hash maps, filled by counting, in linear time.
//!
//! A key's hash names a bucket, and a bucket is a range of entries: `starts[b] .. starts[b + 1]`. There are at least as
//! many buckets as entries, so that a bucket of an ordinary vocabulary has no more than ten. A table that was made to
//! crowd a bucket is refused: it would make lookups slow.

use super::error::TableError;
use super::table::{EXISTS, Merge, TokenStore};

/// Most entries of a bucket.
const CROWD: usize = 64;

const MULTIPLIER: u64 = 0x9E37_79B9_7F4A_7C15;

/// Where the entries of each bucket are.
#[derive(Debug)]
struct Buckets {
    starts: Vec<u32>,
    /// A hash's bucket is in its upper bits.
    shift: u32,
}

impl Buckets {
    /// Sorts entries, given by their hashes, into buckets; `place(entry, slot)` says where each goes.
    fn fill(
        what: &'static str,
        count: usize,
        hashes: impl Fn(usize) -> Option<u64>,
        mut place: impl FnMut(usize, usize),
    ) -> Result<Self, TableError> {
        let bits = count.max(2).next_power_of_two().trailing_zeros();
        let mut buckets = Self { starts: vec![0; (1 << bits) + 1], shift: 64 - bits };
        // Count each bucket at the place behind it, and add up: starts[b + 1] is then where bucket b ends.
        for hash in (0..count).filter_map(&hashes) {
            let bucket = buckets.of(hash);
            if let Some(size) = buckets.starts.get_mut(bucket + 1) {
                *size += 1;
            }
        }
        let mut end = 0;
        for start in &mut buckets.starts {
            if *start as usize > CROWD {
                return Err(TableError::Crowded { what, max: CROWD });
            }
            end += *start;
            *start = end;
        }
        // From behind, each entry moves its bucket's end one down, until it is the bucket's start. Entries of a bucket
        // so end up in their order.
        for entry in (0..count).rev() {
            let Some(hash) = hashes(entry) else { continue };
            let bucket = buckets.of(hash);
            if let Some(slot) = buckets.starts.get_mut(bucket + 1) {
                *slot -= 1;
                place(entry, *slot as usize);
            }
        }
        // starts[b + 1] is now where bucket b starts: move all one down, and put the end at the end.
        buckets.starts.rotate_left(1);
        if let Some(last) = buckets.starts.last_mut() {
            *last = end;
        }
        Ok(buckets)
    }

    #[expect(clippy::cast_possible_truncation, reason = "at most 20 bits are left")]
    fn of(&self, hash: u64) -> usize {
        (hash >> self.shift) as usize
    }

    fn range(&self, hash: u64) -> std::ops::Range<usize> {
        let bucket = self.of(hash);
        match self.starts.get(bucket..bucket + 2) {
            Some(&[start, end]) => start as usize..end as usize,
            _ => 0..0,
        }
    }
}

/// What two neighbours merge to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Merged {
    /// Less is better.
    pub(super) rank: u32,
    /// The id that replaces both.
    pub(super) id: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct PairEntry {
    left: u32,
    right: u32,
    merged: Merged,
}

/// Finds what a pair of ids merges to.
#[derive(Debug)]
pub(super) struct PairIndex {
    buckets: Buckets,
    entries: Vec<PairEntry>,
}

fn pair_hash(left: u32, right: u32) -> u64 {
    (u64::from(left).wrapping_mul(0x2545_F491_4F6C_DD1D) ^ u64::from(right)).wrapping_mul(MULTIPLIER)
}

impl PairIndex {
    pub(super) fn new(merges: &[Merge]) -> Result<Self, TableError> {
        let mut entries = vec![PairEntry::default(); merges.len()];
        let hash = |index: usize| merges.get(index).map(|[left, right, _]| pair_hash(*left, *right));
        let buckets = Buckets::fill("merges", merges.len(), hash, |index, slot| {
            if let (Some(&[left, right, id]), Some(entry)) = (merges.get(index), entries.get_mut(slot)) {
                let rank = u32::try_from(index).unwrap_or(u32::MAX);
                *entry = PairEntry { left, right, merged: Merged { rank, id } };
            }
        })?;
        Ok(Self { buckets, entries })
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn find(&self, left: u32, right: u32) -> Option<Merged> {
        self.entries
            .get(self.buckets.range(pair_hash(left, right)))?
            .iter()
            .find(|entry| entry.left == left && entry.right == right)
            .map(|entry| entry.merged)
    }
}

/// Finds tokens by their bytes.
#[derive(Debug)]
pub(super) struct WordIndex {
    buckets: Buckets,
    ids: Vec<u32>,
    longest: usize,
}

fn word_hash(word: &[u8]) -> u64 {
    let (chunks, tail) = word.as_chunks();
    let mut last = [0; 8];
    for (to, from) in last.iter_mut().zip(tail) {
        *to = *from;
    }
    let start = (word.len() as u64).wrapping_mul(MULTIPLIER);
    let hash = chunks.iter().chain([&last]).fold(start, |hash, chunk| {
        (hash.rotate_left(23) ^ u64::from_le_bytes(*chunk)).wrapping_mul(MULTIPLIER)
    });
    // The upper bits of a product know all of its lower bits; so do they after this.
    (hash ^ (hash >> 32)).wrapping_mul(MULTIPLIER)
}

impl WordIndex {
    pub(super) fn new(store: &TokenStore) -> Result<Self, TableError> {
        let id = |index: usize| u32::try_from(index).unwrap_or(u32::MAX);
        let mut ids = vec![0; store.existing()];
        let mut longest = 0;
        let hash = |index: usize| store.bytes(id(index)).map(word_hash);
        let buckets = Buckets::fill("tokens", store.len(), hash, |index, slot| {
            if let Some(entry) = ids.get_mut(slot) {
                *entry = id(index);
            }
            longest = longest.max(store.bytes(id(index)).map_or(0, <[u8]>::len));
        })?;
        Ok(Self { buckets, ids, longest })
    }

    /// The first id of these bytes whose kind has all bits of `kind`.
    pub(super) fn find(&self, store: &TokenStore, word: &[u8], kind: u8) -> Option<u32> {
        if word.len() > self.longest {
            return None;
        }
        let wanted = |id: &&u32| store.kind(**id) & (kind | EXISTS) == kind | EXISTS;
        let candidates = self.ids.get(self.buckets.range(word_hash(word)))?;
        candidates.iter().filter(wanted).find(|id| store.bytes(**id) == Some(word)).copied()
    }
}
