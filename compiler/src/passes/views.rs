//! Canonical views: reshapes, transposes, slices and expands that do nothing vanish, chains of them become one.
//!
//! - reshape of reshape, transpose of transpose, slice of slice compose; identities and casts to the same type vanish;
//! - two transposes with a new batch axis between them that undo each other vanish;
//! - a transpose that moves only axes of size 1 is a reshape; a reshaped constant is another constant over the same
//!   bytes; views of fills are fills;
//! - a transpose in front of a pointwise operator moves behind it, where it may meet its inverse;
//! - an expand in front of a pointwise operator that broadcasts anyway vanishes;
//! - gathering by a constant progression is a slice, gathering by `0..n` from n rows is the table itself;
//! - concat drops inputs of size 0, and of a single input is that input; a slice of a concat that lies in one input is
//!   a slice of that; a slice of a range is a range.
//!
//! Every rule needs the shapes involved to be provably equal; where they are not, the node stays.

use qwenc_ir::{Dim, Expr, Graph, NodeId, Op, ValueId};

use super::gather_views;
use super::manager::{Pass, PassError, Report};
use super::rewrite::{
    apply, first_output, is_single, present_inputs, replace_node, reshape_to, shape, strip_reshapes,
};
use super::unflatten;

/// Most sweeps over the graph. Every rule shortens a chain or moves a view down, so few are needed; the bound is
/// against a mistake in that argument.
const MAX_SWEEPS: usize = 100;

/// See the module.
pub(super) const PASS: Pass =
    Pass { name: "views", about: "shorten chains of reshapes, transposes, slices and gathers", run };

fn run(graph: &mut Graph, report: &mut Report) -> Result<(), PassError> {
    for _ in 0..MAX_SWEEPS {
        let before = report.total();
        for node in graph.topo_order()? {
            if !graph.contains_node(node) {
                continue;
            }
            if let Some((rule, value)) = rewrite(graph, node)? {
                replace_node(graph, node, &[value]);
                report.changed(rule);
            }
        }
        if report.total() == before {
            break;
        }
    }
    Ok(())
}

