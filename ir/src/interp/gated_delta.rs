//! The gated delta rule, one position after the other, with the state in f64.

use super::eval::{Args, Result};
use super::host::Data;
use super::norm::l2_row;
use super::scalar::{round, sigmoid, softplus};
use crate::op::{GatedDeltaAttrs, gated_delta as slot};

pub(super) fn gated_delta(attrs: &GatedDeltaAttrs, args: Args<'_>) -> Result<Vec<Data>> {
    let (q, k, v) = (args.floats(slot::Q)?, args.floats(slot::K)?, args.floats(slot::V)?);
    // Infer has checked the ranks.
    let [batch, sequence, k_heads, dk] =
        <[usize; 4]>::try_from(args.need(slot::Q)?.shape()).unwrap_or_default();
    let [_, _, v_heads, dv] = <[usize; 4]>::try_from(args.need(slot::V)?.shape()).unwrap_or_default();
    let gates = Gates::read(attrs, args)?;
    let past = args.optional_floats(slot::PAST)?;
    let group = v_heads / k_heads.max(1);

    let mut out = vec![0.0; v.len()];
    let mut present = Vec::with_capacity(batch * v_heads * dk * dv);
    for b in 0..batch {
        for head in 0..v_heads {
            let mut state: Vec<f64> = match past {
                Some(past) => {
                    past[(b * v_heads + head) * dk * dv..][..dk * dv].iter().map(|x| f64::from(*x)).collect()
                }
                None => vec![0.0; dk * dv],
            };
            for s in 0..sequence {
                let position = b * sequence + s;
                let key_at = (position * k_heads + head / group) * dk;
                let key = normed(attrs, &k[key_at..][..dk]);
                let query = normed(attrs, &q[key_at..][..dk]);
                let at = position * v_heads + head;
                let (decay, beta) = gates.at(at, head);

                state.iter_mut().for_each(|s| *s *= decay.exp());
                let recalled = read(&state, &key, dv);
                let value = &v[at * dv..][..dv];
                let delta: Vec<f64> = value
                    .iter()
                    .zip(recalled)
                    .map(|(v, recalled)| beta * (f64::from(*v) - recalled))
                    .collect();
                for (row, key) in state.chunks_mut(dv.max(1)).zip(&key) {
                    for (s, d) in row.iter_mut().zip(&delta) {
                        *s += key * d;
                    }
                }
                for (o, x) in out[at * dv..][..dv].iter_mut().zip(read(&state, &query, dv)) {
                    *o = round(f64::from(attrs.scale.0) * x);
                }
            }
            present.extend(state.into_iter().map(round));
        }
    }
    Ok(vec![Data::F32(out), Data::F32(present)])
}

/// A head of q or k behind its optional norm.
fn normed(attrs: &GatedDeltaAttrs, head: &[f32]) -> Vec<f64> {
    match attrs.qk_norm {
        Some(eps) => l2_row(head, eps.0).collect(),
        None => head.iter().map(|x| f64::from(*x)).collect(),
    }
}

/// `state^T x` for a state `[dk,dv]`.
fn read(state: &[f64], x: &[f64], dv: usize) -> Vec<f64> {
    let mut sums = vec![0.0; dv];
    for (row, x) in state.chunks(dv.max(1)).zip(x) {
        for (sum, s) in sums.iter_mut().zip(row) {
            *sum += x * s;
        }
    }
    sums
}

/// Decay and step size, raw or ready.
struct Gates<'a> {
    decay: &'a [f32],
    beta: &'a [f32],
    /// `-exp(A_log)` and the bias, one a head, when the gates are raw.
    raw: Option<(&'a [f32], &'a [f32])>,
}

impl<'a> Gates<'a> {
    fn read(attrs: &GatedDeltaAttrs, args: Args<'a>) -> Result<Self> {
        let raw = match attrs.raw_gates {
            true => Some((args.floats(slot::NEG_EXP_A)?, args.floats(slot::DT_BIAS)?)),
            false => None,
        };
        Ok(Self { decay: args.floats(slot::DECAY)?, beta: args.floats(slot::BETA)?, raw })
    }

    /// Log decay and beta at a flat position of `[B,S,Hv]`, which belongs to `head`.
    fn at(&self, at: usize, head: usize) -> (f64, f64) {
        let (a, b) = (f64::from(self.decay[at]), f64::from(self.beta[at]));
        match self.raw {
            Some((neg_exp_a, dt_bias)) => {
                (f64::from(neg_exp_a[head]) * softplus(a + f64::from(dt_bias[head])), sigmoid(b))
            }
            None => (a, b),
        }
    }
}
