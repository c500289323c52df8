//! The small files of a bundle as they arrive over a network, in any order.

use super::{
    Bundle, BundleError, MAX_MANIFEST_BYTES, MAX_SCHEDULE_BYTES, MAX_SHADER_BYTES, Memory, hash, listed,
    sha256_hex,
};
use crate::format::{MANIFEST_FILE, Manifest, SCHEDULE_FILE, Schedule, validate};
use crate::tokenizer::{MAX_TABLE_BYTES, TOKENIZER_FILE};

/// Most bytes of any other small file.
const MAX_OTHER_BYTES: u64 = 4 << 20;

/// What a file of a bundle is for, by its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FileKind {
    /// Needed whole before anything is loaded: the schedule, shaders, the model's settings.
    Small,
    /// A shard of weights.
    Weights,
    /// The golden run, for a self-test.
    Golden,
    /// Not for the runtime.
    Other,
}

impl FileKind {
    /// The kind of the file at a path.
    #[must_use]
    pub fn of(path: &str) -> Self {
        match path.split_once('/') {
            None if path == SCHEDULE_FILE => Self::Small,
            None if path == "golden.safetensors" => Self::Golden,
            Some(("shaders" | "model", _)) => Self::Small,
            Some(("weights", _)) => Self::Weights,
            _ => Self::Other,
        }
    }
}

/// Takes the small files of a bundle, and checks each as it comes.
#[derive(Debug)]
pub struct Receiver {
    manifest: Manifest,
    files: Memory,
}

impl Receiver {
    /// A bundle of this manifest, of which nothing has come yet.
    ///
    /// # Errors
    /// [`BundleError`] when it is no valid manifest.
    pub fn new(manifest: &[u8]) -> Result<Self, BundleError> {
        bounded(MANIFEST_FILE, manifest.len(), MAX_MANIFEST_BYTES)?;
        let manifest = Manifest::from_json(manifest)?;
        manifest.validate()?;
        Ok(Self { manifest, files: Memory::default() })
    }

    /// The manifest.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Takes a small file. After an error it can be given again.
    ///
    /// # Errors
    /// [`BundleError`] when it is not listed, too large, or has another size or hash than listed.
    pub fn put(&mut self, path: &str, content: Vec<u8>) -> Result<(), BundleError> {
        let facts = listed(&self.manifest, path)?;
        let max = match path {
            SCHEDULE_FILE => MAX_SCHEDULE_BYTES,
            TOKENIZER_FILE => MAX_TABLE_BYTES,
            _ if path.starts_with("shaders/") => MAX_SHADER_BYTES,
            _ => MAX_OTHER_BYTES,
        };
        bounded(path, content.len(), max)?;
        let found = u64::try_from(content.len()).unwrap_or(u64::MAX);
        if found != facts.bytes {
            return Err(BundleError::Size { file: path.to_owned(), expected: facts.bytes, found });
        }
        hash::check(facts, &sha256_hex(&content))?;
        self.files.files.insert(path.to_owned(), content);
        Ok(())
    }

    /// The bundle, whose schedule is valid. Its shards are not there: each goes through a [`super::ShardStream`].
    ///
    /// # Errors
    /// [`BundleError`] when a small file has not come, or the schedule is not valid.
    pub fn finish(self) -> Result<Bundle, BundleError> {
        let Self { manifest, mut files } = self;
        let missing = |file: &str| BundleError::Missing { file: file.to_owned() };
        let there = |path: &str| files.files.contains_key(path);
        let mut small = manifest.files.iter().filter(|file| FileKind::of(&file.path) == FileKind::Small);
        if let Some(file) = small.find(|file| !there(&file.path)) {
            return Err(missing(&file.path));
        }
        let text = files.files.remove(SCHEDULE_FILE).ok_or_else(|| missing(SCHEDULE_FILE))?;
        let schedule = Schedule::from_json(&text)?;
        drop(text);
        validate(&manifest, &schedule)?;
        let bundle = Bundle { source: Box::new(files), manifest, schedule };
        let elsewhere = bundle.shards().into_iter().find(|path| FileKind::of(path) != FileKind::Weights);
        if let Some(path) = elsewhere {
            let message = "a shard that is not in the folder weights/".to_owned();
            return Err(BundleError::Shard { file: path.to_owned(), message });
        }
        Ok(bundle)
    }
}

fn bounded(path: &str, bytes: usize, max: u64) -> Result<(), BundleError> {
    let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
    if bytes > max {
        return Err(BundleError::TooLarge { file: path.to_owned(), bytes, max });
    }
    Ok(())
}
