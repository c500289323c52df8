//! Floats are computed in f32, whatever width the file gives them: f16 and bf16 say how a weight is stored, not how a
//! model computes.
//!
//! Every input, intermediate value and output of another float type becomes f32, and casts among float types vanish (what
//! is left of them is the identity, for [`super::views`]). So
//! norms, softmax, sums and states are f32 in an f16 graph too, and a mask of -65504 or of f32's lowest number meets no
//! narrower type on its way. The device holds every float as f32 in any case: the pass writes down what happens there.
//!
//! Constants that take the place of a weight stay as they are stored: matrices of products, tables of lookups and of
//! rope, scales of quantized weights, also behind views. What reads such a value as an activation (a lookup's rows)
//! reads it through one cast, which lowering makes a view. All other constants (norms, biases, taps) become f32 here,
//! up to [`MAX_CONVERTED`] elements; a larger one keeps its bytes and gets the cast.

use std::collections::BTreeMap;

use qwenc_ir::interp::HostTensor;
use qwenc_ir::op::{attention, linear};
use qwenc_ir::{DType, Expr, Graph, NodeId, Op, ValueId, infer};

use super::manager::{Pass, PassError, Report};
use super::rewrite::apply;

/// Largest constant, in elements, that is rewritten as f32.
const MAX_CONVERTED: usize = 1 << 20;

/// See the module.
pub(super) const PASS: Pass = Pass {
    name: "widen",
    about: "activations of every float type become f32, casts among floats vanish",
    run,
};

fn run(graph: &mut Graph, report: &mut Report) -> Result<(), PassError> {
    for input in graph.inputs().to_vec() {
        if is_narrow(graph, input) {
            graph.value_mut(input).ty.dtype = DType::F32;
            report.changed("input");
        }
    }
    let mut widened = BTreeMap::new();
    for node in graph.topo_order()? {
        let before = types(graph, node);
        for (port, input) in graph.node_inputs(node).into_iter().enumerate() {
            let Some(input) = input.filter(|input| is_narrow(graph, *input)) else { continue };
            if !takes_stored(graph, node, port) {
                let wide = wide_copy(graph, input, &mut widened, report)?;
                graph.set_input(node, port, Some(wide));
            }
        }
        let op = wide_op(graph, node);
        if op != graph.node(node).op {
            graph.node_mut(node).op = op;
            report.changed("cast");
        }
        set_types(graph, node)?;
        if types(graph, node) != before {
            report.changed("value");
        }
    }
    let outputs = graph.outputs().to_vec();
    let wide = outputs.into_iter().map(|(name, value)| {
        let narrow = is_narrow(graph, value);
        Ok((name, if narrow { wide_copy(graph, value, &mut widened, report)? } else { value }))
    });
    let wide = wide.collect::<Result<Vec<_>, PassError>>()?;
    graph.set_outputs(wide);
    Ok(())
}

/// True for floats of another type than f32.
fn is_narrow(graph: &Graph, value: ValueId) -> bool {
    let dtype = graph.value(value).ty.dtype;
    dtype.is_float() && dtype != DType::F32
}

fn types(graph: &Graph, node: NodeId) -> Vec<DType> {
    graph.node_outputs(node).into_iter().map(|value| graph.value(value).ty.dtype).collect()
}

/// True where an operator reads a weight as it is stored. Nodes come in order, so that a narrow value is a constant, or
/// what an operator below made of one.
fn takes_stored(graph: &Graph, node: NodeId, port: usize) -> bool {
    match &graph.node(node).op {
        Op::Reshape { .. } | Op::Transpose { .. } | Op::Slice { .. } | Op::Expand { .. } => true,
        Op::Gather { .. } => port == 0,
        Op::Dequantize { .. } => true,
        // The other side decides the result's type; it must be an activation.
        Op::MatMul { .. } => {
            let other = graph.node_input(node, 1 - port.min(1));
            other.is_some_and(|other| graph.value(other).ty.dtype == DType::F32)
        }
        Op::Linear(attrs) => (linear::WEIGHTS..linear::WEIGHTS + attrs.weights.len()).contains(&port),
        Op::Rope(_) => port >= 1 && graph.node_input(node, port).is_some_and(|v| graph.constant(v).is_some()),
        Op::Attention(_) => matches!(port, attention::COS | attention::SIN),
        _ => false,
    }
}

