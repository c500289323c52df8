//! Attention and rope.
//!
//! Attention is up to three steps: norms, rotation and cache append (`prep`); then either the tiled kernel for many
//! queries, or for one query the split-context pair of kernels. Attention without past, mask and `causal` has a kernel
//! of its own.

use std::collections::BTreeSet;

use qwenc_codegen_wgsl::attention_decode::{self, AttentionDecodeParams};
use qwenc_codegen_wgsl::attention_prefill::{self, AttentionPrefillParams};
use qwenc_codegen_wgsl::attention_prep::{self, AttentionPrepParams, HeadNorm, PrepPart, cache_rows};
use qwenc_codegen_wgsl::attention_segments::{self, AttentionSegmentsParams};
use qwenc_codegen_wgsl::kernel::limits;
use qwenc_codegen_wgsl::rope::{self, Angles, RopeParams, Rotation};
use qwenc_codegen_wgsl::{Elem, View};
use qwenc_ir::op::{Activation, AttentionAttrs, RopeAttrs, RopeSource, attention as slot};
use qwenc_ir::{Dim, NodeId, ValueId};

use super::move_ops::{broadcast, slice_axis};
use super::weights::WeightSpec;
use super::{LowerError, Lowering};

/// Rope as an operator of its own.
pub(super) fn rope(lowering: &mut Lowering<'_>, node: NodeId, attrs: &RopeAttrs) -> Result<(), LowerError> {
    let input = lowering.input(node, 0)?;
    let output = lowering.output(node, 0)?;
    let output = lowering.place(output)?;
    let rotation = rotation(lowering, node, attrs, [1, 2, 3])?;
    for (batch, input) in lowering.batch(&input)?.into_iter().enumerate() {
        let output = lowering.batch(&output)?[batch].clone();
        let params = RopeParams { input, rotation: rotation.batch(lowering, batch)?, output };
        let kernel = rope::kernel(lowering.symbols(), &params)?;
        lowering.launch(kernel);
    }
    Ok(())
}

/// A rotation whose views still have their batch axis.
struct BatchedRotation {
    rotation: Rotation,
    /// Axis of the batch in the angles' views.
    axis: usize,
}

impl BatchedRotation {
    fn batch(&self, lowering: &Lowering<'_>, batch: usize) -> Result<Rotation, LowerError> {
        let one = |view: &View| -> Result<View, LowerError> {
            let mut axes: Vec<usize> = (0..view.rank()).filter(|axis| *axis != self.axis).collect();
            axes.insert(0, self.axis);
            Ok(lowering.batch(&view.select_axes(&axes))?[batch].clone())
        };
        let angles = match &self.rotation.angles {
            Angles::Direct { cos, sin } => Angles::Direct { cos: one(cos)?, sin: one(sin)? },
            Angles::Table { table, positions, axes } => {
                Angles::Table { table: table.clone(), positions: one(positions)?, axes: axes.clone() }
            }
        };
        Ok(Rotation { angles, ..self.rotation.clone() })
    }
}

/// The rotation of a node; `slots` are those of (cos, sin) or (positions, cos, sin).
fn rotation(
    lowering: &mut Lowering<'_>,
    node: NodeId,
    attrs: &RopeAttrs,
    slots: [usize; 3],
) -> Result<BatchedRotation, LowerError> {
    let (angles, axis) = match &attrs.source {
        RopeSource::Direct => {
            (Angles::Direct { cos: lowering.input(node, slots[0])?, sin: lowering.input(node, slots[1])? }, 0)
        }
        RopeSource::Table { axes } => {
            let graph = lowering.graph();
            let constant = |port: usize| {
                graph
                    .node_input(node, port)
                    .and_then(|value| graph.constant(value))
                    .cloned()
                    .ok_or_else(|| LowerError::graph("the rotation tables must be constants"))
            };
            let (cos, sin) = (constant(slots[1])?, constant(slots[2])?);
            // A decoder's positions stay below its context; anything else may read every row.
            let all = cos.shape().first().copied().unwrap_or(0);
            let rows = if graph.states().is_empty() { all } else { all.min(lowering.max_context()) };
            let table = lowering.weight(WeightSpec::RopeTable { cos, sin, rows });
            let positions = lowering.input(node, slots[0])?;
            (Angles::Table { table, positions, axes: axes.clone() }, 1)
        }
    };
    let rotation = Rotation { rotary_dim: attrs.rotary_dim, interleaved: attrs.interleaved, angles };
    Ok(BatchedRotation { rotation, axis })
}

