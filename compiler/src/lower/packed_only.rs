//! Values that exist only inside packed weights.
//!
//! A dequantized matrix, and a transpose of a constant one, between the constant and the layers that read it packed,
//! must not be computed on the device: that would be the copy in floats that quantized weights are there to avoid.

use std::collections::BTreeSet;

use qwenc_ir::op::linear as slot;
use qwenc_ir::{Graph, NodeId, Op, ValueId};

use crate::matrix::Matrix;

/// The nodes whose results are only read by layers that read the constant behind them, packed.
pub(super) fn packed_only(graph: &Graph, order: &[NodeId]) -> BTreeSet<NodeId> {
    let mut found = BTreeSet::new();
    for node in order.iter().rev() {
        let candidate = match &graph.node(*node).op {
            Op::Dequantize { .. } => true,
            Op::Transpose { perm } => *perm == [1, 0],
            _ => false,
        };
        let unread = |value: ValueId| {
            !graph.is_output(value)
                && graph.states().iter().all(|state| state.present != value)
                && graph
                    .consumers(value)
                    .iter()
                    .all(|(user, port)| found.contains(user) || reads_packed(graph, *user, *port))
        };
        if candidate && graph.node_outputs(*node).into_iter().all(unread) {
            found.insert(*node);
        }
    }
    found
}

/// True when a node reads the constant matrix behind an input packed, and not the value itself.
pub(super) fn reads_packed(graph: &Graph, node: NodeId, port: usize) -> bool {
    match &graph.node(node).op {
        Op::Linear(attrs) => (slot::WEIGHTS..slot::WEIGHTS + attrs.weights.len()).contains(&port),
        Op::Gather { axis: 0 } if port == 0 => graph
            .node_input(node, 0)
            .and_then(|table| Matrix::of(graph, table))
            .is_some_and(|matrix| matrix.kind().is_ok()),
        _ => false,
    }
}
