//! Gathers that are views: part of [`super::views`].
//!
//! Indices that are known to run `start, start + step, ...` take a slice; when they cover the whole axis from 0, the
//! table itself. Known are constants, and ranges behind reshapes. Indices into an axis of symbolic size are only
//! followed when they are exactly `0..size`: an index that is out of range must stay an error.

use qwenc_ir::{Dim, Graph, NodeId, Op, ValueId};

use super::manager::PassError;
use super::rewrite::{apply, first_output, reshape_to, shape, strip_reshapes};
use super::views::Rewrite;

/// Most constant indices that are looked at.
const MAX_INDICES: usize = 1 << 16;

/// `len` indices, `step` apart.
struct Progression {
    start: Dim,
    step: i64,
    len: Dim,
}

/// Replaces a gather along `axis` by a slice or a reshape of its table.
pub(super) fn rewrite(graph: &mut Graph, node: NodeId, axis: usize) -> Result<Rewrite, PassError> {
    let (Some(table), Some(indices), Some(output)) =
        (graph.node_input(node, 0), graph.node_input(node, 1), first_output(graph, node))
    else {
        return Ok(None);
    };
    let Some(size) = shape(graph, table).get(axis).cloned() else { return Ok(None) };
    let Some(progression) = progression(graph, indices, &size) else { return Ok(None) };
    let Progression { start, step, len } = progression;
    let to = shape(graph, output).to_vec();
    let name = graph.node(node).name.clone();
    if start.is(0) && step == 1 && len == size {
        return Ok(Some(("gather of everything", reshape_to(graph, table, &to)?)));
    }
    if size.as_const().is_none() || start.as_const().is_none() || len.as_const().is_none() {
        return Ok(None);
    }
    let slice = apply(graph, &name, Op::Slice { axis, start, len, step }, &[table])?;
    let value = if shape(graph, slice) == to {
        slice
    } else {
        apply(graph, &name, Op::Reshape { shape: to }, &[slice])?
    };
    Ok(Some(("gather of a progression", value)))
}

fn progression(graph: &Graph, indices: ValueId, size: &Dim) -> Option<Progression> {
    let base = strip_reshapes(graph, indices);
    if let Some((_, Op::Range { start, step, len })) = graph.producer_op(base) {
        return Some(Progression { start: start.clone(), step: *step, len: len.clone() })
            .filter(|p| inside(p, size) || (p.start.is(0) && p.step == 1 && p.len == *size));
    }
    let tensor = graph.constant(base)?;
    if tensor.is_empty() || tensor.len() > MAX_INDICES || !tensor.dtype().is_int() {
        return None;
    }
    let size_value = size.as_const();
    let index = |at: usize| {
        let value = tensor.i64_at(at);
        if value < 0 { value.checked_add(size_value?) } else { Some(value) }
    };
    let start = index(0)?;
    let step = if tensor.len() > 1 { index(1)?.checked_sub(start)? } else { 1 };
    let regular = (1..tensor.len())
        .all(|at| matches!((index(at - 1), index(at)), (Some(a), Some(b)) if b.checked_sub(a) == Some(step)));
    let found = Progression { start: Dim::constant(start), step, len: Dim::from(tensor.len()) };
    (regular && step != 0 && inside(&found, size)).then_some(found)
}

/// True when all indices are provably within an axis of constant size.
fn inside(progression: &Progression, size: &Dim) -> bool {
    let (Some(start), Some(len), Some(size)) =
        (progression.start.as_const(), progression.len.as_const(), size.as_const())
    else {
        return false;
    };
    let last = (len - 1).checked_mul(progression.step).and_then(|distance| distance.checked_add(start));
    len > 0 && (0..size).contains(&start) && last.is_some_and(|last| (0..size).contains(&last))
}
