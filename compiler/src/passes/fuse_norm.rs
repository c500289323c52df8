//! An RmsNorm that only feeds Linears becomes their prologue.
//!
//! Pattern: `rms_norm(x, w)` without gate, all of whose users are Linears that project it (not extra inputs of their
//! epilogues), none of which has a norm yet. Result: the Linears read `x` and norm it themselves.
//!
//! It does not fire when something else reads the normalised tensor, or when more than [`MAX_USERS`] Linears do: each
//! of them computes the norm again.

use qwenc_ir::op::linear;
use qwenc_ir::{Graph, NodeId, Op, Real};

use super::manager::{Pass, PassError, Report};
use super::rewrite::{first_output, remove_dead};

/// Most Linears that one norm is fused into.
const MAX_USERS: usize = 2;

/// See the module.
pub(super) const PASS: Pass =
    Pass { name: "fuse_norm", about: "RmsNorm in front of Linears fuses into them", run };

fn run(graph: &mut Graph, report: &mut Report) -> Result<(), PassError> {
    for node in graph.topo_order()? {
        let Op::RmsNorm { eps, gate: None } = graph.node(node).op else { continue };
        match users(graph, node) {
            Err(reason) => report.note(graph, node, reason),
            Ok(linears) => {
                fuse(graph, node, eps, &linears);
                report.changed("norm");
            }
        }
    }
    Ok(())
}

fn users(graph: &Graph, norm: NodeId) -> Result<Vec<NodeId>, String> {
    let Some(normed) = first_output(graph, norm) else { return Err("no output".into()) };
    let consumers = graph.consumers(normed);
    if graph.is_output(normed) || consumers.is_empty() {
        return Err("the normalised tensor is an output".into());
    }
    for (node, slot) in &consumers {
        match &graph.node(*node).op {
            Op::Linear(attrs) if *slot == linear::X && attrs.norm.is_none() => {}
            other => return Err(format!("`{}` ({}) reads it", graph.node(*node).name, other.name())),
        }
    }
    if consumers.len() > MAX_USERS {
        return Err(format!("{} Linears read it; at most {MAX_USERS} would norm it again", consumers.len()));
    }
    Ok(consumers.into_iter().map(|(node, _)| node).collect())
}

fn fuse(graph: &mut Graph, norm: NodeId, eps: Real, linears: &[NodeId]) {
    let (x, weight) = (graph.node_input(norm, 0), graph.node_input(norm, 1));
    for node in linears {
        if let Op::Linear(attrs) = &mut graph.node_mut(*node).op {
            attrs.norm = Some(eps);
        }
        graph.set_input(*node, linear::X, x);
        graph.set_input(*node, linear::NORM, weight);
    }
    remove_dead(graph, norm);
}
