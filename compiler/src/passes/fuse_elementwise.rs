//! Chains of pointwise nodes become one node with one expression.
//!
//! Pattern: a pointwise node that reads another whose result has the same shape and no other user. Result: the
//! producer's expression in place of the argument, equal inputs once, simplified. Nodes are taken in the order of the
//! graph, so a chain grows front to back.
//!
//! It does not fire across a broadcast (the producer would be computed once per repetition), above [`MAX_EXPR`] nodes
//! or above [`MAX_INPUTS`] inputs, each of which binds a buffer.

use qwenc_ir::{Expr, Graph, NodeId, Op, ValueId};

use super::fold::compact;
use super::manager::{Pass, PassError, Report};
use super::rewrite::{apply, elementwise, first_output, present_inputs, replace_node, shape};

/// Largest expression.
const MAX_EXPR: usize = 64;
/// Most inputs of one node.
const MAX_INPUTS: usize = 6;

/// See the module.
pub(super) const PASS: Pass =
    Pass { name: "fuse_elementwise", about: "chains of pointwise nodes become one node", run };

fn run(graph: &mut Graph, report: &mut Report) -> Result<(), PassError> {
    for node in graph.topo_order()? {
        let mut node = node;
        while graph.contains_node(node) && elementwise(graph, node).is_some() {
            let Some((expr, inputs)) = absorb_one(graph, node, report) else { break };
            let name = graph.node(node).name.clone();
            let value = apply(graph, &name, Op::Elementwise(expr), &inputs)?;
            replace_node(graph, node, &[value]);
            report.changed("pointwise chain");
            match graph.producer(value) {
                Some((fused, _)) => node = fused,
                None => break,
            }
        }
    }
    Ok(())
}

/// The node's expression with the first producer that fits inlined.
fn absorb_one(graph: &Graph, node: NodeId, report: &mut Report) -> Option<(Expr, Vec<ValueId>)> {
    let (expr, output) = (elementwise(graph, node)?, first_output(graph, node)?);
    let inputs = present_inputs(graph, node);
    for input in &inputs {
        let Some((producer, Op::Elementwise(inner))) = graph.producer_op(*input) else { continue };
        if !graph.has_single_use(*input) || shape(graph, *input) != shape(graph, output) {
            continue;
        }
        let mut all = inputs.clone();
        let behind = present_inputs(graph, producer);
        all.extend(&behind);
        let inlined = inner.map_args(&mut |at| Expr::Arg(inputs.len() + at));
        let fused = expr.map_args(&mut |at| match inputs.get(at) {
            Some(have) if have == input => inlined.clone(),
            _ => Expr::Arg(at),
        });
        let (fused, used) = compact(&fused, &all);
        let dtypes: Vec<_> = used.iter().map(|value| graph.value(*value).ty.dtype).collect();
        let same_type = fused.infer(&dtypes) == Ok(graph.value(output).ty.dtype)
            && qwenc_ir::infer::broadcast(used.iter().map(|value| shape(graph, *value)))
                .is_ok_and(|to| to == shape(graph, output));
        if used.len() > MAX_INPUTS || fused.size() > MAX_EXPR || !same_type {
            report.note(graph, node, "one node would grow too large");
            continue;
        }
        return Some((fused, used));
    }
    None
}
