//! Files beside a model that a bundle carries along as they are: templates and settings. (Its tokenizer is compiled:
//! [`crate::tokenizer`].)

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::contain::{self, Refusal};

/// Names that are taken along, in the bundle's folder `model/`.
const NAMES: [&str; 6] = [
    "config.json",
    "generation_config.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "preprocessor_config.json",
    "processor_config.json",
];

/// Largest file that is taken along, in bytes.
const MAX_BYTES: u64 = 64 << 20;

/// A file to carry along.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asset {
    /// Path in the bundle.
    pub path: String,
    /// Content.
    pub bytes: Vec<u8>,
}

/// A file cannot be taken along.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{file}`: {message}")]
pub struct AssetError {
    /// The file.
    pub file: String,
    /// What is wrong.
    pub message: String,
}

/// Reads the known files of a model's folder. What is missing is missing from the bundle. What leads out of the folder
/// is refused ([`contain`]): a model must not put files from elsewhere into what is published.
pub fn read(root: &Path) -> Result<Vec<Asset>, AssetError> {
    let mut out = Vec::new();
    for name in NAMES {
        if let Some(bytes) = read_beside(root, name)? {
            out.push(Asset { path: format!("model/{name}"), bytes });
        }
    }
    Ok(out)
}

/// The content of a file of a model's folder, under the same rules; `None` when there is none.
pub fn read_beside(root: &Path, name: &str) -> Result<Option<Vec<u8>>, AssetError> {
    let path = root.join(name);
    match contain::open(root, name) {
        Ok(file) => content(&path, &file).map(Some),
        Err(Refusal::Missing(_)) => Ok(None),
        Err(refusal) => Err(error(&path, refusal.to_string())),
    }
}

/// The content of a plain file of bounded size that the user named; `None` when there is none.
pub fn read_plain(path: &Path) -> Result<Option<Vec<u8>>, AssetError> {
    match File::open(path) {
        Ok(file) => content(path, &file).map(Some),
        Err(problem) if problem.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(problem) => Err(error(path, problem.to_string())),
    }
}

fn error(path: &Path, message: String) -> AssetError {
    AssetError { file: path.display().to_string(), message }
}

fn content(path: &Path, file: &File) -> Result<Vec<u8>, AssetError> {
    let metadata = file.metadata().map_err(|problem| error(path, problem.to_string()))?;
    if !metadata.is_file() {
        return Err(error(path, "is no plain file; copy the file itself here".into()));
    }
    if metadata.len() > MAX_BYTES {
        return Err(error(
            path,
            format!("has {} bytes; at most {MAX_BYTES} are taken along", metadata.len()),
        ));
    }
    let mut bytes = Vec::new();
    // A file that grows meanwhile is not read beyond what it was.
    file.take(metadata.len()).read_to_end(&mut bytes).map_err(|problem| error(path, problem.to_string()))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_files_come_along_and_links_do_not() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("chat_template.jinja"), "{}").unwrap();
        std::fs::write(dir.path().join("secrets.txt"), "x").unwrap();
        let assets = read(dir.path()).unwrap();
        assert_eq!(assets, [Asset { path: "model/chat_template.jinja".into(), bytes: b"{}".to_vec() }]);
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink("/etc/hostname", dir.path().join("config.json")).unwrap();
            assert!(read(dir.path()).unwrap_err().to_string().contains("config.json"));
        }
    }
}
