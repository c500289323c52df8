//! The gated pair of an MLP becomes one Linear: `act(x @ w_gate) * (x @ w_up)`.
//!
//! Pattern: a product of an activated gate (silu or sigmoid) and another value, both direct results of single-weight
//! Linears over the same `x` with equal width and nothing fused yet, and neither read elsewhere. Result: `Linear{glu}`
//! over both weights, so that gate and up never reach memory.
//!
//! It runs before parallel Linears are joined, which keeps the pair together.

use qwenc_ir::op::{LinearAttrs, WeightLayout, linear};
use qwenc_ir::{Activation, Graph, NodeId, Op, ValueId};

use super::manager::{Pass, PassError, Report};
use super::raise_gated_norm::activated;
use super::rewrite::{add_node, elementwise, first_output, replace_node, shape};
use super::term::{Product, Term};
use crate::matrix::Matrix;

/// See the module.
pub(super) const PASS: Pass =
    Pass { name: "fuse_swiglu", about: "gate and up projection with their product become one Linear", run };

fn run(graph: &mut Graph, report: &mut Report) -> Result<(), PassError> {
    for node in graph.topo_order()? {
        if !graph.contains_node(node) || elementwise(graph, node).is_none() {
            continue;
        }
        let Some(output) = first_output(graph, node) else { continue };
        // The activation may be part of the product's own node, or a node in front of it.
        let pair = [1, 2].into_iter().find_map(|depth| gated_pair(graph, output, depth));
        let Some(pair) = pair else { continue };
        match find(graph, output, &pair) {
            Err(reason) => report.note(graph, node, reason),
            Ok((attrs, inputs)) => {
                let name = graph.node(node).name.clone();
                let new = add_node(graph, &name, Op::Linear(Box::new(attrs)), &inputs)?;
                replace_node(graph, node, &new);
                report.changed("gated pair");
            }
        }
    }
    Ok(())
}

struct Pair {
    activation: Activation,
    gate: ValueId,
    up: ValueId,
}

/// A product of exactly an activated value and another one, with Linears behind both.
fn gated_pair(graph: &Graph, output: ValueId, depth: usize) -> Option<Pair> {
    let term = Term::shallow(graph, output, depth);
    let product = Product::of(&term.expr);
    let [a, b] = product.over.as_slice() else { return None };
    if !product.under.is_empty() {
        return None;
    }
    [(a, b), (b, a)].into_iter().find_map(|(gate, up)| {
        let (activation, gate) = activated(graph, &term, gate)?;
        let up = term.leaf(up)?;
        let linear = |value| matches!(graph.producer_op(value), Some((_, Op::Linear(_))));
        (linear(gate) && linear(up)).then_some(Pair { activation, gate, up })
    })
}

type NewLinear = (LinearAttrs, Vec<Option<ValueId>>);

fn find(graph: &Graph, output: ValueId, pair: &Pair) -> Result<NewLinear, &'static str> {
    let (gate_attrs, gate_x, gate_weight) = plain(graph, pair.gate)?;
    let (up_attrs, up_x, up_weight) = plain(graph, pair.up)?;
    if gate_x != up_x {
        return Err("gate and up project different tensors");
    }
    let kind = |weight, layout| {
        let matrix = Matrix::of(graph, weight)?;
        if layout == WeightLayout::NK { matrix.kind().ok() } else { matrix.transposed().kind().ok() }
    };
    if kind(gate_weight, gate_attrs) != kind(up_weight, up_attrs) {
        return Err("the weights of gate and up are stored in different formats");
    }
    if shape(graph, pair.gate) != shape(graph, output) || shape(graph, pair.up) != shape(graph, output) {
        return Err("gate and up have different widths");
    }
    if !graph.has_single_use(pair.gate) || !graph.has_single_use(pair.up) {
        return Err("gate or up is read elsewhere");
    }
    let attrs = LinearAttrs {
        weights: vec![gate_attrs, up_attrs],
        norm: None,
        glu: Some(pair.activation),
        epilogue: None,
    };
    let mut inputs = vec![None; linear::WEIGHTS];
    inputs[linear::X] = Some(gate_x);
    inputs.extend([Some(gate_weight), Some(up_weight)]);
    Ok((attrs, inputs))
}

/// Layout, input and weight of a Linear with a single weight and nothing fused.
fn plain(graph: &Graph, value: ValueId) -> Result<(WeightLayout, ValueId, ValueId), &'static str> {
    let Some((node, Op::Linear(attrs))) = graph.producer_op(value) else { return Err("no Linear") };
    let (Some(x), Some(weight)) = input_and_weight(graph, node) else { return Err("an input is missing") };
    match attrs.weights.as_slice() {
        [layout] if attrs.norm.is_none() && attrs.glu.is_none() && attrs.epilogue.is_none() => {
            Ok((*layout, x, weight))
        }
        _ => Err("gate or up has something fused already"),
    }
}

fn input_and_weight(graph: &Graph, node: NodeId) -> (Option<ValueId>, Option<ValueId>) {
    (graph.node_input(node, linear::X), graph.node_input(node, linear::WEIGHTS))
}
