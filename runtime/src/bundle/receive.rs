//! The small files of a bundle as they arrive over a network, in any order.

use super::{
    Bundle, BundleError, MAX_MANIFEST_BYTES, MAX_SCHEDULE_BYTES, MAX_SHADER_BYTES, Memory, hash, listed,
    sha256_hex,
};
use crate::format::{MANIFEST_FILE, Manifest, SCHEDULE_FILE, Schedule, validate};
use crate::tokenizer::{MAX_TABLE_BYTES, TOKENIZER_FILE};

/// The texts of all files below `shaders/`, in the order of the manifest and nothing between them: a hundred files of a few
/// kilobytes, which are much alike, are one request and compress to a quarter of what they do one by one.
pub const SHADERS_FILE: &str = "shaders.txt";

/// Most bytes of all shaders.
const MAX_SHADERS_BYTES: u64 = 64 << 20;
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
            None if path == SCHEDULE_FILE || path == SHADERS_FILE => Self::Small,
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

    /// The kind of a listed file: of shaders that come together none is needed by itself.
    #[must_use]
    pub fn kind(&self, path: &str) -> FileKind {
        match FileKind::of(path) {
            FileKind::Small if is_shader(path) && listed(&self.manifest, SHADERS_FILE).is_ok() => {
                FileKind::Other
            }
            kind => kind,
        }
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
            SHADERS_FILE => MAX_SHADERS_BYTES,
            _ if is_shader(path) => MAX_SHADER_BYTES,
            _ => MAX_OTHER_BYTES,
        };
        bounded(path, content.len(), max)?;
        let found = u64::try_from(content.len()).unwrap_or(u64::MAX);
        if found != facts.bytes {
            return Err(BundleError::Size { file: path.to_owned(), expected: facts.bytes, found });
        }
        hash::check(facts, &sha256_hex(&content))?;
        if path == SHADERS_FILE {
            return self.put_shaders(&content);
        }
        self.files.files.insert(path.to_owned(), content);
        Ok(())
    }

    /// Takes all shaders, each of which must be what the manifest says of it.
    fn put_shaders(&mut self, mut texts: &[u8]) -> Result<(), BundleError> {
        let shaders = self.manifest.files.iter().filter(|file| is_shader(&file.path));
        let shaders: Vec<_> = shaders.map(|file| (file.path.clone(), file.bytes)).collect();
        let expected = shaders.iter().fold(0_u64, |sum, (_, bytes)| sum.saturating_add(*bytes));
        let found = u64::try_from(texts.len()).unwrap_or(u64::MAX);
        if found != expected {
            return Err(BundleError::Size { file: SHADERS_FILE.to_owned(), expected, found });
        }
        for (path, bytes) in shaders {
            let at = usize::try_from(bytes).unwrap_or(usize::MAX).min(texts.len());
            let (text, others) = texts.split_at(at);
            self.put(&path, text.to_vec())?;
            texts = others;
        }
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
        // Shaders that came together are there one by one.
        let needed = |path: &str| FileKind::of(path) == FileKind::Small && path != SHADERS_FILE;
        if let Some(file) = manifest.files.iter().find(|file| needed(&file.path) && !there(&file.path)) {
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

fn is_shader(path: &str) -> bool {
    path.starts_with("shaders/")
}

fn bounded(path: &str, bytes: usize, max: u64) -> Result<(), BundleError> {
    let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
    if bytes > max {
        return Err(BundleError::TooLarge { file: path.to_owned(), bytes, max });
    }
    Ok(())
}
