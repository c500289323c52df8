//! Raises a causal convolution whose state is spelled out.
//!
//! Pattern: past columns and the new ones joined along positions, a `CausalConv` without a state over that (from some
//! row on), and the rows of its result that belong to the new positions. Result: one `CausalConv` with the past as its
//! state. The last columns of the joined tensor, as many as the past has, are its new state. An activation of the
//! result that nothing else reads joins in ([`Activation`]), for every causal convolution.
//!
//! It does not fire when the past is narrower than the filter needs, or when the rows that are taken are not exactly
//! those of the new positions.

use qwenc_ir::{Activation, Dim, Expr, Graph, NodeId, Op, UnaryOp, ValueId};

use super::manager::{Pass, PassError, Report};
use super::rewrite::{add_node, apply, elementwise, first_output, present_inputs, replace_node, shape};

/// See the module.
pub(super) const PASS: Pass = Pass {
    name: "raise_causal_conv",
    about: "a causal convolution takes its past, its new state and its activation in",
    run,
};

/// Axis of positions in the operator's input and output, `[B,S,C]`; and in its state, `[B,C,W]`.
const ROWS: usize = 1;
const COLUMNS: usize = 2;

fn run(graph: &mut Graph, report: &mut Report) -> Result<(), PassError> {
    for node in graph.topo_order()? {
        if !graph.contains_node(node) || !matches!(graph.node(node).op, Op::Slice { .. }) {
            continue;
        }
        match find(graph, node) {
            None => {}
            Some(Err(reason)) => report.note(graph, node, reason),
            Some(Ok(found)) => {
                build(graph, node, &found)?;
                report.changed("state of a convolution");
            }
        }
    }
    for node in graph.topo_order()? {
        if graph.contains_node(node)
            && let Some((conv, activation)) = activated(graph, node)
        {
            let (name, inputs) = (graph.node(conv).name.clone(), graph.node_inputs(conv));
            let new = add_node(graph, &name, Op::CausalConv { activation }, &inputs)?;
            let old = graph.node_outputs(conv);
            if let ([_, old], [result, new]) = (old.as_slice(), new.as_slice()) {
                graph.replace_uses(*old, *new);
                replace_node(graph, node, &[*result]);
                report.changed("activation of a convolution");
            }
        }
    }
    Ok(())
}

struct Found {
    conv: NodeId,
    activation: Activation,
    /// `[B,C,W]`.
    past: ValueId,
    /// New positions, `[B,C,S]` when `columns`, else `[B,S,C]`.
    new: ValueId,
    joined: ValueId,
    /// Positions are the last axis of the joined tensor.
    columns: bool,
}

/// `None` when the node takes no rows of a convolution without state.
fn find(graph: &Graph, node: NodeId) -> Option<Result<Found, &'static str>> {
    let Op::Slice { axis: ROWS, start, len, step: 1 } = &graph.node(node).op else { return None };
    let y = graph.node_input(node, 0)?;
    let (conv, port) = graph.producer(y)?;
    let Op::CausalConv { activation } = graph.node(conv).op else { return None };
    if port != 0 || graph.node_input(conv, 3).is_some() {
        return None;
    }
    let taps = shape(graph, graph.node_input(conv, 1)?).get(1)?.clone();
    // From the convolution's input back to the joined tensor.
    let mut value = graph.node_input(conv, 0)?;
    let mut axis = ROWS;
    let mut first = Dim::constant(0);
    let concat = loop {
        match graph.producer_op(value)? {
            (view, Op::Transpose { perm }) => {
                axis = *perm.get(axis)?;
                value = graph.node_input(view, 0)?;
            }
            (view, Op::Slice { axis: own, start, step: 1, .. }) if *own == axis => {
                first = first + start.clone();
                value = graph.node_input(view, 0)?;
            }
            (concat, Op::Concat { axis: own }) if *own == axis => break concat,
            _ => return None,
        }
    };
    let inputs = present_inputs(graph, concat);
    let [past, new] = inputs.as_slice() else { return None };
    if shape(graph, value).len() != 3 || !(axis == ROWS || axis == COLUMNS) {
        return Some(Err("the joined tensor has other axes than batch, channels and positions"));
    }
    let (width, count) = (shape(graph, *past).get(axis)?.clone(), shape(graph, *new).get(axis)?);
    let history = taps - Dim::constant(1);
    let at_least = |a: &Dim, b: &Dim| (a.clone() - b.clone()).as_const().is_some_and(|value| value >= 0);
    if !at_least(&width, &history) || !at_least(start, &history) {
        return Some(Err("the past has fewer columns than the filter needs"));
    }
    if first + start.clone() != width || len != count {
        return Some(Err("the rows taken are not those of the new positions"));
    }
    if !graph.has_single_use(y) {
        return Some(Err("other rows of the convolution are read as well"));
    }
    Some(Ok(Found { conv, activation, past: *past, new: *new, joined: value, columns: axis == COLUMNS }))
}

fn build(graph: &mut Graph, node: NodeId, found: &Found) -> Result<(), PassError> {
    let name = graph.node(found.conv).name.clone();
    let swapped = |graph: &mut Graph, value: ValueId, swap: bool| match swap {
        true => apply(graph, &name, Op::Transpose { perm: vec![0, 2, 1] }, &[value]),
        false => Ok(value),
    };
    let x = swapped(graph, found.new, found.columns)?;
    let past = swapped(graph, found.past, !found.columns)?;
    let inputs = [Some(x), graph.node_input(found.conv, 1), graph.node_input(found.conv, 2), Some(past)];
    let new = add_node(graph, &name, Op::CausalConv { activation: found.activation }, &inputs)?;
    let [y, present] = new.as_slice() else { return Ok(()) };
    let axis = if found.columns { COLUMNS } else { ROWS };
    let width = shape(graph, found.past).get(axis).cloned();
    let count = shape(graph, found.new).get(axis).cloned();
    let present = swapped(graph, *present, !found.columns)?;
    replace_node(graph, node, &[*y]);
    // The last columns, taken by a slice, are the new state.
    let users = if graph.contains_value(found.joined) { graph.consumers(found.joined) } else { vec![] };
    for (user, _) in users {
        let is_present = matches!(
            &graph.node(user).op,
            Op::Slice { axis: own, start, len, step: 1 }
                if *own == axis && Some(start) == count.as_ref() && Some(len) == width.as_ref()
        );
        if is_present {
            replace_node(graph, user, &[present]);
        }
    }
    Ok(())
}

/// The convolution whose only reader is this activation.
fn activated(graph: &Graph, node: NodeId) -> Option<(NodeId, Activation)> {
    let activation = match elementwise(graph, node)? {
        Expr::Unary(op, inner) if **inner == Expr::Arg(0) => match op {
            UnaryOp::Silu => Activation::Silu,
            UnaryOp::Sigmoid => Activation::Sigmoid,
            _ => return None,
        },
        _ => return None,
    };
    let x = graph.node_input(node, 0)?;
    let (conv, 0) = graph.producer(x)? else { return None };
    let identity = graph.node(conv).op == Op::CausalConv { activation: Activation::Identity };
    let output = first_output(graph, conv)?;
    (identity && graph.has_single_use(output)).then_some((conv, activation))
}
