//! Pointwise work behind a Linear becomes its epilogue: biases, activations, residual additions.
//!
//! Pattern: a Linear whose result one pointwise node reads, and nobody else; the node's result has the same shape, and
//! its other inputs broadcast to it. Result: `Linear{epilogue}`; the other inputs become extra inputs. Repeats, so that
//! a chain of pointwise nodes goes in one by one. No cycle can arise: what depends on the Linear does so through this
//! one node, so the node's other inputs do not.
//!
//! It does not fire with more than [`MAX_EXTRAS`] extra inputs, each of which binds a buffer, nor with an expression
//! above [`MAX_EXPR`].

use qwenc_ir::op::{LinearAttrs, linear};
use qwenc_ir::{Expr, Graph, NodeId, Op, ValueId};

use super::manager::{Pass, PassError, Report};
use super::rewrite::{add_node, elementwise, first_output, present_inputs, replace_node, shape};

/// Most extra inputs: a kernel binds at most eight buffers, and x, norm, result and the three of a quantized weight are
/// among them.
const MAX_EXTRAS: usize = 2;
/// Largest expression.
const MAX_EXPR: usize = 64;

/// See the module.
pub(super) const PASS: Pass =
    Pass { name: "fuse_epilogue", about: "pointwise work behind a Linear fuses into it", run };

fn run(graph: &mut Graph, report: &mut Report) -> Result<(), PassError> {
    for node in graph.topo_order()? {
        // Fused nodes are behind their producers in the order: a chain is absorbed front to back.
        if !graph.contains_node(node) || elementwise(graph, node).is_none() {
            continue;
        }
        let mut refused = None;
        for slot in 0..present_inputs(graph, node).len() {
            match find(graph, node, slot) {
                None => {}
                Some(Err(reason)) => refused = Some(reason),
                Some(Ok((linear, attrs, inputs))) => {
                    let name = graph.node(linear).name.clone();
                    let new = add_node(graph, &name, Op::Linear(Box::new(attrs)), &inputs)?;
                    replace_node(graph, node, &new);
                    report.changed("epilogue");
                    refused = None;
                    break;
                }
            }
        }
        if let Some(reason) = refused {
            report.note(graph, node, reason);
        }
    }
    Ok(())
}

type Found = (NodeId, LinearAttrs, Vec<Option<ValueId>>);

/// `None` when the input at `slot` comes from no Linear.
fn find(graph: &Graph, node: NodeId, slot: usize) -> Option<Result<Found, &'static str>> {
    let inputs = present_inputs(graph, node);
    let (expr, output) = (elementwise(graph, node)?, first_output(graph, node)?);
    let y = *inputs.get(slot)?;
    let (linear, Op::Linear(attrs)) = graph.producer_op(y)? else { return None };
    if !graph.has_single_use(y) {
        return Some(Err("the projection is read elsewhere"));
    }
    if shape(graph, y) != shape(graph, output) {
        return Some(Err("the result broadcasts the projection"));
    }
    let mut linear_inputs = graph.node_inputs(linear);
    let first_extra = linear::WEIGHTS + attrs.weights.len();
    linear_inputs.resize(linear_inputs.len().max(first_extra), None);
    let own = attrs.epilogue.clone().unwrap_or(Expr::Arg(0));
    let fused = expr.map_args(&mut |at| match inputs.get(at) {
        Some(input) if *input == y => own.clone(),
        Some(input) => {
            let known = linear_inputs.iter().skip(first_extra).position(|have| *have == Some(*input));
            let extra = known.unwrap_or_else(|| {
                linear_inputs.push(Some(*input));
                linear_inputs.len() - first_extra - 1
            });
            Expr::Arg(1 + extra)
        }
        None => Expr::Arg(at),
    });
    if linear_inputs.len() - first_extra > MAX_EXTRAS {
        return Some(Err("too many extra inputs"));
    }
    if fused.size() > MAX_EXPR {
        return Some(Err("the expression would be too long"));
    }
    let attrs = LinearAttrs { epilogue: Some(fused), ..(**attrs).clone() };
    let types: Vec<_> = linear_inputs.iter().map(|input| input.map(|value| &graph.value(value).ty)).collect();
    let same_type = matches!(
        qwenc_ir::infer(&Op::Linear(Box::new(attrs.clone())), &types).as_deref(),
        Ok([ty]) if *ty == graph.value(output).ty
    );
    if !same_type {
        return Some(Err("an extra input does not broadcast to the projection"));
    }
    Some(Ok((linear, attrs, linear_inputs)))
}
