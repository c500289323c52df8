//! Pointwise expressions as WGSL text.

use qwenc_ir::DType;

use crate::view::View;

/// One input of an expression: where it lies, and the IR's type of it. The type tells booleans from integers, which
/// share an element type on the device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Argument {
    /// Where it lies; broadcasts to the shape of the result, as in NumPy.
    pub view: View,
    /// The IR's type.
    pub dtype: DType,
}