/// The views of one attention, with their batch axis.
struct Operands {
    q: View,
    k: View,
    v: View,
    mask: Option<View>,
    /// `[S, 2]`; then the batch is 1.
    segments: Option<View>,
    gate: Option<(View, Activation)>,
    norms: Option<(HeadNorm, HeadNorm)>,
    rotation: Option<BatchedRotation>,
    /// Caches `[B, Hkv, T, D]` that already hold the past; absent when k and v are used where they are.
    caches: Option<(View, View)>,
    past: Dim,
    output: View,
}

/// Lowers attention.
pub(super) fn attention(
    lowering: &mut Lowering<'_>,
    node: NodeId,
    attrs: &AttentionAttrs,
) -> Result<(), LowerError> {
    let operands = operands(lowering, node, attrs)?;
    for batch in 0..lowering.batch(&operands.q)?.len() {
        one_batch(lowering, &operands, attrs, batch)?;
    }
    Ok(())
}

fn operands(
    lowering: &mut Lowering<'_>,
    node: NodeId,
    attrs: &AttentionAttrs,
) -> Result<Operands, LowerError> {
    let norms = match attrs.qk_norm {
        Some(eps) => {
            let q = HeadNorm { weight: lowering.input(node, slot::Q_NORM)?, eps: eps.0 };
            Some((q, HeadNorm { weight: lowering.input(node, slot::K_NORM)?, eps: eps.0 }))
        }
        None => None,
    };
    let rotation = match &attrs.rope {
        Some(rope) => Some(rotation(lowering, node, rope, [slot::POSITIONS, slot::COS, slot::SIN])?),
        None => None,
    };
    let gate = match attrs.gate {
        Some(activation) => Some((lowering.input(node, slot::GATE)?, activation)),
        None => None,
    };
    let q = lowering.input(node, slot::Q)?;
    let k = lowering.input(node, slot::K)?;
    let v = lowering.input(node, slot::V)?;
    let mask = lowering.optional_input(node, slot::MASK)?;
    let segments = lowering.optional_input(node, slot::SEGMENTS)?;
    let past_k = lowering.optional_input(node, slot::PAST_K)?;
    let past = past_k.as_ref().map_or_else(|| Dim::constant(0), |view| view.shape[2].clone());
    let mask = mask.map(|mask| {
        let full =
            [q.shape[0].clone(), q.shape[2].clone(), q.shape[1].clone(), past.clone() + k.shape[1].clone()];
        broadcast(&mask, &full)
    });
    let caches = if attrs.present || past_k.is_some() {
        let key = cache(lowering, node, attrs, &k, slot::PAST_K, 1)?;
        Some((key, cache(lowering, node, attrs, &v, slot::PAST_V, 2)?))
    } else {
        None
    };
    let output = lowering.output(node, 0)?;
    let output = lowering.place(output)?;
    Ok(Operands { q, k, v, mask, segments, gate, norms, rotation, caches, past, output })
}

/// The cache that the new rows are appended to, `[B, Hkv, T, D]`. A state is its own cache; otherwise the new one is a
/// buffer of its own, and the past is copied there first.
fn cache(
    lowering: &mut Lowering<'_>,
    node: NodeId,
    attrs: &AttentionAttrs,
    new: &View,
    past_slot: usize,
    output: usize,
) -> Result<View, LowerError> {
    let past = lowering.optional_input(node, past_slot)?;
    let past_len = past.as_ref().map_or_else(|| Dim::constant(0), |view| view.shape[2].clone());
    let place = if attrs.present {
        let value: ValueId = lowering.output(node, output)?;
        lowering.place(value)?
    } else {
        let shape = vec![
            new.shape[0].clone(),
            new.shape[2].clone(),
            past_len + new.shape[1].clone(),
            new.shape[3].clone(),
        ];
        lowering.temp(Elem::F32, shape)
    };
    if let Some(past) = past.filter(|past| past.buffer != place.buffer && !past.elements().is(0)) {
        let old = slice_axis(&place, 2, &Dim::constant(0), &past.shape[2]);
        lowering.copy(&past, &old)?;
    }
    Ok(place)
}