/// The value as f32: a constant of its own when it is small, else behind a cast.
fn wide_copy(
    graph: &mut Graph,
    value: ValueId,
    made: &mut BTreeMap<ValueId, ValueId>,
    report: &mut Report,
) -> Result<ValueId, PassError> {
    if let Some(have) = made.get(&value) {
        return Ok(*have);
    }
    let name = graph.value(value).name.clone();
    let small = graph.constant(value).filter(|tensor| tensor.len() <= MAX_CONVERTED);
    let converted = small
        .map(|tensor| HostTensor::from_tensor(tensor).and_then(|host| host.to_tensor(DType::F32)))
        .transpose()
        .map_err(|error| PassError::Fold { node: name.clone(), message: error.to_string() })?;
    let wide = match converted {
        Some(tensor) => graph.add_const(name, tensor),
        None => apply(graph, &name, Op::Elementwise(Expr::Arg(0).cast(DType::F32)), &[value])?,
    };
    report.changed("constant");
    made.insert(value, wide);
    Ok(wide)
}

/// The operator without casts among float types, and with f32 for every other float type that it makes.
fn wide_op(graph: &Graph, node: NodeId) -> Op {
    match &graph.node(node).op {
        Op::Elementwise(expr) => {
            let inputs = graph.node_inputs(node);
            let dtype = |input: &Option<ValueId>| input.map_or(DType::F32, |id| graph.value(id).ty.dtype);
            Op::Elementwise(wide_expr(expr, &inputs.iter().map(dtype).collect::<Vec<_>>()))
        }
        Op::Linear(attrs) => {
            let mut attrs = attrs.clone();
            let first = linear::WEIGHTS + attrs.weights.len();
            let mut dtypes = vec![DType::F32];
            let extras = graph.node_inputs(node).into_iter().skip(first).flatten();
            dtypes.extend(extras.map(|id| graph.value(id).ty.dtype));
            attrs.epilogue = attrs.epilogue.map(|expr| wide_expr(&expr, &dtypes));
            Op::Linear(attrs)
        }
        Op::Fill { dtype, value, shape } if dtype.is_float() => {
            Op::Fill { dtype: DType::F32, value: *value, shape: shape.clone() }
        }
        other => other.clone(),
    }
}

/// `arguments` are the types of the inputs; floats among them are f32.
fn wide_expr(expr: &Expr, arguments: &[DType]) -> Expr {
    let wide = |inner: &Expr| wide_expr(inner, arguments);
    match expr {
        Expr::Arg(_) | Expr::Const(_) => expr.clone(),
        Expr::Unary(op, a) => wide(a).unary(*op),
        Expr::Binary(op, a, b) => wide(a).binary(*op, wide(b)),
        Expr::Select(c, a, b) => wide(c).select(wide(a), wide(b)),
        Expr::Cast(dtype, a) => {
            let a = wide(a);
            match (dtype.is_float(), a.infer(arguments)) {
                (true, Ok(DType::F32)) => a,
                (true, _) => a.cast(DType::F32),
                (false, _) => a.cast(*dtype),
            }
        }
    }
}

fn set_types(graph: &mut Graph, node: NodeId) -> Result<(), PassError> {
    let inputs = graph.node_inputs(node);
    let inputs: Vec<_> = inputs.iter().map(|input| input.map(|id| &graph.value(id).ty)).collect();
    let outputs = infer(&graph.node(node).op, &inputs)
        .map_err(|source| PassError::Infer { node: graph.node(node).name.clone(), source })?;
    for (value, ty) in graph.node_outputs(node).into_iter().zip(outputs) {
        graph.value_mut(value).ty = ty;
    }
    Ok(())
}
