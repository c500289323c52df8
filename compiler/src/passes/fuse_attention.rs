//! What surrounds attention fuses into it: per-head RMS norms and rope in front, the output gate behind.
//!
//! - Rope: q and k both come from `Rope{Table}` with equal attributes, positions and tables.
//! - Norms: q and k (in front of rope) both come from a plain RmsNorm over the head axis with equal epsilon.
//! - Gate: the output, possibly reshaped, is multiplied by `sigmoid` or `silu` of another tensor and read nowhere else.
//!
//! Reshapes in between are looked through, because norms and gates work on rows and elements alone. What is fused must
//! have no other users. q and k fuse together or not at all; a norm behind which rope could not be fused stays,
//! because the fused operator norms first.

use qwenc_ir::op::{AttentionAttrs, RopeAttrs, RopeSource, attention};
use qwenc_ir::{Activation, Graph, NodeId, Op, Real, ValueId};

use super::manager::{Pass, PassError, Report};
use super::raise_gated_norm::{activated, used_once};
use super::rewrite::{
    add_node, elementwise, first_output, last_dim, replace_node, reshape_to, shape, strip_reshapes,
};
use super::term::{Product, Term};

/// See the module.
pub(super) const PASS: Pass =
    Pass { name: "fuse_attention", about: "q/k norms, rope and the output gate fuse into attention", run };

fn run(graph: &mut Graph, report: &mut Report) -> Result<(), PassError> {
    for node in graph.topo_order()? {
        let Op::Attention(attrs) = &graph.node(node).op else { continue };
        let attrs = (**attrs).clone();
        fuse_front(graph, node, attrs, report)?;
    }
    for node in graph.topo_order()? {
        if !graph.contains_node(node) || elementwise(graph, node).is_none() {
            continue;
        }
        match find_gate(graph, node) {
            None => {}
            Some(Err(reason)) => report.note(graph, node, reason),
            Some(Ok(gate)) => {
                fuse_gate(graph, node, &gate)?;
                report.changed("output gate");
            }
        }
    }
    Ok(())
}

/// Rope in front of q or k.
struct Rope {
    attrs: RopeAttrs,
    /// Positions, cos, sin.
    tables: [ValueId; 3],
    x: ValueId,
}

/// An RMS norm in front of q or k.
struct Norm {
    eps: Real,
    weight: ValueId,
    x: ValueId,
}

fn fuse_front(
    graph: &mut Graph,
    node: NodeId,
    mut attrs: AttentionAttrs,
    report: &mut Report,
) -> Result<(), PassError> {
    let mut inputs = graph.node_inputs(node);
    inputs.resize(attention::COUNT, None);
    let (Some(q), Some(k)) = (inputs[attention::Q], inputs[attention::K]) else { return Ok(()) };
    let (mut q_from, mut k_from) = (q, k);
    if attrs.rope.is_none() && attrs.qk_norm.is_none() {
        match both(rope(graph, q), rope(graph, k)) {
            Ok(None) => {}
            Ok(Some((on_q, on_k))) if on_q.attrs == on_k.attrs && on_q.tables == on_k.tables => {
                (q_from, k_from) = (on_q.x, on_k.x);
                attrs.rope = Some(on_q.attrs);
                let [positions, cos, sin] = on_q.tables.map(Some);
                inputs[attention::POSITIONS] = positions;
                inputs[attention::COS] = cos;
                inputs[attention::SIN] = sin;
            }
            Ok(Some(_)) => report.note(graph, node, "q and k are rotated differently"),
            Err(reason) => report.note(graph, node, format!("rope: {reason}")),
        }
    }
    if attrs.qk_norm.is_none() {
        match both(norm(graph, q_from, q), norm(graph, k_from, k)) {
            Ok(None) => {}
            Ok(Some((on_q, on_k))) if on_q.eps == on_k.eps => {
                attrs.qk_norm = Some(on_q.eps);
                inputs[attention::Q_NORM] = Some(on_q.weight);
                inputs[attention::K_NORM] = Some(on_k.weight);
                (q_from, k_from) = (on_q.x, on_k.x);
            }
            Ok(Some(_)) => report.note(graph, node, "the norms of q and k have different epsilons"),
            Err(reason) => report.note(graph, node, format!("norm: {reason}")),
        }
    }
    if (q_from, k_from) == (q, k) {
        return Ok(());
    }
    let (q_shape, k_shape) = (shape(graph, q).to_vec(), shape(graph, k).to_vec());
    inputs[attention::Q] = Some(reshape_to(graph, q_from, &q_shape)?);
    inputs[attention::K] = Some(reshape_to(graph, k_from, &k_shape)?);
    for (fused, rule) in [(attrs.rope.is_some(), "rope"), (attrs.qk_norm.is_some(), "q/k norm")] {
        if fused {
            report.changed(rule);
        }
    }
    let name = graph.node(node).name.clone();
    let new = add_node(graph, &name, Op::Attention(Box::new(attrs)), &inputs)?;
    replace_node(graph, node, &new);
    Ok(())
}

type Found<T> = Result<Option<T>, &'static str>;

