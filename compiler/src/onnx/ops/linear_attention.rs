//! Linear attention, in both domains.
//!
//! The rules `gated_delta` and `delta`, with one decay for a head, are the gated delta rule of the IR, for any number of
//! positions. The rules `linear` and `gated`, and a decay for every key element, are not: they are computed position by
//! position, which needs a constant number of positions of at most [`MAX_STEPS`].

use qwenc_ir::op::{GatedDeltaAttrs, gated_delta as slot};
use qwenc_ir::{BinaryOp, DType, Dim, Expr, Op, Real, UnaryOp};

use super::call::Call;
use super::elementwise::combine;
use super::heads::{Layout, demand, pack, sizes, split_heads};
use super::registry::{OpEntry, microsoft, standard};
use crate::onnx::known::{Elem, Known};
use crate::onnx::values::{Builder, Result, V, fault};

pub(super) const OPS: &[OpEntry] =
    &[standard("LinearAttention", linear_attention), microsoft("LinearAttention", linear_attention)];

/// Most positions that are computed one by one.
const MAX_STEPS: usize = 64;

/// Operands of one use.
struct Operands {
    /// `[B,S,Hq,dk]`, `[B,S,Hk,dk]` and `[B,S,H,dv]`; Hk is H, or Hq where that is less.
    q: V,
    k: V,
    v: V,
    /// `[B,H,dk,dv]`.
    past: Option<V>,
    /// Log decay `[B,S,H]` or `[B,S,H*dk]`.
    decay: Option<V>,
    /// Step size `[B,S,H]`, for the delta rules.
    beta: Option<V>,
    scale: f32,
}

fn linear_attention(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    call.only_int("state_window", 0)?;
    call.ignore(&["chunk_size"]);
    let (heads, kv_heads) = (call.count("q_num_heads")?, call.count("kv_num_heads")?);
    if !kv_heads.is_multiple_of(heads) && !heads.is_multiple_of(kv_heads) {
        fault!(
            "{heads} query heads for {kv_heads} states are not supported; repeat keys and values before the operator"
        );
    }
    let (gated, delta) = match call.text("update_rule", "gated_delta")? {
        "gated_delta" => (true, true),
        "delta" => (false, true),
        "gated" => (true, false),
        "linear" => (false, false),
        other => fault!("update rule `{other}` is not known"),
    };
    let q = split_heads(b, call.input(0)?, heads)?;
    let (q, k) = keys(b, call, q, heads, kv_heads)?;
    let v = split_heads(b, call.input(2)?, kv_heads)?;
    let [batch, sequence, _, key_width] = sizes(b, k)?;
    let [.., value_width] = sizes(b, v)?;
    let past = call.optional(3);
    // Where no state is given, the new one has the type of the query.
    let mut state_type = b.dtype(q);
    if let Some(past) = past {
        let [_, past_heads, past_key, past_value] = sizes(b, past)?;
        for (have, wanted) in
            [(past_heads, Dim::from(kv_heads)), (past_key, key_width.clone()), (past_value, value_width)]
        {
            demand(&have, &wanted)?;
        }
        state_type = b.dtype(past);
    }
    let gates = [batch, sequence, Dim::from(kv_heads)];
    let decay = if gated { Some(call.input(4)?) } else { None };
    let beta = if delta { Some(b.expand(call.input(5)?, &gates)?) } else { None };
    let scale = match call.float("scale", 0.0)? {
        0.0 => key_scale(&key_width)?,
        scale => scale,
    };
    let operands = Operands { q, k, v, past, decay, beta, scale };
    let per_head = decay.is_none_or(|decay| b.shape(decay) == gates);
    let (y, present) = if delta && per_head {
        chunked(b, &operands, &gates, (heads / kv_heads).max(1))?
    } else {
        stepped(b, &operands, &gates, (heads / kv_heads).max(1))?
    };
    let dtype = b.dtype(call.input(0)?);
    let y = pack(b, y, Layout::Packed)?;
    Ok(vec![Some(b.cast(y, dtype)?), Some(b.cast(present, state_type)?)])
}

/// Queries and keys. Where value heads are more numerous than query heads, both have equally many heads: exporters give
/// keys as many as queries, each for several value heads in a row; the operator also takes a key for every value head.
fn keys(b: &mut Builder, call: &Call<'_>, q: V, heads: usize, kv_heads: usize) -> Result<(V, V)> {
    let k = call.input(1)?;
    let [.., width] = sizes(b, q)?;
    let key_heads = b.shape(k).last().and_then(|all| all.exact_div(&width)).and_then(|n| n.as_usize());
    let Some(key_heads) =
        key_heads.filter(|count| *count == kv_heads || (*count == heads && heads < kv_heads))
    else {
        fault!("keys {} are neither {heads} nor {kv_heads} heads of {width}", b.ty(k));
    };
    let k = split_heads(b, k, key_heads)?;
    let q = if key_heads > heads { repeat(b, q, 2, key_heads / heads)? } else { q };
    Ok((q, k))
}

/// `1/sqrt(dk)`.
#[expect(clippy::cast_possible_truncation, reason = "a scale is an f32")]
fn key_scale(width: &Dim) -> Result<f32> {
    match width.as_usize().and_then(|width| u32::try_from(width).ok()) {
        Some(width) if width > 0 => Ok((1.0 / f64::from(width).sqrt()) as f32),
        _ => fault!("the width {width} of a key must be constant"),
    }
}

