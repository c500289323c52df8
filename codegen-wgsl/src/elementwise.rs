//! Pointwise expressions over inputs that broadcast: one thread an element.

use qwenc_ir::Expr;

use crate::kernel::{CodegenError, Kernel, Symbols};
use crate::view::View;
use crate::wgsl_expr::Argument;

/// Parameters of [`kernel`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ElementwiseParams {
    /// The expression; `Arg(i)` is `inputs[i]`.
    pub expr: Expr,
    /// Inputs; their shapes broadcast to that of `output`.
    pub inputs: Vec<Argument>,
    /// Where the result goes. May be an input's allocation when each element is read only where it is written.
    pub output: View,
}

/// `output = expr(inputs...)`.
pub fn kernel(_symbols: &Symbols, _params: &ElementwiseParams) -> Result<Kernel, CodegenError> {
    Err(CodegenError::Unsupported { family: "elementwise", message: "not generated yet".into() })
}
