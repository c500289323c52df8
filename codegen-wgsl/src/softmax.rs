//! Softmax and log-softmax along any axis.

use crate::kernel::{CodegenError, Kernel, Symbols};
use crate::view::View;

/// Parameters of [`kernel`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SoftmaxParams {
    /// Along which axis.
    pub axis: usize,
    /// The logarithm of it.
    pub log: bool,
    /// The operand, f32.
    pub input: View,
    /// Where the result goes; of the input's shape.
    pub output: View,
}

/// `output = softmax(input, axis)`, or its logarithm.
pub fn kernel(_symbols: &Symbols, _params: &SoftmaxParams) -> Result<Kernel, CodegenError> {
    Err(CodegenError::Unsupported { family: "softmax", message: "not generated yet".into() })
}
