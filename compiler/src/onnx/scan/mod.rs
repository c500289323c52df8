//! What the body of a loop computes.
//!
//! The body of a `Scan` is imported once, as a graph of its own ([`Body`]). When that graph is the gated delta rule, in
//! whatever spelling, the whole loop is one operator of the IR, which kernels compute in chunks instead of position by
//! position:
//!
//! - [`algebra`] writes a value of the body as a sum of products over the loop's operands, with every index explicit.
//!   Views, the order of factors, and matrix products against multiplied and summed ones make no difference there.
//! - [`delta_rule`] compares these sums with the rule's, and says which factors are query, key, value, decay and step
//!   size, or why the body is something else.
//! - [`hoist`] computes these factors outside of the loop, for all positions at once.

mod algebra;
mod delta_rule;
mod hoist;

use std::collections::BTreeMap;

use qwenc_ir::op::{GatedDeltaAttrs, gated_delta as slot};
use qwenc_ir::{DType, Dim, Graph, Op, Real, ValueId};

use self::delta_rule::{DeltaRule, Role};
use self::hoist::Hoist;
use super::known::{Elem, Known};
use super::values::{Builder, Result, V, fault};

/// A loop's body, and what its operands are outside.
#[derive(Debug)]
pub(super) struct Body {
    /// The body. Its inputs are the state, one element of every scanned operand, and what it reads from around it.
    pub(super) graph: Graph,
    /// The state as the body reads it.
    pub(super) state: ValueId,
    /// The state that the body leaves.
    pub(super) new_state: ValueId,
    /// What the body gives for every position.
    pub(super) output: ValueId,
    /// Inputs of the body by what they are outside.
    pub(super) operands: BTreeMap<ValueId, Operand>,
    /// The state before the first position.
    pub(super) initial: V,
    /// Number of positions.
    pub(super) trips: Dim,
}

/// What an input of a body is outside.
#[derive(Clone, Copy, Debug)]
pub(super) enum Operand {
    /// One position of this tensor, `[positions, ...]`.
    Element(V),
    /// The same for every position.
    Same(V),
}

/// The loop as one gated delta rule: the final state, and the output `[positions, ...]`. `Err` with a message says why
/// the body is something else.
pub(super) fn as_gated_delta(b: &mut Builder, body: &Body) -> Result<(V, V)> {
    let rule = delta_rule::recognise(body)?;
    let mut hoist = Hoist::new(b, body);
    let q = hoist.product(&rule.query, &[rule.batch, rule.head, rule.key])?;
    let k = hoist.product(&rule.keys, &[rule.batch, rule.head, rule.key])?;
    let v = hoist.product(&rule.values, &[rule.batch, rule.head, rule.value])?;
    let decay = hoist.sum(&rule.decay, &[rule.batch, rule.head])?;
    let beta = hoist.product(&rule.beta, &[rule.batch, rule.head])?;

    let state_shape = b.shape(body.initial).to_vec();
    let [batch, heads, key, value] = sizes_of(&rule, &state_shape);
    let trips = body.trips.clone();
    let rows = |b: &mut Builder, v: Option<V>, width: Option<&Dim>, neutral: i64| -> Result<V> {
        let mut shape = vec![trips.clone(), batch.clone(), heads.clone()];
        shape.extend(width.cloned());
        let v = match v {
            Some(v) => v,
            None => {
                let item = Elem::int(neutral);
                b.known_value(DType::F32, Known::Splat { shape: shape.clone(), item })?
            }
        };
        let v = b.expand(v, &shape)?;
        let perm: Vec<usize> = [1, 0].into_iter().chain(2..shape.len()).collect();
        b.transpose(v, &perm)
    };
    let (Some(q), Some(k), Some(v)) = (q, k, v) else {
        fault!("query, key or value is a number");
    };
    let mut inputs = vec![None; slot::COUNT];
    inputs[slot::Q] = Some(rows(b, Some(q), Some(&key), 0)?);
    inputs[slot::K] = Some(rows(b, Some(k), Some(&key), 0)?);
    inputs[slot::V] = Some(rows(b, Some(v), Some(&value), 0)?);
    inputs[slot::DECAY] = Some(rows(b, decay, None, 0)?);
    inputs[slot::BETA] = Some(rows(b, beta, None, 1)?);
    let swapped = rule.key_axis > rule.value_axis;
    let matrix = [batch.clone(), heads.clone(), key.clone(), value.clone()];
    let stored = if swapped { [batch, heads, value, key] } else { matrix };
    let past = b.reshape(body.initial, &stored)?;
    let swap = |b: &mut Builder, v: V| if swapped { b.transpose(v, &[0, 1, 3, 2]) } else { Ok(v) };
    inputs[slot::PAST] = Some(swap(b, past)?);
    let attrs = GatedDeltaAttrs { scale: Real(rule.scale), qk_norm: None, raw_gates: false };
    let outputs = b.apply_all(Op::GatedDelta(attrs), &inputs)?;
    let [y, present] = outputs.as_slice() else {
        fault!("the gated delta rule gave {} outputs", outputs.len());
    };
    let present = swap(b, *present)?;
    let present = b.reshape(present, &state_shape)?;
    Ok((present, output_rows(b, body, &rule, *y)?))
}

/// Batch, heads, key width and value width of the state. Leading axes that it lacks are of size 1.
fn sizes_of(rule: &DeltaRule, state: &[Dim]) -> [Dim; 4] {
    let size = |axis: Option<usize>| axis.and_then(|at| state.get(at).cloned()).unwrap_or(Dim::constant(1));
    let leading = rule.key_axis.min(rule.value_axis);
    [
        size(leading.checked_sub(2)),
        size(leading.checked_sub(1)),
        size(Some(rule.key_axis)),
        size(Some(rule.value_axis)),
    ]
}

/// `[B,S,H,dv]` as `[S, ...]` with the axes of one position as the body orders them.
fn output_rows(b: &mut Builder, body: &Body, rule: &DeltaRule, y: V) -> Result<V> {
    let axis_of = |role: Role| {
        [(rule.batch, 0), (rule.head, 2), (rule.value, 3)].iter().find(|(r, _)| *r == role).map(|(_, at)| *at)
    };
    let mut perm = vec![1];
    for role in rule.output.iter().filter(|role| **role != Role::Unit) {
        match axis_of(*role) {
            Some(axis) if !perm.contains(&axis) => perm.push(axis),
            _ => fault!("the output repeats an axis"),
        }
    }
    // What is left has size 1.
    perm.extend((0..4).filter(|axis| !perm.contains(axis)).collect::<Vec<_>>());
    let y = b.transpose(y, &perm)?;
    let mut shape = vec![body.trips.clone()];
    shape.extend(body.graph.value(body.output).ty.shape.iter().cloned());
    b.reshape(y, &shape)
}
