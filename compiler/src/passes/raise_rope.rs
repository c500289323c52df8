//! Raises rope whose cosines and sines are looked up by position in the graph to rope that reads the tables itself.
//!
//! Pattern: `Rope{Direct}` whose `cos` at every frequency slot is an element of a row of one constant table, in the
//! slot's own column, by one row of one positions tensor; and `sin` likewise. How slots are picked from several lookups
//! (multi-axis rope: selects with masks, slices joined or scattered) is followed element by element ([`super::trace`]).
//! Result: `Rope{Table}` with, for every slot, the axis of the positions that it reads.
//!
//! A table that an exporter quantized along with the weights is computed: the kernel reads angles as floats.
//!
//! It does not fire when cos and sin read different positions or choose different axes, when what chooses is not
//! constant, or when more than one table is involved.

use std::collections::BTreeMap;

use qwenc_ir::op::{RopeAttrs, RopeSource};
use qwenc_ir::{Dim, Graph, NodeId, Op, ValueId};

use super::fold::computed_constant;
use super::manager::{Pass, PassError, Report};
use super::rewrite::{apply, present_inputs, replace_node, reshape_to, shape};
use super::trace::{At, Origin, follow, origin};
use crate::matrix::Matrix;

/// See the module.
pub(super) const PASS: Pass =
    Pass { name: "raise_rope", about: "rope reads its tables by position, also with several axes", run };

fn run(graph: &mut Graph, report: &mut Report) -> Result<(), PassError> {
    // All layers share their tables.
    let mut computed: BTreeMap<ValueId, ValueId> = BTreeMap::new();
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
                let mut table = |graph: &mut Graph, value: ValueId| match computed.get(&value) {
                    Some(table) => Ok(*table),
                    None => computed_constant(graph, value).inspect(|table| {
                        computed.insert(value, *table);
                    }),
                };
                let tables = table(graph, found.cos).and_then(|cos| Ok((cos, table(graph, found.sin)?)));
                let (cos, sin) = match tables {
                    Ok(tables) => tables,
                    Err(reason) => {
                        report.note(graph, node, reason);
                        continue;
                    }
                };
                let source = RopeSource::Table { axes: found.axes };
                let op = Op::Rope(RopeAttrs { rotary_dim, interleaved, source });
                let value = apply(graph, &name, op, &[x, positions, cos, sin])?;
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
    /// Whether the first axis of `positions` that is longer than 1 is that of the axes.
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
    let known_axes = first_long(graph, first_cos.positions).is_some_and(|axes| axes.as_usize().is_some());
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
    let Some(last) = shape(graph, value).len().checked_sub(1) else {
        return Err("cos or sin is a scalar".into());
    };
    (0..half)
        .map(|slot| {
            let position = i64::try_from(slot).map_err(|_| "too many slots".to_string())?;
            lookup(graph, &origin(graph, value, last, position), slot, half)
        })
        .collect()
}

fn lookup(graph: &Graph, at: &Origin, slot: usize, half: usize) -> Result<Lookup, String> {
    let Some((gather, Op::Gather { axis: 0 })) = graph.producer_op(at.value) else {
        return Err("a slot is computed, or not picked from a table in a constant way".into());
    };
    let (Some(table), Some(indices)) = (graph.node_input(gather, 0), graph.node_input(gather, 1)) else {
        return Err("a gather has no input".into());
    };
    match shape(graph, table) {
        [_, columns] if *columns == Dim::from(half) && Matrix::of(graph, table).is_some() => {}
        _ => return Err(format!("the table is no constant with {half} columns")),
    }
    let Some((column, rows)) = at.index.split_last() else { return Err("a gather has no columns".into()) };
    if !matches!(column, At::Fixed(column) if usize::try_from(*column) == Ok(slot)) {
        return Err("a slot reads the column of another one".into());
    }
    let source = follow(graph, Origin { value: indices, index: rows.to_vec() });
    let positions = source.value;
    // Of the axes that are longer than 1, the first may be fixed: it is the axis of multi-axis positions.
    let sizes = shape(graph, positions);
    let long = source.index.iter().zip(sizes).filter(|(_, dim)| !dim.is(1));
    let mut axis = None;
    let mut along = Vec::new();
    for (place, (entry, _)) in long.enumerate() {
        match entry {
            At::Fixed(index) if place == 0 => axis = u8::try_from(*index).ok(),
            At::Along(own) => along.push(*own),
            At::Fixed(_) => return Err("a slot reads one position only".into()),
        }
    }
    if !along.is_sorted() {
        return Err("positions are permuted".into());
    }
    Ok(Lookup { table, positions, axis })
}

/// The first axis that is longer than 1.
fn first_long(graph: &Graph, value: ValueId) -> Option<&Dim> {
    shape(graph, value).iter().find(|dim| !dim.is(1))
}

/// The positions as `[A, B, S]` for an `x` of `[B, S, H, D]`.
fn positions_of(graph: &mut Graph, found: &Found, x: ValueId) -> Result<ValueId, PassError> {
    let rows: Vec<Dim> = shape(graph, x).iter().take(2).cloned().collect();
    let axes = match first_long(graph, found.positions) {
        Some(axes) if found.multi => axes.clone(),
        _ => Dim::constant(1),
    };
    let mut to = vec![axes];
    to.extend(rows);
    reshape_to(graph, found.positions, &to)
}
