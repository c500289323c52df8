//! Operators with one kernel family each and no choices: pointwise math, reductions, gather, matrix products.

use qwenc_codegen_wgsl::elementwise::ElementwiseParams;
use qwenc_codegen_wgsl::wgsl_expr::Argument;
use qwenc_codegen_wgsl::{View, arg_reduce, cumsum, elementwise, matmul, reduce, softmax};
use qwenc_ir::op::ReduceKind;
use qwenc_ir::{DType, Expr, NodeId, ValueId};

use super::{LowerError, Lowering};

/// The inputs of an expression as kernel arguments. Constants of one element go into the expression itself.
pub(super) fn arguments(
    lowering: &mut Lowering<'_>,
    expr: &Expr,
    values: &[ValueId],
    first: usize,
) -> Result<(Expr, Vec<Argument>), LowerError> {
    let graph = lowering.graph();
    let mut replace: Vec<Expr> = (0..first).map(Expr::Arg).collect();
    let mut arguments: Vec<Argument> = Vec::new();
    for value in values {
        if let Some(scalar) = graph.constant(*value).and_then(qwenc_ir::Tensor::scalar) {
            replace.push(Expr::Const(scalar));
            continue;
        }
        replace.push(Expr::Arg(first + arguments.len()));
        let dtype = device_dtype(graph.value(*value).ty.dtype);
        arguments.push(Argument { view: lowering.view(*value)?, dtype });
    }
    let expr =
        expr.floats_as_f32().map_args(&mut |index| replace.get(index).cloned().unwrap_or(Expr::Arg(index)));
    Ok((expr, arguments))
}

/// Devices hold and compute every float type as f32.
const fn device_dtype(dtype: DType) -> DType {
    if dtype.is_float() { DType::F32 } else { dtype }
}

/// A pointwise expression. A cast among float types leaves the value where it is.
pub(super) fn elementwise(lowering: &mut Lowering<'_>, node: NodeId, expr: &Expr) -> Result<(), LowerError> {
    let graph = lowering.graph();
    let values: Vec<ValueId> = graph.node_inputs(node).into_iter().flatten().collect();
    if let ([value], Expr::Cast(to, from)) = (values.as_slice(), expr)
        && **from == Expr::Arg(0)
        && to.is_float()
        && graph.value(*value).ty.dtype.is_float()
    {
        let (view, output) = (lowering.view(*value)?, lowering.output(node, 0)?);
        lowering.alias(output, view);
        return Ok(());
    }
    let (expr, inputs) = arguments(lowering, expr, &values, 0)?;
    let output = lowering.output(node, 0)?;
    let output = lowering.place(output)?;
    let kernel = elementwise::kernel(lowering.symbols(), &ElementwiseParams { expr, inputs, output })?;
    lowering.launch(kernel);
    Ok(())
}

/// A reduction.
pub(super) fn reduce(
    lowering: &mut Lowering<'_>,
    node: NodeId,
    kind: ReduceKind,
    axes: &[usize],
) -> Result<(), LowerError> {
    let input = lowering.input(node, 0)?;
    let output = lowering.output(node, 0)?;
    let output = lowering.place(output)?;
    let params = reduce::ReduceParams { kind, axes: axes.to_vec(), input, output };
    let kernel = reduce::kernel(lowering.symbols(), &params)?;
    lowering.launch(kernel);
    Ok(())
}

/// Index of the extreme element.
pub(super) fn arg_reduce(
    lowering: &mut Lowering<'_>,
    node: NodeId,
    min: bool,
    axis: usize,
    last: bool,
) -> Result<(), LowerError> {
    let input = lowering.input(node, 0)?;
    let output = lowering.output(node, 0)?;
    let output = lowering.place(output)?;
    let kernel = arg_reduce::kernel(
        lowering.symbols(),
        &arg_reduce::ArgReduceParams { min, axis, last, input, output },
    )?;
    lowering.launch(kernel);
    Ok(())
}

/// Running sum.
pub(super) fn cumsum(
    lowering: &mut Lowering<'_>,
    node: NodeId,
    axis: usize,
    exclusive: bool,
    reverse: bool,
) -> Result<(), LowerError> {
    let input = lowering.input(node, 0)?;
    let output = lowering.output(node, 0)?;
    let output = lowering.place(output)?;
    let params = cumsum::CumSumParams { axis, exclusive, reverse, input, output };
    let kernel = cumsum::kernel(lowering.symbols(), &params)?;
    lowering.launch(kernel);
    Ok(())
}

/// Softmax, or its logarithm.
pub(super) fn softmax(
    lowering: &mut Lowering<'_>,
    node: NodeId,
    axis: usize,
    log: bool,
) -> Result<(), LowerError> {
    let input = lowering.input(node, 0)?;
    let output = lowering.output(node, 0)?;
    let output = lowering.place(output)?;
    let kernel = softmax::kernel(lowering.symbols(), &softmax::SoftmaxParams { axis, log, input, output })?;
    lowering.launch(kernel);
    Ok(())
}

/// A matrix product of activations.
pub(super) fn matmul(
    lowering: &mut Lowering<'_>,
    node: NodeId,
    transpose_a: bool,
    transpose_b: bool,
) -> Result<(), LowerError> {
    let a = swapped(lowering.input(node, 0)?, transpose_a);
    let b = swapped(lowering.input(node, 1)?, transpose_b);
    let output = lowering.output(node, 0)?;
    let output = lowering.place(output)?;
    let kernel = matmul::kernel(lowering.symbols(), &matmul::MatMulParams { a, b, output })?;
    lowering.launch(kernel);
    Ok(())
}

fn swapped(view: View, swap: bool) -> View {
    let rank = view.rank();
    if !swap || rank < 2 {
        return view;
    }
    let mut axes: Vec<usize> = (0..rank).collect();
    axes.swap(rank - 2, rank - 1);
    view.select_axes(&axes)
}