/// Both, or neither.
fn both<T>(q: Found<T>, k: Found<T>) -> Found<(T, T)> {
    match (q?, k?) {
        (Some(q), Some(k)) => Ok(Some((q, k))),
        (None, None) => Ok(None),
        _ => Err("only one of q and k has it"),
    }
}

fn rope(graph: &Graph, value: ValueId) -> Found<Rope> {
    let base = strip_reshapes(graph, value);
    let Some((node, Op::Rope(attrs))) = graph.producer_op(base) else { return Ok(None) };
    if attrs.source == RopeSource::Direct {
        return Err("the angles are computed, not read from a table");
    }
    if shape(graph, base) != shape(graph, value) {
        return Err("heads are regrouped behind rope");
    }
    if !used_once(graph, value) {
        return Err("the rotated tensor is read elsewhere");
    }
    let inputs: Option<Vec<ValueId>> = graph.node_inputs(node).into_iter().collect();
    match inputs.as_deref() {
        Some([x, positions, cos, sin]) => {
            Ok(Some(Rope { attrs: attrs.clone(), tables: [*positions, *cos, *sin], x: *x }))
        }
        _ => Err("an input of rope is missing"),
    }
}

/// `head` is q or k as attention reads it.
fn norm(graph: &Graph, value: ValueId, head: ValueId) -> Found<Norm> {
    let base = strip_reshapes(graph, value);
    let Some((node, Op::RmsNorm { eps, gate: None })) = graph.producer_op(base) else { return Ok(None) };
    if last_dim(graph, base) != last_dim(graph, head) {
        return Err("the norm does not run over one head");
    }
    if !used_once(graph, value) {
        return Err("the normalised tensor is read elsewhere");
    }
    match (graph.node_input(node, 0), graph.node_input(node, 1)) {
        (Some(x), Some(weight)) => Ok(Some(Norm { eps: *eps, weight, x })),
        _ => Err("an input of the norm is missing"),
    }
}

struct Gate {
    attention: NodeId,
    attrs: AttentionAttrs,
    gate: ValueId,
    activation: Activation,
}

/// `None` when the node does not multiply an attention's output.
fn find_gate(graph: &Graph, node: NodeId) -> Option<Result<Gate, &'static str>> {
    let output = first_output(graph, node)?;
    let mut refused = None;
    // The activation may be part of the product's own node, or a node in front of it.
    for depth in [1, 2] {
        let term = Term::shallow(graph, output, depth);
        let product = Product::of(&term.expr);
        let attended = |expr: &qwenc_ir::Expr| {
            let leaf = term.leaf(expr)?;
            let base = strip_reshapes(graph, leaf);
            match graph.producer(base)? {
                (attention, 0) => match &graph.node(attention).op {
                    Op::Attention(attrs) => Some((leaf, base, attention, (**attrs).clone())),
                    _ => None,
                },
                _ => None,
            }
        };
        let Some(at) = product.over.iter().position(|factor| attended(factor).is_some()) else { continue };
        let (leaf, base, attention, attrs) = attended(product.over.get(at)?)?;
        let gate = match product.over.as_slice() {
            [a, b] if product.under.is_empty() => activated(graph, &term, if at == 0 { b } else { a }),
            _ => None,
        };
        let Some((activation, gate)) = gate else {
            refused = Some(Err("attention's factor is no activated gate"));
            continue;
        };
        let (gate_type, out_type) = (&graph.value(gate).ty, &graph.value(base).ty);
        if gate_type.elements() != out_type.elements()
            || gate_type.dtype != out_type.dtype
            || shape(graph, leaf) != shape(graph, output)
        {
            return Some(Err("the gate broadcasts over attention's output"));
        }
        if attrs.gate.is_some() || !used_once(graph, leaf) {
            return Some(Err("attention's output is gated already or read elsewhere"));
        }
        return Some(Ok(Gate { attention, attrs, gate, activation }));
    }
    refused
}

fn fuse_gate(graph: &mut Graph, product: NodeId, found: &Gate) -> Result<(), PassError> {
    let old = graph.node_outputs(found.attention);
    let (Some(old_out), Some(output)) = (old.first().copied(), first_output(graph, product)) else {
        return Ok(());
    };
    let heads = shape(graph, old_out).to_vec();
    let mut inputs = graph.node_inputs(found.attention);
    inputs.resize(attention::COUNT, None);
    inputs[attention::GATE] = Some(reshape_to(graph, found.gate, &heads)?);
    let attrs = AttentionAttrs { gate: Some(found.activation), ..found.attrs.clone() };
    let name = graph.node(found.attention).name.clone();
    let new = add_node(graph, &name, Op::Attention(Box::new(attrs)), &inputs)?;
    let Some(new_out) = new.first().copied() else { return Ok(()) };
    let to = shape(graph, output).to_vec();
    let value = reshape_to(graph, new_out, &to)?;
    // The states move to the new node first: the old one goes with the product, its only user.
    for (old, new) in old.iter().zip(&new).skip(1) {
        graph.replace_uses(*old, *new);
    }
    replace_node(graph, product, &[value]);
    Ok(())
}
