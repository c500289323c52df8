//! Norms over the last axis: RMS, L2 and layer norm.

use qwenc_ir::Activation;

use crate::kernel::{CodegenError, Kernel, Symbols};
use crate::view::View;

/// Which norm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NormKind {
    /// `x / sqrt(mean(x^2) + eps)`.
    Rms,
    /// `x / sqrt(sum(x^2) + eps)`; a zero row with `eps = 0` stays zero.
    L2,
    /// `(x - mean) / sqrt(var + eps)`.
    Layer,
}

/// Parameters of [`kernel`]. With rank R and C channels:
/// `output = norm(input) * weight + bias`, times `act(gate)`.
#[derive(Clone, Debug, PartialEq)]
pub struct NormParams {
    /// Which norm.
    pub kind: NormKind,
    /// Added under the root.
    pub eps: f32,
    /// `[..., C]` in any layout.
    pub input: View,
    /// `[C]`.
    pub weight: Option<View>,
    /// `[C]`.
    pub bias: Option<View>,
    /// Of the input's shape, with the activation to apply to it.
    pub gate: Option<(View, Activation)>,
    /// Of the input's shape; may be the input itself.
    pub output: View,
}

/// A norm of every row.
pub fn kernel(_symbols: &Symbols, _params: &NormParams) -> Result<Kernel, CodegenError> {
    Err(CodegenError::Unsupported { family: "norm", message: "not generated yet".into() })
}
