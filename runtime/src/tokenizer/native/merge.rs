//! Byte pair encoding of one word: again and again, of all neighbours that can merge, the pair of the best rank does,
//! the leftmost first among equals.
//!
//! Short words keep the rank of every pair beside it and look through all of them, which costs less than any order
//! for the few symbols that a word has. Long words have a heap, so that a megabyte without a space takes no
//! quadratic time. The two do the same; a test holds them together.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::index::{Merged, PairIndex};

/// Bytes up to which a word is short.
const SHORT: usize = 64;
/// A rank that no merge has.
const NONE: Merged = Merged { rank: u32::MAX, id: 0 };

/// A symbol of a word, and what it merges to with the one behind it.
#[derive(Clone, Copy, Debug)]
struct Symbol {
    id: u32,
    merged: Merged,
}

/// A symbol in a long word, linked to its neighbours.
#[derive(Clone, Copy, Debug)]
struct Linked {
    symbol: Symbol,
    before: usize,
    behind: usize,
}

/// No neighbour.
const END: usize = usize::MAX;

/// Merges words; what it keeps is room for the next one.
#[derive(Debug, Default)]
pub(super) struct Merger {
    symbols: Vec<Symbol>,
    linked: Vec<Linked>,
    heap: BinaryHeap<Reverse<(u32, usize)>>,
}

impl Merger {
    /// Appends the ids of a word.
    pub(super) fn merge(&mut self, word: &[u8], bytes: &[u32; 256], pairs: &PairIndex, ids: &mut Vec<u32>) {
        if word.len() <= SHORT {
            self.merge_short(word, bytes, pairs, ids);
        } else {
            self.merge_long(word, bytes, pairs, ids);
        }
    }

    fn merge_short(&mut self, word: &[u8], bytes: &[u32; 256], pairs: &PairIndex, ids: &mut Vec<u32>) {
        let symbols = &mut self.symbols;
        symbols.clear();
        for id in word.iter().filter_map(|byte| bytes.get(usize::from(*byte))) {
            if let Some(last) = symbols.last_mut() {
                last.merged = pairs.find(last.id, *id).unwrap_or(NONE);
            }
            symbols.push(Symbol { id: *id, merged: NONE });
        }
        loop {
            let mut best = NONE;
            let mut place = 0;
            for (at, symbol) in symbols.iter().enumerate() {
                if symbol.merged.rank < best.rank {
                    (best, place) = (symbol.merged, at);
                }
            }
            if best.rank == NONE.rank {
                break;
            }
            symbols.remove(place + 1);
            let behind = symbols.get(place + 1).map(|symbol| symbol.id);
            let merged = behind.and_then(|behind| pairs.find(best.id, behind)).unwrap_or(NONE);
            if let Some(symbol) = symbols.get_mut(place) {
                *symbol = Symbol { id: best.id, merged };
            }
            if let Some(before) = place.checked_sub(1).and_then(|before| symbols.get_mut(before)) {
                before.merged = pairs.find(before.id, best.id).unwrap_or(NONE);
            }
        }
        ids.extend(symbols.iter().map(|symbol| symbol.id));
    }

    fn merge_long(&mut self, word: &[u8], bytes: &[u32; 256], pairs: &PairIndex, ids: &mut Vec<u32>) {
        let (linked, heap) = (&mut self.linked, &mut self.heap);
        linked.clear();
        heap.clear();
        for (at, id) in word.iter().filter_map(|byte| bytes.get(usize::from(*byte))).enumerate() {
            if let Some(last) = linked.last_mut() {
                last.behind = at;
                last.symbol.merged = pairs.find(last.symbol.id, *id).unwrap_or(NONE);
                offer(heap, at - 1, last.symbol.merged);
            }
            let symbol = Symbol { id: *id, merged: NONE };
            linked.push(Linked { symbol, before: at.checked_sub(1).unwrap_or(END), behind: END });
        }
        while let Some(Reverse((rank, place))) = heap.pop() {
            let Some(&left) = linked.get(place) else { continue };
            // Out of date: another merge has taken one of the two. What is gone has no rank.
            if left.symbol.merged.rank != rank {
                continue;
            }
            let Some(&right) = linked.get(left.behind) else { continue };
            if let Some(gone) = linked.get_mut(left.behind) {
                gone.symbol.merged = NONE;
            }
            let id = left.symbol.merged.id;
            let behind = linked.get_mut(right.behind).map(|behind| {
                behind.before = place;
                behind.symbol.id
            });
            let merged = behind.and_then(|behind| pairs.find(id, behind)).unwrap_or(NONE);
            offer(heap, place, merged);
            if let Some(left) = linked.get_mut(place) {
                *left = Linked { symbol: Symbol { id, merged }, behind: right.behind, ..*left };
            }
            if let Some(before) = linked.get_mut(left.before) {
                before.symbol.merged = pairs.find(before.symbol.id, id).unwrap_or(NONE);
                offer(heap, left.before, before.symbol.merged);
            }
        }
        let mut at = 0;
        while let Some(symbol) = linked.get(at) {
            ids.push(symbol.symbol.id);
            at = symbol.behind;
        }
    }
}

fn offer(heap: &mut BinaryHeap<Reverse<(u32, usize)>>, place: usize, merged: Merged) {
    if merged.rank != NONE.rank {
        heap.push(Reverse((merged.rank, place)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Words of two letters, over merges that any two ids below 40 may have: the heap and the search agree.
    #[test]
    fn long_and_short_words_merge_alike() {
        let mut state = 7_u64;
        let mut next = |bound: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            u32::try_from((state >> 33) % bound).unwrap()
        };
        let bytes: [u32; 256] = std::array::from_fn(|byte| u32::try_from(byte % 2).unwrap());
        for _ in 0..200 {
            let mut merges: Vec<[u32; 3]> = Vec::new();
            for id in 2..40 {
                let (left, right) = (next(id), next(id));
                if !merges.iter().any(|[a, b, _]| (*a, *b) == (left, right)) {
                    let at = next(merges.len() as u64 + 1) as usize;
                    merges.insert(at, [left, right, u32::try_from(id).unwrap()]);
                }
            }
            let pairs = PairIndex::new(&merges).unwrap();
            let mut merger = Merger::default();
            for length in [0, 1, 2, 3, 17, 64, 65, 200] {
                let word: Vec<u8> = (0..length).map(|_| u8::try_from(next(2)).unwrap()).collect();
                let (mut short, mut long) = (Vec::new(), Vec::new());
                merger.merge_short(&word, &bytes, &pairs, &mut short);
                merger.merge_long(&word, &bytes, &pairs, &mut long);
                assert_eq!(short, long, "{merges:?} {word:?}");
            }
        }
    }
}
