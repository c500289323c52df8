//! Parameters that the kernels of the gated delta rule share: [`crate::delta_step`] for one position, and
//! [`crate::delta_chunk`] for many.

use qwenc_ir::Dim;

use crate::checks::{Access, Checks};
use crate::kernel::{Bindings, CodegenError, Symbols};
use crate::view::{Elem, View};
use crate::wgsl_math::MathLibrary;

/// Widest key head: its state rows are divided over one workgroup.
const MAX_KEY_WIDTH: u32 = 256;

/// The gated delta rule. Per position and value head h, with state s `[dk, dv]` and q, k of head `h / (Hv / Hk)`:
/// `s *= exp(decay); d = beta * (v - s^T k); s += k d^T; o = scale * s^T q`.
#[derive(Clone, Debug, PartialEq)]
pub struct DeltaParams {
    /// `[S, Hk, dk]` f32; Hk and dk are constants, dk at most 256.
    pub query: View,
    /// `[S, Hk, dk]` f32.
    pub key: View,
    /// `[S, Hv, dv]` f32; constants again, and Hv is a multiple of Hk.
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

/// The sizes behind checked parameters.
#[derive(Clone, Debug)]
pub(crate) struct DeltaSizes {
    pub(crate) tokens: Dim,
    pub(crate) heads: u32,
    /// Value heads that share a key head.
    pub(crate) group: u32,
    pub(crate) key_width: u32,
    pub(crate) value_width: u32,
}

impl DeltaParams {
    /// Checks all shapes against each other.
    pub(crate) fn sizes(&self, checks: Checks) -> Result<DeltaSizes, CodegenError> {
        let [tokens, key_heads, key_width] = checks.shape("the query", &self.query, Elem::F32)?;
        checks.expect("the key", &self.key, Elem::F32, &[&tokens, &key_heads, &key_width])?;
        let [_, heads, value_width] = checks.shape("the value", &self.value, Elem::F32)?;
        for (what, view) in [("the value", &self.value), ("the output", &self.output)] {
            checks.expect(what, view, Elem::F32, &[&tokens, &heads, &value_width])?;
        }
        for (what, view) in [("the decay", &self.decay), ("beta", &self.beta)] {
            checks.expect(what, view, Elem::F32, &[&tokens, &heads])?;
        }
        for (what, view) in [("the past", &self.past), ("the present", &self.present)] {
            if let Some(view) = view {
                checks.expect(what, view, Elem::F32, &[&heads, &key_width, &value_width])?;
            }
        }
        if let Some(raw) = &self.raw {
            checks.expect("-exp(A_log)", &raw.neg_exp_a, Elem::F32, &[&heads])?;
            checks.expect("dt_bias", &raw.dt_bias, Elem::F32, &[&heads])?;
        }
        let heads = checks.constant("the number of value heads", &heads, 65535)?;
        let key_heads = checks.constant("the number of key heads", &key_heads, 65535)?;
        Ok(DeltaSizes {
            tokens,
            heads,
            group: checks.group(heads, key_heads)?,
            key_width: checks.constant("the key width", &key_width, MAX_KEY_WIDTH)?,
            value_width: checks.constant("the value width", &value_width, 65535)?,
        })
    }

    /// Binds the gates and gives `fn gates(s: u32, head: u32) -> vec2<f32>`, log decay and beta, with what it calls.
    pub(crate) fn gates_function(&self, symbols: &Symbols, bindings: &mut Bindings) -> String {
        let decay = Access::new(bindings.read(&self.decay), symbols).at2("s", "head");
        let beta = Access::new(bindings.read(&self.beta), symbols).at2("s", "head");
        let (functions, decay, beta) = match &self.raw {
            None => (String::new(), decay, beta),
            Some(raw) => {
                let factor = Access::new(bindings.read(&raw.neg_exp_a), symbols).at1("head");
                let bias = Access::new(bindings.read(&raw.dt_bias), symbols).at1("head");
                let mut math = MathLibrary::default();
                let softplus = math.call("softplus", &[&format!("{decay} + {bias}")]);
                let sigmoid = math.call("sigmoid", &[&beta]);
                (math.text(), format!("{factor} * {softplus}"), sigmoid)
            }
        };
        format!(
            "{functions}// Log decay and step size.\nfn gates(s: u32, head: u32) -> vec2<f32> {{\n    return \
             vec2<f32>({decay}, {beta});\n}}"
        )
    }

    /// The factor that the sum of squares of a q or k head gives, as `fn norm_factor(squares: f32) -> f32`.
    pub(crate) fn norm_function(&self, checks: Checks) -> Result<String, CodegenError> {
        Ok(match self.qk_norm {
            None => "fn norm_factor(squares: f32) -> f32 {\n    return 1.0;\n}".to_string(),
            Some(eps) => format!(
                "// The factor of an L2 norm; a zero vector stays zero.\nfn norm_factor(squares: f32) -> f32 {{\n    \
                 let sum = squares + {};\n    return select(0.0, inverseSqrt(max(sum, 1.0e-37)), sum > 0.0);\n}}",
                checks.literal("the epsilon of the norm", eps)?
            ),
        })
    }
}
