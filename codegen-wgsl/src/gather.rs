//! Taking slices along an axis by index: embedding lookup and the like.

use crate::kernel::{CodegenError, Kernel, Symbols};
use crate::view::View;

/// Parameters of [`kernel`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatherParams {
    /// Along which axis of `input`.
    pub axis: usize,
    /// What is taken from.
    pub input: View,
    /// i32 or u32 indices of any shape. Negative ones count from the end; what is still out of range takes zeros.
    pub indices: View,
    /// `input.shape[..axis] + indices.shape + input.shape[axis + 1..]`, of the input's element type.
    pub output: View,
}

/// `output = take(input, indices, axis)`.
pub fn kernel(_symbols: &Symbols, _params: &GatherParams) -> Result<Kernel, CodegenError> {
    Err(CodegenError::Unsupported { family: "gather", message: "not generated yet".into() })
}
