//! Why a golden file cannot be used.

use qwenc_runtime::session::SessionError;

/// A golden file cannot be read, or not be held against a bundle.
#[derive(Debug, thiserror::Error)]
pub enum GoldenError {
    /// The file cannot be read.
    #[error("{file}: cannot be read: {message}")]
    Io {
        /// The file.
        file: String,
        /// The system's words.
        message: String,
    },
    /// The file is larger than any sensible golden run.
    #[error("{file}: has {bytes} bytes, at most {max} are read; check fewer positions")]
    TooLarge {
        /// The file.
        file: String,
        /// Its size.
        bytes: u64,
        /// The limit.
        max: u64,
    },
    /// The file is not a safetensors file.
    #[error("{file}: is not a valid safetensors file: {message}")]
    NotSafetensors {
        /// The file.
        file: String,
        /// The parser's words.
        message: String,
    },
    /// A tensor that every golden file has is not there.
    #[error("{file}: has no tensor `{tensor}`")]
    MissingTensor {
        /// The file.
        file: String,
        /// The tensor.
        tensor: &'static str,
    },
    /// A tensor has another element type or shape than it must.
    #[error("{file}: tensor `{tensor}` is {found}, must be {expected}")]
    TensorType {
        /// The file.
        file: String,
        /// The tensor.
        tensor: String,
        /// What it is.
        found: String,
        /// What it must be.
        expected: &'static str,
    },
    /// A value of a tensor is not possible.
    #[error("{file}: tensor `{tensor}`, element {at}: {message}")]
    Value {
        /// The file.
        file: String,
        /// The tensor.
        tensor: &'static str,
        /// Index of the element.
        at: usize,
        /// What is wrong with it.
        message: String,
    },
    /// There is nothing to check.
    #[error("{file}: has no position to check, so it proves nothing")]
    NothingToCheck {
        /// The file.
        file: String,
    },
    /// The calls do not feed exactly the tokens.
    #[error("{file}: the splits feed {sum} tokens, there are {tokens}")]
    Splits {
        /// The file.
        file: String,
        /// Sum of the splits.
        sum: u64,
        /// Tokens there are.
        tokens: usize,
    },
    /// A threshold in the metadata is not a possible number.
    #[error("{file}: metadata `{key}` is '{value}', must be {expected}")]
    Metadata {
        /// The file.
        file: String,
        /// The key.
        key: &'static str,
        /// Its value.
        value: String,
        /// What it must be.
        expected: &'static str,
    },
    /// The golden run has images, the bundle cannot see.
    #[error(
        "{file}: has images, and the bundle has no entry point for them; compile a model with its vision encoder"
    )]
    NoVision {
        /// The file.
        file: String,
    },
    /// A picture of the golden run cannot be given to the model.
    #[error("{file}: {message}")]
    Image {
        /// The file.
        file: String,
        /// What is wrong.
        message: String,
    },
    /// Pictures that no token of the run stands for.
    #[error("{file}: {unused} of {images} images have no image tokens in the run")]
    UnusedImages {
        /// The file.
        file: String,
        /// Images of the run.
        images: usize,
        /// Those left at the end.
        unused: usize,
    },
    /// The golden run is of a model with another vocabulary.
    #[error(
        "{file}: rows of logits have {golden} values, the bundle's vocabulary has {bundle}; this is another model"
    )]
    Vocabulary {
        /// The file.
        file: String,
        /// Values in a row.
        golden: usize,
        /// Vocabulary of the bundle.
        bundle: u32,
    },
    /// A call fails.
    #[error("{file}: call {call} fails: {source}")]
    Session {
        /// The file.
        file: String,
        /// Index of the call in the splits.
        call: usize,
        /// Why.
        source: Box<SessionError>,
    },
}
