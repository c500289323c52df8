//! What is in front of the gated delta rule fuses into it.
//!
//! - Norms: q and k both come from L2Norm over the head axis with equal epsilon, q possibly scaled by a constant, which
//!   joins the operator's scale. Reshapes in between are looked through.
//! - Raw gates: `decay = neg_exp_a * softplus(a + dt_bias)` and `beta = sigmoid(b)`, with `neg_exp_a` and `dt_bias` per
//!   value head. Where folding made one of them a number, or dropped a bias of zeros, it becomes a constant again.
//! - Repeated heads: where q and k were both repeated for several value heads each, the operator reads them unrepeated.
//!
//! Each part fuses as a whole or not at all. Norms with other users stay; gates may have other users, who keep them.

use qwenc_ir::op::{GatedDeltaAttrs, gated_delta};
use qwenc_ir::{BinaryOp, DType, Dim, Expr, Graph, NodeId, Op, Real, Tensor, UnaryOp, ValueId};

use super::manager::{Pass, PassError, Report};
use super::raise_gated_norm::used_once;
use super::rewrite::{add_node, last_dim, replace_node, reshape_to, shape, strip_reshapes};
use super::term::{Product, Term, as_f32};

/// Longest chain of pointwise nodes that the gates are looked for in.
const MAX_DEPTH: usize = 5;

/// See the module.
pub(super) const PASS: Pass =
    Pass { name: "fuse_delta", about: "q/k norms, scale and gates fuse into the gated delta rule", run };

fn run(graph: &mut Graph, report: &mut Report) -> Result<(), PassError> {
    for node in graph.topo_order()? {
        let Op::GatedDelta(attrs) = &graph.node(node).op else { continue };
        let mut attrs = attrs.clone();
        let mut inputs = graph.node_inputs(node);
        inputs.resize(gated_delta::COUNT, None);
        let fused_norm = fuse_norms(graph, node, &mut attrs, &mut inputs, report)?;
        let fused_gates = fuse_gates(graph, node, &mut attrs, &mut inputs, report)?;
        let shared = share_heads(graph, &mut inputs, report)?;
        if fused_norm || fused_gates || shared {
            let name = graph.node(node).name.clone();
            let new = add_node(graph, &name, Op::GatedDelta(attrs), &inputs)?;
            replace_node(graph, node, &new);
        }
    }
    Ok(())
}

/// A head vector in front of its L2 norm and a constant factor.
struct Normed {
    x: ValueId,
    eps: Option<Real>,
    scale: f32,
}

fn fuse_norms(
    graph: &mut Graph,
    node: NodeId,
    attrs: &mut GatedDeltaAttrs,
    inputs: &mut [Option<ValueId>],
    report: &mut Report,
) -> Result<bool, PassError> {
    let (Some(q), Some(k)) = (inputs[gated_delta::Q], inputs[gated_delta::K]) else { return Ok(false) };
    if attrs.qk_norm.is_some() {
        return Ok(false);
    }
    let (on_q, on_k) = match (normed(graph, q), normed(graph, k)) {
        (Ok(on_q), Ok(on_k)) => (on_q, on_k),
        (Err(reason), _) | (_, Err(reason)) => {
            report.note(graph, node, reason);
            return Ok(false);
        }
    };
    if on_q.eps != on_k.eps || on_k.scale != 1.0 {
        report.note(graph, node, "q and k are normalised differently, or k is scaled");
        return Ok(false);
    }
    if on_q.eps.is_none() && on_q.scale == 1.0 {
        return Ok(false);
    }
    let (q_shape, k_shape) = (shape(graph, q).to_vec(), shape(graph, k).to_vec());
    inputs[gated_delta::Q] = Some(reshape_to(graph, on_q.x, &q_shape)?);
    inputs[gated_delta::K] = Some(reshape_to(graph, on_k.x, &k_shape)?);
    attrs.qk_norm = on_q.eps;
    attrs.scale = Real(attrs.scale.0 * on_q.scale);
    report.changed(if on_q.eps.is_some() { "q/k norm" } else { "q scale" });
    Ok(true)
}

/// Takes q and k with the heads that they had before they were repeated.
fn share_heads(
    graph: &mut Graph,
    inputs: &mut [Option<ValueId>],
    report: &mut Report,
) -> Result<bool, PassError> {
    let (Some(q), Some(k)) = (inputs[gated_delta::Q], inputs[gated_delta::K]) else { return Ok(false) };
    let (Some((q, heads)), Some((k, k_heads))) = (unrepeated(graph, q), unrepeated(graph, k)) else {
        return Ok(false);
    };
    if heads != k_heads {
        return Ok(false);
    }
    inputs[gated_delta::Q] = Some(reshape_to(graph, q, &heads)?);
    inputs[gated_delta::K] = Some(reshape_to(graph, k, &heads)?);
    report.changed("repeated heads");
    Ok(true)
}

