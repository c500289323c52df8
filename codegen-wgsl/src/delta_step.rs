//! The gated delta rule for one position.

use crate::delta::DeltaParams;
use crate::kernel::{CodegenError, Kernel, Symbols};

/// One position (S = 1) of the gated delta rule.
pub fn kernel(_symbols: &Symbols, _params: &DeltaParams) -> Result<Kernel, CodegenError> {
    Err(CodegenError::Unsupported { family: "delta_step", message: "not generated yet".into() })
}
