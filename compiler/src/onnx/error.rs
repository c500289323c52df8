//! Everything that can be wrong with an ONNX file.

use std::io;
use std::path::PathBuf;

use crate::contain::Refusal;
use qwenc_runtime::printable::printable;

/// Characters of a name that are shown and kept in the graph.
const NAME_CHARS: usize = 200;

/// Characters of a message that are kept; names in it may be long.
const MESSAGE_CHARS: usize = 2000;

/// A message with names of the file in it, for people.
pub(super) fn message(text: &str) -> String {
    printable(text, MESSAGE_CHARS)
}

/// A name of the file, for people.
pub(super) fn name(text: &str) -> String {
    printable(text, NAME_CHARS)
}

/// A file cannot be read as an ONNX model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// Nothing is there.
    #[error("{}: no such file; check the path", .0.display())]
    Missing(PathBuf),
    /// A folder was named.
    #[error("{}: is a folder; name the .onnx file in it", .0.display())]
    Directory(PathBuf),
    /// A pipe or a device was named.
    #[error("{}: is no regular file", .0.display())]
    NotAFile(PathBuf),
    /// A part of a model's folder that leads out of it, or cannot be opened.
    #[error("{}: {source}", path.display())]
    Outside {
        /// The file.
        path: PathBuf,
        /// Why it is not opened.
        source: Refusal,
    },
    /// The operating system refused.
    #[error("{}: cannot be read: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file has no bytes.
    #[error("{}: the file is empty; download or export it again", .0.display())]
    Empty(PathBuf),
    /// Larger than any protocol buffer may be.
    #[error("{}: {bytes} bytes is more than the 2 GiB of a protocol buffer; save the model with external data", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// The bytes are something else.
    #[error("{}: not an ONNX model ({reason}); expected the protocol buffer that an exporter writes", path.display())]
    NotOnnx {
        /// The file.
        path: PathBuf,
        /// What was seen.
        reason: String,
    },
    /// The format's version is not one that is understood.
    #[error("{}: ONNX IR version {version} is outside 7..=14; export the model again with a current exporter", path.display())]
    IrVersion {
        /// The file.
        path: PathBuf,
        /// What the file states.
        version: i64,
    },
    /// The operator set's version is not one that is understood.
    #[error("{}: operator set {version} of domain `ai.onnx` is outside 13..=28; export the model with opset 21, or convert it with onnx.version_converter", path.display())]
    Opset {
        /// The file.
        path: PathBuf,
        /// What the file states.
        version: i64,
    },
    /// Something in the file contradicts itself or exceeds a limit.
    #[error("{}: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// A tensor in a file cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TensorError {
    /// An element type that is not supported.
    #[error(
        "tensor `{tensor}` has element type {dtype}, which is not supported; convert it to a float or integer type"
    )]
    ElementType {
        /// The tensor's name.
        tensor: String,
        /// The type's name.
        dtype: String,
    },
    /// Dimensions that no tensor can have.
    #[error("tensor `{tensor}` has dimensions {dims:?}: {reason}")]
    Dims {
        /// The tensor's name.
        tensor: String,
        /// As stated.
        dims: Vec<i64>,
        /// What is wrong with them.
        reason: &'static str,
    },
    /// The values do not match type and dimensions.
    #[error("tensor `{tensor}`: {reason}; the file is damaged, export it again")]
    Content {
        /// The tensor's name.
        tensor: String,
        /// What does not match.
        reason: String,
    },
    /// A reference to another file that is not acceptable.
    #[error("tensor `{tensor}` refers to external data `{location}`: {reason}")]
    Reference {
        /// The tensor's name.
        tensor: String,
        /// As stated.
        location: String,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// The other file has fewer bytes than the tensor needs.
    #[error(
        "tensor `{tensor}` needs {wanted} bytes at offset {offset} of `{location}`, which has {available} bytes; \
         the file is truncated, download or export it again"
    )]
    Truncated {
        /// The tensor's name.
        tensor: String,
        /// The file, as stated.
        location: String,
        /// Where the tensor begins.
        offset: u64,
        /// Bytes that the tensor takes.
        wanted: u64,
        /// Bytes that the file has.
        available: u64,
    },
}

/// A model cannot be imported.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// An operator that no importer knows.
    #[error(
        "{file}: node `{node}`: operator {operator} of domain `{domain}` (opset {opset}) is not supported; \
         export the model without it, or report the operator"
    )]
    UnknownOperator {
        /// The model file.
        file: String,
        /// The node.
        node: String,
        /// The operator's name.
        operator: String,
        /// The operator's domain; `ai.onnx` for the standard one.
        domain: String,
        /// The version of the domain's operator set; 0 when the file does not import the domain.
        opset: i64,
    },
    /// A node that cannot be expressed.
    #[error("{file}: node `{node}` ({operator}): {message}")]
    Node {
        /// The model file.
        file: String,
        /// The node.
        node: String,
        /// The operator's name.
        operator: String,
        /// What is wrong, and what to do.
        message: String,
    },
    /// A constant that cannot be read.
    #[error("{file}: {source}")]
    Tensor {
        /// The model file.
        file: String,
        /// What is wrong.
        source: TensorError,
    },
    /// A cycle.
    #[error(
        "{file}: the graph has a cycle through node `{node}`; nodes must not depend on their own results"
    )]
    Cycle {
        /// The model file.
        file: String,
        /// A node on the cycle.
        node: String,
    },
    /// The graph as a whole is wrong.
    #[error("{file}: {message}")]
    Graph {
        /// The model file.
        file: String,
        /// What is wrong, and what to do.
        message: String,
    },
}