/// A rule's name, and the value that replaces the node's only output.
pub(super) type Rewrite = Option<(&'static str, ValueId)>;

fn rewrite(graph: &mut Graph, node: NodeId) -> Result<Rewrite, PassError> {
    let found = match graph.node(node).op.clone() {
        Op::Reshape { shape } => reshape(graph, node, &shape)?,
        Op::Transpose { perm } => transpose(graph, node, &perm)?,
        Op::Slice { axis, start, len, step } => slice(graph, node, axis, &start, &len, step)?,
        Op::Expand { shape } => expand(graph, node, &shape)?,
        Op::Concat { axis } => concat(graph, node, axis)?,
        Op::Gather { axis } => gather_views::rewrite(graph, node, axis)?,
        Op::Elementwise(expr) => pointwise(graph, node, &expr)?,
        _ => None,
    };
    match found {
        None => unflatten::rewrite(graph, node),
        found => Ok(found),
    }
}

fn name(graph: &Graph, node: NodeId) -> String {
    graph.node(node).name.clone()
}

/// The operator in front of a node's first input, with that operator's own first input.
fn in_front(graph: &Graph, node: NodeId) -> Option<(ValueId, Op, Option<ValueId>)> {
    let input = graph.node_input(node, 0)?;
    let (producer, op) = graph.producer_op(input)?;
    Some((input, op.clone(), graph.node_input(producer, 0)))
}

fn reshape(graph: &mut Graph, node: NodeId, to: &[Dim]) -> Result<Rewrite, PassError> {
    let Some(input) = graph.node_input(node, 0) else { return Ok(None) };
    if shape(graph, input) == to {
        return Ok(Some(("reshape to the same shape", input)));
    }
    let name = name(graph, node);
    if let Some(tensor) = graph.constant(input) {
        let sizes: Option<Vec<usize>> = to.iter().map(Dim::as_usize).collect();
        let reshaped = sizes.and_then(|sizes| tensor.reshaped(sizes).ok());
        return Ok(reshaped.map(|tensor| ("reshape of a constant", graph.add_const(name, tensor))));
    }
    Ok(match in_front(graph, node) {
        Some((_, Op::Reshape { .. }, Some(base))) => {
            let value = apply(graph, &name, Op::Reshape { shape: to.to_vec() }, &[base])?;
            Some(("reshape of reshape", value))
        }
        Some((_, Op::Fill { dtype, value, .. }, None)) => {
            Some(("view of a fill", apply(graph, &name, Op::Fill { dtype, value, shape: to.to_vec() }, &[])?))
        }
        _ => None,
    })
}

fn transpose(graph: &mut Graph, node: NodeId, perm: &[usize]) -> Result<Rewrite, PassError> {
    let Some(input) = graph.node_input(node, 0) else { return Ok(None) };
    if perm.is_sorted() {
        return Ok(Some(("transpose that keeps the order", input)));
    }
    let name = name(graph, node);
    let from = shape(graph, input).to_vec();
    let to: Vec<Dim> = perm.iter().filter_map(|axis| from.get(*axis).cloned()).collect();
    let moved: Vec<usize> =
        perm.iter().copied().filter(|axis| from.get(*axis).is_some_and(|dim| !dim.is(1))).collect();
    if moved.is_sorted() {
        let value = apply(graph, &name, Op::Reshape { shape: to }, &[input])?;
        return Ok(Some(("transpose of axes of size 1", value)));
    }
    if let Some((base, sizes)) = undone(graph, input, perm) {
        let value = apply(graph, &name, Op::Reshape { shape: sizes }, &[base])?;
        return Ok(Some(("transposes around a new axis", value)));
    }
    Ok(match in_front(graph, node) {
        Some((_, Op::Transpose { perm: first }, Some(base))) => {
            let both = perm.iter().filter_map(|axis| first.get(*axis).copied()).collect();
            Some(("transpose of transpose", apply(graph, &name, Op::Transpose { perm: both }, &[base])?))
        }
        Some((_, Op::Fill { dtype, value, .. }, None)) => {
            Some(("view of a fill", apply(graph, &name, Op::Fill { dtype, value, shape: to }, &[])?))
        }
        _ => None,
    })
}

/// What is in front of a transpose and a reshape that only adds axes of size 1 in front, when `perm` behind them undoes the
/// transpose; with its shape with these axes.
fn undone(graph: &Graph, input: ValueId, perm: &[usize]) -> Option<(ValueId, Vec<Dim>)> {
    let (reshape, Op::Reshape { shape: wide }) = graph.producer_op(input)? else { return None };
    let narrow = graph.node_input(reshape, 0)?;
    let (transpose, Op::Transpose { perm: first }) = graph.producer_op(narrow)? else { return None };
    let base = graph.node_input(transpose, 0)?;
    let new = wide.len().checked_sub(first.len()).filter(|new| *new > 0)?;
    let (added, kept) = wide.split_at(new);
    if kept != shape(graph, narrow) || added.iter().any(|dim| !dim.is(1)) {
        return None;
    }
    let inner: Vec<usize> = (0..new).chain(first.iter().map(|axis| axis + new)).collect();
    let undoes = perm.iter().enumerate().all(|(at, axis)| inner.get(*axis) == Some(&at));
    undoes.then(|| (base, added.iter().chain(shape(graph, base)).cloned().collect()))
}

fn slice(
    graph: &mut Graph,
    node: NodeId,
    axis: usize,
    start: &Dim,
    len: &Dim,
    step: i64,
) -> Result<Rewrite, PassError> {
    let (Some(input), Some(output)) = (graph.node_input(node, 0), first_output(graph, node)) else {
        return Ok(None);
    };
    if step == 1 && start.is(0) && shape(graph, input).get(axis) == Some(len) {
        return Ok(Some(("slice of everything", input)));
    }
    let name = name(graph, node);
    if let Some(range) = part_of_range(graph, input, axis, start, len, step) {
        let to = shape(graph, output).to_vec();
        let value = apply(graph, &name, range, &[])?;
        return Ok(Some(("slice of a range", reshape_to(graph, value, &to)?)));
    }
    Ok(match in_front(graph, node) {
        Some((_, Op::Slice { axis: first_axis, start: first, step: 1, .. }, Some(base)))
            if first_axis == axis && step == 1 =>
        {
            let op = Op::Slice { axis, start: first + start.clone(), len: len.clone(), step };
            Some(("slice of slice", apply(graph, &name, op, &[base])?))
        }
        Some((_, Op::Fill { dtype, value, .. }, None)) => {
            let shape = shape(graph, output).to_vec();
            Some(("view of a fill", apply(graph, &name, Op::Fill { dtype, value, shape }, &[])?))
        }
        Some((joined, Op::Concat { axis: joined_axis }, _)) if joined_axis == axis && step == 1 => {
            match part_of_concat(graph, joined, axis, start, len) {
                Some((part, start)) => {
                    let op = Op::Slice { axis, start, len: len.clone(), step };
                    Some(("slice of concat", apply(graph, &name, op, &[part])?))
                }
                None => None,
            }
        }
        _ => None,
    })
}

/// The range that a slice of a range is, when nothing but the sliced axis is longer than 1.
fn part_of_range(
    graph: &Graph,
    input: ValueId,
    axis: usize,
    start: &Dim,
    len: &Dim,
    step: i64,
) -> Option<Op> {
    let (_, Op::Range { start: first, step: own, .. }) = graph.producer_op(strip_reshapes(graph, input))?
    else {
        return None;
    };
    let alone = shape(graph, input).iter().enumerate().all(|(at, dim)| at == axis || dim.is(1));
    let start = first.clone() + start.clone() * Dim::constant(*own);
    (alone && !start.is_poison()).then_some(Op::Range {
        start,
        step: own.checked_mul(step)?,
        len: len.clone(),
    })
}

/// The input of a concat that a slice lies in, and where in it the slice begins.
fn part_of_concat(
    graph: &Graph,
    joined: ValueId,
    axis: usize,
    start: &Dim,
    len: &Dim,
) -> Option<(ValueId, Dim)> {
    let (concat, _) = graph.producer(joined)?;
    let mut offset = Dim::constant(0);
    for part in present_inputs(graph, concat) {
        let size = shape(graph, part).get(axis)?.clone();
        let within = start.clone() - offset.clone();
        let left = size.clone() - within.clone() - len.clone();
        let inside = |dim: &Dim| dim.as_const().is_some_and(|value| value >= 0);
        if inside(&within) && inside(&left) {
            return Some((part, within));
        }
        offset = offset + size;
    }
    None
}

fn expand(graph: &mut Graph, node: NodeId, to: &[Dim]) -> Result<Rewrite, PassError> {
    let Some(input) = graph.node_input(node, 0) else { return Ok(None) };
    if shape(graph, input) == to {
        return Ok(Some(("expand to the same shape", input)));
    }
    let name = name(graph, node);
    // Axes of size 1 in front are a reshape, which is a view of any layout.
    let padding = to.len().saturating_sub(shape(graph, input).len());
    if to.iter().take(padding).all(|dim| dim.is(1)) && to.get(padding..) == Some(shape(graph, input)) {
        let value = apply(graph, &name, Op::Reshape { shape: to.to_vec() }, &[input])?;
        return Ok(Some(("expand by axes of size 1", value)));
    }
    Ok(match in_front(graph, node) {
        Some((_, Op::Expand { .. }, Some(base))) => {
            let value = apply(graph, &name, Op::Expand { shape: to.to_vec() }, &[base])?;
            Some(("expand of expand", value))
        }
        Some((_, Op::Fill { dtype, value, .. }, None)) => {
            Some(("view of a fill", apply(graph, &name, Op::Fill { dtype, value, shape: to.to_vec() }, &[])?))
        }
        _ => None,
    })
}

fn concat(graph: &mut Graph, node: NodeId, axis: usize) -> Result<Rewrite, PassError> {
    let inputs = present_inputs(graph, node);
    if let [single] = inputs.as_slice() {
        return Ok(Some(("concat of one", *single)));
    }
    let kept: Vec<ValueId> = inputs
        .iter()
        .copied()
        .filter(|input| !shape(graph, *input).get(axis).is_some_and(|dim| dim.is(0)))
        .collect();
    if kept.len() == inputs.len() || kept.is_empty() {
        return Ok(None);
    }
    let name = name(graph, node);
    Ok(Some(("concat with nothing", apply(graph, &name, Op::Concat { axis }, &kept)?)))
}

fn pointwise(graph: &mut Graph, node: NodeId, expr: &Expr) -> Result<Rewrite, PassError> {
    let inputs = present_inputs(graph, node);
    let Some(output) = first_output(graph, node) else { return Ok(None) };
    let ty = graph.value(output).ty.clone();
    if let [input] = inputs.as_slice() {
        let same = matches!(expr, Expr::Arg(0))
            || matches!(expr, Expr::Cast(to, inner) if **inner == Expr::Arg(0) && *to == ty.dtype);
        if same && graph.value(*input).ty == ty {
            return Ok(Some(("cast to the same type", *input)));
        }
    }
    let name = name(graph, node);
    if let Some(unexpanded) = without_expands(graph, &inputs, &ty.shape) {
        let value = apply(graph, &name, Op::Elementwise(expr.clone()), &unexpanded)?;
        return Ok(Some(("expand in front of a pointwise operator", value)));
    }
    if let Some((perm, bases)) = common_transpose(graph, &inputs, ty.rank()) {
        let value = apply(graph, &name, Op::Elementwise(expr.clone()), &bases)?;
        let value = apply(graph, &name, Op::Transpose { perm }, &[value])?;
        return Ok(Some(("transpose behind a pointwise operator", value)));
    }
    Ok(None)
}

/// The inputs with one expand skipped, when the result's shape stays the same.
fn without_expands(graph: &Graph, inputs: &[ValueId], to: &[Dim]) -> Option<Vec<ValueId>> {
    for at in 0..inputs.len() {
        let mut shorter = inputs.to_vec();
        let Some((expand, Op::Expand { .. })) = graph.producer_op(inputs[at]) else { continue };
        let narrow = graph.node_input(expand, 0)?;
        // Everywhere it is read: `x * x` stays a square.
        shorter.iter_mut().filter(|input| **input == inputs[at]).for_each(|input| *input = narrow);
        let shapes = shorter.iter().map(|input| shape(graph, *input));
        if qwenc_ir::infer::broadcast(shapes).is_ok_and(|shape| shape == to) {
            return Some(shorter);
        }
    }
    None
}

/// The permutation that all inputs (but single elements) have been through, with what was in front of it.
fn common_transpose(graph: &Graph, inputs: &[ValueId], rank: usize) -> Option<(Vec<usize>, Vec<ValueId>)> {
    let mut common: Option<Vec<usize>> = None;
    let mut bases = Vec::with_capacity(inputs.len());
    for input in inputs {
        if is_single(graph, *input) && shape(graph, *input).len() <= rank {
            bases.push(*input);
            continue;
        }
        let (node, op) = graph.producer_op(*input)?;
        let Op::Transpose { perm } = op else { return None };
        if perm.len() != rank || common.as_ref().is_some_and(|have| have != perm) {
            return None;
        }
        common = Some(perm.clone());
        bases.push(graph.node_input(node, 0)?);
    }
    Some((common?, bases))
}
