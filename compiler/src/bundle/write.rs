//! The bundle's folder: written beside its final place, renamed when complete, so that a failure leaves nothing
//! half-written.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};

use qwenc_runtime::bundle::MAX_MANIFEST_BYTES;
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
        "`{0}` exists and is no qwenc bundle (it has no {MANIFEST_FILE} of one): give an empty or new folder, or remove it"
    )]
    NotABundle(PathBuf),
    /// The output folder is a bundle, and holds something else too.
    #[error(
        "`{folder}` holds files that are no part of a bundle, such as `{file}`: move them away, or give another folder"
    )]
    OtherFiles {
        /// The folder.
        folder: PathBuf,
        /// One of the files.
        file: PathBuf,
    },
    /// The output folder is a link: what it leads to would be replaced.
    #[error("`{0}` is a symbolic link, which is not written through: give the folder itself")]
    Link(PathBuf),
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
    /// that is not empty is refused, and so is a bundle with other files beside its own.
    pub fn create(target: &Path) -> Result<Self, BundleError> {
        check_replaceable(target)?;
        Ok(Self { target: target.to_path_buf(), staging: new_sibling(target)? })
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
        // What is there may have changed since the beginning.
        check_replaceable(&self.target)?;
        if !self.target.exists() {
            // The guard finds nothing left to remove.
            return std::fs::rename(self.staging.path(), &self.target).map_err(io);
        }
        // The old bundle stays until the new one is in its place.
        let old = new_sibling(&self.target)?;
        let aside = old.path().join("old");
        std::fs::rename(&self.target, &aside).map_err(io)?;
        std::fs::rename(self.staging.path(), &self.target).map_err(|source| {
            // Whether or not this succeeds, the first error is the one to tell.
            let _ = std::fs::rename(&aside, &self.target);
            BundleError::Io { path: self.target.clone(), source }
        })
    }
}

/// A new folder beside `target`, on the same file system.
fn new_sibling(target: &Path) -> Result<TempDir, BundleError> {
    let parent = match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    };
    let made = std::fs::create_dir_all(&parent)
        .and_then(|()| tempfile::Builder::new().prefix(".qwenc-").tempdir_in(&parent));
    made.map_err(|source| BundleError::Io { path: parent, source })
}

/// Refuses a place whose content is not to be lost.
fn check_replaceable(target: &Path) -> Result<(), BundleError> {
    let io = |source| BundleError::Io { path: target.to_path_buf(), source };
    let facts = match target.symlink_metadata() {
        Ok(facts) => facts,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(io(error)),
    };
    if facts.is_symlink() {
        return Err(BundleError::Link(target.to_path_buf()));
    }
    if !facts.is_dir() {
        return Err(BundleError::NotABundle(target.to_path_buf()));
    }
    if std::fs::read_dir(target).map_err(io)?.next().is_none() {
        return Ok(());
    }
    let listed = listed_files(target).ok_or_else(|| BundleError::NotABundle(target.to_path_buf()))?;
    let mut folders = vec![target.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).map_err(io)? {
            let entry = entry.map_err(io)?;
            let path = entry.path();
            if entry.file_type().map_err(io)?.is_dir() {
                folders.push(path);
            } else if !path.strip_prefix(target).is_ok_and(|relative| listed.contains(relative)) {
                let file = path.strip_prefix(target).unwrap_or(&path).to_path_buf();
                return Err(BundleError::OtherFiles { folder: target.to_path_buf(), file });
            }
        }
    }
    Ok(())
}

/// The files of the bundle in a folder, whatever version it has; `None` when there is none.
fn listed_files(folder: &Path) -> Option<BTreeSet<PathBuf>> {
    let file = std::fs::File::open(folder.join(MANIFEST_FILE)).ok()?;
    let mut text = Vec::new();
    file.take(MAX_MANIFEST_BYTES).read_to_end(&mut text).ok()?;
    let manifest: serde_json::Value = serde_json::from_slice(&text).ok()?;
    manifest.get("format")?.as_u64()?;
    manifest.get("generator")?.as_str()?;
    let paths =
        manifest.get("files")?.as_array()?.iter().map(|file| Some(file.get("path")?.as_str()?.into()));
    let mut listed: BTreeSet<PathBuf> = paths.collect::<Option<_>>()?;
    listed.insert(MANIFEST_FILE.into());
    Some(listed)
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
