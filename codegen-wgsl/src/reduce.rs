//! Reductions over any axes.

use qwenc_ir::op::ReduceKind;

use crate::kernel::{CodegenError, Kernel, Symbols};
use crate::view::View;

/// Parameters of [`kernel`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReduceParams {
    /// How.
    pub kind: ReduceKind,
    /// Which axes of `input`, sorted; none reduces nothing.
    pub axes: Vec<usize>,
    /// The operand.
    pub input: View,
    /// Where the result goes, with the reduced axes kept as 1 or without them.
    pub output: View,
}

/// `output = reduce(input, axes)`.
pub fn kernel(_symbols: &Symbols, _params: &ReduceParams) -> Result<Kernel, CodegenError> {
    Err(CodegenError::Unsupported { family: "reduce", message: "not generated yet".into() })
}
