//! Operators. Every operator states its inputs, outputs and meaning here; [`mod@crate::infer`] gives the types of its
//! outputs and `crate::interp` its values.
//!
//! Notation: B batch, S positions in this call, P positions already in the state, H heads, D head width.
//! Optional inputs may be absent, also in the middle.

use crate::dim::Dim;
use crate::dtype::{DType, Scalar};
use crate::expr::Expr;

/// An f32 attribute. Compares by bits, so that operators have a total equality.
#[derive(Clone, Copy, Debug)]
pub struct Real(pub f32);

impl PartialEq for Real {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}

impl Eq for Real {}

impl std::hash::Hash for Real {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.to_bits().hash(state);
    }
}

/// How a reduction combines elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReduceKind {
    /// Sum.
    Sum,
    /// Arithmetic mean.
    Mean,
    /// Largest.
    Max,
    /// Smallest.
    Min,
    /// Product.
    Prod,
    /// Sum of squares.
    SumSquare,
    /// Sum of absolute values.
    L1,
    /// Square root of the sum of squares.
    L2,
    /// Logarithm of the sum.
    LogSum,
    /// Logarithm of the sum of exponentials, without overflow.
    LogSumExp,
}

/// A gate's activation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Activation {
    /// `x`.
    Identity,
    /// `x * sigmoid(x)`.
    Silu,
    /// `1/(1+e^-x)`.
    Sigmoid,
}

/// Where the rotation angles of [`Op::Rope`] come from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RopeSource {
    /// Inputs 1 and 2 are `cos` and `sin`, `[B,S,R/2]`, one row a position.
    Direct,
    /// Input 1 is `positions` I64 `[A,B,S]`; 2 and 3 are the tables `cos` and `sin`, `[M,R/2]`.
    Table {
        /// For every frequency slot (R/2 of them) the row of `positions` that it reads: multi-axis rope.
        axes: Vec<u8>,
    },
}

/// Rotary position embedding.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RopeAttrs {
    /// R: how many leading elements of a head are rotated (even, at most D).
    pub rotary_dim: usize,
    /// Pairs are neighbours (2i, 2i+1) instead of halves (i, i+R/2).
    pub interleaved: bool,
    /// Where the angles come from.
    pub source: RopeSource,
}

/// Input slots of [`Op::Attention`].
pub mod attention {
    /// Query `[B,S,Hq,D]`.
    pub const Q: usize = 0;
    /// Key `[B,S,Hkv,D]`.
    pub const K: usize = 1;
    /// Value `[B,S,Hkv,Dv]`.
    pub const V: usize = 2;
    /// Optional `[B,Hkv,P,D]`.
    pub const PAST_K: usize = 3;
    /// Optional `[B,Hkv,P,Dv]`.
    pub const PAST_V: usize = 4;
    /// Optional, f32 (added to the scores) or bool (false masks), broadcast to `[B,Hq,S,P+S]`.
    pub const MASK: usize = 5;
    /// Weight `[D]` of the query norm, when `qk_norm` is set.
    pub const Q_NORM: usize = 6;
    /// Weight `[D]` of the key norm, when `qk_norm` is set.
    pub const K_NORM: usize = 7;
    /// Positions I64 `[A,B,S]`, when `rope` is set.
    pub const POSITIONS: usize = 8;
    /// Cosine table `[M,R/2]`, when `rope` is set.
    pub const COS: usize = 9;
    /// Sine table `[M,R/2]`, when `rope` is set.
    pub const SIN: usize = 10;
    /// Gate `[B,S,Hq,Dv]`, when `gate` is set.
    pub const GATE: usize = 11;
    /// Optional I64 `[S,2]`: query s sees the keys `start <= j < end` of row s and no others; rows without keys give
    /// zeros. Only for B = 1, and without past, present, mask and `causal`. For attention within frames or documents
    /// that lie one behind the other.
    pub const SEGMENTS: usize = 12;
    /// Number of slots.
    pub const COUNT: usize = 13;
}

/// Grouped-query attention, with the steps around it that have been fused into it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AttentionAttrs {
    /// Factor on the scores.
    pub scale: Real,
    /// Query i sees key j only when `j <= i + P`. A query that sees nothing (by its mask or segment) gives zeros.
    pub causal: bool,
    /// Whether outputs 1 and 2, the new states, exist.
    pub present: bool,
    /// Epsilon of RMS norms on q and k, before rope.
    pub qk_norm: Option<Real>,
    /// Rotation of q and k ([`RopeSource::Table`]).
    pub rope: Option<RopeAttrs>,
    /// The output is multiplied by this activation of the gate input.
    pub gate: Option<Activation>,
}

