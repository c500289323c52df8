//! A fused linear layer of many rows: the matrix product of prefill.

use crate::kernel::{CodegenError, Kernel, Symbols};
use crate::linear::LinearParams;

/// The layer for `[..., K]`; `params.norm` must be absent (prefill normalises in a kernel of its own).
pub fn kernel(_symbols: &Symbols, _params: &LinearParams) -> Result<Kernel, CodegenError> {
    Err(CodegenError::Unsupported { family: "linear_gemm", message: "not generated yet".into() })
}
