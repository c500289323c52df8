//! Standard attention with what the fused operator cannot do: soft caps, sliding windows, caches of which every sequence
//! fills its own part, masks narrower than the keys, and scores as an output. It is written out as matrix products and
//! a softmax.

use qwenc_ir::op::ReduceKind;
use qwenc_ir::{BinaryOp, DType, Dim, Expr, Op, Scalar, UnaryOp};

use super::call::Call;
use super::elementwise::combine;
use super::heads::sizes;
use crate::onnx::known::{Elem, Known};
use crate::onnx::values::{Builder, Result, V, fault};

/// Operands as `[B,S,H,D]`, and the mask as the file has it.
pub(super) struct Plain {
    pub(super) q: V,
    pub(super) k: V,
    pub(super) v: V,
    pub(super) past: Option<(V, V)>,
    pub(super) mask: Option<V>,
    /// `[B]`: how many keys of each sequence are valid.
    pub(super) valid: Option<V>,
    pub(super) scale: f32,
    pub(super) causal: bool,
}

/// What the operator's attributes add to plain attention.
pub(super) struct Extras {
    softcap: f32,
    left: i64,
    right: i64,
    mode: i64,
}

impl Extras {
    pub(super) fn of(call: &Call<'_>) -> Result<Self> {
        let extras = Self {
            softcap: call.float("softcap", 0.0)?,
            left: call.int("left_window_size", -1)?,
            right: call.int("right_window_size", -1)?,
            mode: call.int("qk_matmul_output_mode", 0)?,
        };
        if extras.left < -1 || extras.right < -1 || !(0..=3).contains(&extras.mode) {
            fault!("a window size or `qk_matmul_output_mode` is out of range");
        }
        Ok(extras)
    }

    /// True when there is nothing that the fused operator cannot do.
    pub(super) fn none(&self, call: &Call<'_>) -> bool {
        self.softcap == 0.0 && self.left < 0 && self.right < 0 && !call.wants(3)
    }
}

/// Numbers along one of the last two axes of the scores, from `start`.
fn counting(b: &mut Builder, start: Dim, shape: [Dim; 2]) -> Result<V> {
    b.known_value(DType::I64, Known::Ramp { shape: shape.to_vec(), start, step: 1 })
}

fn minus_infinity() -> Expr {
    Expr::f32(f32::NEG_INFINITY)
}

/// Outputs: the result as `[B,S,Hq,Dv]`, new keys and values `[B,Hkv,T,D]`, and scores `[B,Hq,S,T]`.
pub(super) fn attend(b: &mut Builder, operands: &Plain, extras: &Extras) -> Result<[V; 4]> {
    let dtype = b.dtype(operands.q);
    let by_head = |b: &mut Builder, v: V| b.transpose(v, &[0, 2, 1, 3]);
    let q = by_head(b, operands.q)?;
    let (mut keys, mut values) = (by_head(b, operands.k)?, by_head(b, operands.v)?);
    let mut past = Dim::constant(0);
    if let Some((past_k, past_v)) = operands.past {
        past = sizes(b, past_k)?[2].clone();
        keys = b.concat(&[past_k, keys], 2)?;
        values = b.concat(&[past_v, values], 2)?;
    }
    let heads = sizes(b, q)?[1].clone();
    let (k, v) = (repeated(b, keys, &heads)?, repeated(b, values, &heads)?);
    let products = b.apply(Op::MatMul { transpose_a: false, transpose_b: true }, &[q, k])?;
    let mut scores = b.cast(products, DType::F32)?;
    scores = b.pointwise(&Expr::Arg(0).binary(BinaryOp::Mul, Expr::f32(operands.scale)), &[scores])?;
    let mut shown = scores;
    if extras.softcap != 0.0 {
        let cap = || Expr::f32(extras.softcap);
        let capped = Expr::Arg(0).binary(BinaryOp::Div, cap()).unary(UnaryOp::Tanh);
        scores = b.pointwise(&capped.binary(BinaryOp::Mul, cap()), &[scores])?;
    }
    if extras.mode == 1 {
        shown = scores;
    }
    let bias = bias(b, operands, extras, &past, scores)?;
    if let Some(bias) = bias {
        scores = combine(b, BinaryOp::Add, scores, bias)?;
    }
    if extras.mode == 2 {
        shown = scores;
    }
    let mut weights = b.apply(Op::Softmax { axis: 3, log: false }, &[scores])?;
    if let Some(bias) = bias {
        // A query that sees nothing takes nothing, instead of NaN.
        let axes = vec![b.rank(bias) - 1];
        let best = b.apply(Op::Reduce { kind: ReduceKind::Max, axes, keep_dims: true }, &[bias])?;
        let blind = Expr::Arg(1).binary(BinaryOp::Eq, minus_infinity());
        weights = b.pointwise(&blind.select(Expr::f32(0.0), Expr::Arg(0)), &[weights, best])?;
    }
    if extras.mode == 3 {
        shown = weights;
    }
    let weights = b.cast(weights, dtype)?;
    let v = b.cast(v, dtype)?;
    let out = b.apply(Op::MatMul { transpose_a: false, transpose_b: false }, &[weights, v])?;
    Ok([by_head(b, out)?, keys, values, b.cast(shown, dtype)?])
}

