//! Opening a bundle: every file is checked before anything reaches the GPU.
//!
//! [`Bundle::open`] reads the manifest, compares size and SHA-256 of every file that it lists, reads the schedule,
//! validates both, and looks into every shard for the tensors that the schedule wants. What it reads is bounded by the
//! constants below, whatever a file claims. Shards are read piece by piece ([`ShardStream`]), again at upload; their sizes
//! and tables are then checked again, their hashes are not.
//!
//! Where files arrive over a network, [`Receiver`] takes the small ones and makes a bundle whose shards are not there, and a
//! [`ShardStream`] takes each shard.

mod error;
mod hash;
mod receive;
mod shard;
mod source;

pub use error::BundleError;
pub use hash::sha256_hex;
pub use receive::{FileKind, Receiver, SHADERS_FILE};
pub use shard::{MAX_TABLE_BYTES as MAX_SHARD_TABLE_BYTES, ShardStream, Take};
pub use source::{BundleSource, Folder, Memory};

use std::io::Read;

use crate::format::{
    BufferId, FileFacts, FormatError, MANIFEST_FILE, Manifest, SCHEDULE_FILE, Schedule, validate,
};
use crate::host;
#[cfg(not(target_arch = "wasm32"))]
use crate::tokenizer::{MAX_TABLE_BYTES, TOKENIZER_FILE, Tokenizer};
use source::{open_exact, read_bounded};

/// Most bytes of a manifest that are read.
pub const MAX_MANIFEST_BYTES: u64 = 16 << 20;
/// Most bytes of a schedule that are read.
pub const MAX_SCHEDULE_BYTES: u64 = 64 << 20;
/// Most bytes of a shader that are read.
pub const MAX_SHADER_BYTES: u64 = 4 << 20;
/// Most bytes of a shard that are read: 64 MiB of tensors, and the table of them.
pub const MAX_SHARD_BYTES: u64 = (64 << 20) + shard::MAX_TABLE_BYTES;
/// Bytes of a shard that are read from a file at a time.
const PIECE_BYTES: usize = 4 << 20;

/// How far a long task has come, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes done.
    pub done: u64,
    /// Bytes in all.
    pub total: u64,
}

/// A bundle whose files agree with its manifest and whose schedule is valid.
pub struct Bundle {
    source: Box<dyn BundleSource>,
    manifest: Manifest,
    schedule: Schedule,
}

impl std::fmt::Debug for Bundle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bundle").field("source", &self.source.name()).finish_non_exhaustive()
    }
}

impl Bundle {
    /// Opens and checks a bundle.
    ///
    /// # Errors
    /// [`BundleError`], naming the file.
    pub fn open(source: impl BundleSource + 'static) -> Result<Self, BundleError> {
        Self::open_with(source, &mut |_| ())
    }

    /// [`Bundle::open`], telling `progress` how many bytes are checked.
    ///
    /// # Errors
    /// [`BundleError`], naming the file.
    pub fn open_with(
        source: impl BundleSource + 'static,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Self, BundleError> {
        let source: Box<dyn BundleSource> = Box::new(source);
        let manifest =
            Manifest::from_json(&read_bounded(&*source, MANIFEST_FILE, None, MAX_MANIFEST_BYTES)?)?;
        manifest.validate()?;
        // The schedule first: it says which files are shards. Its own hash is checked before it is parsed.
        let schedule_facts = listed(&manifest, SCHEDULE_FILE)?;
        let text = read_bounded(&*source, SCHEDULE_FILE, Some(schedule_facts.bytes), MAX_SCHEDULE_BYTES)?;
        hash::check(schedule_facts, &sha256_hex(&text))?;
        let schedule = Schedule::from_json(&text)?;
        validate(&manifest, &schedule)?;
        let bundle = Self { source, manifest, schedule };
        bundle.check_files(progress)?;
        Ok(bundle)
    }

