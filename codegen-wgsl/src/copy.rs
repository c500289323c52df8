//! Copies between layouts, and constant padding.

use qwenc_ir::{Dim, Scalar};

use crate::kernel::{CodegenError, Kernel, Symbols};
use crate::view::View;

/// Parameters of [`kernel`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyParams {
    /// What is copied; broadcasts to the shape of `output`. Strides may be negative.
    pub input: View,
    /// Where it goes; of the same element type.
    pub output: View,
}

/// Parameters of [`pad_kernel`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PadParams {
    /// The inner part.
    pub input: View,
    /// Elements before it, per axis.
    pub before: Vec<Dim>,
    /// What is around it.
    pub value: Scalar,
    /// Where the whole goes; its shape says how much comes after.
    pub output: View,
}

/// `output = input`, element by element in row-major order of equal shapes.
pub fn kernel(_symbols: &Symbols, _params: &CopyParams) -> Result<Kernel, CodegenError> {
    Err(CodegenError::Unsupported { family: "copy", message: "not generated yet".into() })
}

/// `output = input` surrounded by a constant.
pub fn pad_kernel(_symbols: &Symbols, _params: &PadParams) -> Result<Kernel, CodegenError> {
    Err(CodegenError::Unsupported { family: "pad", message: "not generated yet".into() })
}
