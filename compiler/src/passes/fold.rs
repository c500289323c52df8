//! Constant folding and simplification of pointwise expressions.
//!
//! - A node whose inputs are all constant is evaluated by the reference interpreter, when its result is at most
//!   [`MAX_COMPUTED`] elements. Operators that only move elements are folded up to [`MAX_MOVED`] elements: a weight
//!   behind a transpose or a gather stays one copy of its bytes, read through a view.
//! - In a pointwise expression, inputs whose elements are all one value become constants of the expression, which is
//!   then simplified ([`super::simplify`]); what becomes constant turns into a fill, what becomes its input vanishes.
//! - Optional inputs that change nothing go: a bias of zeros, an attention mask that masks nothing.
//!
//! A node is left alone when its result is too large, or when the interpreter refuses it (an index out of range must
//! stay an error at run time).

use std::collections::BTreeSet;

use qwenc_ir::interp::{HostTensor, Limits, eval_op_within};
use qwenc_ir::op::attention;
use qwenc_ir::{Bindings, DType, Dim, Expr, Graph, NodeId, Op, Scalar, ValueId};

use super::manager::{Pass, PassError, Report};
use super::rewrite::{apply, elementwise, first_output, present_inputs, replace_node, shape, splat};
use super::simplify::simplify;

/// Largest result, in elements, that is computed at compile time.
const MAX_COMPUTED: usize = 1 << 20;
/// Largest result, in elements, that an operator which only moves elements is folded to.
const MAX_MOVED: usize = 1 << 10;
/// Most elements read to fold one node.
const MAX_READ: usize = 1 << 22;
/// Elements of all results that one run of the pass computes: a file of small nodes must not fill the memory.
const MAX_COMPUTED_TOGETHER: usize = 1 << 24;
/// Elements read and computed, and products summed, that one run of the pass is worth.
const MAX_WORK: usize = 1 << 30;

/// What a run of the pass may still spend.
struct Budget {
    elements: usize,
    work: usize,
}

impl Budget {
    /// Takes from the budget, or leaves it as it is and says false.
    fn take(&mut self, elements: usize, work: usize) -> bool {
        match (self.elements.checked_sub(elements), self.work.checked_sub(work)) {
            (Some(elements), Some(work)) => {
                *self = Self { elements, work };
                true
            }
            _ => false,
        }
    }
}

/// See the module.
pub(super) const PASS: Pass =
    Pass { name: "fold", about: "compute what is constant and simplify pointwise expressions", run };

fn run(graph: &mut Graph, report: &mut Report) -> Result<(), PassError> {
    let mut budget = Budget { elements: MAX_COMPUTED_TOGETHER, work: MAX_WORK };
    for node in graph.topo_order()? {
        if fold_constant(graph, node, &mut budget, report)? {
            continue;
        }
        if elementwise(graph, node).is_some() {
            simplify_node(graph, node, report)?;
        } else {
            drop_neutral_inputs(graph, node, report);
        }
    }
    Ok(())
}

/// Replaces the node by constants, when it can be evaluated within the limits.
fn fold_constant(
    graph: &mut Graph,
    node: NodeId,
    budget: &mut Budget,
    report: &mut Report,
) -> Result<bool, PassError> {
    let op = &graph.node(node).op;
    if matches!(op, Op::Fill { .. }) || is_weight(graph, node) {
        return Ok(false);
    }
    let inputs = graph.node_inputs(node);
    let constant = inputs.iter().flatten().all(|input| graph.constant(*input).is_some());
    let Some(elements) = constant.then(|| output_elements(graph, node)).flatten() else {
        return Ok(false);
    };
    let moves = op.is_view() || matches!(op, Op::Gather { .. } | Op::Concat { .. } | Op::Pad { .. });
    let limit = if moves { MAX_MOVED } else { MAX_COMPUTED };
    let read: usize = inputs.iter().flatten().filter_map(|v| graph.constant(*v)).map(|t| t.len()).sum();
    if elements > limit || read > MAX_READ {
        report.note(graph, node, format!("{elements} elements from {read} are too many to fold"));
        return Ok(false);
    }
    if !budget.take(elements, work(graph, node, elements, read)) {
        report.note(graph, node, "so much is constant in this graph that the rest is not folded");
        return Ok(false);
    }
    match evaluate(graph, node, &inputs, limit) {
        Ok(constants) => {
            let name = graph.node(node).name.clone();
            let new: Vec<ValueId> =
                constants.into_iter().map(|tensor| graph.add_const(name.clone(), tensor)).collect();
            replace_node(graph, node, &new);
            report.changed("constant result");
            Ok(true)
        }
        Err(reason) => {
            report.note(graph, node, reason);
            Ok(false)
        }
    }
}

