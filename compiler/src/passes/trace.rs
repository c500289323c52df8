//! Which element of which tensor an element comes from.
//!
//! Exporters pick parts of a tensor in many ways: slices, gathers, joined parts, selects with constant masks, scattered
//! rows (which import as joined parts), gathers by constant indices. Following one element backwards answers what all of them mean: [`origin`] goes
//! through views, concats and constant selects until something is computed.

use qwenc_ir::{Dim, Expr, Graph, Op, Tensor, UnaryOp, ValueId};

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
        Op::Reshape { .. } => reshaped(from, to, &at.index)?,
        Op::Gather { axis } => return picked(graph, at, *axis, value, graph.node_input(node, 1)?),
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

/// Where a tensor of shape `from` is read, for `index` into a reshape of it to `to`. Axes are kept, but for those of size
/// 1; axes of constant size may be merged or split where the position along each is fixed.
fn reshaped(from: &[Dim], to: &[Dim], index: &[At]) -> Option<Vec<At>> {
    let mut out = vec![At::Fixed(0); from.len()];
    let mut to = to.iter().zip(index).filter(|(dim, _)| !dim.is(1)).peekable();
    let mut from = from.iter().zip(&mut out).filter(|(dim, _)| !dim.is(1)).peekable();
    while let (Some((size, _)), Some((own, _))) = (to.peek(), from.peek()) {
        if size == own {
            let (_, entry) = to.next()?;
            *from.next()?.1 = *entry;
            continue;
        }
        // Axes of both sides up to where their products meet again.
        let (mut outer, mut inner, mut flat) = (1i64, 1i64, 0i64);
        let mut places = Vec::new();
        while outer != inner || outer == 1 {
            if outer <= inner {
                let (size, entry) = to.next()?;
                let (size, At::Fixed(position)) = (size.as_const()?, entry) else { return None };
                (outer, flat) = (outer.checked_mul(size)?, flat.checked_mul(size)?.checked_add(*position)?);
            } else {
                let (size, place) = from.next()?;
                inner = inner.checked_mul(size.as_const()?)?;
                places.push((size.as_const()?, place));
            }
        }
        for (size, place) in places.into_iter().rev() {
            *place = At::Fixed(flat.checked_rem_euclid(size)?);
            flat = flat.checked_div(size)?;
        }
    }
    (to.next().is_none() && from.next().is_none()).then_some(out)
}

/// The element that constant indices pick. Other lookups are the end of the way.
fn picked(graph: &Graph, at: &Origin, axis: usize, value: ValueId, indices: ValueId) -> Option<Origin> {
    let rank = shape(graph, indices).len();
    let own = at.index.get(axis..axis.checked_add(rank)?)?.to_vec();
    let chosen = element(graph, &follow(graph, Origin { value: indices, index: own }))?;
    let size = shape(graph, value).get(axis)?.as_const()?;
    let chosen = if chosen < 0 { chosen + size } else { chosen };
    let mut index = at.index.clone();
    index.splice(axis..axis + rank, [At::Fixed(Some(chosen).filter(|chosen| (0..size).contains(chosen))?)]);
    Some(Origin { value, index })
}

/// The value of one element of a constant, as an integer.
fn element(graph: &Graph, at: &Origin) -> Option<i64> {
    constant(graph, at).map(|(tensor, flat)| tensor.i64_at(flat))
}

/// The constant that an element lies in, and its place there.
fn constant<'g>(graph: &'g Graph, at: &Origin) -> Option<(&'g Tensor, usize)> {
    let tensor = graph.constant(at.value)?;
    let mut flat = 0usize;
    for (size, entry) in tensor.shape().iter().zip(&at.index) {
        let At::Fixed(position) = entry else { return None };
        flat = flat.checked_mul(*size)?.checked_add(usize::try_from(*position).ok().filter(|p| p < size)?)?;
    }
    Some((tensor, flat))
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
        // What is stored in fewer bits than it is computed with.
        Expr::Cast(to, stored) if to.is_float() => {
            let found = chosen(graph, at, stored, inputs)?;
            graph.value(found.value).ty.dtype.is_float().then_some(found)
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
    element(graph, &found).map(|value| value != 0)
}
