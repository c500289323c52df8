//! Attention in its three spellings.

use qwenc_ir::op::{AttentionAttrs, attention as slot};
use qwenc_ir::{BinaryOp, DType, Dim, Expr, Op, Real};

use super::attention_plain::{self, Extras, Plain};
use super::call::Call;
use super::elementwise::combine;
use super::heads::{Layout, demand, pack, sizes, split_heads, unpack};
use super::registry::{OpEntry, microsoft, standard};
use super::rope::{Tables, rotate};
use crate::onnx::known::Known;
use crate::onnx::values::{Builder, Result, V, fault};

pub(super) const OPS: &[OpEntry] = &[
    standard("Attention", standard_attention),
    microsoft("GroupQueryAttention", group_query_attention),
    microsoft("MultiHeadAttention", multi_head_attention),
];

/// Operands in the layout of the IR.
struct Operands {
    q: V,
    k: V,
    v: V,
    past: Option<(V, V)>,
    mask: Option<V>,
}

/// `1/sqrt(D)` of a tensor `[B,S,H,D]`.
#[expect(clippy::cast_possible_truncation, reason = "a scale is an f32")]
fn default_scale(b: &Builder, q: V) -> Result<f32> {
    let [.., width] = sizes(b, q)?;
    match width.as_usize().and_then(|width| u32::try_from(width).ok()) {
        Some(width) if width > 0 => Ok((1.0 / f64::from(width).sqrt()) as f32),
        _ => fault!("the width {width} of a head must be constant"),
    }
}

/// The length of the past. A cache's width that only has a name becomes that of the keys.
fn past_length(b: &Builder, operands: &Operands) -> Result<Dim> {
    let Some((past_k, past_v)) = operands.past else {
        return Ok(Dim::constant(0));
    };
    for (past, now) in [(past_k, operands.k), (past_v, operands.v)] {
        let ([_, heads, _, width], [_, _, now_heads, now_width]) = (sizes(b, past)?, sizes(b, now)?);
        demand(&width, &now_width)?;
        demand(&heads, &now_heads)?;
    }
    let [_, _, length, _] = sizes(b, past_k)?;
    Ok(length)
}

/// Adds the node. Outputs: the result as `[B,S,Hq,Dv]`, then the states when they are wanted.
fn attend(b: &mut Builder, operands: &Operands, scale: f32, causal: bool, present: bool) -> Result<Vec<V>> {
    past_length(b, operands)?;
    let attrs = AttentionAttrs { scale: Real(scale), causal, present, qk_norm: None, rope: None, gate: None };
    let mut inputs = vec![None; slot::COUNT];
    inputs[slot::Q] = Some(operands.q);
    inputs[slot::K] = Some(operands.k);
    inputs[slot::V] = Some(operands.v);
    if let Some((k, v)) = operands.past {
        inputs[slot::PAST_K] = Some(k);
        inputs[slot::PAST_V] = Some(v);
    }
    inputs[slot::MASK] = operands.mask;
    b.apply_all(Op::Attention(Box::new(attrs)), &inputs)
}

/// Outputs in the order of the operators: result, new keys, new values.
fn finish(b: &mut Builder, outputs: &[V], layout: Layout) -> Result<Vec<Option<V>>> {
    let Some((y, states)) = outputs.split_first() else {
        fault!("attention gave no output");
    };
    let mut all = vec![Some(pack(b, *y, layout)?)];
    all.extend(states.iter().map(|v| Some(*v)));
    Ok(all)
}

/// Both or none.
fn pair(first: Option<V>, second: Option<V>, what: &str) -> Result<Option<(V, V)>> {
    match (first, second) {
        (Some(first), Some(second)) => Ok(Some((first, second))),
        (None, None) => Ok(None),
        _ => fault!("{what} must be given for both keys and values"),
    }
}

/// A mask that is provably neutral is left out.
fn effective_mask(b: &Builder, mask: Option<V>) -> Option<V> {
    let mask = mask?;
    let neutral = match b.dtype(mask) {
        DType::Bool => b.known(mask).and_then(Known::uniform).and_then(|item| item.constant()) == Some(1),
        _ => b.is_zero(mask),
    };
    (!neutral).then_some(mask)
}

// ---- ai.onnx -------------------------------------------------------------------------------------------------------

