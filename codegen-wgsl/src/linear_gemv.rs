//! A fused linear layer of one row: the matrix-vector product of decoding.

use crate::kernel::{CodegenError, Kernel, Symbols};
use crate::linear::LinearParams;

/// The layer for one row: all leading axes of `params.x` are 1 (its offset may depend on symbols).
pub fn kernel(_symbols: &Symbols, _params: &LinearParams) -> Result<Kernel, CodegenError> {
    Err(CodegenError::Unsupported { family: "linear_gemv", message: "not generated yet".into() })
}
