//! Raises activations that are spelled out over several nodes: `x * sigmoid(x)` to silu, `x / (1 + exp(-x))` to silu,
//! `1 / (1 + exp(-x))` to sigmoid, `log(1 + exp(x))` to softplus.
//!
//! For every pointwise node, as few of the pointwise nodes in front of it as needed are inlined until the algebra of
//! [`super::simplify`] finds something. The node then reads what is behind the pattern; what it no longer reads dies
//! when nobody else does. Other users of the inner nodes keep them. The pass does not fire when dropping an input
//! would change the result's shape.

use qwenc_ir::{Graph, NodeId, Op};

use super::fold::compact;
use super::manager::{Pass, PassError, Report};
use super::rewrite::{apply, elementwise, first_output, replace_node};
use super::simplify::simplify;
use super::term::Term;

/// Longest pattern, in nodes on one path: `div, add, exp, neg`.
const MAX_PATTERN: usize = 4;

/// See the module.
pub(super) const PASS: Pass =
    Pass { name: "raise_activation", about: "silu, sigmoid and softplus from their parts", run };

fn run(graph: &mut Graph, report: &mut Report) -> Result<(), PassError> {
    for node in graph.topo_order()? {
        if graph.contains_node(node) && elementwise(graph, node).is_some() {
            raise(graph, node, report)?;
        }
    }
    Ok(())
}

fn raise(graph: &mut Graph, node: NodeId, report: &mut Report) -> Result<(), PassError> {
    let Some(output) = first_output(graph, node) else { return Ok(()) };
    for depth in 2..=MAX_PATTERN {
        let term = Term::shallow(graph, output, depth);
        let simple = simplify(&term.expr);
        if simple == term.expr {
            continue;
        }
        let (expr, inputs) = compact(&simple, &term.leaves);
        let op = Op::Elementwise(expr);
        let types: Vec<_> = inputs.iter().map(|input| Some(&graph.value(*input).ty)).collect();
        if !matches!(qwenc_ir::infer(&op, &types).as_deref(), Ok([ty]) if *ty == graph.value(output).ty) {
            report.note(graph, node, "the shorter form has another type");
            return Ok(());
        }
        let name = graph.node(node).name.clone();
        let value = apply(graph, &name, op, &inputs)?;
        replace_node(graph, node, &[value]);
        report.changed("activation");
        return Ok(());
    }
    Ok(())
}
