//! Where the files of a bundle come from.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::BundleError;
use crate::format::check_plain_path;
use crate::host;
use crate::names::ByName;

/// A bundle's files by path. Implementations never reach outside of the bundle.
pub trait BundleSource {
    /// Where the bundle is, for people.
    fn name(&self) -> String;

    /// The size of a file in bytes, and its content.
    ///
    /// # Errors
    /// [`BundleError`], naming the file.
    fn open<'a>(&'a self, path: &str) -> Result<(u64, Box<dyn Read + 'a>), BundleError>;
}

/// A bundle in a folder on disk.
#[derive(Clone, Debug)]
pub struct Folder {
    root: PathBuf,
}

impl Folder {
    /// The bundle in `root`.
    ///
    /// # Errors
    /// [`BundleError::Folder`] when there is no such folder.
    pub fn new(root: &Path) -> Result<Self, BundleError> {
        let fail = |message: String| BundleError::Folder { folder: root.display().to_string(), message };
        let canonical = root.canonicalize().map_err(|e| fail(e.to_string()))?;
        if canonical.is_dir() { Ok(Self { root: canonical }) } else { Err(fail("not a folder".to_owned())) }
    }

    /// The real path of a file, which may be reached through links as long as they stay inside.
    fn resolve(&self, path: &str) -> Result<PathBuf, BundleError> {
        let file = || path.to_owned();
        if check_plain_path(path).is_err() {
            return Err(BundleError::Outside { file: path.chars().take(200).collect() });
        }
        let real = self.root.join(path).canonicalize().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => BundleError::Missing { file: file() },
            _ => BundleError::Io { file: file(), message: error.to_string() },
        })?;
        if !real.starts_with(&self.root) {
            return Err(BundleError::Outside { file: file() });
        }
        // Before it is opened: opening a pipe would wait for a writer.
        if real.is_file() { Ok(real) } else { Err(BundleError::NotAFile { file: file() }) }
    }
}

impl BundleSource for Folder {
    fn name(&self) -> String {
        self.root.display().to_string()
    }

    fn open<'a>(&'a self, path: &str) -> Result<(u64, Box<dyn Read + 'a>), BundleError> {
        let real = self.resolve(path)?;
        let io = |e: io::Error| BundleError::Io { file: path.to_owned(), message: e.to_string() };
        let file = File::open(real).map_err(io)?;
        let bytes = file.metadata().map_err(io)?.len();
        Ok((bytes, Box::new(file)))
    }
}

/// A bundle in memory.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// Contents by path.
    pub files: ByName<Vec<u8>>,
}

impl BundleSource for Memory {
    fn name(&self) -> String {
        "memory".to_owned()
    }

    fn open<'a>(&'a self, path: &str) -> Result<(u64, Box<dyn Read + 'a>), BundleError> {
        let content =
            self.files.get(path).ok_or_else(|| BundleError::Missing { file: path.to_owned() })?.as_slice();
        Ok((u64::try_from(content.len()).unwrap_or(u64::MAX), Box::new(content)))
    }
}

/// Opens a file that must have `expected` bytes; the reader ends there even if the file grows meanwhile.
pub(super) fn open_exact<'a>(
    source: &'a dyn BundleSource,
    path: &str,
    expected: u64,
) -> Result<io::Take<Box<dyn Read + 'a>>, BundleError> {
    let (found, reader) = source.open(path)?;
    if found != expected {
        return Err(BundleError::Size { file: path.to_owned(), expected, found });
    }
    Ok(reader.take(expected))
}

/// Reads a file of at most `max` bytes, and of `expected` bytes if that is known.
pub(super) fn read_bounded(
    source: &dyn BundleSource,
    path: &str,
    expected: Option<u64>,
    max: u64,
) -> Result<Vec<u8>, BundleError> {
    let (bytes, reader) = source.open(path)?;
    let file = || path.to_owned();
    if let Some(expected) = expected.filter(|expected| *expected != bytes) {
        return Err(BundleError::Size { file: file(), expected, found: bytes });
    }
    if bytes > max {
        return Err(BundleError::TooLarge { file: file(), bytes, max });
    }
    let mut content = Vec::with_capacity(usize::try_from(bytes).unwrap_or(0));
    let io = |e: io::Error| BundleError::Io { file: file(), message: host::words(&e) };
    reader.take(bytes).read_to_end(&mut content).map_err(io)?;
    let found = u64::try_from(content.len()).unwrap_or(u64::MAX);
    if found != bytes {
        return Err(BundleError::Size { file: file(), expected: bytes, found });
    }
    Ok(content)
}
