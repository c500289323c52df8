//! A shard as it arrives: hashed on the way, its tensors handed on in pieces. Nothing of it but its table is held.

use sha2::{Digest, Sha256};

use super::hash::{self, hex};
use super::{BundleError, MAX_SHARD_BYTES, listed};
use crate::format::{BufferId, FileFacts, Manifest, Schedule};
use crate::json::{FromJson, Json};
use crate::order::sorted;
use crate::tensor_entry::TensorEntry;

/// Most bytes of a shard's table that are read.
pub const MAX_TABLE_BYTES: u64 = 1 << 20;
/// Bytes before the table: its length.
const LENGTH_BYTES: usize = 8;

/// Takes bytes of a weight: the buffer, the first byte in it, and the bytes.
pub type Take<'a, E> = dyn FnMut(BufferId, u64, &[u8]) -> Result<(), E> + 'a;

/// Reads one shard from pieces of any size. What it takes is only known to be right when [`ShardStream::end`] agrees.
#[derive(Debug)]
pub struct ShardStream {
    facts: FileFacts,
    hash: Option<Sha256>,
    seen: u64,
    table: Vec<u8>,
    spans: Vec<Span>,
    /// First byte after the table; 0 until it is known.
    data: u64,
    /// What is wrong with the table. A wrong hash is the better message, and is known at the end.
    broken: Option<BundleError>,
}

/// A part of a weight, and where in the file it is.
#[derive(Debug)]
struct Span {
    buffer: BufferId,
    at: u64,
    bytes: u64,
    tensor: String,
    start: u64,
    /// Bytes since the last multiple of 4, which is what GPUs take.
    carry: Vec<u8>,
    taken: u64,
}

impl ShardStream {
    /// The shard at a path of the bundle, to be read from its beginning.
    ///
    /// # Errors
    /// [`BundleError::Unlisted`] and [`BundleError::TooLarge`].
    pub fn new(manifest: &Manifest, schedule: &Schedule, path: &str) -> Result<Self, BundleError> {
        let facts = listed(manifest, path)?.clone();
        if facts.bytes > MAX_SHARD_BYTES {
            let (file, bytes) = (facts.path, facts.bytes);
            return Err(BundleError::TooLarge { file, bytes, max: MAX_SHARD_BYTES });
        }
        let mut spans = Vec::new();
        for buffer in &schedule.buffers {
            for part in buffer.parts.iter().filter(|part| part.shard == path) {
                spans.push(Span {
                    buffer: buffer.id,
                    at: part.at,
                    bytes: part.bytes,
                    tensor: part.tensor.clone(),
                    start: 0,
                    carry: Vec::new(),
                    taken: 0,
                });
            }
        }
        Ok(Self {
            facts,
            hash: Some(Sha256::new()),
            seen: 0,
            table: Vec::new(),
            spans,
            data: 0,
            broken: None,
        })
    }

    /// For a file whose hash has been compared already.
    pub(super) fn without_hash(mut self) -> Self {
        self.hash = None;
        self
    }

    /// The next bytes. `take` gets those of weights, in order within each weight, lengths and places multiples of 4.
    ///
    /// # Errors
    /// [`BundleError::Size`] when there are more than the manifest says; otherwise what `take` returns.
    pub fn push<E: From<BundleError>>(&mut self, bytes: &[u8], take: &mut Take<'_, E>) -> Result<(), E> {
        let count = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let found = self.seen.saturating_add(count);
        if found > self.facts.bytes {
            return Err(self.wrong_size(found).into());
        }
        if let Some(hash) = &mut self.hash {
            hash.update(bytes);
        }
        let mut rest = bytes;
        if self.data == 0 && self.broken.is_none() {
            rest = self.read_table(bytes);
        }
        // Where in the file `rest` begins.
        let from = found - u64::try_from(rest.len()).unwrap_or(0);
        self.seen = found;
        if self.broken.is_none() && self.data > 0 {
            for span in &mut self.spans {
                span.push(from, rest, take)?;
            }
        }
        Ok(())
    }

    /// There is no more.
    ///
    /// # Errors
    /// [`BundleError`] when size or hash are not the manifest's, or the shard lacks what the schedule wants.
    pub fn end(self) -> Result<(), BundleError> {
        if self.seen != self.facts.bytes {
            return Err(self.wrong_size(self.seen));
        }
        if let Some(hash) = self.hash {
            hash::check(&self.facts, &hex(&hash.finalize()))?;
        }
        match self.broken {
            Some(error) => Err(error),
            None if self.data == 0 => Err(invalid(&self.facts.path, "it ends before its table does")),
            None => Ok(()),
        }
    }

    fn wrong_size(&self, found: u64) -> BundleError {
        BundleError::Size { file: self.facts.path.clone(), expected: self.facts.bytes, found }
    }

