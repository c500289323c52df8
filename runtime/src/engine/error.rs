//! Why a bundle cannot be loaded or replayed.

use std::error::Error;

use crate::bundle::BundleError;
use crate::format::ExprError;

/// A bundle cannot be loaded or replayed.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The bundle itself.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The bundle has no weights.
    #[error("the bundle is a plan without weights; compile the model without `--weights none`")]
    NoWeights,
    /// The GPU, while doing `what`.
    #[error("{what}: {source}")]
    Gpu {
        /// What was being done: the shader, the buffer, the entry point.
        what: String,
        /// The GPU's words.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The device has a lower limit than the bundle needs.
    #[error(
        "the bundle needs {what} of {needed}, adapter '{adapter}' has {available}; \
         use another adapter, or compile for lower limits"
    )]
    Limit {
        /// Which limit.
        what: &'static str,
        /// What the bundle needs.
        needed: u64,
        /// What the device has.
        available: u64,
        /// The adapter.
        adapter: String,
    },
    /// The bundle wants more memory than the caller allows.
    #[error("the bundle needs {needed} bytes of GPU memory, {allowed} are allowed")]
    Memory {
        /// What the bundle needs.
        needed: u64,
        /// What is allowed.
        allowed: u64,
    },
    /// There is no such entry point.
    #[error("no entry point `{entry}`; the bundle has: {}", available.join(", "))]
    NoSuchEntry {
        /// The name asked for.
        entry: String,
        /// The names there are.
        available: Vec<String>,
    },
    /// There is no such input or output.
    #[error("entry point `{entry}` has no {what} `{name}`; it has: {}", available.join(", "))]
    NoSuchTensor {
        /// The entry point.
        entry: String,
        /// `input` or `output`.
        what: &'static str,
        /// The name asked for.
        name: String,
        /// The names there are.
        available: Vec<String>,
    },
    /// A replay must give exactly the entry point's symbols.
    #[error("entry point `{entry}` takes the symbols [{}], not [{}]", expected.join(", "), found.join(", "))]
    Symbols {
        /// The entry point.
        entry: String,
        /// The names to give.
        expected: Vec<String>,
        /// The names given.
        found: Vec<String>,
    },
    /// The value of a symbol, or of a constrained expression, is out of bounds.
    #[error("entry point `{entry}`: {what} is {value}, allowed are {min} to {max}")]
    SymbolValue {
        /// The entry point.
        entry: String,
        /// The symbol or the expression.
        what: String,
        /// Its value.
        value: i64,
        /// Smallest allowed value.
        min: i64,
        /// Largest allowed value.
        max: i64,
    },
    /// An expression has no value, or one that its command cannot take.
    #[error("entry point `{entry}`, command {command}: {message}")]
    Command {
        /// The entry point.
        entry: String,
        /// The index of the command.
        command: usize,
        /// What is wrong.
        message: String,
    },
    /// The shape of a tensor has no value for the given symbols.
    #[error("entry point `{entry}`, `{name}`: its shape has no value: {source}")]
    Shape {
        /// The entry point.
        entry: String,
        /// The tensor.
        name: String,
        /// Why.
        source: ExprError,
    },
    /// The bytes given for an input do not fit it.
    #[error(
        "entry point `{entry}`, input `{name}`: {bytes} bytes given, it takes a multiple of 4, at most {max}"
    )]
    InputSize {
        /// The entry point.
        entry: String,
        /// The input.
        name: String,
        /// Bytes given.
        bytes: usize,
        /// Bytes of its buffer.
        max: u64,
    },
    /// A tensor has another element type than the caller thinks.
    #[error("entry point `{entry}`, `{name}`: its element type is {found}, not {wanted}")]
    DType {
        /// The entry point.
        entry: String,
        /// The tensor.
        name: String,
        /// The type it has.
        found: String,
        /// The type the caller wants.
        wanted: &'static str,
    },
    /// An output is read before anything computed it.
    #[error("entry point `{entry}` has not been replayed yet, so it has no outputs")]
    NotReplayed {
        /// The entry point.
        entry: String,
    },
}

impl EngineError {
    pub(super) fn gpu(what: impl Into<String>) -> impl FnOnce(Box<dyn Error + Send + Sync>) -> Self {
        let what = what.into();
        move |source| Self::Gpu { what, source }
    }
}
