//! Running sums along an axis.

use crate::kernel::{CodegenError, Kernel, Symbols};
use crate::view::View;

/// Parameters of [`kernel`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CumSumParams {
    /// Along which axis.
    pub axis: usize,
    /// Element i sums those before it only.
    pub exclusive: bool,
    /// From the end.
    pub reverse: bool,
    /// The operand.
    pub input: View,
    /// Where the result goes; of the input's shape and element type.
    pub output: View,
}

/// `output = cumsum(input, axis)`.
pub fn kernel(_symbols: &Symbols, _params: &CumSumParams) -> Result<Kernel, CodegenError> {
    Err(CodegenError::Unsupported { family: "cumsum", message: "not generated yet".into() })
}