fn standard_attention(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    let extras = Extras::of(call)?;
    if let Some(precision @ 11) = call.optional_int("softmax_precision")? {
        fault!(
            "attribute `softmax_precision` = {precision} (f64) is not supported; softmax is computed in f32"
        );
    }
    let heads = |name: &str| if call.has(name) { call.count(name).map(Some) } else { Ok(None) };
    let (q_heads, kv_heads) = (heads("q_num_heads")?, heads("kv_num_heads")?);
    let (q, layout) = unpack(b, call.input(0)?, q_heads)?;
    let (k, _) = unpack(b, call.input(1)?, kv_heads)?;
    let (v, _) = unpack(b, call.input(2)?, kv_heads)?;
    let past = pair(call.optional(4), call.optional(5), "past states")?;
    let operands = Operands { q, k, v, past, mask: effective_mask(b, call.optional(3)) };
    let past = past_length(b, &operands)?;
    let [_, length, ..] = sizes(b, k)?;
    let total = past + length;
    let causal = call.flag("is_causal", false)?;
    let valid = call.optional(6);
    let [_, sequence, ..] = sizes(b, q)?;
    // With an external cache the diagonal ends at the last valid key.
    let same_diagonal = !causal || sequence == total;
    let ignorable = valid.is_none_or(|valid| same_diagonal && attention_plain::all_valid(b, valid, &total));
    let wide = operands
        .mask
        .is_none_or(|mask| b.shape(mask).last().is_some_and(|last| last.is(1) || *last == total));
    let scale = match call.optional_float("scale")? {
        Some(scale) => scale,
        None => default_scale(b, q)?,
    };
    if !extras.none(call) || !ignorable || !wide {
        let Operands { q, k, v, past, mask } = operands;
        let plain = Plain { q, k, v, past, mask, valid, scale, causal };
        let [y, keys, values, scores] = attention_plain::attend(b, &plain, &extras)?;
        return Ok(vec![Some(pack(b, y, layout)?), Some(keys), Some(values), Some(scores)]);
    }
    let present = call.wants(1) || call.wants(2);
    let outputs = attend(b, &operands, scale, causal, present)?;
    finish(b, &outputs, layout)
}

// ---- com.microsoft -------------------------------------------------------------------------------------------------

/// Query, key and value of GroupQueryAttention, which may be packed side by side in the query.
fn grouped_operands(b: &mut Builder, call: &Call<'_>, heads: usize, kv_heads: usize) -> Result<(V, V, V)> {
    let q = call.input(0)?;
    if let Some((k, v)) = pair(call.optional(1), call.optional(2), "key and value")? {
        return Ok((split_heads(b, q, heads)?, split_heads(b, k, kv_heads)?, split_heads(b, v, kv_heads)?));
    }
    let all = split_heads(b, q, heads + 2 * kv_heads)?;
    let [batch, sequence, ..] = sizes(b, all)?;
    // Lengths along the head axis; the slices stay views.
    let (heads, kv_heads) = (Dim::from(heads), Dim::from(kv_heads));
    let q = b.slice(all, 2, &Dim::constant(0), &heads, 1)?;
    let k = b.slice(all, 2, &heads, &kv_heads, 1)?;
    let v = b.slice(all, 2, &(heads.clone() + kv_heads.clone()), &kv_heads, 1)?;
    let [first, second, ..] = sizes(b, q)?;
    if (first, second) != (batch, sequence) {
        fault!("packed operands have an unexpected layout");
    }
    Ok((q, k, v))
}

fn group_query_attention(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    call.only_float("softcap", 0.0)?;
    call.only_int("local_window_size", -1)?;
    call.only_int("sliding_window_cache", 0)?;
    call.only_int("qk_output", 0)?;
    call.ignore(&["kv_cache_bit_width"]);
    if call.int("smooth_softmax", -1)? > 0 {
        fault!("attribute `smooth_softmax` is not supported");
    }
    for name in ["k_quant_type", "v_quant_type"] {
        if call.text(name, "NONE")? != "NONE" {
            fault!("attribute `{name}`: quantized caches are not supported");
        }
    }
    let (heads, kv_heads) = (call.count("num_heads")?, call.count("kv_num_heads")?);
    let (mut q, mut k, v) = grouped_operands(b, call, heads, kv_heads)?;
    let past = pair(call.optional(3), call.optional(4), "past states")?;
    let mask = effective_mask(b, call.optional(10));
    let past_dim = past_length(b, &Operands { q, k, v, past, mask })?;
    let [batch, sequence, ..] = sizes(b, q)?;
    check_lengths(b, call, &past_dim, &sequence)?;
    if let Some((q_weight, k_weight)) = pair(call.optional(14), call.optional(15), "norm weights")? {
        let both = call.float("qk_norm_epsilon", 1e-6)?;
        let (q_eps, k_eps) = (call.float("q_norm_epsilon", both)?, call.float("k_norm_epsilon", both)?);
        q = b.apply(Op::RmsNorm { eps: Real(q_eps), gate: None }, &[q, q_weight])?;
        k = b.apply(Op::RmsNorm { eps: Real(k_eps), gate: None }, &[k, k_weight])?;
    } else {
        call.ignore(&["qk_norm_epsilon", "q_norm_epsilon", "k_norm_epsilon"]);
    }
    let interleaved = call.flag("rotary_interleaved", false)?;
    if call.flag("do_rotary", false)? {
        let tables = Tables { cos: call.input(7)?, sin: call.input(8)? };
        let one = Dim::constant(1);
        let ramp = Known::Ramp { shape: vec![one.clone(), one, sequence.clone()], start: past_dim, step: 1 };
        let positions = match call.optional(9) {
            Some(positions) => b.reshape(positions, &[Dim::constant(1), batch.clone(), sequence.clone()])?,
            None => {
                let row = b.known_value(DType::I64, ramp)?;
                b.expand(row, &[Dim::constant(1), batch, sequence])?
            }
        };
        let Some(half) = b.shape(tables.cos).last().and_then(Dim::as_usize) else {
            fault!("the cosine table {} must have a constant width", b.ty(tables.cos));
        };
        q = rotate(b, q, &tables, Some(positions), 2 * half, interleaved, None)?;
        k = rotate(b, k, &tables, Some(positions), 2 * half, interleaved, None)?;
    } else {
        for unused in [7, 8, 9] {
            call.ignore_input(unused);
        }
    }
    let scale = match call.float("scale", 0.0)? {
        0.0 => default_scale(b, q)?,
        scale => scale,
    };
    let causal = call.flag("causal", true)?;
    let present = call.wants(1) || call.wants(2);
    let outputs = attend(b, &Operands { q, k, v, past, mask }, scale, causal, present)?;
    finish(b, &outputs, Layout::Packed)
}