/// True for a dequantized matrix: codes stay codes, also in a small one. Vectors and filters are computed.
fn is_weight(graph: &Graph, node: NodeId) -> bool {
    matches!(graph.node(node).op, Op::Dequantize { .. })
        && first_output(graph, node).is_some_and(|output| shape(graph, output).len() == 2)
}

/// What evaluating a node costs, about.
fn work(graph: &Graph, node: NodeId, elements: usize, read: usize) -> usize {
    let sums = |axis_from_end: usize| {
        let operand = graph.node_input(node, 0).map(|value| &graph.value(value).ty.shape);
        operand.and_then(|shape| shape.iter().rev().nth(axis_from_end)?.as_usize()).unwrap_or(1)
    };
    let inner = match graph.node(node).op {
        Op::MatMul { .. } | Op::Linear(_) => sums(0).max(sums(1)),
        Op::Attention(_) | Op::GatedDelta(_) | Op::CausalConv { .. } => read,
        _ => 1,
    };
    elements.saturating_mul(inner).saturating_add(read)
}

/// Elements of all outputs together, when their shapes are constant.
fn output_elements(graph: &Graph, node: NodeId) -> Option<usize> {
    graph
        .node_outputs(node)
        .iter()
        .try_fold(0usize, |sum, output| sum.checked_add(graph.value(*output).ty.elements().as_usize()?))
}

/// The constant that a value is, computed if it is no constant yet but follows from constants within the limit. For
/// tables that a kernel reads as floats, such as angles that an exporter quantized along with the weights.
pub(super) fn computed_constant(graph: &mut Graph, value: ValueId) -> Result<ValueId, String> {
    if graph.constant(value).is_some() {
        return Ok(value);
    }
    let (node, port) = graph.producer(value).ok_or("it is an input")?;
    let elements = output_elements(graph, node).ok_or("its size is not constant")?;
    if elements > MAX_COMPUTED {
        return Err(format!("{elements} elements are too many to compute at compile time"));
    }
    let tensors = evaluate(graph, node, &graph.node_inputs(node), MAX_COMPUTED)?;
    let tensor = tensors.into_iter().nth(port).ok_or("it has no value")?;
    let name = graph.value(value).name.clone();
    Ok(graph.add_const(name, tensor))
}

fn evaluate(
    graph: &Graph,
    node: NodeId,
    inputs: &[Option<ValueId>],
    limit: usize,
) -> Result<Vec<qwenc_ir::Tensor>, String> {
    let tensors: Vec<Option<HostTensor>> = inputs
        .iter()
        .map(|input| input.and_then(|value| graph.constant(value)).map(HostTensor::from_tensor).transpose())
        .collect::<Result<_, _>>()
        .map_err(|error| error.to_string())?;
    let tensors: Vec<Option<&HostTensor>> = tensors.iter().map(Option::as_ref).collect();
    let limits = Limits { max_elements: limit };
    let results = eval_op_within(&graph.node(node).op, &tensors, &Bindings::new(), limits)
        .map_err(|error| error.to_string())?;
    let outputs = graph.node_outputs(node);
    let typed = results.iter().zip(outputs);
    typed
        .map(|(result, output)| result.to_tensor(graph.value(output).ty.dtype))
        .collect::<Result<_, _>>()
        .map_err(|error| error.to_string())
}

/// Simplifies a pointwise node: constants into the expression, equal inputs once, algebra.
fn simplify_node(graph: &mut Graph, node: NodeId, report: &mut Report) -> Result<(), PassError> {
    let (Some(expr), Some(output)) = (elementwise(graph, node).cloned(), first_output(graph, node)) else {
        return Ok(());
    };
    let inputs = present_inputs(graph, node);
    let splats: Vec<Option<Scalar>> = inputs.iter().map(|input| splat(graph, *input)).collect();
    let known = expr.map_args(&mut |at| match splats.get(at).copied().flatten() {
        Some(value) => Expr::Const(value),
        None => Expr::Arg(at),
    });
    let (new, used) = compact(&simplify(&known), &inputs);
    let ty = graph.value(output).ty.clone();
    let name = graph.node(node).name.clone();
    let value = match &new {
        Expr::Const(value) => match fill(*value, ty.dtype, &ty.shape) {
            Some(fill) => apply(graph, &name, fill, &[])?,
            None => return Ok(()),
        },
        _ if new.arity() == 0 => match constant_expression(&new, ty.dtype) {
            Some(value) => apply(graph, &name, Op::Fill { dtype: ty.dtype, value, shape: ty.shape }, &[])?,
            None => return Ok(()),
        },
        _ if new == expr && used == inputs => return Ok(()),
        _ => {
            let dtypes: Vec<DType> = used.iter().map(|value| graph.value(*value).ty.dtype).collect();
            if new.infer(&dtypes) != Ok(ty.dtype) {
                report.note(graph, node, "simplifying would change the element type");
                return Ok(());
            }
            match (&new, used.as_slice()) {
                (Expr::Arg(0), [same]) => expand(graph, &name, *same, &ty.shape)?,
                _ => {
                    let simpler = apply(graph, &name, Op::Elementwise(new), &used)?;
                    expand(graph, &name, simpler, &ty.shape)?
                }
            }
        }
    };
    replace_node(graph, node, &[value]);
    report.changed("simpler expression");
    Ok(())
}

