//! Operators with a state: the causal convolution and the gated delta rule of linear attention.

use qwenc_ir::op::{GatedDeltaAttrs, gated_delta as slot};
use qwenc_ir::{Activation, BinaryOp, DType, Dim, Expr, Op, Real, UnaryOp};

use super::call::Call;
use super::heads::{Layout, demand, pack, sizes, split_heads};
use super::registry::{OpEntry, microsoft, standard};
use crate::onnx::known::{Elem, Known};
use crate::onnx::values::{Builder, Result, V, fault};

pub(super) const OPS: &[OpEntry] = &[
    standard("CausalConvWithState", causal_conv),
    standard("LinearAttention", linear_attention),
    microsoft("CausalConvWithState", causal_conv),
    microsoft("LinearAttention", linear_attention),
    microsoft("LinearAttentionGate", gate),
];

fn causal_conv(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    call.only_int("ndim", 1)?;
    call.only_int("dilation", 1)?;
    call.only_int("state_window", 0)?;
    call.only_int("state_length", 0)?;
    call.only_int("state_update_capacity", 0)?;
    call.only_int("state_channels_last", -1)?;
    call.only_int("input_channel_offset", 0)?;
    call.only_int("input_channels", 0)?;
    let channels_last = call.flag("channels_last", false)?;
    let activation = match call.text("activation", "none")? {
        "none" => Activation::Identity,
        "silu" | "swish" => Activation::Silu,
        other => fault!("activation `{other}` is not supported"),
    };
    let mut x = call.input(0)?;
    if b.rank(x) != 3 {
        fault!("{} must have rank 3", b.ty(x));
    }
    if !channels_last {
        x = b.transpose(x, &[0, 2, 1])?;
    }
    let weight = call.input(1)?;
    let [channels, one, taps] = b.shape(weight) else {
        fault!("the kernel {} must have the layout [channels, 1, taps]", b.ty(weight));
    };
    if !one.is(1) {
        fault!("the kernel {} must have the layout [channels, 1, taps]", b.ty(weight));
    }
    let (channels, taps) = (channels.clone(), taps.clone());
    let weight = b.reshape(weight, &[channels, taps.clone()])?;
    // Exporters write zeros where there is no bias.
    let bias = call.optional(2).filter(|bias| !b.is_zero(*bias));
    let mut past = call.optional(3);
    if let Some(state) = past {
        let width_axis = if channels_last { 1 } else { 2 };
        let width = taps - Dim::constant(1);
        if let Some(have) = b.shape(state).get(width_axis) {
            demand(have, &width)?;
            if *have != width {
                fault!("the state {} must have {width} columns", b.ty(state));
            }
        }
        if channels_last {
            past = Some(b.transpose(state, &[0, 2, 1])?);
        }
    }
    let outputs = b.apply_all(Op::CausalConv { activation }, &[Some(x), Some(weight), bias, past])?;
    let [y, present] = outputs.as_slice() else {
        fault!("the convolution gave {} outputs", outputs.len());
    };
    let (mut y, mut present) = (*y, *present);
    if channels_last {
        present = b.transpose(present, &[0, 2, 1])?;
    } else {
        y = b.transpose(y, &[0, 2, 1])?;
    }
    Ok(vec![Some(y), Some(present)])
}

