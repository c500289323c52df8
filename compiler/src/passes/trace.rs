//! Which element of which tensor an element comes from.
//!
//! Exporters pick parts of a tensor in many ways: slices, gathers, joined parts, selects with constant masks, scattered
//! rows (which import as joined parts). Following one element backwards answers what all of them mean: [`origin`] goes
//! through views, concats and constant selects until something is computed.

use qwenc_ir::{Dim, Expr, Graph, Op, UnaryOp, ValueId};

use super::rewrite::{present_inputs, shape};

/// Most operators that one element is followed through.
const MAX_STEPS: usize = 256;

/// Where an element lies along one axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum At {
    /// At this position. Axes of size 1 are at 0.
    Fixed(i64),
    /// Wherever it lies along this axis of the tensor that was asked about.
    Along(usize),
}

/// An element of a tensor, or a family of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) value: ValueId,
    pub(super) index: Vec<At>,
}

/// Where the elements of `value` at `position` along `axis` come from.
pub(super) fn origin(graph: &Graph, value: ValueId, axis: usize, position: i64) -> Origin {
    let entry = |(at, dim): (usize, &Dim)| match at == axis {
        _ if dim.is(1) => At::Fixed(0),
        true => At::Fixed(position),
        false => At::Along(at),
    };
    let index = shape(graph, value).iter().enumerate().map(entry).collect();
    follow(graph, Origin { value, index })
}

/// Where an element comes from.
pub(super) fn follow(graph: &Graph, mut at: Origin) -> Origin {
    for _ in 0..MAX_STEPS {
        match step(graph, &at) {
            Some(next) => at = next,
            None => break,
        }
    }
    at
}

fn step(graph: &Graph, at: &Origin) -> Option<Origin> {
    let (node, op) = graph.producer_op(at.value)?;
    let value = graph.node_input(node, 0)?;
    let from = shape(graph, value);
    let to = shape(graph, at.value);
    let index = match op {
        Op::Expand { .. } => broadcast(from, &at.index),
        Op::Transpose { perm } => {
            let mut index = vec![At::Fixed(0); from.len()];
            for (axis, entry) in perm.iter().zip(&at.index) {
                *index.get_mut(*axis)? = *entry;
            }
            index
        }
        Op::Reshape { .. } => {
            let sizes = |shape: &[Dim]| shape.iter().filter(|dim| !dim.is(1)).cloned().collect::<Vec<_>>();
            if sizes(from) != sizes(to) {
                return None;
            }
            let mut rest = to.iter().zip(&at.index).filter(|(dim, _)| !dim.is(1)).map(|(_, entry)| *entry);
            let entry = |dim: &Dim| if dim.is(1) { Some(At::Fixed(0)) } else { rest.next() };
            from.iter().map(entry).collect::<Option<_>>()?
        }
        Op::Slice { axis, start, step, .. } => {
            let mut index = at.index.clone();
            let entry = index.get_mut(*axis)?;
            let At::Fixed(position) = *entry else { return None };
            *entry = At::Fixed(start.as_const()?.checked_add(position.checked_mul(*step)?)?);
            index
        }
        Op::Concat { axis } => return part(graph, at, *axis, &present_inputs(graph, node)),
        Op::Elementwise(expr) => return chosen(graph, at, expr, &present_inputs(graph, node)),
        _ => return None,
    };
    Some(Origin { value, index })
}

/// Where an operand is read that broadcasts to a result.
fn broadcast(from: &[Dim], index: &[At]) -> Vec<At> {
    let own = index.iter().skip(index.len().saturating_sub(from.len()));
    from.iter().zip(own).map(|(dim, entry)| if dim.is(1) { At::Fixed(0) } else { *entry }).collect()
}

/// The part of a concat that an element lies in.
fn part(graph: &Graph, at: &Origin, axis: usize, parts: &[ValueId]) -> Option<Origin> {
    let At::Fixed(mut position) = *at.index.get(axis)? else { return None };
    for value in parts {
        let size = shape(graph, *value).get(axis)?.as_const()?;
        if position < size {
            let mut index = at.index.clone();
            *index.get_mut(axis)? = At::Fixed(position);
            return Some(Origin { value: *value, index });
        }
        position -= size;
    }
    None
}

/// The operand that a tree of selects with constant conditions takes.
fn chosen(graph: &Graph, at: &Origin, expr: &Expr, inputs: &[ValueId]) -> Option<Origin> {
    match expr {
        Expr::Arg(arg) => {
            let value = *inputs.get(*arg)?;
            Some(Origin { value, index: broadcast(shape(graph, value), &at.index) })
        }
        Expr::Select(condition, a, b) => {
            let branch = if holds(graph, at, condition, inputs)? { a } else { b };
            chosen(graph, at, branch, inputs)
        }
        _ => None,
    }
}

/// The value of a constant condition.
fn holds(graph: &Graph, at: &Origin, condition: &Expr, inputs: &[ValueId]) -> Option<bool> {
    if let Expr::Unary(UnaryOp::Not, inner) = condition {
        return holds(graph, at, inner, inputs).map(|value| !value);
    }
    let found = follow(graph, chosen(graph, at, condition, inputs)?);
    let tensor = graph.constant(found.value)?;
    let mut flat = 0usize;
    for (size, entry) in tensor.shape().iter().zip(&found.index) {
        let At::Fixed(position) = entry else { return None };
        flat = flat.checked_mul(*size)?.checked_add(usize::try_from(*position).ok().filter(|p| p < size)?)?;
    }
    Some(tensor.i64_at(flat) != 0)
}
