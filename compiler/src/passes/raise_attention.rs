//! Raises attention that is spelled out: `softmax(q k^T * scale + mask) v`.
//!
//! - Scores are the product of two computed tensors [B,H,S,D] and [B,H,D,T], scaled on either operand or behind, with a
//!   mask added or selected.
//! - Heads of k and v may be repeated for groups of queries (an axis of size 1 expanded and merged into the heads).
//! - Keys and values may be joined behind a past that is an input: then the joined tensors become the new states.
//!
//! Result: `Attention` with the mask as its operand ([`super::raise_causal`] looks at what the mask says). It does not
//! fire when the batch is not constant, when probabilities are read elsewhere, when keys and values have different
//! pasts, or when without a past there are more keys than queries.

use qwenc_ir::op::{AttentionAttrs, attention};
use qwenc_ir::{BinaryOp, DType, Dim, Expr, Graph, NodeId, Op, Real, Scalar, ValueId, ValueKind};

use super::manager::{Pass, PassError, Report};
use super::rewrite::{add_node, apply, first_output, present_inputs, replace_node, shape};
use super::term::as_f32;

/// See the module.
pub(super) const PASS: Pass =
    Pass { name: "raise_attention", about: "attention from its products and softmax", run };

/// Most pointwise operators between the product and the softmax.
const MAX_STEPS: usize = 6;
/// What is added to a score at most for it to vanish behind the softmax.
pub(super) const MASKED: f32 = -1e4;
/// Heads and positions change places.
const SWAP: [usize; 4] = [0, 2, 1, 3];

fn run(graph: &mut Graph, report: &mut Report) -> Result<(), PassError> {
    for node in graph.topo_order()? {
        if !graph.contains_node(node) || !matches!(graph.node(node).op, Op::Softmax { log: false, .. }) {
            continue;
        }
        match find(graph, node) {
            None => {}
            Some(Err(reason)) => report.note(graph, node, reason),
            Some(Ok(found)) => {
                build(graph, &found)?;
                report.changed("attention");
            }
        }
    }
    Ok(())
}

/// A product of queries and keys, with what is done to it.
struct Scores {
    product: NodeId,
    scale: f32,
    mask: Option<ValueId>,
}

/// Keys or values `[B,Hkv,T,D]`.
struct Cached {
    /// Past and new part joined, when they are.
    joined: Option<ValueId>,
    past: Option<ValueId>,
    new: ValueId,
}

struct Found {
    /// The product of probabilities and values.
    result: NodeId,
    q: ValueId,
    k: Cached,
    v: Cached,
    scale: f32,
    mask: Option<ValueId>,
}

/// `None` when the softmax weights nothing.
fn find(graph: &Graph, softmax: NodeId) -> Option<Result<Found, &'static str>> {
    let probabilities = first_output(graph, softmax)?;
    let consumers = graph.consumers(probabilities);
    let result = consumers.iter().find(|(node, port)| {
        *port == 0 && matches!(graph.node(*node).op, Op::MatMul { transpose_a: false, transpose_b: false })
    })?;
    let scores = scores(graph, graph.node_input(softmax, 0)?, MAX_STEPS)?;
    Some(checked(graph, softmax, result.0, consumers.len(), &scores))
}

