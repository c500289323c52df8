//! Which input slots an operator has, needs and leaves open.

use crate::graph::ValueId;
use crate::op::{
    AttentionAttrs, GatedDeltaAttrs, LinearAttrs, Op, RopeSource, attention, gated_delta, linear,
};

/// One input slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    Required,
    Optional,
    /// Not read with these attributes: it must be empty.
    Unused,
}

use Slot::{Optional, Required, Unused};

/// What is wrong with the inputs' presence, in slot order.
pub(super) fn problems(op: &Op, inputs: &[Option<ValueId>]) -> Vec<String> {
    let slots = slots(op, inputs.len());
    let mut problems = Vec::new();
    for slot in 0..slots.len().max(inputs.len()) {
        let filled = inputs.get(slot).is_some_and(Option::is_some);
        match slots.get(slot).copied().unwrap_or(Unused) {
            Required if !filled => problems.push(format!("input {slot} is missing")),
            Unused if filled => problems.push(format!("input {slot} is not read by the operator")),
            _ => {}
        }
    }
    if matches!(op, Op::Attention(_)) {
        let has = |slot: usize| inputs.get(slot).is_some_and(Option::is_some);
        if has(attention::PAST_K) != has(attention::PAST_V) {
            problems.push("a past key and a past value come together".into());
        }
    }
    problems
}

/// The slots of an operator; those that take any number of inputs have as many as are `given`.
fn slots(op: &Op, given: usize) -> Vec<Slot> {
    match op {
        Op::Elementwise(expr) => vec![Required; expr.arity().max(given)],
        Op::Concat { .. } => vec![Required; given.max(1)],
        Op::Range { .. } | Op::Fill { .. } | Op::Dims { .. } => vec![],
        Op::MatMul { .. } | Op::Gather { .. } => vec![Required, Required],
        Op::Reduce { .. }
        | Op::ArgReduce { .. }
        | Op::CumSum { .. }
        | Op::Softmax { .. }
        | Op::Reshape { .. }
        | Op::Transpose { .. }
        | Op::Slice { .. }
        | Op::Expand { .. }
        | Op::Pad { .. }
        | Op::L2Norm { .. } => vec![Required],
        Op::Dequantize { .. } => vec![Required, Required, Optional],
        Op::LayerNorm { .. } => vec![Required, Optional, Optional],
        Op::RmsNorm { gate, .. } => vec![Required, Required, when(gate.is_some())],
        Op::Rope(attrs) => match attrs.source {
            RopeSource::Direct => vec![Required; 3],
            RopeSource::Table { .. } => vec![Required; 4],
        },
        Op::Attention(attrs) => attention_slots(attrs),
        Op::CausalConv { .. } => vec![Required, Required, Optional, Optional],
        Op::GatedDelta(attrs) => gated_delta_slots(attrs),
        Op::Linear(attrs) => linear_slots(attrs),
    }
}

/// A slot that the attributes switch on.
fn when(used: bool) -> Slot {
    if used { Required } else { Unused }
}

fn attention_slots(attrs: &AttentionAttrs) -> Vec<Slot> {
    let mut slots = vec![Required; attention::COUNT];
    slots[attention::PAST_K] = Optional;
    slots[attention::PAST_V] = Optional;
    slots[attention::MASK] = Optional;
    slots[attention::SEGMENTS] = Optional;
    for slot in [attention::Q_NORM, attention::K_NORM] {
        slots[slot] = when(attrs.qk_norm.is_some());
    }
    for slot in [attention::POSITIONS, attention::COS, attention::SIN] {
        slots[slot] = when(attrs.rope.is_some());
    }
    slots[attention::GATE] = when(attrs.gate.is_some());
    slots
}

fn gated_delta_slots(attrs: &GatedDeltaAttrs) -> Vec<Slot> {
    let mut slots = vec![Required; gated_delta::COUNT];
    slots[gated_delta::PAST] = Optional;
    for slot in [gated_delta::NEG_EXP_A, gated_delta::DT_BIAS] {
        slots[slot] = when(attrs.raw_gates);
    }
    slots
}

fn linear_slots(attrs: &LinearAttrs) -> Vec<Slot> {
    let extra = attrs.epilogue.as_ref().map_or(0, |epilogue| epilogue.arity().saturating_sub(1));
    let mut slots = vec![Required; linear::WEIGHTS + attrs.weights.len() + extra];
    slots[linear::NORM] = when(attrs.norm.is_some());
    slots
}
