//! The bundle's folder: written beside its final place, renamed when complete, so that a failure leaves nothing
//! half-written.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use qwenc_runtime::format::{FileFacts, MANIFEST_FILE, Manifest, SCHEDULE_FILE, Schedule};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

/// A bundle could not be written.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// The system refused.
    #[error("cannot write `{path}`: {source}")]
    Io {
        /// What was being written.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The output folder holds something that is no bundle.
    #[error(
        "`{0}` exists and is no qwenc bundle (it has no {MANIFEST_FILE}): give an empty or new folder, or remove it"
    )]
    NotABundle(PathBuf),
    /// A bug in the compiler.
    #[error("internal error: {0}")]
    Internal(String),
}

/// Where a bundle's files go.
pub trait Sink {
    /// Stores a file. `path` is relative, with `/` between parts.
    fn put(&mut self, path: &str, bytes: &[u8]) -> Result<(), BundleError>;
}

/// A bundle in memory, for tests: files by path.
impl Sink for BTreeMap<String, Vec<u8>> {
    fn put(&mut self, path: &str, bytes: &[u8]) -> Result<(), BundleError> {
        self.insert(path.to_string(), bytes.to_vec());
        Ok(())
    }
}

/// A bundle in a folder, which appears only when it is complete.
pub struct FolderSink {
    target: PathBuf,
    staging: TempDir,
}

impl FolderSink {
    /// Starts writing a bundle that will be at `target`. An earlier bundle there is replaced at the end; anything else
    /// that is not empty is refused.
    pub fn create(target: &Path) -> Result<Self, BundleError> {
        let occupied = target.exists()
            && !target.join(MANIFEST_FILE).is_file()
            && std::fs::read_dir(target).map_or(true, |mut entries| entries.next().is_some());
        if occupied {
            return Err(BundleError::NotABundle(target.to_path_buf()));
        }
        let parent = match target.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
            _ => PathBuf::from("."),
        };
        std::fs::create_dir_all(&parent)
            .map_err(|source| BundleError::Io { path: parent.clone(), source })?;
        let staging = tempfile::Builder::new()
            .prefix(".qwenc-")
            .tempdir_in(&parent)
            .map_err(|source| BundleError::Io { path: parent, source })?;
        Ok(Self { target: target.to_path_buf(), staging })
    }

    /// Puts the bundle in its place.
    pub fn publish(self) -> Result<(), BundleError> {
        let io = |source| BundleError::Io { path: self.target.clone(), source };
        // A temporary folder is private to its owner; a bundle is to be served.
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            std::fs::set_permissions(self.staging.path(), std::fs::Permissions::from_mode(0o755))
                .map_err(io)?;
        }
        if self.target.exists() {
            std::fs::remove_dir_all(&self.target).map_err(io)?;
        }
        // The guard finds nothing left to remove.
        std::fs::rename(self.staging.path(), &self.target).map_err(io)
    }
}

impl Sink for FolderSink {
    fn put(&mut self, path: &str, bytes: &[u8]) -> Result<(), BundleError> {
        let full = self.staging.path().join(path);
        let io = |source| BundleError::Io { path: self.target.join(path), source };
        if let Some(parent) = full.parent() {
            std::fs::create_dir_all(parent).map_err(io)?;
        }
        std::fs::write(&full, bytes).map_err(io)
    }
}

/// A bundle being written: stores files and lists them for the manifest.
pub struct BundleWriter<'s> {
    sink: &'s mut dyn Sink,
    files: Vec<FileFacts>,
}

impl<'s> BundleWriter<'s> {
    /// Nothing written yet.
    pub fn new(sink: &'s mut dyn Sink) -> Self {
        Self { sink, files: Vec::new() }
    }

    /// Writes a file and lists it.
    pub fn write(&mut self, path: &str, bytes: &[u8]) -> Result<(), BundleError> {
        self.sink.put(path, bytes)?;
        self.files.push(FileFacts {
            path: path.to_string(),
            bytes: bytes.len() as u64,
            sha256: crate::schedule::hex(&Sha256::digest(bytes)),
        });
        Ok(())
    }

    /// Writes schedule and manifest; the manifest's list of files is filled in here.
    pub fn finish(mut self, schedule: &Schedule, mut manifest: Manifest) -> Result<Manifest, BundleError> {
        let internal = |error: &dyn std::fmt::Display| BundleError::Internal(error.to_string());
        let schedule = schedule.to_json().map_err(|error| internal(&error))?;
        self.write(SCHEDULE_FILE, schedule.as_bytes())?;
        self.files.sort_by(|a, b| a.path.cmp(&b.path));
        manifest.files.clone_from(&self.files);
        let text = manifest.to_json().map_err(|error| internal(&error))?;
        self.sink.put(MANIFEST_FILE, text.as_bytes())?;
        Ok(manifest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_when_writing_stops() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("out");
        let mut sink = FolderSink::create(&target).unwrap();
        sink.put("shaders/a.wgsl", b"x").unwrap();
        drop(sink);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn other_peoples_folders_are_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("thesis.txt"), b"x").unwrap();
        assert!(matches!(FolderSink::create(dir.path()), Err(BundleError::NotABundle(_))));
    }
}