/// Input slots of [`Op::GatedDelta`].
pub mod gated_delta {
    /// Query `[B,S,Hk,dk]`.
    pub const Q: usize = 0;
    /// Key `[B,S,Hk,dk]`.
    pub const K: usize = 1;
    /// Value `[B,S,Hv,dv]`; Hv is a multiple of Hk.
    pub const V: usize = 2;
    /// Optional state `[B,Hv,dk,dv]`; absent means zeros.
    pub const PAST: usize = 3;
    /// Log decay `[B,S,Hv]`; with `raw_gates` the projection `a`.
    pub const DECAY: usize = 4;
    /// Step size beta `[B,S,Hv]`; with `raw_gates` the projection `b`.
    pub const BETA: usize = 5;
    /// With `raw_gates`: `-exp(A_log)`, `[Hv]`.
    pub const NEG_EXP_A: usize = 6;
    /// With `raw_gates`: `[Hv]`.
    pub const DT_BIAS: usize = 7;
    /// Number of slots.
    pub const COUNT: usize = 8;
}

/// The gated delta rule, with the steps around it that have been fused into it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct GatedDeltaAttrs {
    /// Factor on the query (after its norm).
    pub scale: Real,
    /// Epsilon of the L2 norms of q and k: `x / sqrt(sum(x^2) + eps)`.
    pub qk_norm: Option<Real>,
    /// Decay and beta arrive raw: `decay = neg_exp_a * softplus(a + dt_bias)`, `beta = sigmoid(b)`.
    pub raw_gates: bool,
}

/// How a weight of [`Op::Linear`] lies in its constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WeightLayout {
    /// `[K,N]`, as ONNX MatMul has it.
    KN,
    /// `[N,K]`, as PyTorch and embeddings have it.
    NK,
}

/// Input slots of [`Op::Linear`].
pub mod linear {
    /// `[..., K]`.
    pub const X: usize = 0;
    /// Optional weight `[K]` of the RMS norm in front, when `norm` is set.
    pub const NORM: usize = 1;
    /// The first weight; the others follow, then the extra inputs of the epilogue.
    pub const WEIGHTS: usize = 2;
}

/// One or more matrix products with the same left side, side by side, with norm in front and pointwise math behind.
///
/// `h = norm ? rms_norm(x) * norm_weight : x`, `y = concat(h @ w_0, h @ w_1, ...)` on the last axis. With `glu` there
/// are two weights of equal width and `y = act(h @ w_0) * (h @ w_1)`. With `epilogue` the result is the expression
/// over `Arg(0) = y` and `Arg(1..)` the extra inputs, which broadcast to the shape of `y`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LinearAttrs {
    /// Layout of every weight, in order; at least one.
    pub weights: Vec<WeightLayout>,
    /// Epsilon of the RMS norm in front.
    pub norm: Option<Real>,
    /// Gated activation over a pair of weights (SwiGLU is [`Activation::Silu`]).
    pub glu: Option<Activation>,
    /// Pointwise math behind.
    pub epilogue: Option<Expr>,
}