/// What was repeated, and its shape `[B,S,Hk,D]`: one axis of size 1 right behind the heads was expanded, and merged
/// into them. Axes of size 1 elsewhere do not matter.
fn unrepeated(graph: &Graph, x: ValueId) -> Option<(ValueId, Vec<Dim>)> {
    let [batch, sequence, heads, width] = shape(graph, x) else { return None };
    let (expand, Op::Expand { shape: wide }) = graph.producer_op(strip_reshapes(graph, x))? else {
        return None;
    };
    let narrow = graph.node_input(expand, 0)?;
    let from = shape(graph, narrow);
    if from.len() != wide.len() {
        return None;
    }
    let changed: Vec<usize> = (0..wide.len()).filter(|axis| from[*axis] != wide[*axis]).collect();
    let [axis] = changed.as_slice() else { return None };
    let times = wide.get(*axis).filter(|times| times.as_const().is_some() && from[*axis].is(1))?;
    let own = heads.exact_div(times)?;
    let long = |dims: &[Dim]| dims.iter().filter(|dim| !dim.is(1)).cloned().collect::<Vec<_>>();
    let before = [batch.clone(), sequence.clone(), own.clone()];
    let split = [&before[..], &[times.clone(), width.clone()]].concat();
    let in_place = long(wide) == long(&split) && long(&wide[..*axis]) == long(&before);
    in_place.then(|| (narrow, [&before[..], std::slice::from_ref(width)].concat()))
}

fn normed(graph: &Graph, head: ValueId) -> Result<Normed, &'static str> {
    let term = Term::shallow(graph, strip_reshapes(graph, head), 2);
    let product = Product::of(&term.expr);
    let mut scale = 1.0;
    let mut leaf = None;
    for (factors, over) in [(&product.over, true), (&product.under, false)] {
        for factor in factors {
            match (as_f32(factor), term.leaf(factor)) {
                (Some(value), _) if over => scale *= value,
                (Some(value), _) if value != 0.0 => scale /= value,
                (None, Some(value)) if over && leaf.is_none() => leaf = Some(value),
                // Some other computation: the head itself is what the operator reads.
                _ => return Ok(Normed { x: head, eps: None, scale: 1.0 }),
            }
        }
    }
    let Some(leaf) = leaf else { return Ok(Normed { x: head, eps: None, scale: 1.0 }) };
    let base = strip_reshapes(graph, leaf);
    match graph.producer_op(base) {
        Some((norm, Op::L2Norm { eps })) => {
            if last_dim(graph, base) != last_dim(graph, head) {
                return Err("the norm does not run over one head");
            }
            if !used_once(graph, leaf) || !used_once(graph, head) {
                return Err("a normalised tensor is read elsewhere");
            }
            let x = graph.node_input(norm, 0).ok_or("the norm has no input")?;
            Ok(Normed { x, eps: Some(*eps), scale })
        }
        _ => Ok(Normed { x: leaf, eps: None, scale }),
    }
}

/// A gate's parameter: a value of one element per head, or the same number for all.
enum PerHead {
    Value(ValueId),
    Number(f32),
}

struct Decay {
    a: ValueId,
    neg_exp_a: PerHead,
    dt_bias: PerHead,
}

fn fuse_gates(
    graph: &mut Graph,
    node: NodeId,
    attrs: &mut GatedDeltaAttrs,
    inputs: &mut [Option<ValueId>],
    report: &mut Report,
) -> Result<bool, PassError> {
    let (Some(decay), Some(beta)) = (inputs[gated_delta::DECAY], inputs[gated_delta::BETA]) else {
        return Ok(false);
    };
    if attrs.raw_gates {
        return Ok(false);
    }
    // Deepest first: a bias is part of the pattern, not of `a`.
    let found = (1..=MAX_DEPTH).rev().find_map(|depth| find_decay(graph, decay, depth));
    let Some(found) = found else {
        report.note(graph, node, "decay is not neg_exp_a * softplus(a + dt_bias)");
        return Ok(false);
    };
    let Some(b) = (1..=2).find_map(|depth| find_beta(graph, beta, depth)) else {
        report.note(graph, node, "beta is not a sigmoid");
        return Ok(false);
    };
    let gate_shape = shape(graph, decay).to_vec();
    let name = graph.node(node).name.clone();
    let heads: Vec<Dim> = gate_shape.last().cloned().into_iter().collect();
    let (Some(neg_exp_a), Some(dt_bias)) = (
        per_head(graph, &format!("{name}.neg_exp_a"), &found.neg_exp_a, &heads)?,
        per_head(graph, &format!("{name}.dt_bias"), &found.dt_bias, &heads)?,
    ) else {
        report.note(graph, node, "the number of heads is not constant");
        return Ok(false);
    };
    inputs[gated_delta::DECAY] = Some(reshape_to(graph, found.a, &gate_shape)?);
    inputs[gated_delta::BETA] = Some(reshape_to(graph, b, &gate_shape)?);
    inputs[gated_delta::NEG_EXP_A] = Some(neg_exp_a);
    inputs[gated_delta::DT_BIAS] = Some(dt_bias);
    attrs.raw_gates = true;
    report.changed("raw gates");
    Ok(true)
}

