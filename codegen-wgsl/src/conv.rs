//! Causal depthwise convolution with a state.

use qwenc_ir::Activation;

use crate::kernel::{CodegenError, Kernel, Symbols};
use crate::view::View;

/// Parameters of all kernels here: `y[s] = act(sum_j w[c, j] * x'[s + j] + bias)`, where `x'` is the last K-1 columns
/// of the past followed by x.
#[derive(Clone, Debug, PartialEq)]
pub struct ConvParams {
    /// x: `[S, C]` f32.
    pub input: View,
    /// `[C, K]` f32; K is a constant.
    pub weight: View,
    /// `[C]` f32.
    pub bias: Option<View>,
    /// `[C, W]` f32, newest column last; W is a constant of at least K-1. Absent: zeros.
    pub past: Option<View>,
    /// `[C, W]` f32: the last W columns of past and x. May be `past` itself (in place). Absent: not wanted.
    pub present: Option<View>,
    /// Behind the sum.
    pub activation: Activation,
    /// y: `[S, C]` f32.
    pub output: View,
}

/// y for any number of positions. Does not touch the state: when [`ConvParams::present`] is there,
/// [`update_state`] must be dispatched behind it.
pub fn prefill(_symbols: &Symbols, _params: &ConvParams) -> Result<Kernel, CodegenError> {
    Err(CodegenError::Unsupported { family: "conv_prefill", message: "not generated yet".into() })
}

/// The new state after [`prefill`]. Needs [`ConvParams::present`].
pub fn update_state(_symbols: &Symbols, _params: &ConvParams) -> Result<Kernel, CodegenError> {
    Err(CodegenError::Unsupported { family: "conv_state", message: "not generated yet".into() })
}

/// y and the new state for one position (S = 1), in one dispatch.
pub fn step(_symbols: &Symbols, _params: &ConvParams) -> Result<Kernel, CodegenError> {
    Err(CodegenError::Unsupported { family: "conv_step", message: "not generated yet".into() })
}