/// An operator.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// A pointwise expression over inputs that broadcast.
    Elementwise(Expr),
    /// NumPy `matmul` of `[..., M, K]` and `[..., K, N]` with broadcast batch dimensions; a transposed operand swaps
    /// its last two. Ranks of at least 2. Floats of different widths give the wider type.
    MatMul {
        /// The left operand is stored `[..., K, M]`.
        transpose_a: bool,
        /// The right operand is stored `[..., N, K]`.
        transpose_b: bool,
    },
    /// Reduces the given axes (sorted, distinct).
    Reduce {
        /// How.
        kind: ReduceKind,
        /// Which axes.
        axes: Vec<usize>,
        /// Keep reduced axes with size 1.
        keep_dims: bool,
    },
    /// Codes to floats: `(code - zero) * scale`. Inputs: codes (integers of rank at least 1), scales (floats of the
    /// codes' rank), zero points? (of the scales' shape, of the codes' element type or floats; absent: `zero` for all).
    /// Along `axis` one scale covers `block` consecutive codes, the last one what is left; along the other axes scales
    /// have the codes' size, or 1. The result has the shape of the codes and the element type of the scales.
    Dequantize {
        /// The axis that is cut into blocks.
        axis: usize,
        /// Codes of a block, at least 1.
        block: usize,
        /// The zero point of every block, when there is no input for it; 0 when there is.
        zero: i64,
    },
    /// Index (I64) of the extreme element along an axis.
    ArgReduce {
        /// The smallest instead of the largest.
        min: bool,
        /// Along which axis.
        axis: usize,
        /// Keep the axis with size 1.
        keep_dims: bool,
        /// Of several equal ones the last, instead of the first.
        last: bool,
    },
    /// Running sum along an axis.
    CumSum {
        /// Along which axis.
        axis: usize,
        /// Element i sums those before it only.
        exclusive: bool,
        /// From the end.
        reverse: bool,
    },
    /// Softmax along an axis.
    Softmax {
        /// Along which axis.
        axis: usize,
        /// The logarithm of it.
        log: bool,
    },
    /// `(x - mean) / sqrt(var + eps) * scale + bias` over the last axis. Inputs: x, scale? `[C]`, bias? `[C]`.
    LayerNorm {
        /// Added to the variance.
        eps: Real,
    },
    /// Takes slices of input 0 along an axis by input 1 (any integer type; negative counts from the end).
    Gather {
        /// Along which axis.
        axis: usize,
    },
    /// The same elements, row-major, under another shape.
    Reshape {
        /// The new shape; the products agree.
        shape: Vec<Dim>,
    },
    /// Permutes axes: output axis i is input axis `perm[i]`.
    Transpose {
        /// The permutation.
        perm: Vec<usize>,
    },
    /// `len` elements along one axis from `start`, `step` apart.
    Slice {
        /// Along which axis.
        axis: usize,
        /// Index of the first element taken.
        start: Dim,
        /// How many are taken.
        len: Dim,
        /// Distance between them; negative runs backwards, never zero.
        step: i64,
    },
    /// Joins inputs along an axis.
    Concat {
        /// Along which axis.
        axis: usize,
    },
    /// Broadcasts to a shape.
    Expand {
        /// The new shape.
        shape: Vec<Dim>,
    },
    /// Adds constant elements around. Negative amounts are not allowed.
    Pad {
        /// Elements before, per axis.
        before: Vec<Dim>,
        /// Elements after, per axis.
        after: Vec<Dim>,
        /// Their value.
        value: Scalar,
    },
    /// `start, start+step, ...` as I64 `[len]`. No inputs.
    Range {
        /// First value.
        start: Dim,
        /// Difference.
        step: i64,
        /// How many.
        len: Dim,
    },
    /// A tensor of one value. No inputs.
    Fill {
        /// Element type.
        dtype: DType,
        /// The value.
        value: Scalar,
        /// The shape.
        shape: Vec<Dim>,
    },
    /// The values of dims as I64 `[n]`. No inputs. This is how a shape becomes data.
    Dims {
        /// The values.
        values: Vec<Dim>,
    },
    /// `x / sqrt(mean(x^2) + eps) * weight` over the last axis, optionally times `act(gate)`.
    /// Inputs: x `[..., C]`, weight `[C]`, gate? of x's shape.
    RmsNorm {
        /// Added to the mean square.
        eps: Real,
        /// Multiply by this activation of input 2.
        gate: Option<Activation>,
    },
    /// `x / sqrt(sum(x^2) + eps)` over the last axis; a zero vector with `eps = 0` stays zero.
    L2Norm {
        /// Added to the sum of squares.
        eps: Real,
    },
    /// Rotary position embedding of x `[B,S,H,D]`; see [`RopeSource`] for the other inputs.
    Rope(RopeAttrs),
    /// Attention; input slots in [`attention`]. Outputs: `[B,S,Hq,Dv]`, and with `present` the states
    /// `[B,Hkv,P+S,D]` and `[B,Hkv,P+S,Dv]`.
    Attention(Box<AttentionAttrs>),
    /// Causal depthwise convolution along S: `y[s] = act(sum_j w[c,j] * x'[s + j] + bias)`, where `x'` is the last
    /// K-1 columns of the state followed by x. Inputs: x `[B,S,C]`, w `[C,K]`, bias? `[C]`, past? `[B,C,W]` with
    /// `W >= K-1` (absent: zeros, W = K-1). Outputs: y `[B,S,C]`, present `[B,C,W]`, the last W columns, newest last.
    CausalConv {
        /// Behind the sum.
        activation: Activation,
    },
    /// The gated delta rule; input slots in [`gated_delta`]. Per position and value head, with state s `[dk,dv]`:
    /// `s *= exp(decay); d = beta * (v - s^T k); s += k d^T; o = scale * s^T q`.
    /// Outputs: o `[B,S,Hv,dv]`, present `[B,Hv,dk,dv]`.
    GatedDelta(GatedDeltaAttrs),
    /// Fused matrix products; input slots in [`linear`].
    Linear(Box<LinearAttrs>),
}

