//! Small steps that all passes are made of: looking through views, and replacing nodes.

use qwenc_ir::{Dim, Expr, Graph, NodeId, Op, Scalar, ValueId, ValueKind};

use super::manager::PassError;

/// Largest constant that is scanned for being all one value.
const MAX_SPLAT_SCAN: usize = 1 << 20;

/// Adds a node with some inputs absent; gives its outputs.
pub(super) fn add_node(
    graph: &mut Graph,
    name: &str,
    op: Op,
    inputs: &[Option<ValueId>],
) -> Result<Vec<ValueId>, PassError> {
    graph.add_node(name, op, inputs).map_err(|source| PassError::Infer { node: name.to_string(), source })
}

/// Adds a node whose inputs are all present; gives its first output.
pub(super) fn apply(graph: &mut Graph, name: &str, op: Op, inputs: &[ValueId]) -> Result<ValueId, PassError> {
    graph.apply(name, op, inputs).map_err(|source| PassError::Infer { node: name.to_string(), source })
}

/// The name of the node that computes a value, or of the value itself.
pub(super) fn node_name(graph: &Graph, value: ValueId) -> String {
    match graph.producer(value) {
        Some((node, _)) => graph.node(node).name.clone(),
        None => graph.value(value).name.clone(),
    }
}

/// The value behind any chain of reshapes.
pub(super) fn strip_reshapes(graph: &Graph, mut value: ValueId) -> ValueId {
    while let Some((node, Op::Reshape { .. })) = graph.producer_op(value) {
        match graph.node_input(node, 0) {
            Some(input) => value = input,
            None => break,
        }
    }
    value
}

/// The value behind any chain of reshapes and casts among float types: what is read from a table that is stored in
/// fewer bits than it is computed with ([`super::widen`]).
pub(super) fn strip_stored(graph: &Graph, value: ValueId) -> ValueId {
    let base = strip_reshapes(graph, value);
    match graph.producer_op(base) {
        Some((node, Op::Elementwise(Expr::Cast(to, from)))) if to.is_float() && **from == Expr::Arg(0) => {
            match graph.node_input(node, 0) {
                Some(input) if graph.value(input).ty.dtype.is_float() => strip_stored(graph, input),
                _ => base,
            }
        }
        _ => base,
    }
}

/// `value` under another shape: itself when the shape is the same, else behind one reshape from the value at the root
/// of its chain of reshapes.
pub(super) fn reshape_to(graph: &mut Graph, value: ValueId, shape: &[Dim]) -> Result<ValueId, PassError> {
    if graph.value(value).ty.shape == shape {
        return Ok(value);
    }
    let base = strip_reshapes(graph, value);
    if graph.value(base).ty.shape == shape {
        return Ok(base);
    }
    let name = node_name(graph, value);
    apply(graph, &name, Op::Reshape { shape: shape.to_vec() }, &[base])
}

/// The shape of a value.
pub(super) fn shape(graph: &Graph, value: ValueId) -> &[Dim] {
    &graph.value(value).ty.shape
}

/// The last dimension of a value; `None` for a scalar.
pub(super) fn last_dim(graph: &Graph, value: ValueId) -> Option<&Dim> {
    shape(graph, value).last()
}

/// True when a value has exactly one element whatever the symbols are.
pub(super) fn is_single(graph: &Graph, value: ValueId) -> bool {
    shape(graph, value).iter().all(|dim| dim.is(1))
}

/// The one value that all elements of a fill or of a constant have. Constants above a bounded size are not scanned.
pub(super) fn splat(graph: &Graph, value: ValueId) -> Option<Scalar> {
    if let Some((_, Op::Fill { value, .. })) = graph.producer_op(strip_reshapes(graph, value)) {
        return Some(*value);
    }
    let ValueKind::Const(tensor) = &graph.value(value).kind else {
        return None;
    };
    if tensor.is_empty() || tensor.len() > MAX_SPLAT_SCAN {
        return None;
    }
    let same = if tensor.dtype().is_float() {
        let first = tensor.f32_at(0);
        (1..tensor.len()).all(|at| tensor.f32_at(at).to_bits() == first.to_bits())
    } else {
        let first = tensor.i64_at(0);
        (1..tensor.len()).all(|at| tensor.i64_at(at) == first)
    };
    if !same {
        return None;
    }
    let single = qwenc_ir::Tensor::new(tensor.dtype(), vec![1], first_element(tensor)).ok()?;
    single.scalar()
}

fn first_element(tensor: &qwenc_ir::Tensor) -> bytes::Bytes {
    let width = tensor.dtype().bytes_for(1).unwrap_or(0).min(tensor.bytes().len());
    tensor.bytes().slice(..width)
}

/// Makes all users of a node's outputs read `new` instead, and removes the node and what only it used.
pub(super) fn replace_node(graph: &mut Graph, node: NodeId, new: &[ValueId]) {
    let old = graph.node_outputs(node);
    for (old, new) in old.into_iter().zip(new) {
        graph.replace_uses(old, *new);
    }
    remove_dead(graph, node);
}

/// Removes a node that nothing uses, and then the nodes in front of it that nothing uses any more. Rules that ask for
/// a single use must not see users that are dead.
pub(super) fn remove_dead(graph: &mut Graph, node: NodeId) {
    let mut dead = vec![node];
    while let Some(node) = dead.pop() {
        let inputs = present_inputs(graph, node);
        if graph.remove_node(node) {
            for input in inputs {
                match graph.producer(input) {
                    Some((producer, _)) if !dead.contains(&producer) => dead.push(producer),
                    _ => {}
                }
            }
        }
    }
}

/// The node's expression, when it is pointwise.
pub(super) fn elementwise(graph: &Graph, node: NodeId) -> Option<&Expr> {
    match &graph.node(node).op {
        Op::Elementwise(expr) => Some(expr),
        _ => None,
    }
}

/// Inputs of a node that has none absent.
pub(super) fn present_inputs(graph: &Graph, node: NodeId) -> Vec<ValueId> {
    graph.node_inputs(node).into_iter().flatten().collect()
}

/// The value at a node's first output.
pub(super) fn first_output(graph: &Graph, node: NodeId) -> Option<ValueId> {
    graph.node_outputs(node).first().copied()
}
