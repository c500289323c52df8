//! Grouped-query attention with its fused steps.

use std::ops::Range;

use super::eval::{Args, Result};
use super::host::Data;
use super::index;
use super::norm::rms_rows;
use super::rope::Angles;
use super::scalar::{activate, round};
use crate::op::{AttentionAttrs, attention as slot};

pub(super) fn attention(attrs: &AttentionAttrs, args: Args<'_>) -> Result<Vec<Data>> {
    let ([batch, sequence, heads, width], [_, new, kv_heads, v_width]) =
        (dims(args, slot::Q)?, dims(args, slot::V)?);
    let past = if args.get(slot::PAST_K).is_some() { dims(args, slot::PAST_K)?[2] } else { 0 };
    let total = past + new;
    let q = prepared(attrs, args, slot::Q, slot::Q_NORM)?;
    let k = prepared(attrs, args, slot::K, slot::K_NORM)?;
    let keys = Cache { kv_heads, past, new, width }.extend(past_values(args, slot::PAST_K, past)?, &k);
    let values = Cache { kv_heads, past, new, width: v_width }
        .extend(past_values(args, slot::PAST_V, past)?, args.floats(slot::V)?);
    let bias = mask_bias(args, &[batch, heads, sequence, total])?;
    let segments = match args.get(slot::SEGMENTS) {
        Some(_) => Some(args.ints(slot::SEGMENTS)?),
        None => None,
    };

    let group = heads / kv_heads.max(1);
    let mut out = Vec::with_capacity(batch * sequence * heads * v_width);
    for b in 0..batch {
        for i in 0..sequence {
            for head in 0..heads {
                let query = &q[((b * sequence + i) * heads + head) * width..][..width];
                let lane = (b * kv_heads + head / group) * total;
                let visible = match segments {
                    Some(segments) => segment(segments, i, total),
                    None if attrs.causal => 0..total.min(i + past + 1),
                    None => 0..total,
                };
                let first = visible.start;
                let scores: Vec<f64> = visible
                    .map(|j| {
                        let key = &keys[(lane + j) * width..][..width];
                        let dot: f64 =
                            query.iter().zip(key).map(|(q, k)| f64::from(*q) * f64::from(*k)).sum();
                        let bias = bias
                            .as_ref()
                            .map_or(0.0, |bias| bias[((b * heads + head) * sequence + i) * total + j]);
                        dot * f64::from(attrs.scale.0) + bias
                    })
                    .collect();
                let mut mixed = vec![0.0f64; v_width];
                for (j, weight) in softmax(&scores).into_iter().enumerate() {
                    let value = &values[(lane + first + j) * v_width..][..v_width];
                    for (sum, v) in mixed.iter_mut().zip(value) {
                        *sum += weight * f64::from(*v);
                    }
                }
                out.extend(mixed.into_iter().map(round));
            }
        }
    }
    if let Some(activation) = attrs.gate {
        for (x, gate) in out.iter_mut().zip(args.floats(slot::GATE)?) {
            *x = round(f64::from(*x) * activate(activation, f64::from(*gate)));
        }
    }
    let mut results = vec![Data::F32(out)];
    if attrs.present {
        results.extend([Data::F32(keys), Data::F32(values)]);
    }
    Ok(results)
}

/// The keys that query `i` sees, of `total`.
fn segment(segments: &[i64], i: usize, total: usize) -> Range<usize> {
    let clamp = |at: usize| usize::try_from(segments[at].max(0)).map_or(total, |value| value.min(total));
    let (start, end) = (clamp(2 * i), clamp(2 * i + 1));
    start..end.max(start)
}

/// The sizes of a rank-4 input.
fn dims(args: Args<'_>, slot: usize) -> Result<[usize; 4]> {
    // Infer has checked the rank.
    Ok(<[usize; 4]>::try_from(args.need(slot)?.shape()).unwrap_or_default())
}

/// q or k behind its optional norm and rotation.
fn prepared(attrs: &AttentionAttrs, args: Args<'_>, x: usize, norm: usize) -> Result<Vec<f32>> {
    let shape = args.need(x)?.shape();
    let mut values = match attrs.qk_norm {
        Some(eps) => rms_rows(args.floats(x)?, shape, args.floats(norm)?, eps.0),
        None => args.floats(x)?.to_vec(),
    };
    if let Some(rope) = &attrs.rope {
        let angles = Angles::read(rope, args, [slot::POSITIONS, slot::COS, slot::SIN])?;
        angles.rotate(&mut values, shape, rope.interleaved);
    }
    Ok(values)
}

fn past_values(args: Args<'_>, slot: usize, past: usize) -> Result<&[f32]> {
    if past == 0 { Ok(&[]) } else { args.floats(slot) }
}

/// Sizes of a key or value cache.
#[derive(Clone, Copy, Debug)]
struct Cache {
    kv_heads: usize,
    past: usize,
    new: usize,
    width: usize,
}

impl Cache {
    /// `[B,H,P,D]` from the past and `[B,S,H,D]` from this call as `[B,H,P+S,D]`.
    fn extend(self, past: &[f32], new: &[f32]) -> Vec<f32> {
        let Cache { kv_heads, past: past_len, new: new_len, width } = self;
        let batch = new.len() / (new_len * kv_heads * width).max(1);
        let batch = if new_len == 0 { past.len() / (past_len * kv_heads * width).max(1) } else { batch };
        let mut cache = Vec::with_capacity(past.len() + new.len());
        for b in 0..batch {
            for head in 0..kv_heads {
                let size = past_len * width;
                cache.extend_from_slice(&past[(b * kv_heads + head) * size..][..size]);
                for s in 0..new_len {
                    cache.extend_from_slice(&new[((b * new_len + s) * kv_heads + head) * width..][..width]);
                }
            }
        }
        cache
    }
}

/// What is added to every score, broadcast to `[B,Hq,S,P+S]`: minus infinity where a boolean mask is false.
fn mask_bias(args: Args<'_>, full: &[usize]) -> Result<Option<Vec<f64>>> {
    let Some(mask) = args.get(slot::MASK) else {
        return Ok(None);
    };
    let positions = index::broadcast(mask.shape(), full).into_iter();
    Ok(Some(match mask.as_bool() {
        Some(mask) => positions.map(|at| if mask[at] { 0.0 } else { f64::NEG_INFINITY }).collect(),
        None => {
            let mask = args.floats(slot::MASK)?;
            positions.map(|at| f64::from(mask[at])).collect()
        }
    }))
}

/// Softmax; zeros when every score is minus infinity, that is, when a query may see nothing.
fn softmax(scores: &[f64]) -> Vec<f64> {
    let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if largest == f64::NEG_INFINITY {
        return vec![0.0; scores.len()];
    }
    let weights: Vec<f64> = scores.iter().map(|score| (score - largest).exp()).collect();
    let sum: f64 = weights.iter().sum();
    weights.into_iter().map(|weight| weight / sum).collect()
}