impl Op {
    /// The operator's name in the text form and in reports.
    pub const fn name(&self) -> &'static str {
        match self {
            Op::Elementwise(_) => "elementwise",
            Op::MatMul { .. } => "matmul",
            Op::Reduce { .. } => "reduce",
            Op::Dequantize { .. } => "dequantize",
            Op::ArgReduce { .. } => "arg_reduce",
            Op::CumSum { .. } => "cumsum",
            Op::Softmax { .. } => "softmax",
            Op::LayerNorm { .. } => "layer_norm",
            Op::Gather { .. } => "gather",
            Op::Reshape { .. } => "reshape",
            Op::Transpose { .. } => "transpose",
            Op::Slice { .. } => "slice",
            Op::Concat { .. } => "concat",
            Op::Expand { .. } => "expand",
            Op::Pad { .. } => "pad",
            Op::Range { .. } => "range",
            Op::Fill { .. } => "fill",
            Op::Dims { .. } => "dims",
            Op::RmsNorm { .. } => "rms_norm",
            Op::L2Norm { .. } => "l2_norm",
            Op::Rope(_) => "rope",
            Op::Attention(_) => "attention",
            Op::CausalConv { .. } => "causal_conv",
            Op::GatedDelta(_) => "gated_delta",
            Op::Linear(_) => "linear",
        }
    }

    /// The operator with every dim attribute replaced by what `map` gives for it.
    pub fn try_map_dims<E>(&self, mut map: impl FnMut(&Dim) -> Result<Dim, E>) -> Result<Op, E> {
        let mut map_all = |dims: &[Dim]| dims.iter().map(&mut map).collect::<Result<Vec<Dim>, E>>();
        Ok(match self {
            Op::Reshape { shape } => Op::Reshape { shape: map_all(shape)? },
            Op::Slice { axis, start, len, step } => {
                Op::Slice { axis: *axis, start: map(start)?, len: map(len)?, step: *step }
            }
            Op::Expand { shape } => Op::Expand { shape: map_all(shape)? },
            Op::Pad { before, after, value } => {
                Op::Pad { before: map_all(before)?, after: map_all(after)?, value: *value }
            }
            Op::Range { start, step, len } => Op::Range { start: map(start)?, step: *step, len: map(len)? },
            Op::Fill { dtype, value, shape } => {
                Op::Fill { dtype: *dtype, value: *value, shape: map_all(shape)? }
            }
            Op::Dims { values } => Op::Dims { values: map_all(values)? },
            Op::Elementwise(_)
            | Op::MatMul { .. }
            | Op::Reduce { .. }
            | Op::Dequantize { .. }
            | Op::ArgReduce { .. }
            | Op::CumSum { .. }
            | Op::Softmax { .. }
            | Op::LayerNorm { .. }
            | Op::Gather { .. }
            | Op::Transpose { .. }
            | Op::Concat { .. }
            | Op::RmsNorm { .. }
            | Op::L2Norm { .. }
            | Op::Rope(_)
            | Op::Attention(_)
            | Op::CausalConv { .. }
            | Op::GatedDelta(_)
            | Op::Linear(_) => self.clone(),
        })
    }

    /// Every dim attribute, in a fixed order.
    pub fn dims(&self) -> Vec<&Dim> {
        match self {
            Op::Reshape { shape } | Op::Expand { shape } | Op::Fill { shape, .. } => shape.iter().collect(),
            Op::Slice { start, len, .. } | Op::Range { start, len, .. } => vec![start, len],
            Op::Pad { before, after, .. } => before.iter().chain(after).collect(),
            Op::Dims { values } => values.iter().collect(),
            _ => Vec::new(),
        }
    }

    /// True for operators that only rearrange elements, so that they can become a strided view.
    pub const fn is_view(&self) -> bool {
        matches!(self, Op::Reshape { .. } | Op::Transpose { .. } | Op::Slice { .. } | Op::Expand { .. })
    }

    /// The operator with every dim among its attributes replaced.
    #[must_use]
    pub fn map_dims(&self, replace: &mut dyn FnMut(&Dim) -> Dim) -> Op {
        let mut all = |dims: &[Dim]| dims.iter().map(&mut *replace).collect::<Vec<_>>();
        match self {
            Op::Reshape { shape } => Op::Reshape { shape: all(shape) },
            Op::Expand { shape } => Op::Expand { shape: all(shape) },
            Op::Dims { values } => Op::Dims { values: all(values) },
            Op::Fill { dtype, value, shape } => Op::Fill { dtype: *dtype, value: *value, shape: all(shape) },
            Op::Pad { before, after, value } => {
                Op::Pad { before: all(before), after: all(after), value: *value }
            }
            Op::Slice { axis, start, len, step } => {
                Op::Slice { axis: *axis, start: replace(start), len: replace(len), step: *step }
            }
            Op::Range { start, step, len } => {
                Op::Range { start: replace(start), step: *step, len: replace(len) }
            }
            other => other.clone(),
        }
    }
}