/// Every key head as often as query heads share it.
fn repeated(b: &mut Builder, v: V, heads: &Dim) -> Result<V> {
    let [batch, own, length, width] = sizes(b, v)?;
    if own == *heads {
        return Ok(v);
    }
    let Some(each) = heads.exact_div(&own) else {
        fault!("{heads} query heads do not share {own} key heads evenly");
    };
    let one = Dim::constant(1);
    let split = b.reshape(v, &[batch.clone(), own.clone(), one, length.clone(), width.clone()])?;
    let spread = b.expand(split, &[batch.clone(), own, each, length.clone(), width.clone()])?;
    b.reshape(spread, &[batch, heads.clone(), length, width])
}

/// What is added to the scores: 0 or a mask's number where a query sees a key, minus infinity where it does not.
fn bias(b: &mut Builder, operands: &Plain, extras: &Extras, past: &Dim, scores: V) -> Result<Option<V>> {
    let [_, _, queries, keys] = sizes(b, scores)?;
    let one = Dim::constant(1);
    let mut total: Option<V> = None;
    if let Some(mask) = operands.mask {
        total = Some(as_bias(b, mask, &keys)?);
    }
    let key = counting(b, Dim::constant(0), [one.clone(), keys.clone()])?;
    // Where a query stands among the keys.
    let mut place = counting(b, past.clone(), [queries.clone(), one.clone()])?;
    let mut seen: Option<V> = None;
    if let Some(valid) = operands.valid {
        let batch = b.shape(valid).to_vec();
        let [batch] = batch.as_slice() else {
            fault!("{} is not one number of keys for every sequence", b.ty(valid));
        };
        let valid = b.cast(valid, DType::I64)?;
        let valid = b.reshape(valid, &[batch.clone(), one.clone(), one.clone(), one.clone()])?;
        seen = Some(combine(b, BinaryOp::Lt, key, valid)?);
        let first = b.dims_value(&[queries])?;
        let offset = combine(b, BinaryOp::Sub, valid, first)?;
        place = combine(b, BinaryOp::Add, place, offset)?;
    }
    let distance = combine(b, BinaryOp::Sub, place, key)?;
    let mut limits = Vec::new();
    if operands.causal {
        limits.push((BinaryOp::Ge, 0));
    }
    if extras.left >= 0 {
        limits.push((BinaryOp::Le, extras.left));
    }
    if extras.right >= 0 {
        limits.push((BinaryOp::Ge, -extras.right));
    }
    for (op, limit) in limits {
        let within = b.pointwise(&Expr::Arg(0).binary(op, Expr::Const(Scalar::Int(limit))), &[distance])?;
        seen = Some(match seen {
            None => within,
            Some(seen) => combine(b, BinaryOp::And, seen, within)?,
        });
    }
    Ok(match (seen, total) {
        (None, total) => total,
        (Some(seen), None) => {
            Some(b.pointwise(&Expr::Arg(0).select(Expr::f32(0.0), minus_infinity()), &[seen])?)
        }
        (Some(seen), Some(total)) => {
            Some(b.pointwise(&Expr::Arg(0).select(Expr::Arg(1), minus_infinity()), &[seen, total])?)
        }
    })
}

/// A mask as numbers to add, as wide as the keys: what it does not reach is not seen.
fn as_bias(b: &mut Builder, mask: V, keys: &Dim) -> Result<V> {
    let bias = if b.dtype(mask) == DType::Bool {
        b.pointwise(&Expr::Arg(0).select(Expr::f32(0.0), minus_infinity()), &[mask])?
    } else {
        b.cast(mask, DType::F32)?
    };
    let shape = b.shape(bias).to_vec();
    let Some(width) = shape.last() else {
        fault!("the mask is a scalar");
    };
    if width == keys || (width.is(1) && !keys.is(1)) {
        return Ok(bias);
    }
    let missing = keys.clone() - width.clone();
    if !b.bounds.non_negative(&missing) {
        fault!("the mask {} may be wider than the {keys} keys", b.ty(mask));
    }
    let before = vec![Dim::constant(0); shape.len()];
    let mut after = before.clone();
    after[shape.len() - 1] = missing;
    b.apply(Op::Pad { before, after, value: Scalar::F32(f32::NEG_INFINITY) }, &[bias])
}

/// True when all keys of every sequence are valid, so that their number says nothing.
pub(super) fn all_valid(b: &Builder, valid: V, total: &Dim) -> bool {
    b.known(valid).and_then(Known::uniform).and_then(Elem::dim) == Some(total)
}
