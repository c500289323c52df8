//! Raises rope whose cosines and sines are looked up by position in the graph to rope that reads the tables itself.
//!
//! Pattern: `Rope{Direct}` whose `cos` is a tree of selects with constant masks over gathers of rows of one constant
//! table, each by a row of one positions tensor; and `sin` likewise, with the same masks. (Multi-axis rope: the masks
//! say which frequency slot follows which axis; a single gather is rope with one axis.) Result: `Rope{Table}` with,
//! for every slot, the axis found by evaluating the masks there.
//!
//! It does not fire when cos and sin read different positions or choose different axes, when masks are not constant
//! along everything but the last axis, or when more than one table is involved.

use qwenc_ir::op::{RopeAttrs, RopeSource};
use qwenc_ir::{Dim, Expr, Graph, NodeId, Op, UnaryOp, ValueId};

use super::manager::{Pass, PassError, Report};
use super::rewrite::{apply, present_inputs, replace_node, reshape_to, shape, strip_reshapes};
use super::term::Term;

/// See the module.
pub(super) const PASS: Pass =
    Pass { name: "raise_rope", about: "rope reads its tables by position, also with several axes", run };

fn run(graph: &mut Graph, report: &mut Report) -> Result<(), PassError> {
    for node in graph.topo_order()? {
        let Op::Rope(RopeAttrs { rotary_dim, interleaved, source: RopeSource::Direct }) = graph.node(node).op
        else {
            continue;
        };
        match find(graph, node, rotary_dim / 2) {
            Err(reason) => report.note(graph, node, reason),
            Ok(found) => {
                let name = graph.node(node).name.clone();
                let Some(x) = graph.node_input(node, 0) else { continue };
                let positions = positions_of(graph, &found, x)?;
                let source = RopeSource::Table { axes: found.axes };
                let op = Op::Rope(RopeAttrs { rotary_dim, interleaved, source });
                let value = apply(graph, &name, op, &[x, positions, found.cos, found.sin])?;
                replace_node(graph, node, &[value]);
                report.changed("rope by table");
            }
        }
    }
    Ok(())
}

struct Found {
    cos: ValueId,
    sin: ValueId,
    /// Positions `[A, ...]` that rows were taken of, or the positions of the only axis.
    positions: ValueId,
    /// Whether `positions` has an axis dimension in front.
    multi: bool,
    axes: Vec<u8>,
}

/// One row lookup: `table[positions[axis]]`.
#[derive(Clone, PartialEq, Eq)]
struct Lookup {
    table: ValueId,
    positions: ValueId,
    axis: Option<u8>,
}

fn find(graph: &Graph, node: NodeId, half: usize) -> Result<Found, String> {
    let inputs = present_inputs(graph, node);
    let [_, cos, sin] = inputs.as_slice() else { return Err("cos or sin is missing".into()) };
    let cos = lookups(graph, *cos, half)?;
    let sin = lookups(graph, *sin, half)?;
    let (Some(first_cos), Some(first_sin)) = (cos.first(), sin.first()) else {
        return Err("nothing is rotated".into());
    };
    let same = |all: &[Lookup], first: &Lookup| {
        all.iter().all(|lookup| {
            lookup.table == first.table
                && lookup.positions == first_cos.positions
                && lookup.axis.is_some() == first_cos.axis.is_some()
        })
    };
    if !same(&cos, first_cos) || !same(&sin, first_sin) {
        return Err("slots read different tables or positions".into());
    }
    let axes: Vec<u8> = cos.iter().map(|lookup| lookup.axis.unwrap_or(0)).collect();
    if !sin.iter().map(|lookup| lookup.axis.unwrap_or(0)).eq(axes.iter().copied()) {
        return Err("cos and sin choose different axes".into());
    }
    let known_axes = shape(graph, first_cos.positions).first().is_some_and(|axes| axes.as_usize().is_some());
    if first_cos.axis.is_some() && !known_axes {
        return Err("the number of position axes is not constant".into());
    }
    Ok(Found {
        cos: first_cos.table,
        sin: first_sin.table,
        positions: first_cos.positions,
        multi: first_cos.axis.is_some(),
        axes,
    })
}

/// The lookup behind each of the `half` slots of a cos or sin tensor.
fn lookups(graph: &Graph, value: ValueId, half: usize) -> Result<Vec<Lookup>, String> {
    let term = Term::of(graph, strip_reshapes(graph, value));
    (0..half)
        .map(|slot| {
            let leaf = chosen(graph, &term, &term.expr, slot)?;
            lookup(graph, leaf, half)
        })
        .collect()
}

/// The leaf that a tree of selects takes at a slot.
fn chosen(graph: &Graph, term: &Term, expr: &Expr, slot: usize) -> Result<ValueId, String> {
    match expr {
        Expr::Arg(_) => term.leaf(expr).ok_or_else(|| "a select has no operand".into()),
        Expr::Select(condition, a, b) => {
            let branch = if holds(graph, term, condition, slot)? { a } else { b };
            chosen(graph, term, branch, slot)
        }
        _ => Err("cos or sin is computed, not selected from a table".into()),
    }
}

/// The value of a mask at a slot of the last axis.
fn holds(graph: &Graph, term: &Term, condition: &Expr, slot: usize) -> Result<bool, String> {
    if let Expr::Unary(UnaryOp::Not, inner) = condition {
        return holds(graph, term, inner, slot).map(|value| !value);
    }
    let tensor = term.leaf(condition).and_then(|leaf| graph.constant(leaf));
    let Some(tensor) = tensor else { return Err("a mask over the slots is not constant".into()) };
    let Some((last, front)) = tensor.shape().split_last() else { return Err("a mask is a scalar".into()) };
    if front.iter().any(|dim| *dim != 1) || (*last != 1 && slot >= *last) {
        return Err("a mask varies over more than the slots".into());
    }
    Ok(tensor.i64_at(if *last == 1 { 0 } else { slot }) != 0)
}

fn lookup(graph: &Graph, leaf: ValueId, half: usize) -> Result<Lookup, String> {
    let Some((gather, Op::Gather { axis: 0 })) = graph.producer_op(strip_reshapes(graph, leaf)) else {
        return Err("a slot is not gathered from a table".into());
    };
    let (Some(table), Some(indices)) = (graph.node_input(gather, 0), graph.node_input(gather, 1)) else {
        return Err("a gather has no input".into());
    };
    match shape(graph, table) {
        [_, columns] if *columns == Dim::from(half) && graph.constant(table).is_some() => {}
        _ => return Err(format!("the table is no constant with {half} columns")),
    }
    let base = strip_reshapes(graph, indices);
    if let Some((slice, Op::Slice { axis: 0, start, len, step: 1 })) = graph.producer_op(base)
        && len.is(1)
        && let Some(axis) = start.as_usize().and_then(|start| u8::try_from(start).ok())
        && let Some(positions) = graph.node_input(slice, 0)
    {
        return Ok(Lookup { table, positions, axis: Some(axis) });
    }
    Ok(Lookup { table, positions: base, axis: None })
}

/// The positions as `[A, B, S]` for an `x` of `[B, S, H, D]`.
fn positions_of(graph: &mut Graph, found: &Found, x: ValueId) -> Result<ValueId, PassError> {
    let rows: Vec<Dim> = shape(graph, x).iter().take(2).cloned().collect();
    let axes = match shape(graph, found.positions).first() {
        Some(axes) if found.multi => axes.clone(),
        _ => Dim::constant(1),
    };
    let mut to = vec![axes];
    to.extend(rows);
    reshape_to(graph, found.positions, &to)
}
