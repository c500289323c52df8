//! Parameters that both kernels of fused linear layers share: [`crate::linear_gemv`] for one row, and
//! [`crate::linear_gemm`] for many.

use qwenc_ir::{Activation, Expr};

use crate::view::View;
use crate::wgsl_expr::Argument;

/// A fused linear layer: `y = x @ weight^T`, or `act(x @ gate^T) * (x @ up^T)`, then the epilogue.
#[derive(Clone, Debug, PartialEq)]
pub struct LinearParams {
    /// `[..., K]`; the last axis has stride 1. One row for the matrix-vector kernel.
    pub x: View,
    /// RMS norm of x in front. Only the matrix-vector kernel takes it.
    pub norm: Option<NormPrologue>,
    /// `[N, Kp]` dense, row-major f32 at an offset that is a multiple of 4, where Kp is K rounded up to 4 and the
    /// columns from K on are zero. With `glu` `[2N, Kp]`: rows 2i are the gate's, rows 2i+1 the up projection's.
    pub weight: View,
    /// Gated activation over pairs of rows.
    pub glu: Option<Activation>,
    /// Pointwise math behind.
    pub epilogue: Option<Epilogue>,
    /// `[..., N]`, with the leading axes of x.
    pub output: View,
}

/// RMS norm in front of a linear layer: `x / sqrt(mean(x^2) + eps) * weight`.
#[derive(Clone, Debug, PartialEq)]
pub struct NormPrologue {
    /// `[K]`.
    pub weight: View,
    /// Added to the mean square.
    pub eps: f32,
}

/// Pointwise math behind a linear layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Epilogue {
    /// `Arg(0)` is the layer's result, `Arg(1..)` are `extras`.
    pub expr: Expr,
    /// Further inputs, which broadcast to the shape of the output.
    pub extras: Vec<Argument>,
}