fn find_decay(graph: &Graph, decay: ValueId, depth: usize) -> Option<Decay> {
    let base = strip_reshapes(graph, decay);
    let term = Term::shallow(graph, base, depth);
    let (expr, negative) = match &term.expr {
        Expr::Unary(UnaryOp::Neg, inner) => (&**inner, true),
        other => (other, false),
    };
    let product = Product::of(expr);
    let mut softplus = None;
    let mut factor = PerHead::Number(1.0);
    for part in &product.over {
        match part {
            Expr::Unary(UnaryOp::Softplus, inner) if softplus.is_none() => softplus = Some(&**inner),
            other => match (&factor, as_f32(other), term.leaf(other)) {
                (PerHead::Number(have), Some(value), _) => factor = PerHead::Number(have * value),
                (PerHead::Number(1.0), None, Some(leaf)) if is_per_head(graph, leaf, base) => {
                    factor = PerHead::Value(leaf);
                }
                _ => return None,
            },
        }
    }
    let neg_exp_a = match (factor, negative) {
        (PerHead::Number(value), true) => PerHead::Number(-value),
        (PerHead::Value(_), true) => return None,
        (factor, false) => factor,
    };
    if !product.under.is_empty() {
        return None;
    }
    let (a, dt_bias) = match softplus? {
        Expr::Binary(BinaryOp::Add, left, right) => [(left, right), (right, left)]
            .into_iter()
            .find_map(|(a, bias)| Some((term.leaf(a)?, bias_of(graph, &term, bias, base)?)))?,
        other => (term.leaf(other)?, PerHead::Number(0.0)),
    };
    (shape(graph, a) == shape(graph, base)).then_some(Decay { a, neg_exp_a, dt_bias })
}

fn bias_of(graph: &Graph, term: &Term, expr: &Expr, gate: ValueId) -> Option<PerHead> {
    match (as_f32(expr), term.leaf(expr)) {
        (Some(value), _) => Some(PerHead::Number(value)),
        (None, Some(leaf)) if is_per_head(graph, leaf, gate) => Some(PerHead::Value(leaf)),
        _ => None,
    }
}

/// True for an f32 tensor `[H]` or `[1, .., H]` with H the last axis of the gate.
fn is_per_head(graph: &Graph, value: ValueId, gate: ValueId) -> bool {
    match shape(graph, value).split_last() {
        Some((last, front)) => {
            Some(last) == last_dim(graph, gate)
                && front.iter().all(|dim| dim.is(1))
                && graph.constant(strip_reshapes(graph, value)).is_some()
        }
        None => false,
    }
}

fn find_beta(graph: &Graph, beta: ValueId, depth: usize) -> Option<ValueId> {
    let term = Term::shallow(graph, strip_reshapes(graph, beta), depth);
    match &term.expr {
        Expr::Unary(UnaryOp::Sigmoid, b) => term.leaf(b),
        _ => None,
    }
}

/// The parameter as a tensor of one element per head; `None` when a number cannot be spread over the heads.
fn per_head(
    graph: &mut Graph,
    name: &str,
    parameter: &PerHead,
    heads: &[Dim],
) -> Result<Option<ValueId>, PassError> {
    match parameter {
        PerHead::Value(value) => reshape_to(graph, *value, heads).map(Some),
        PerHead::Number(number) => {
            let count = heads.first().and_then(Dim::as_usize).filter(|count| *count <= 1 << 16);
            let tensor = count.and_then(|count| Tensor::from_f32(vec![count], &vec![*number; count]).ok());
            Ok(tensor
                .filter(|tensor| tensor.dtype() == DType::F32)
                .map(|tensor| graph.add_const(name, tensor)))
        }
    }
}
