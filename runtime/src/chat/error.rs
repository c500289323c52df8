//! Why there is no answer.

#[cfg(not(target_arch = "wasm32"))]
use super::TemplateError;
#[cfg(not(target_arch = "wasm32"))]
use crate::bundle::BundleError;
use crate::sampling::SamplingError;
use crate::session::SessionError;
#[cfg(not(target_arch = "wasm32"))]
use crate::tokenizer::TableError;
use crate::vision::VisionError;

/// A conversation cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ChatError {
    /// The template.
    #[cfg(not(target_arch = "wasm32"))]
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The session or the GPU below it.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// How the model says to sample.
    #[error(transparent)]
    Sampling(#[from] SamplingError),
    /// The bundle.
    #[cfg(not(target_arch = "wasm32"))]
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The tokenizer's table.
    #[cfg(not(target_arch = "wasm32"))]
    #[error("the bundle's tokenizer is not usable: {0}; compile the model again")]
    Tokenizer(#[from] TableError),
    /// Places of images and images do not fit.
    #[error(transparent)]
    Vision(#[from] VisionError),
    /// The bundle has no tokenizer.
    #[cfg(not(target_arch = "wasm32"))]
    #[error(
        "the bundle has no tokenizer; put tokenizer.json (or vocab.json and merges.txt) beside the model, \
         and compile it again"
    )]
    NoTokenizer,
    /// The bundle has no chat template.
    #[cfg(not(target_arch = "wasm32"))]
    #[error(
        "the bundle has no chat template; put chat_template.jinja beside the model and compile it again, \
         or give the prompt as the model should read it, with --raw"
    )]
    NoTemplate,
    /// A file of the bundle that cannot be understood.
    #[cfg(not(target_arch = "wasm32"))]
    #[error("{file}: {message}")]
    File {
        /// The file.
        file: String,
        /// What is wrong.
        message: String,
    },
    /// A prompt of no tokens.
    #[error("the prompt is empty")]
    EmptyPrompt,
    /// A prompt that does not fit.
    #[error("the prompt has {tokens} tokens, the context {max_context}; compile with a larger --max-context")]
    PromptTooLong {
        /// Tokens of the prompt.
        tokens: usize,
        /// Positions that the states hold.
        max_context: u32,
    },
    /// Not one place for every image.
    #[error("the prompt has {places} places for images, and {images} images are given")]
    Images {
        /// Places in the prompt's text.
        places: usize,
        /// Images given.
        images: usize,
    },
    /// Images for a model that sees none.
    #[error("the bundle has no vision encoder; compile a model that has one, or leave the images out")]
    NoVision,
    /// Stop strings that are empty, too long or too many.
    #[cfg(not(target_arch = "wasm32"))]
    #[error("at most {strings} stop strings, each of 1 to {bytes} bytes")]
    StopStrings {
        /// Most strings.
        strings: usize,
        /// Longest string, in bytes.
        bytes: usize,
    },
}
