//! Index of the largest or smallest element along an axis.

use crate::kernel::{CodegenError, Kernel, Symbols};
use crate::view::View;

/// Parameters of [`kernel`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArgReduceParams {
    /// The smallest instead of the largest.
    pub min: bool,
    /// Along which axis of `input`.
    pub axis: usize,
    /// Of several equal ones the last, instead of the first.
    pub last: bool,
    /// The operand.
    pub input: View,
    /// i32, with the axis kept as 1 or without it.
    pub output: View,
}

/// `output = argmax(input, axis)` or `argmin`.
pub fn kernel(_symbols: &Symbols, _params: &ArgReduceParams) -> Result<Kernel, CodegenError> {
    Err(CodegenError::Unsupported { family: "arg_reduce", message: "not generated yet".into() })
}
