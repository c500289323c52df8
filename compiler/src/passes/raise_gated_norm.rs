//! Raises `rms_norm(x) * act(gate)` to a gated RmsNorm, for silu and sigmoid, looking through reshapes on both sides.
//!
//! The product must have exactly these two factors and not broadcast; the norm must have no other user (it would be
//! computed twice). Norm and gate may have been reshaped apart (one per head, the other flat): the gate is brought to
//! the norm's shape, the result back to the product's.

use qwenc_ir::{Activation, Expr, Graph, NodeId, Op, UnaryOp, ValueId};

use super::manager::{Pass, PassError, Report};
use super::rewrite::{apply, elementwise, first_output, replace_node, reshape_to, shape, strip_reshapes};
use super::term::{Product, Term};

/// See the module.
pub(super) const PASS: Pass =
    Pass { name: "raise_gated_norm", about: "RmsNorm times an activated gate becomes one operator", run };

fn run(graph: &mut Graph, report: &mut Report) -> Result<(), PassError> {
    for node in graph.topo_order()? {
        if !graph.contains_node(node) || elementwise(graph, node).is_none() {
            continue;
        }
        // The activation may be part of the product's own node, or a node in front of it.
        let found = match find(graph, node, 1) {
            Some(Ok(found)) => Some(Ok(found)),
            _ => find(graph, node, 2),
        };
        match found {
            None => {}
            Some(Err(reason)) => report.note(graph, node, reason),
            Some(Ok(found)) => {
                let Some(output) = first_output(graph, node) else { continue };
                let name = graph.node(node).name.clone();
                let op = Op::RmsNorm { eps: found.eps, gate: Some(found.activation) };
                let rows = shape(graph, found.x).to_vec();
                let gate = reshape_to(graph, found.gate, &rows)?;
                let normed = apply(graph, &name, op, &[found.x, found.weight, gate])?;
                let to = shape(graph, output).to_vec();
                let value = reshape_to(graph, normed, &to)?;
                replace_node(graph, node, &[value]);
                report.changed("gated rms_norm");
            }
        }
    }
    Ok(())
}

struct GatedNorm {
    x: ValueId,
    weight: ValueId,
    eps: qwenc_ir::Real,
    gate: ValueId,
    activation: Activation,
}

/// `None` when no norm is multiplied at all; an error says why a product with a norm does not fit.
fn find(graph: &Graph, node: NodeId, depth: usize) -> Option<Result<GatedNorm, String>> {
    let output = first_output(graph, node)?;
    let term = Term::shallow(graph, output, depth);
    let product = Product::of(&term.expr);
    let norm_of = |expr: &Expr| {
        let leaf = term.leaf(expr)?;
        let normed = strip_reshapes(graph, leaf);
        match graph.producer_op(normed)? {
            (norm, Op::RmsNorm { eps, gate: None }) => Some((leaf, normed, norm, *eps)),
            _ => None,
        }
    };
    let at = product.over.iter().position(|factor| norm_of(factor).is_some())?;
    let (leaf, normed, norm, eps) = norm_of(product.over.get(at)?)?;
    let others: Vec<&Expr> =
        product.over.iter().enumerate().filter(|(i, _)| *i != at).map(|(_, e)| *e).collect();
    let [gate] = others.as_slice() else {
        return Some(Err(format!("the norm is multiplied by {} factors, not one", others.len())));
    };
    let Some((activation, gate)) = activated(graph, &term, gate) else {
        return Some(Err("the norm's factor is no activated gate".into()));
    };
    if !product.under.is_empty() || shape(graph, leaf) != shape(graph, output) {
        return Some(Err("the product divides or broadcasts".into()));
    }
    if graph.value(gate).ty.elements() != graph.value(normed).ty.elements()
        || graph.value(gate).ty.dtype != graph.value(normed).ty.dtype
    {
        return Some(Err("the gate broadcasts over the norm".into()));
    }
    if !used_once(graph, leaf) {
        return Some(Err("the norm has other users".into()));
    }
    let (x, weight) = (graph.node_input(norm, 0)?, graph.node_input(norm, 1)?);
    Some(Ok(GatedNorm { x, weight, eps, gate, activation }))
}

/// True when a value and every value it reshapes are used once.
pub(super) fn used_once(graph: &Graph, mut value: ValueId) -> bool {
    loop {
        if !graph.has_single_use(value) {
            return false;
        }
        match graph.producer_op(value) {
            Some((node, Op::Reshape { .. })) => match graph.node_input(node, 0) {
                Some(input) => value = input,
                None => return true,
            },
            _ => return true,
        }
    }
}

/// The activation and its operand, when a factor is `silu(g)` or `sigmoid(g)`, possibly reshaped behind that.
pub(super) fn activated(graph: &Graph, term: &Term, factor: &Expr) -> Option<(Activation, ValueId)> {
    match factor {
        Expr::Unary(UnaryOp::Silu, gate) => Some((Activation::Silu, term.leaf(gate)?)),
        Expr::Unary(UnaryOp::Sigmoid, gate) => Some((Activation::Sigmoid, term.leaf(gate)?)),
        Expr::Arg(_) => {
            let leaf = term.leaf(factor)?;
            let base = strip_reshapes(graph, leaf);
            let behind = Term::shallow(graph, base, 1);
            if base == leaf || matches!(behind.expr, Expr::Arg(_)) {
                return None;
            }
            activated(graph, &behind, &behind.expr)
        }
        _ => None,
    }
}
