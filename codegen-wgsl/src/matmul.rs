//! Matrix products of activations, batched and in any layout.

use crate::kernel::{CodegenError, Kernel, Symbols};
use crate::view::View;

/// Parameters of [`kernel`]. A transposed operand is a view with its last two axes swapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MatMulParams {
    /// `[..., M, K]`.
    pub a: View,
    /// `[..., K, N]`; the leading axes of both broadcast.
    pub b: View,
    /// `[..., M, N]`.
    pub output: View,
}

/// `output = a @ b`.
pub fn kernel(_symbols: &Symbols, _params: &MatMulParams) -> Result<Kernel, CodegenError> {
    Err(CodegenError::Unsupported { family: "matmul", message: "not generated yet".into() })
}