    /// Collects the table; gives what comes after it.
    fn read_table<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let mut rest = bytes;
        let mut collect = |table: &mut Vec<u8>, wanted: usize| {
            let (now, later) = rest.split_at(rest.len().min(wanted.saturating_sub(table.len())));
            table.extend_from_slice(now);
            rest = later;
            table.len() >= wanted
        };
        if !collect(&mut self.table, LENGTH_BYTES) {
            return rest;
        }
        let length = self.table.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        if length > MAX_TABLE_BYTES {
            self.broken = Some(invalid(&self.facts.path, "its table is too long"));
            return &[];
        }
        let end = usize::try_from(length).unwrap_or(0).saturating_add(LENGTH_BYTES);
        if collect(&mut self.table, end) {
            self.data = u64::try_from(end).unwrap_or(0);
            self.broken = self.place_spans().err();
            self.table = Vec::new();
        }
        rest
    }

    fn place_spans(&mut self) -> Result<(), BundleError> {
        let file = &self.facts.path;
        let table = self.table.get(LENGTH_BYTES..).unwrap_or_default();
        let table = Json::from_bytes(table).map_err(|error| invalid(file, &error.to_string()))?;
        let items = table.pairs().ok_or_else(|| invalid(file, "its table is no object"))?;
        let mut ranges = Vec::with_capacity(items.len());
        for (_, item) in items.iter().filter(|(name, _)| name != "__metadata__") {
            match TensorEntry::from_json(item) {
                Ok(tensor) if tensor.is_consistent() => ranges.push(tensor.data_offsets),
                _ => return Err(invalid(file, "the type, shape and range of a tensor disagree")),
            }
        }
        let ranges = sorted(&ranges, |a, b| a < b);
        let end =
            ranges.iter().try_fold(0, |at, [start, end]| (*start == at && end >= start).then_some(*end));
        if end.and_then(|end| self.data.checked_add(end)) != Some(self.facts.bytes) {
            return Err(invalid(file, "its tensors do not cover its data"));
        }
        for span in &mut self.spans {
            let (file, tensor) = (file.clone(), span.tensor.clone());
            let Some(found) = table.get(&tensor).and_then(|item| TensorEntry::from_json(item).ok()) else {
                return Err(BundleError::NoTensor { file, tensor, buffer: span.buffer });
            };
            let [start, end] = found.data_offsets;
            let found = end.saturating_sub(start);
            if found != span.bytes {
                return Err(BundleError::TensorSize { file, tensor, expected: span.bytes, found });
            }
            span.start = self.data.saturating_add(start);
        }
        Ok(())
    }
}

impl Span {
    /// Takes what of `bytes`, which begin at `from` in the file, is this part's.
    fn push<E>(&mut self, from: u64, bytes: &[u8], take: &mut Take<'_, E>) -> Result<(), E> {
        let within = |place: u64| usize::try_from(place.saturating_sub(from)).unwrap_or(usize::MAX);
        let end = within(self.start.saturating_add(self.bytes)).min(bytes.len());
        let Some(mut own) = bytes.get(within(self.start)..end).filter(|own| !own.is_empty()) else {
            return Ok(());
        };
        if !self.carry.is_empty() {
            let (now, later) = own.split_at(own.len().min(4 - self.carry.len()));
            self.carry.extend_from_slice(now);
            own = later;
            if self.carry.len() == 4 {
                take(self.buffer, self.at + self.taken, &self.carry)?;
                self.taken += 4;
                self.carry.clear();
            }
        }
        let (whole, rest) = own.split_at(own.len() & !3);
        if !whole.is_empty() {
            take(self.buffer, self.at + self.taken, whole)?;
            self.taken += u64::try_from(whole.len()).unwrap_or(0);
        }
        self.carry.extend_from_slice(rest);
        Ok(())
    }
}

fn invalid(file: &str, message: &str) -> BundleError {
    BundleError::Shard { file: file.to_owned(), message: message.to_owned() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    fn span(start: u64) -> Span {
        let (buffer, tensor, carry) = (BufferId(0), String::new(), Vec::new());
        Span { buffer, at: 100, bytes: 12, tensor, start, carry, taken: 0 }
    }

    #[test]
    fn pieces_of_any_size_are_taken_in_whole_words() {
        let file: Vec<u8> = (0..40).collect();
        for start in 0..8_u64 {
            for size in 1..20 {
                let mut span = span(start);
                let mut taken = Vec::new();
                let mut from = 0;
                for piece in file.chunks(size) {
                    let take: &mut Take<'_, ()> = &mut |_, at, bytes| {
                        assert!(bytes.len() % 4 == 0 && at == 100 + taken.len() as u64);
                        taken.extend_from_slice(bytes);
                        Ok(())
                    };
                    span.push(from, piece, take).unwrap();
                    from += piece.len() as u64;
                }
                let start = usize::try_from(start).unwrap();
                assert_eq!(taken, file[start..start + 12], "{start} {size}");
            }
        }
    }
}
