//! Parameters that the kernels of the gated delta rule share: [`crate::delta_step`] for one position, and
//! [`crate::delta_chunk`] for many.

use crate::view::View;

/// The gated delta rule. Per position and value head h, with state s `[dk, dv]` and q, k of head `h / (Hv / Hk)`:
/// `s *= exp(decay); d = beta * (v - s^T k); s += k d^T; o = scale * s^T q`.
#[derive(Clone, Debug, PartialEq)]
pub struct DeltaParams {
    /// `[S, Hk, dk]` f32; dk is a constant of at most 256.
    pub query: View,
    /// `[S, Hk, dk]` f32.
    pub key: View,
    /// `[S, Hv, dv]` f32; Hv is a multiple of Hk.
    pub value: View,
    /// Log decay (at most 0) `[S, Hv]` f32; with `raw` the projection a.
    pub decay: View,
    /// Step size `[S, Hv]` f32; with `raw` the projection b.
    pub beta: View,
    /// Decay and beta arrive raw.
    pub raw: Option<RawGates>,
    /// Epsilon of the L2 norms of q and k, `x / sqrt(sum(x^2) + eps)`; a zero vector with eps 0 stays zero.
    pub qk_norm: Option<f32>,
    /// Factor on the query, after its norm.
    pub scale: f32,
    /// `[Hv, dk, dv]` f32: the state before. Absent: zeros.
    pub past: Option<View>,
    /// `[Hv, dk, dv]` f32: the state after. May be `past` itself (in place). Absent: not wanted.
    pub present: Option<View>,
    /// o: `[S, Hv, dv]` f32.
    pub output: View,
}

/// Gates before their activations: `decay = neg_exp_a * softplus(a + dt_bias)`, `beta = sigmoid(b)`.
#[derive(Clone, Debug, PartialEq)]
pub struct RawGates {
    /// `-exp(A_log)`: `[Hv]` f32.
    pub neg_exp_a: View,
    /// `[Hv]` f32.
    pub dt_bias: View,
}
