//! What a linear layer of one row takes along, so that decoding a token has fewer dispatches: a gated norm in front, and a
//! causal convolution behind.
//!
//! For many rows both are kernels of their own: there they are a small part of the work, and their results are read many
//! times.

use std::collections::{BTreeMap, BTreeSet};

use qwenc_codegen_wgsl::linear::{ConvEpilogue, NormPrologue};
use qwenc_codegen_wgsl::linear_gemv;
use qwenc_ir::op::{Activation, Real, linear as slot};
use qwenc_ir::{Dim, Graph, NodeId, Op, ValueId};

use super::{LowerError, Lowering};

/// Norms that the linear layers behind them take along.
pub(super) struct TakenNorms {
    by_layer: BTreeMap<NodeId, NodeId>,
    /// The norms, and the reshapes between them and their layers: nothing of theirs is computed.
    skipped: BTreeSet<NodeId>,
}

impl TakenNorms {
    /// Finds them.
    pub(super) fn find(graph: &Graph, order: &[NodeId]) -> Self {
        let (mut by_layer, mut skipped) = (BTreeMap::new(), BTreeSet::new());
        for node in order {
            if let Some((norm, reshapes)) = norm_in_front(graph, *node) {
                by_layer.insert(*node, norm);
                skipped.extend(reshapes);
                skipped.insert(norm);
            }
        }
        Self { by_layer, skipped }
    }

    /// The norm that a layer takes along.
    pub(super) fn of(&self, layer: NodeId) -> Option<NodeId> {
        self.by_layer.get(&layer).copied()
    }

    /// Whether a node is not computed by itself.
    pub(super) fn skips(&self, node: NodeId) -> bool {
        self.skipped.contains(&node)
    }
}

/// The gated norm whose result only this layer of one row reads, and the reshapes between.
fn norm_in_front(graph: &Graph, node: NodeId) -> Option<(NodeId, Vec<NodeId>)> {
    let Op::Linear(attrs) = &graph.node(node).op else { return None };
    let x = graph.node_input(node, slot::X)?;
    let width = graph.value(x).ty.shape.last()?.as_usize()?;
    if attrs.norm.is_some() || !one_row(graph, x) {
        return None;
    }
    let (mut value, mut reshapes) = (x, Vec::new());
    loop {
        if read_elsewhere(graph, value) {
            return None;
        }
        let producer = graph.producer(value)?.0;
        match &graph.node(producer).op {
            Op::Reshape { .. } => {
                reshapes.push(producer);
                value = graph.node_input(producer, 0)?;
            }
            Op::RmsNorm { gate: Some(_), .. } => {
                let part = graph.value(value).ty.shape.last()?.as_usize()?;
                let heads = width.checked_div(part).filter(|heads| heads * part == width)?;
                let fits = linear_gemv::takes_parts(u32::try_from(width).ok()?, u32::try_from(heads).ok()?);
                return fits.then_some((producer, reshapes));
            }
            _ => return None,
        }
    }
}

/// The norm as the layer takes it, and what is normalised, as a row.
pub(super) fn norm_prologue(
    lowering: &mut Lowering<'_>,
    norm: NodeId,
    eps: Real,
    gate: Activation,
) -> Result<(qwenc_codegen_wgsl::View, NormPrologue), LowerError> {
    let input = lowering.input(norm, 0)?;
    let weight = lowering.input(norm, 1)?;
    let gate_view = lowering.input(norm, 2)?;
    let width = input.elements();
    let part = weight.elements();
    let row = [Dim::constant(1), width.clone()];
    let heads = width.as_usize().zip(part.as_usize()).and_then(|(width, part)| width.checked_div(part));
    let heads = heads
        .and_then(|heads| u32::try_from(heads).ok())
        .ok_or_else(|| LowerError::graph("the norm's sizes are not fixed"))?;
    let x = lowering.reshape(&input, &row)?;
    let gate_view = lowering.reshape(&gate_view, &row)?;
    Ok((x, NormPrologue { weight, eps: eps.0, heads, gate: Some((gate_view, gate)) }))
}

