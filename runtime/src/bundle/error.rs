//! Why a bundle cannot be opened.

use crate::format::{BufferId, FormatError};
#[cfg(not(target_arch = "wasm32"))]
use crate::tokenizer::TableError;

/// A bundle cannot be opened. Every variant names the file.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// The manifest or the schedule is not valid.
    #[error(transparent)]
    Format(FormatError),
    /// The tokenizer's table is not valid.
    #[cfg(not(target_arch = "wasm32"))]
    #[error(transparent)]
    Tokenizer(#[from] TableError),
    /// There is no such folder.
    #[error("{folder}: not a folder that can be read: {message}; give the folder that `qwenc compile` wrote")]
    Folder {
        /// The folder.
        folder: String,
        /// The system's words.
        message: String,
    },
    /// A file is not there.
    #[error("{file}: is missing; compile the model again, or copy the bundle again")]
    Missing {
        /// The file.
        file: String,
    },
    /// A file cannot be read.
    #[error("{file}: cannot be read: {message}")]
    Io {
        /// The file.
        file: String,
        /// The system's words.
        message: String,
    },
    /// A symbolic link leads out of the bundle's folder.
    #[error("{file}: leads out of the bundle's folder; replace the link by the file itself")]
    Outside {
        /// The file.
        file: String,
    },
    /// A folder, pipe or device in the place of a file.
    #[error("{file}: is not a regular file")]
    NotAFile {
        /// The file.
        file: String,
    },
    /// A file that the manifest does not list.
    #[error("{file}: is not among the manifest's files")]
    Unlisted {
        /// The file.
        file: String,
    },
    /// A file larger than any valid one.
    #[error("{file}: has {bytes} bytes, at most {max} are read")]
    TooLarge {
        /// The file.
        file: String,
        /// Its size.
        bytes: u64,
        /// The limit.
        max: u64,
    },
    /// A file of another size than the manifest says.
    #[error("{file}: has {found} bytes, the manifest says {expected}; the copy is incomplete or changed")]
    Size {
        /// The file.
        file: String,
        /// According to the manifest.
        expected: u64,
        /// According to the file.
        found: u64,
    },
    /// A file of another content than the manifest says.
    #[error("{file}: its sha256 is {found}, the manifest says {expected}; the file is damaged or changed")]
    Hash {
        /// The file.
        file: String,
        /// According to the manifest.
        expected: String,
        /// According to the file.
        found: String,
    },
    /// A shader that is not text.
    #[error("{file}: is not UTF-8")]
    NotText {
        /// The file.
        file: String,
    },
    /// A shard that is not a safetensors file.
    #[error("{file}: is not a valid safetensors file: {message}")]
    Shard {
        /// The file.
        file: String,
        /// The parser's words.
        message: String,
    },
    /// A tensor that the schedule wants is not in the shard.
    #[error("{file}: has no tensor `{tensor}`, which fills buffer {}", buffer.0)]
    NoTensor {
        /// The shard.
        file: String,
        /// The tensor.
        tensor: String,
        /// The buffer that wants it.
        buffer: BufferId,
    },
    /// A tensor of another size than the schedule says.
    #[error("{file}: tensor `{tensor}` has {found} bytes, the schedule says {expected}")]
    TensorSize {
        /// The shard.
        file: String,
        /// The tensor.
        tensor: String,
        /// According to the schedule.
        expected: u64,
        /// According to the shard.
        found: u64,
    },
}