/// The operator masks what lies behind each sequence's length. Compiled models run one sequence without padding, so
/// the lengths must be provably those of past and present together.
fn check_lengths(b: &Builder, call: &Call<'_>, past: &Dim, sequence: &Dim) -> Result<()> {
    const REMEDY: &str =
        "Bind the attention mask to ones, and its length to the past and present lengths together";
    let total = past.clone() + sequence.clone();
    let last = total.clone() - Dim::constant(1);
    for (index, name, wanted) in [(5, "seqlens_k", last), (6, "total_sequence_length", total)] {
        let v = call.input(index)?;
        let uniform = b.known(v).and_then(Known::uniform);
        match uniform.and_then(|item| item.dim()) {
            Some(have) if *have == wanted => {}
            Some(have) => fault!("operand {index} (`{name}`) is {have}, but must be {wanted}. {REMEDY}"),
            None => fault!("operand {index} (`{name}`) is not provably {wanted}. {REMEDY}"),
        }
    }
    Ok(())
}

fn multi_head_attention(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    call.ignore(&["mask_filter_value"]);
    let heads = call.count("num_heads")?;
    let q = call.input(0)?;
    let Some((k, v)) = pair(call.optional(1), call.optional(2), "key and value")? else {
        fault!("packed query, key and value are not supported; export them as three operands");
    };
    if b.rank(q) != 3 || b.rank(k) != 3 || b.rank(v) != 3 {
        fault!("{}, {} and {} must have the layout [batch, sequence, width]", b.ty(q), b.ty(k), b.ty(v));
    }
    let (mut q, mut k, mut v) = (q, k, v);
    if let Some(bias) = call.optional(3) {
        let mut start = Dim::constant(0);
        for part in [&mut q, &mut k, &mut v] {
            let width = b.shape(*part)[2].clone();
            let piece = b.slice(bias, 0, &start, &width, 1)?;
            *part = combine(b, BinaryOp::Add, *part, piece)?;
            start = start + width;
        }
    }
    if let Some(padding) = call.optional(4)
        && b.known(padding).and_then(|known| known.uniform()?.constant()) != Some(1)
    {
        fault!("operand 4 (`key_padding_mask`) must be provably all ones; bind the attention mask to ones");
    }
    let past = pair(call.optional(6), call.optional(7), "past states")?;
    let mut mask = effective_mask(b, call.optional(5));
    if let Some(bias) = mask
        && b.dtype(bias) == DType::Bool
    {
        mask = Some(b.pointwise(&Expr::Arg(0).cast(DType::F32), &[bias])?);
    }
    let (q, k, v) = (split_heads(b, q, heads)?, split_heads(b, k, heads)?, split_heads(b, v, heads)?);
    let scale = match call.float("scale", 0.0)? {
        0.0 => default_scale(b, q)?,
        scale => scale,
    };
    let causal = call.flag("unidirectional", false)?;
    let present = call.wants(1) || call.wants(2);
    let outputs = attend(b, &Operands { q, k, v, past, mask }, scale, causal, present)?;
    finish(b, &outputs, Layout::Packed)
}