/// A convolution that a layer takes along.
pub(super) struct TakenConv {
    node: NodeId,
    pub(super) epilogue: ConvEpilogue,
}

/// The convolution of one position that is all that reads the first columns of this layer's result, with a state that it
/// updates in place.
pub(super) fn conv_behind(
    lowering: &mut Lowering<'_>,
    output: ValueId,
) -> Result<Option<TakenConv>, LowerError> {
    let graph = lowering.graph();
    let Some(node) = find_conv(graph, output) else { return Ok(None) };
    let Op::CausalConv { activation } = graph.node(node).op else { return Ok(None) };
    let present = lowering.output(node, 1)?;
    let Some(state) = lowering.optional_input(node, 3)? else { return Ok(None) };
    if lowering.reserved(present) != Some(&state) {
        return Ok(None);
    }
    let bias = lowering.optional_input(node, 2)?;
    let weight = lowering.input(node, 1)?;
    let [state] = lowering.batch(&state)?.try_into().map_err(|_| LowerError::graph("several batches"))?;
    Ok(Some(TakenConv { node, epilogue: ConvEpilogue { weight, bias, state, activation } }))
}

fn find_conv(graph: &Graph, output: ValueId) -> Option<NodeId> {
    if !one_row(graph, output) || graph.is_output(output) {
        return None;
    }
    let axis = graph.value(output).ty.shape.len() - 1;
    let mut found = None;
    for (node, _) in graph.consumers(output) {
        let Op::Slice { axis: at, start, len, step: 1 } = &graph.node(node).op else { return None };
        if *at != axis {
            return None;
        }
        let part = *graph.node_outputs(node).first()?;
        let conv = graph
            .consumers(part)
            .iter()
            .copied()
            .find(|(user, port)| *port == 0 && matches!(graph.node(*user).op, Op::CausalConv { .. }));
        match conv {
            Some((conv, _)) if start.is(0) && !read_elsewhere(graph, part) => {
                found = Some((conv, len.as_const()?));
            }
            Some(_) => return None,
            None => {}
        }
    }
    let (conv, channels) = found?;
    // Nobody else may look at what the convolution replaces.
    let clear = graph.consumers(output).iter().all(|(node, _)| match &graph.node(*node).op {
        Op::Slice { start, .. } => {
            start.as_const().is_some_and(|start| start >= channels) || feeds(graph, *node, conv)
        }
        _ => false,
    });
    clear.then_some(conv)
}

fn feeds(graph: &Graph, slice: NodeId, conv: NodeId) -> bool {
    graph
        .node_outputs(slice)
        .iter()
        .any(|value| graph.consumers(*value).iter().any(|(user, _)| *user == conv))
}

/// The layer computes what the convolution would have: its result is the first columns of the layer's.
pub(super) fn take_conv(
    lowering: &mut Lowering<'_>,
    conv: &TakenConv,
    out: &qwenc_codegen_wgsl::View,
) -> Result<(), LowerError> {
    let channels = conv
        .epilogue
        .state
        .shape
        .first()
        .cloned()
        .ok_or_else(|| LowerError::graph("a state without axes"))?;
    let output = lowering.output(conv.node, 0)?;
    let present = lowering.output(conv.node, 1)?;
    let shape = lowering.graph().value(output).ty.shape.clone();
    let columns = super::move_ops::slice_axis(out, 1, &Dim::constant(0), &channels);
    let view = lowering.reshape(&columns, &shape)?;
    lowering.alias(output, view);
    lowering.place(present)?;
    lowering.set_taken(conv.node);
    Ok(())
}

/// Whether more than one node, or the outside, reads a value.
fn read_elsewhere(graph: &Graph, value: ValueId) -> bool {
    graph.is_output(value)
        || graph.consumers(value).len() != 1
        || graph.states().iter().any(|state| state.present == value)
}

/// Whether a value has one row: all axes but the last are 1.
fn one_row(graph: &Graph, value: ValueId) -> bool {
    let shape = &graph.value(value).ty.shape;
    shape.split_last().is_some_and(|(_, leading)| leading.iter().all(|dim| dim.is(1)))
}
