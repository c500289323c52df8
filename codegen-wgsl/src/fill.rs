//! Tensors that come from no data: constants, ranges, and the values of dims.

use qwenc_ir::{Dim, Scalar};

use crate::kernel::{CodegenError, Kernel, Symbols};
use crate::view::View;

/// Parameters of [`kernel`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FillParams {
    /// The value; must be of the kind of `output.elem`.
    pub value: Scalar,
    /// Where it goes.
    pub output: View,
}

/// Parameters of [`range_kernel`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeParams {
    /// First value.
    pub start: Dim,
    /// Difference.
    pub step: i64,
    /// i32, rank 1; its size says how many.
    pub output: View,
}

/// Parameters of [`dims_kernel`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DimsParams {
    /// The values.
    pub values: Vec<Dim>,
    /// i32 `[values.len()]`.
    pub output: View,
}

/// `output = value` everywhere.
pub fn kernel(_symbols: &Symbols, _params: &FillParams) -> Result<Kernel, CodegenError> {
    Err(CodegenError::Unsupported { family: "fill", message: "not generated yet".into() })
}

/// `output[i] = start + step * i`.
pub fn range_kernel(_symbols: &Symbols, _params: &RangeParams) -> Result<Kernel, CodegenError> {
    Err(CodegenError::Unsupported { family: "range", message: "not generated yet".into() })
}

/// `output[i] = values[i]`, evaluated from the symbols on the device.
pub fn dims_kernel(_symbols: &Symbols, _params: &DimsParams) -> Result<Kernel, CodegenError> {
    Err(CodegenError::Unsupported { family: "dims", message: "not generated yet".into() })
}
