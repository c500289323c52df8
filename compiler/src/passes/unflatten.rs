//! Row-wise operators on unflattened tensors: part of [`super::views`].
//!
//! Exporters often flatten leading axes around a norm (`[B,S,H,D]` to `[B*S*H,D]` and back). An operator that treats
//! every row of its last axis alone gives the same under both shapes, so
//! - a reshape in front of it that merges leading axes moves behind it, and
//! - a reshape behind it that splits leading axes moves in front of it, when nobody else reads the flat result.
//!
//! Both leave the operator with the higher rank, so they cannot undo each other. Pointwise operators need not keep
//! their last axis for that: every reshape of all operands is fine. A reshape that keeps the rank stays where it is,
//! unless it moves axes of size 1 backwards only: then an operator on rows takes the shape that has them in front.

use qwenc_ir::{Dim, Graph, NodeId, Op, ValueId};

use super::manager::PassError;
use super::rewrite::{add_node, first_output, is_single, reshape_to, shape};
use super::views::Rewrite;

/// What an operator needs of shapes to work on rows alone.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rows {
    /// Every element alone.
    Pointwise,
    /// Every row of the last axis alone; the listed input slots have the shape of the result in front of that axis.
    LastAxis(&'static [usize]),
}

fn rows(graph: &Graph, node: NodeId) -> Option<Rows> {
    Some(match &graph.node(node).op {
        Op::Elementwise(_) => Rows::Pointwise,
        Op::RmsNorm { gate: None, .. } | Op::L2Norm { .. } | Op::LayerNorm { .. } | Op::Linear(_) => {
            Rows::LastAxis(&[0])
        }
        Op::RmsNorm { gate: Some(_), .. } => Rows::LastAxis(&[0, 2]),
        Op::Softmax { axis, .. } => {
            let input = graph.node_input(node, 0)?;
            (*axis + 1 == shape(graph, input).len()).then_some(Rows::LastAxis(&[0]))?
        }
        Op::MatMul { transpose_a: false, .. } => {
            let right = graph.node_input(node, 1)?;
            (shape(graph, right).len() == 2).then_some(Rows::LastAxis(&[0]))?
        }
        _ => return None,
    })
}

/// Moves a reshape behind the node, or the node in front of the reshape behind it.
pub(super) fn rewrite(graph: &mut Graph, node: NodeId) -> Result<Rewrite, PassError> {
    if let Op::Reshape { shape } = &graph.node(node).op {
        let shape = shape.clone();
        return hoist(graph, node, &shape);
    }
    sink(graph, node)
}

/// Input slots that carry rows: for a pointwise operator all but single elements, or `None` when one broadcasts.
fn row_slots(graph: &Graph, node: NodeId, rows: Rows) -> Option<Vec<usize>> {
    let slots = match rows {
        Rows::LastAxis(slots) => slots.to_vec(),
        Rows::Pointwise => {
            let output = first_output(graph, node)?;
            let inputs = graph.node_inputs(node);
            let mut slots = Vec::new();
            for (slot, input) in inputs.iter().enumerate() {
                let input = (*input)?;
                if shape(graph, input) == shape(graph, output) {
                    slots.push(slot);
                } else if !is_single(graph, input) || shape(graph, input).len() > 1 {
                    return None;
                }
            }
            slots
        }
    };
    (!slots.is_empty()).then_some(slots)
}

fn sink(graph: &mut Graph, node: NodeId) -> Result<Rewrite, PassError> {
    let (Some(rows), Some(output)) = (rows(graph, node), first_output(graph, node)) else { return Ok(None) };
    let Some(slots) = row_slots(graph, node, rows) else { return Ok(None) };
    // The operand with the most structure decides.
    let mut wanted: Option<Vec<Dim>> = None;
    for slot in &slots {
        let Some(input) = graph.node_input(node, *slot) else { return Ok(None) };
        let Some((reshape, Op::Reshape { .. })) = graph.producer_op(input) else { continue };
        let Some(base) = graph.node_input(reshape, 0) else { continue };
        let (from, to) = (shape(graph, base), shape(graph, input));
        let keeps_rows = rows == Rows::Pointwise || from.last() == to.last();
        let most = wanted.as_ref().map_or(to.len(), Vec::len);
        if keeps_rows
            && (from.len() > most
                || (wanted.is_none() && rows != Rows::Pointwise && only_moves_ones(from, to)))
        {
            wanted = Some(from.to_vec());
        }
    }
    let Some(wanted) = wanted else { return Ok(None) };
    let flat = shape(graph, output).to_vec();
    let value = with_rows(graph, node, &slots, rows, &wanted)?;
    Ok(Some(("reshape behind a row-wise operator", reshape_to(graph, value, &flat)?)))
}

/// True when two shapes of one rank differ in where their axes of size 1 are, and `from` has them further in front.
fn only_moves_ones(from: &[Dim], to: &[Dim]) -> bool {
    let ones = |shape: &[Dim]| shape.iter().map(|dim| dim.is(1)).collect::<Vec<_>>();
    let others = |shape: &[Dim]| shape.iter().filter(|dim| !dim.is(1)).cloned().collect::<Vec<_>>();
    from.len() == to.len() && others(from) == others(to) && ones(from) > ones(to)
}

fn hoist(graph: &mut Graph, node: NodeId, to: &[Dim]) -> Result<Rewrite, PassError> {
    let Some(flat) = graph.node_input(node, 0) else { return Ok(None) };
    let Some((producer, _)) = graph.producer(flat) else { return Ok(None) };
    let Some(rows) = rows(graph, producer) else { return Ok(None) };
    let keeps_rows = rows == Rows::Pointwise || shape(graph, flat).last() == to.last();
    if !keeps_rows || to.len() <= shape(graph, flat).len() || !graph.has_single_use(flat) {
        return Ok(None);
    }
    // A projection keeps the flat shape it was written with: the reshape behind it is a view either way.
    if matches!(graph.node(producer).op, Op::MatMul { .. } | Op::Linear(_)) {
        return Ok(None);
    }
    let Some(slots) = row_slots(graph, producer, rows) else { return Ok(None) };
    let value = with_rows(graph, producer, &slots, rows, to)?;
    Ok(Some(("reshape in front of a row-wise operator", value)))
}

/// The same operator with its rows under another shape. `wanted` is the new shape of the row inputs or of the result,
/// which differ in the last axis at most.
fn with_rows(
    graph: &mut Graph,
    node: NodeId,
    slots: &[usize],
    rows: Rows,
    wanted: &[Dim],
) -> Result<ValueId, PassError> {
    let mut inputs = graph.node_inputs(node);
    for slot in slots {
        let Some(input) = inputs.get(*slot).copied().flatten() else { continue };
        let mut to = wanted.to_vec();
        if rows != Rows::Pointwise
            && let (Some(own), Some(last)) = (shape(graph, input).last().cloned(), to.last_mut())
        {
            *last = own;
        }
        if let Some(input_slot) = inputs.get_mut(*slot) {
            *input_slot = Some(reshape_to(graph, input, &to)?);
        }
    }
    let mut node = graph.node(node).clone();
    if let Op::Softmax { axis, .. } = &mut node.op {
        *axis = wanted.len().saturating_sub(1);
    }
    let outputs = add_node(graph, &node.name, node.op, &inputs)?;
    outputs.first().copied().ok_or_else(|| PassError::Infer {
        node: node.name,
        source: qwenc_ir::InferError::new("the operator has no output"),
    })
}