fn linear_attention(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    call.only_int("state_window", 0)?;
    call.ignore(&["chunk_size"]);
    let (heads, kv_heads) = (call.count("q_num_heads")?, call.count("kv_num_heads")?);
    if !kv_heads.is_multiple_of(heads) {
        fault!(
            "{heads} query heads for {kv_heads} states are not supported; repeat keys and values before the operator"
        );
    }
    let gated = match call.text("update_rule", "gated_delta")? {
        "gated_delta" => true,
        "delta" => false,
        other => fault!("update rule `{other}` is not supported, only gated_delta and delta"),
    };
    let q = split_heads(b, call.input(0)?, heads)?;
    let (q, k) = keys(b, call, q, heads, kv_heads)?;
    let v = split_heads(b, call.input(2)?, kv_heads)?;
    let [batch, sequence, _, key_width] = sizes(b, k)?;
    let [.., value_width] = sizes(b, v)?;
    let past = call.optional(3);
    let mut state_type = DType::F32;
    if let Some(past) = past {
        let [_, past_heads, past_key, past_value] = sizes(b, past)?;
        for (have, wanted) in
            [(past_heads, Dim::from(kv_heads)), (past_key, key_width.clone()), (past_value, value_width)]
        {
            demand(&have, &wanted)?;
        }
        state_type = b.dtype(past);
    }
    let gates = [batch.clone(), sequence.clone(), Dim::from(kv_heads)];
    let decay = match (gated, call.optional(4)) {
        (true, Some(decay)) if b.shape(decay) == gates => decay,
        (true, Some(decay)) => {
            fault!(
                "the decay {} must have one value for every head, [batch, sequence, {kv_heads}]",
                b.ty(decay)
            )
        }
        (true, None) => fault!("operand 4 (`decay`) is missing"),
        (false, _) => {
            let zeros = Known::Splat { shape: gates.to_vec(), item: Elem::Real(0.0) };
            b.known_value(b.dtype(q), zeros)?
        }
    };
    let beta = b.expand(call.input(5)?, &gates)?;
    let scale = match call.float("scale", 0.0)? {
        0.0 => key_scale(&key_width)?,
        scale => scale,
    };
    let mut inputs = vec![None; slot::COUNT];
    inputs[slot::Q] = Some(q);
    inputs[slot::K] = Some(k);
    inputs[slot::V] = Some(v);
    inputs[slot::PAST] = past;
    inputs[slot::DECAY] = Some(decay);
    inputs[slot::BETA] = Some(beta);
    let attrs = GatedDeltaAttrs { scale: Real(scale), qk_norm: None, raw_gates: false };
    let outputs = b.apply_all(Op::GatedDelta(attrs), &inputs)?;
    let [y, present] = outputs.as_slice() else {
        fault!("linear attention gave {} outputs", outputs.len());
    };
    let y = pack(b, *y, Layout::Packed)?;
    let present = b.cast(*present, state_type)?;
    Ok(vec![Some(y), Some(present)])
}

/// Queries and keys with equally many heads. Where value heads are more numerous than query heads, exporters give keys
/// as many as queries, each for several value heads in a row; the operator also takes a key for every value head.
fn keys(b: &mut Builder, call: &Call<'_>, q: V, heads: usize, kv_heads: usize) -> Result<(V, V)> {
    let k = call.input(1)?;
    let [batch, sequence, _, width] = sizes(b, q)?;
    let key_heads = b.shape(k).last().and_then(|all| all.exact_div(&width)).and_then(|n| n.as_usize());
    let Some(key_heads) = key_heads.filter(|count| [heads, kv_heads].contains(count)) else {
        fault!("keys {} are neither {heads} nor {kv_heads} heads of {width}", b.ty(k));
    };
    let k = split_heads(b, k, key_heads)?;
    if key_heads == heads {
        return Ok((q, k));
    }
    let (heads, group) = (Dim::from(heads), Dim::from(kv_heads / heads));
    let apart = [batch.clone(), sequence.clone(), heads.clone(), Dim::constant(1), width.clone()];
    let wide = [batch.clone(), sequence.clone(), heads, group, width.clone()];
    let q = b.reshape(q, &apart)?;
    let q = b.expand(q, &wide)?;
    Ok((b.reshape(q, &[batch, sequence, Dim::from(kv_heads), width])?, k))
}

/// `1/sqrt(dk)`.
#[expect(clippy::cast_possible_truncation, reason = "a scale is an f32")]
fn key_scale(width: &Dim) -> Result<f32> {
    match width.as_usize().and_then(|width| u32::try_from(width).ok()) {
        Some(width) if width > 0 => Ok((1.0 / f64::from(width).sqrt()) as f32),
        _ => fault!("the width {width} of a key must be constant"),
    }
}

/// `decay = decay_scale * softplus(a + dt_bias)`, `beta = sigmoid(b)`, in f32 and then as wide as the operands.
fn gate(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    let (a, bias, scale) = (call.input(0)?, call.input(1)?, call.input(2)?);
    let dtype = b.dtype(a);
    let mut sum = Expr::Arg(0);
    if dtype != DType::F32 {
        sum = sum.cast(DType::F32);
    }
    let softplus = sum.binary(BinaryOp::Add, Expr::Arg(1)).unary(UnaryOp::Softplus);
    let mut decay = Expr::Arg(2).binary(BinaryOp::Mul, softplus);
    if dtype != DType::F32 {
        decay = decay.cast(dtype);
    }
    let decay = b.pointwise(&decay, &[a, bias, scale])?;
    let beta = match call.optional(3) {
        Some(input) => Some(b.pointwise(&Expr::Arg(0).unary(UnaryOp::Sigmoid), &[input])?),
        None => None,
    };
    Ok(vec![Some(decay), beta])
}