    fn check_files(&self, progress: &mut dyn FnMut(Progress)) -> Result<(), BundleError> {
        let total = self.manifest.files.iter().fold(0_u64, |sum, file| sum.saturating_add(file.bytes));
        let shards = self.shards();
        let mut done = 0;
        for facts in &self.manifest.files {
            if shards.contains(&facts.path.as_str()) {
                let stream = ShardStream::new(&self.manifest, &self.schedule, &facts.path)?;
                self.feed_shard(stream, &facts.path, &mut |_, _, _| Ok::<(), BundleError>(()))?;
            } else {
                let found =
                    hash::of_reader(&facts.path, open_exact(&*self.source, &facts.path, facts.bytes)?)?;
                hash::check(facts, &found)?;
            }
            done += facts.bytes;
            progress(Progress { done, total });
        }
        Ok(())
    }

    /// The manifest.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The schedule.
    #[must_use]
    pub fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// Where the bundle is, for people.
    #[must_use]
    pub fn name(&self) -> String {
        self.source.name()
    }

    /// The WGSL of a shader.
    ///
    /// # Errors
    /// [`BundleError`] when it cannot be read, is longer than [`MAX_SHADER_BYTES`], or is not UTF-8.
    pub fn shader(&self, path: &str) -> Result<String, BundleError> {
        let content = self.file(path, MAX_SHADER_BYTES)?;
        String::from_utf8(content).map_err(|_| BundleError::NotText { file: path.to_owned() })
    }

    /// The content of a listed file of at most `max` bytes.
    ///
    /// # Errors
    /// [`BundleError`] when the file is not listed, cannot be read, or is too large.
    pub fn file(&self, path: &str, max: u64) -> Result<Vec<u8>, BundleError> {
        let facts = listed(&self.manifest, path)?;
        read_bounded(&*self.source, path, Some(facts.bytes), max)
    }

    /// The tokenizer, when the bundle carries one.
    ///
    /// # Errors
    /// [`BundleError`] when its table cannot be read or is not valid.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn tokenizer(&self) -> Result<Option<Tokenizer>, BundleError> {
        if self.manifest.file(TOKENIZER_FILE).is_none() {
            return Ok(None);
        }
        Ok(Some(Tokenizer::from_bytes(&self.file(TOKENIZER_FILE, MAX_TABLE_BYTES)?)?))
    }

    /// The manifest and the schedule alone; the memory that its files take is given back.
    #[must_use]
    pub fn without_files(self) -> Self {
        Self { source: Box::new(Memory::default()), ..self }
    }

    /// Paths of the shards that the schedule takes weights from, in order.
    #[must_use]
    pub fn shards(&self) -> Vec<&str> {
        let parts = self.schedule.buffers.iter().flat_map(|buffer| &buffer.parts);
        let mut paths: Vec<&str> = Vec::new();
        for part in parts {
            if let Err(at) = paths.binary_search(&part.shard.as_str()) {
                paths.insert(at, &part.shard);
            }
        }
        paths
    }

    /// Calls `take` with every weight in a shard, in pieces: the buffer, the first byte in it, and the bytes.
    ///
    /// # Errors
    /// [`BundleError`] when the shard cannot be read or has changed; otherwise what `take` returns.
    pub fn read_shard<E: From<BundleError>>(
        &self,
        path: &str,
        mut take: impl FnMut(BufferId, u64, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let stream = ShardStream::new(&self.manifest, &self.schedule, path)?.without_hash();
        self.feed_shard(stream, path, &mut take)
    }

    fn feed_shard<E: From<BundleError>>(
        &self,
        mut stream: ShardStream,
        path: &str,
        take: &mut Take<'_, E>,
    ) -> Result<(), E> {
        let facts = listed(&self.manifest, path)?;
        let mut reader = open_exact(&*self.source, path, facts.bytes)?;
        let mut piece = vec![0; PIECE_BYTES.min(usize::try_from(facts.bytes).unwrap_or(PIECE_BYTES))];
        loop {
            match reader.read(&mut piece) {
                Ok(0) => return Ok(stream.end()?),
                Ok(count) => stream.push(piece.get(..count).unwrap_or_default(), take)?,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => {
                    return Err(
                        BundleError::Io { file: path.to_owned(), message: host::words(&error) }.into()
                    );
                }
            }
        }
    }
}

fn listed<'a>(manifest: &'a Manifest, path: &str) -> Result<&'a FileFacts, BundleError> {
    manifest.file(path).ok_or_else(|| BundleError::Unlisted { file: path.to_owned() })
}

impl From<FormatError> for BundleError {
    fn from(error: FormatError) -> Self {
        Self::Format(error)
    }
}