/// The gated delta rule of the IR. It has at least as many value heads as query heads; where several queries read one
/// state, everything else is repeated for them.
fn chunked(b: &mut Builder, operands: &Operands, gates: &[Dim; 3], group: usize) -> Result<(V, V)> {
    let decay = match operands.decay {
        Some(decay) => decay,
        None => {
            let zeros = Known::Splat { shape: gates.to_vec(), item: Elem::Real(0.0) };
            b.known_value(b.dtype(operands.q), zeros)?
        }
    };
    let Some(beta) = operands.beta else { fault!("the delta rule has a step size") };
    let mut inputs = vec![None; slot::COUNT];
    inputs[slot::Q] = Some(operands.q);
    inputs[slot::K] = Some(repeat(b, operands.k, 2, group)?);
    inputs[slot::V] = Some(repeat(b, operands.v, 2, group)?);
    inputs[slot::PAST] = operands.past.map(|past| repeat(b, past, 1, group)).transpose()?;
    inputs[slot::DECAY] = Some(repeat(b, decay, 2, group)?);
    inputs[slot::BETA] = Some(repeat(b, beta, 2, group)?);
    let attrs = GatedDeltaAttrs { scale: Real(operands.scale), qk_norm: None, raw_gates: false };
    let outputs = b.apply_all(Op::GatedDelta(attrs), &inputs)?;
    let [y, present] = outputs.as_slice() else {
        fault!("linear attention gave {} outputs", outputs.len());
    };
    if group == 1 {
        return Ok((*y, *present));
    }
    let step = i64::try_from(group).unwrap_or(1);
    Ok((*y, b.slice(*present, 1, &Dim::constant(0), &gates[2], step)?))
}

/// Every head `times` times, one after the other.
fn repeat(b: &mut Builder, v: V, axis: usize, times: usize) -> Result<V> {
    if times == 1 {
        return Ok(v);
    }
    let mut merged = b.shape(v).to_vec();
    let (mut split, mut wide) = (merged.clone(), merged.clone());
    split.insert(axis + 1, Dim::constant(1));
    wide.insert(axis + 1, Dim::from(times));
    merged[axis] = merged[axis].clone() * Dim::from(times);
    let v = b.reshape(v, &split)?;
    let v = b.expand(v, &wide)?;
    b.reshape(v, &merged)
}

/// One position after the other, in f32, for the rules that the IR has no operator for.
fn stepped(b: &mut Builder, operands: &Operands, gates: &[Dim; 3], group: usize) -> Result<(V, V)> {
    let [batch, sequence, heads] = gates;
    let Some(steps) = sequence.as_usize().filter(|steps| (1..=MAX_STEPS).contains(steps)) else {
        fault!(
            "this update rule, or a decay for every key element, is computed position by position, and {sequence} \
             positions are not a constant of 1 to {MAX_STEPS}. Export with the length fixed, or use the rule \
             gated_delta with one decay for every head"
        );
    };
    let [_, _, key_heads, dk] = sizes(b, operands.k)?;
    let [.., dv] = sizes(b, operands.v)?;
    let (mut q, mut k) = (operands.q, operands.k);
    if let (Some(few), Some(all)) = (key_heads.as_usize(), heads.as_usize())
        && few > 0
        && few < all
    {
        (q, k) = (repeat(b, q, 2, all / few)?, repeat(b, k, 2, all / few)?);
    }
    let one = Dim::constant(1);
    let matrix = vec![batch.clone(), heads.clone(), dk.clone(), dv.clone()];
    let mut state = match operands.past {
        Some(past) => b.cast(past, DType::F32)?,
        None => b.known_value(DType::F32, Known::Splat { shape: matrix, item: Elem::Real(0.0) })?,
    };
    // A vector of every head at one position, as a matrix.
    let at = |b: &mut Builder, v: V, step: usize, shape: [&Dim; 2]| -> Result<V> {
        let v = b.slice(v, 1, &Dim::from(step), &one, 1)?;
        let v = b.reshape(v, &[batch.clone(), heads.clone(), shape[0].clone(), shape[1].clone()])?;
        b.cast(v, DType::F32)
    };
    let product = Op::MatMul { transpose_a: false, transpose_b: false };
    let mut rows = Vec::with_capacity(steps);
    for step in 0..steps {
        if let Some(decay) = operands.decay {
            let width = if b.shape(decay) == gates { &one } else { &dk };
            let decay = at(b, decay, step, [width, &one])?;
            let factor = b.pointwise(&Expr::Arg(0).unary(UnaryOp::Exp), &[decay])?;
            state = combine(b, BinaryOp::Mul, state, factor)?;
        }
        let mut value = at(b, operands.v, step, [&one, &dv])?;
        if let Some(beta) = operands.beta {
            let key = at(b, k, step, [&one, &dk])?;
            let read = b.apply(product.clone(), &[key, state])?;
            let difference = combine(b, BinaryOp::Sub, value, read)?;
            let beta = at(b, beta, step, [&one, &one])?;
            value = combine(b, BinaryOp::Mul, difference, beta)?;
        }
        let key = at(b, k, step, [&dk, &one])?;
        let written = b.apply(product.clone(), &[key, value])?;
        state = combine(b, BinaryOp::Add, state, written)?;
        let query = at(b, q, step, [&Dim::from(group), &dk])?;
        let row = b.apply(product.clone(), &[query, state])?;
        let scaled = Expr::Arg(0).binary(BinaryOp::Mul, Expr::f32(operands.scale));
        let row = b.pointwise(&scaled, &[row])?;
        let shape = [batch.clone(), one.clone(), heads.clone() * Dim::from(group), dv.clone()];
        rows.push(b.reshape(row, &shape)?);
    }
    Ok((b.concat(&rows, 1)?, state))
}