fn checked(
    graph: &Graph,
    softmax: NodeId,
    result: NodeId,
    readers: usize,
    scores: &Scores,
) -> Result<Found, &'static str> {
    let rank_four = |value: Option<ValueId>| value.filter(|value| shape(graph, *value).len() == 4);
    let missing = "operands do not have the axes batch, heads, positions and width";
    let (left, right) = (graph.node_input(scores.product, 0), graph.node_input(scores.product, 1));
    let q = rank_four(left).ok_or(missing)?;
    let right = rank_four(right).ok_or(missing)?;
    let values = rank_four(graph.node_input(result, 1)).ok_or(missing)?;
    let axis = match graph.node(softmax).op {
        Op::Softmax { axis, .. } => axis,
        _ => return Err("there is no softmax"),
    };
    if axis != 3 || readers != 1 || graph.is_output(first_output(graph, softmax).ok_or(missing)?) {
        return Err("the softmax runs over something else than keys, or is read elsewhere");
    }
    if shape(graph, q).first().is_none_or(|batch| batch.as_const().is_none()) {
        return Err("the batch is not constant");
    }
    let Op::MatMul { transpose_a: false, transpose_b } = graph.node(scores.product).op else {
        return Err("queries are transposed");
    };
    let (q, q_scale) = unscaled(graph, q);
    let (right, k_scale) = unscaled(graph, right);
    let keys = if transpose_b { Some(right) } else { transposed(graph, right) };
    let (keys, inner_scale) = unscaled(graph, keys.ok_or("keys are not transposed")?);
    let (k, v) = (unrepeated(graph, keys), unrepeated(graph, values));
    let heads = |value: ValueId| shape(graph, value).get(1).cloned();
    if heads(k) != heads(v) {
        return Err("keys and values have different numbers of heads");
    }
    let (k, v) = (cached(graph, k), cached(graph, v));
    let length = |cached: &Cached| cached.past.and_then(|past| shape(graph, past).get(2).cloned());
    if length(&k) != length(&v) {
        return Err("keys and values have different pasts");
    }
    if shape(graph, k.new).get(2) != shape(graph, q).get(2) {
        return Err("there are more keys than queries without a past that is an input");
    }
    let floats = [q, k.new, v.new].iter().all(|value| graph.value(*value).ty.dtype == DType::F32);
    if !floats {
        return Err("operands are not f32");
    }
    let scale = scores.scale * q_scale * k_scale * inner_scale;
    Ok(Found { result, q, k, v, scale, mask: scores.mask })
}

/// The product behind pointwise operators that scale it and mask it.
fn scores(graph: &Graph, value: ValueId, steps: usize) -> Option<Scores> {
    let (node, op) = graph.producer_op(value)?;
    if let Op::MatMul { .. } = op {
        // Only what nobody else reads may vanish.
        return graph.has_single_use(value).then_some(Scores { product: node, scale: 1.0, mask: None });
    }
    let Op::Elementwise(expr) = op else { return None };
    if !graph.has_single_use(value) {
        return None;
    }
    let inputs = present_inputs(graph, node);
    let inner = scores_of(graph, expr, &inputs, steps.checked_sub(1)?)?;
    let whole = first_output(graph, inner.product)?;
    (shape(graph, value) == shape(graph, whole)).then_some(inner)
}

fn scores_of(graph: &Graph, expr: &Expr, inputs: &[ValueId], steps: usize) -> Option<Scores> {
    let inner = |expr: &Expr| scores_of(graph, expr, inputs, steps.checked_sub(1)?);
    let scaled = |scores: Scores, factor: f32| {
        // A mask that is scaled as well is another mask.
        scores.mask.is_none().then_some(Scores { scale: scores.scale * factor, ..scores })
    };
    let with_mask = |scores: Scores, mask: &Expr| match (mask, scores.mask) {
        (Expr::Arg(at), None) => Some(Scores { mask: Some(*inputs.get(*at)?), ..scores }),
        _ => None,
    };
    match expr {
        Expr::Arg(at) => scores(graph, *inputs.get(*at)?, steps),
        Expr::Binary(BinaryOp::Mul, a, b) => match (as_f32(a), as_f32(b)) {
            (None, Some(factor)) => scaled(inner(a)?, factor),
            (Some(factor), None) => scaled(inner(b)?, factor),
            _ => None,
        },
        Expr::Binary(BinaryOp::Div, a, b) => match as_f32(b) {
            Some(divisor) if divisor != 0.0 => scaled(inner(a)?, 1.0 / divisor),
            _ => None,
        },
        Expr::Binary(BinaryOp::Add, a, b) => match inner(a) {
            Some(scores) => with_mask(scores, b),
            None => with_mask(inner(b)?, a),
        },
        Expr::Select(condition, a, b) => match **b {
            Expr::Const(Scalar::F32(low)) if low <= MASKED => with_mask(inner(a)?, condition),
            _ => None,
        },
        _ => None,
    }
}

/// A value without a constant factor on it.
fn unscaled(graph: &Graph, value: ValueId) -> (ValueId, f32) {
    let found = || {
        let (node, Op::Elementwise(expr)) = graph.producer_op(value)? else { return None };
        let x = graph.node_input(node, 0)?;
        let factor = match expr {
            Expr::Binary(BinaryOp::Mul, a, b) if **a == Expr::Arg(0) => as_f32(b)?,
            Expr::Binary(BinaryOp::Mul, a, b) if **b == Expr::Arg(0) => as_f32(a)?,
            Expr::Binary(BinaryOp::Div, a, b) if **a == Expr::Arg(0) => 1.0 / as_f32(b)?,
            _ => return None,
        };
        factor.is_finite().then_some((x, factor))
    };
    found().unwrap_or((value, 1.0))
}