/// `value` broadcast to a shape that it may have lost inputs for.
fn expand(graph: &mut Graph, name: &str, value: ValueId, to: &[Dim]) -> Result<ValueId, PassError> {
    if shape(graph, value) == to {
        return Ok(value);
    }
    apply(graph, name, Op::Expand { shape: to.to_vec() }, &[value])
}

/// The expression over its distinct, used inputs only, renumbered in order of first appearance among the inputs.
pub(super) fn compact(expr: &Expr, inputs: &[ValueId]) -> (Expr, Vec<ValueId>) {
    let mut arguments = BTreeSet::new();
    collect_arguments(expr, &mut arguments);
    let mut used: Vec<ValueId> = Vec::new();
    for value in arguments.iter().filter_map(|at| inputs.get(*at)) {
        if !used.contains(value) {
            used.push(*value);
        }
    }
    let renumbered = expr.map_args(&mut |at| {
        let position = inputs.get(at).and_then(|value| used.iter().position(|have| have == value));
        Expr::Arg(position.unwrap_or(at))
    });
    let simple = simplify(&renumbered);
    // Merging inputs can make operands equal, and the algebra behind that can drop inputs again.
    if simple == renumbered { (simple, used) } else { compact(&simple, &used) }
}

fn collect_arguments(expr: &Expr, into: &mut BTreeSet<usize>) {
    if let Expr::Arg(at) = expr {
        into.insert(*at);
    }
    for child in expr.children() {
        collect_arguments(child, into);
    }
}

/// A fill of a scalar of the kind that the element type wants.
fn fill(value: Scalar, dtype: DType, shape: &[Dim]) -> Option<Op> {
    let fits = match value {
        Scalar::F32(_) => dtype.is_float(),
        Scalar::Int(_) => dtype.is_int(),
        Scalar::Bool(_) => dtype == DType::Bool,
    };
    fits.then(|| Op::Fill { dtype, value, shape: shape.to_vec() })
}

/// The value of an expression without arguments.
fn constant_expression(expr: &Expr, dtype: DType) -> Option<Scalar> {
    let limits = Limits { max_elements: 1 };
    let result = eval_op_within(&Op::Elementwise(expr.clone()), &[], &Bindings::new(), limits).ok()?;
    let tensor = result.first()?;
    (tensor.dtype() == dtype).then(|| tensor.to_tensor(dtype).ok()?.scalar()).flatten()
}

/// Removes optional inputs that change nothing.
fn drop_neutral_inputs(graph: &mut Graph, node: NodeId, report: &mut Report) {
    let zero = |scalar: Scalar| scalar.as_f32() == 0.0;
    let (slot, neutral): (usize, &dyn Fn(Scalar) -> bool) = match &graph.node(node).op {
        Op::CausalConv { .. } | Op::LayerNorm { .. } => (2, &zero),
        Op::Attention(_) => (attention::MASK, &|scalar| match scalar {
            Scalar::Bool(keep) => keep,
            Scalar::F32(add) => add == 0.0,
            Scalar::Int(_) => false,
        }),
        _ => return,
    };
    let Some(input) = graph.node_input(node, slot) else { return };
    if splat(graph, input).is_some_and(neutral) {
        graph.set_input(node, slot, None);
        report.changed("neutral input");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compacting_merges_equal_inputs() {
        let mut graph = Graph::new("g");
        let ty = qwenc_ir::ValueType::new(DType::F32, [4usize]);
        let (x, y) = (graph.add_input("x", ty.clone()), graph.add_input("y", ty));
        let expr = Expr::Arg(2).binary(qwenc_ir::BinaryOp::Add, Expr::Arg(0));
        let (compacted, used) = compact(&expr, &[x, y, x]);
        assert_eq!(used, [x]);
        assert_eq!(compacted.arity(), 1);
    }
}