fn one_batch(
    lowering: &mut Lowering<'_>,
    operands: &Operands,
    attrs: &AttentionAttrs,
    batch: usize,
) -> Result<(), LowerError> {
    let one = |view: &View, lowering: &Lowering<'_>| -> Result<View, LowerError> {
        Ok(lowering.batch(view)?[batch].clone())
    };
    let q = one(&operands.q, lowering)?;
    let k = one(&operands.k, lowering)?;
    let v = one(&operands.v, lowering)?;
    let output = one(&operands.output, lowering)?;
    let gate = match &operands.gate {
        Some((view, activation)) => Some((one(view, lowering)?, *activation)),
        None => None,
    };
    let mask = operands.mask.as_ref().map(|view| one(view, lowering)).transpose()?;
    let rotation = operands.rotation.as_ref().map(|rotation| rotation.batch(lowering, batch)).transpose()?;

    let prepared = operands.norms.is_some() || rotation.is_some();
    let (q_norm, k_norm) = operands.norms.clone().unzip();
    let mut parts = Vec::new();
    let mut query = q.clone();
    if prepared {
        query = lowering.temp(Elem::F32, q.shape.clone());
        parts.push(PrepPart { input: q, norm: q_norm, rotate: rotation.is_some(), output: query.clone() });
    }
    let (key, value) = match &operands.caches {
        Some((key, value)) => {
            let (key, value) = (one(key, lowering)?, one(value, lowering)?);
            let rows = |cache: &View| {
                cache_rows(cache, &k.shape[0]).ok_or_else(|| LowerError::graph("a cache is not of rank 4"))
            };
            let (k_rows, v_rows) = (rows(&key)?, rows(&value)?);
            parts.push(PrepPart { input: k, norm: k_norm, rotate: rotation.is_some(), output: k_rows });
            parts.push(PrepPart { input: v, norm: None, rotate: false, output: v_rows });
            (key, value)
        }
        None => {
            let mut key = k.clone();
            if prepared {
                key = lowering.temp(Elem::F32, k.shape.clone());
                parts.push(PrepPart {
                    input: k,
                    norm: k_norm,
                    rotate: rotation.is_some(),
                    output: key.clone(),
                });
            }
            (key.select_axes(&[1, 0, 2]), v.select_axes(&[1, 0, 2]))
        }
    };
    prepare(lowering, parts, rotation)?;

    let scale = attrs.scale.0;
    let segments = operands.segments.clone();
    if segments.is_some() || (operands.caches.is_none() && mask.is_none() && !attrs.causal) {
        let params = AttentionSegmentsParams { query, key, value, segments, scale, gate, output };
        let kernel = attention_segments::kernel(lowering.symbols(), &params)?;
        lowering.launch(kernel);
        return Ok(());
    }
    if query.shape[0].is(1) {
        let heads = query.shape[1].as_usize().unwrap_or(0);
        let width = value.shape[2].as_usize().unwrap_or(0);
        let shape = attention_decode::scratch_shape(lowering.symbols(), &key, heads, width)?;
        let scratch = lowering.temp(Elem::F32, shape);
        // One causal query that follows the whole past sees every key, so the mask of the future is not needed.
        let params = AttentionDecodeParams { query, key, value, mask, scale, gate, scratch, output };
        let kernel = attention_decode::partial(lowering.symbols(), &params)?;
        lowering.launch(kernel);
        let kernel = attention_decode::combine(lowering.symbols(), &params)?;
        lowering.launch(kernel);
        return Ok(());
    }
    let causal = attrs.causal.then(|| operands.past.clone());
    let params = AttentionPrefillParams { query, key, value, mask, causal, scale, gate, output };
    let kernel = attention_prefill::kernel(lowering.symbols(), &params)?;
    lowering.launch(kernel);
    Ok(())
}

/// One dispatch for all parts when their buffers fit one kernel, as they do for fused projections; else one each.
fn prepare(
    lowering: &mut Lowering<'_>,
    parts: Vec<PrepPart>,
    rotation: Option<Rotation>,
) -> Result<(), LowerError> {
    if parts.is_empty() {
        return Ok(());
    }
    let mut buffers = BTreeSet::new();
    for part in &parts {
        buffers.extend([part.input.buffer, part.output.buffer]);
        buffers.extend(part.norm.iter().map(|norm| norm.weight.buffer));
    }
    match rotation.as_ref().map(|rotation| &rotation.angles) {
        Some(Angles::Direct { cos, sin }) => buffers.extend([cos.buffer, sin.buffer]),
        Some(Angles::Table { table, positions, .. }) => buffers.extend([table.buffer, positions.buffer]),
        None => {}
    }
    let groups = if buffers.len() <= limits::STORAGE_BUFFERS {
        vec![parts]
    } else {
        parts.into_iter().map(|part| vec![part]).collect()
    };
    for parts in groups {
        let rotation = rotation.clone().filter(|_| parts.iter().any(|part| part.rotate));
        let kernel = attention_prep::kernel(lowering.symbols(), &AttentionPrepParams { parts, rotation })?;
        lowering.launch(kernel);
    }
    Ok(())
}