/// The value whose last two axes are swapped.
fn transposed(graph: &Graph, value: ValueId) -> Option<ValueId> {
    match graph.producer_op(value)? {
        (node, Op::Transpose { perm }) if perm.as_slice() == [0, 1, 3, 2] => graph.node_input(node, 0),
        // Heads in front and width before positions at once.
        _ => None,
    }
}

/// Heads before they were repeated: `[B,H,T,D]` of `[B,H*g,T,D]`.
fn unrepeated(graph: &Graph, value: ValueId) -> ValueId {
    let found = || {
        let to = shape(graph, value);
        let (merge, Op::Reshape { .. }) = graph.producer_op(value)? else { return None };
        let expanded = graph.node_input(merge, 0)?;
        let (expand, Op::Expand { .. }) = graph.producer_op(expanded)? else { return None };
        let narrow = graph.node_input(expand, 0)?;
        let ([b, h, one, t, d], [b2, h2, g, t2, d2]) = (shape(graph, narrow), shape(graph, expanded)) else {
            return None;
        };
        let kept = one.is(1) && (b, h, t, d) == (b2, h2, t2, d2);
        let merged = to == [b.clone(), h.clone() * g.clone(), t.clone(), d.clone()];
        let (split, Op::Reshape { .. }) = graph.producer_op(narrow)? else { return None };
        let base = graph.node_input(split, 0)?;
        let same = shape(graph, base) == [b.clone(), h.clone(), t.clone(), d.clone()];
        (kept && merged && same).then_some(base)
    };
    found().unwrap_or(value)
}

/// Past and new part of keys or values.
fn cached(graph: &Graph, value: ValueId) -> Cached {
    if let Some((concat, Op::Concat { axis: 2 })) = graph.producer_op(value)
        && let [past, new] = present_inputs(graph, concat).as_slice()
        && graph.value(*past).kind == ValueKind::Input
    {
        return Cached { joined: Some(value), past: Some(*past), new: *new };
    }
    Cached { joined: None, past: None, new: value }
}

fn build(graph: &mut Graph, found: &Found) -> Result<(), PassError> {
    let name = graph.node(found.result).name.clone();
    let swap = |graph: &mut Graph, value: ValueId| {
        apply(graph, &name, Op::Transpose { perm: SWAP.to_vec() }, &[value])
    };
    let mut inputs = vec![None; attention::COUNT];
    inputs[attention::Q] = Some(swap(graph, found.q)?);
    inputs[attention::K] = Some(swap(graph, found.k.new)?);
    inputs[attention::V] = Some(swap(graph, found.v.new)?);
    inputs[attention::PAST_K] = found.k.past;
    inputs[attention::PAST_V] = found.v.past;
    inputs[attention::MASK] = found.mask;
    let present = found.k.past.is_some();
    let attrs = AttentionAttrs {
        scale: Real(found.scale),
        causal: false,
        present,
        qk_norm: None,
        rope: None,
        gate: None,
    };
    let outputs = add_node(graph, &name, Op::Attention(Box::new(attrs)), &inputs)?;
    let Some(y) = outputs.first().copied() else { return Ok(()) };
    let y = swap(graph, y)?;
    replace_node(graph, found.result, &[y]);
    for (cached, new) in [&found.k, &found.v].into_iter().zip(outputs.iter().skip(1)) {
        if let Some(joined) = cached.joined.filter(|joined| graph.contains_value(*joined))
            && let Some((concat, _)) = graph.producer(joined)
        {
            replace_node(graph, concat, &[*new]);
        }
    }
    Ok(())
}

/// `[B,S,...]` lengths of keys and queries that an attention works on: queries, past, and all keys.
pub(super) fn lengths(graph: &Graph, node: NodeId) -> Option<(Dim, Dim, Dim)> {
    let q = shape(graph, graph.node_input(node, attention::Q)?).get(1)?.clone();
    let new = shape(graph, graph.node_input(node, attention::K)?).get(1)?.clone();
    let past = match graph.node_input(node, attention::PAST_K) {
        Some(past) => shape(graph, past).get(2)?.clone(),
        None => Dim::constant(0),
    };
    Some((q, past.clone(), past + new))
}
