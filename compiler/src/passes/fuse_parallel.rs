//! Linears over the same tensor become one Linear with several weights, and slices of its result.
//!
//! Pattern: at least two Linears with the same `x`, without norm, gated pair or epilogue. Result: one Linear whose
//! weights stand side by side in the order of the graph (for these models q|k|v, or qkv|z|b|a), with a slice of the
//! last axis in place of each old result. The slices are views; the matrix is read in one dispatch.
//!
//! It runs before norms and epilogues are fused, which would make the Linears differ.

use std::collections::BTreeMap;

use qwenc_ir::op::{LinearAttrs, linear};
use qwenc_ir::{Dim, Graph, NodeId, Op, ValueId};

use super::manager::{Pass, PassError, Report};
use super::rewrite::{add_node, apply, first_output, last_dim, replace_node, shape};

/// See the module.
pub(super) const PASS: Pass =
    Pass { name: "fuse_parallel", about: "Linears over the same tensor become one", run };

fn run(graph: &mut Graph, report: &mut Report) -> Result<(), PassError> {
    let mut groups: BTreeMap<ValueId, Vec<NodeId>> = BTreeMap::new();
    for node in graph.topo_order()? {
        let Op::Linear(attrs) = &graph.node(node).op else { continue };
        let Some(x) = graph.node_input(node, linear::X) else { continue };
        if attrs.glu.is_some() {
            continue;
        }
        if attrs.norm.is_some() || attrs.epilogue.is_some() {
            report.note(graph, node, "has a norm or an epilogue fused already");
            continue;
        }
        groups.entry(x).or_default().push(node);
    }
    for members in groups.into_values().filter(|members| members.len() > 1) {
        join(graph, &members)?;
        report.changed("parallel linears");
    }
    Ok(())
}

fn join(graph: &mut Graph, members: &[NodeId]) -> Result<(), PassError> {
    // Read here: joining another group may have replaced the tensor by a slice.
    let x = members.first().and_then(|first| graph.node_input(*first, linear::X));
    let mut attrs = LinearAttrs { weights: Vec::new(), norm: None, glu: None, epilogue: None };
    let mut inputs = vec![None; linear::WEIGHTS];
    inputs[linear::X] = x;
    for member in members {
        if let Op::Linear(own) = &graph.node(*member).op {
            attrs.weights.extend(&own.weights);
            inputs.extend((0..own.weights.len()).map(|at| graph.node_input(*member, linear::WEIGHTS + at)));
        }
    }
    let name = members.iter().map(|node| graph.node(*node).name.as_str()).collect::<Vec<_>>().join("|");
    let new = add_node(graph, &name, Op::Linear(Box::new(attrs)), &inputs)?;
    let Some(joined) = new.first().copied() else { return Ok(()) };
    let axis = shape(graph, joined).len().saturating_sub(1);
    let mut start = Dim::constant(0);
    for member in members {
        let width = first_output(graph, *member).and_then(|value| last_dim(graph, value)).cloned();
        let Some(len) = width else { continue };
        let name = graph.node(*member).name.clone();
        let op = Op::Slice { axis, start: start.clone(), len: len.clone(), step: 1 };
        let part = apply(graph, &name, op, &[joined])?;
        replace_node(graph, *member, &[part]);
        start = start + len;
    }
    Ok(())
}
