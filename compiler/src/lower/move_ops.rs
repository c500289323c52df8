//! Operators that rearrange elements: views where strides can say it, copies where not.

use qwenc_codegen_wgsl::{View, copy, fill};
use qwenc_ir::{Dim, NodeId, Op, Scalar};

use super::context::elem_of;
use super::{LowerError, Lowering};

/// The view of one index along an axis; the axis goes.
pub(super) fn index_axis(view: &View, axis: usize, index: &Dim) -> View {
    let mut out = view.clone();
    out.offset = out.offset + index.clone() * out.strides[axis].clone();
    out.shape.remove(axis);
    out.strides.remove(axis);
    out
}

/// The view of a range along an axis.
pub(super) fn slice_axis(view: &View, axis: usize, start: &Dim, len: &Dim) -> View {
    let mut out = view.clone();
    out.offset = out.offset + start.clone() * out.strides[axis].clone();
    out.shape[axis] = len.clone();
    out
}

/// The view repeated to a broadcast shape.
pub(super) fn broadcast(view: &View, shape: &[Dim]) -> View {
    let lead = shape.len().saturating_sub(view.rank());
    let strides = (0..shape.len()).map(|axis| match axis.checked_sub(lead) {
        Some(own) if !view.shape[own].is(1) => view.strides[own].clone(),
        _ => Dim::constant(0),
    });
    View { shape: shape.to_vec(), strides: strides.collect(), ..view.clone() }
}

/// Reshape, transpose, slice and expand.
pub(super) fn view(lowering: &mut Lowering<'_>, node: NodeId) -> Result<(), LowerError> {
    let graph = lowering.graph();
    let x = lowering.input(node, 0)?;
    let output = lowering.output(node, 0)?;
    let shape = &graph.value(output).ty.shape;
    let out = match &graph.node(node).op {
        Op::Reshape { .. } => lowering.reshape(&x, shape)?,
        Op::Transpose { perm } => x.select_axes(perm),
        Op::Expand { .. } => broadcast(&x, shape),
        Op::Slice { axis, start, len, step } => {
            let mut out = slice_axis(&x, *axis, start, len);
            out.strides[*axis] = out.strides[*axis].clone() * Dim::constant(*step);
            // Kernels index with unsigned arithmetic; only the copy kernel takes strides that run backwards.
            if *step < 0 { lowering.materialize(&out)? } else { out }
        }
        other => return Err(LowerError::graph(format!("{} is no view", other.name()))),
    };
    lowering.alias(output, out);
    Ok(())
}

/// Concatenation: each input is copied to its part.
pub(super) fn concat(lowering: &mut Lowering<'_>, node: NodeId, axis: usize) -> Result<(), LowerError> {
    let output = lowering.output(node, 0)?;
    let out = lowering.place(output)?;
    let mut at = Dim::constant(0);
    for port in 0..lowering.graph().node_inputs(node).len() {
        let part = lowering.input(node, port)?;
        let len = part.shape[axis].clone();
        if !part.elements().is(0) {
            lowering.copy(&part, &slice_axis(&out, axis, &at, &len))?;
        }
        at = at + len;
    }
    Ok(())
}

/// Constant padding.
pub(super) fn pad(
    lowering: &mut Lowering<'_>,
    node: NodeId,
    before: &[Dim],
    value: Scalar,
) -> Result<(), LowerError> {
    let input = lowering.input(node, 0)?;
    let output = lowering.output(node, 0)?;
    let output = lowering.place(output)?;
    let params = copy::PadParams { input, before: before.to_vec(), value, output };
    let kernel = copy::pad_kernel(lowering.symbols(), &params)?;
    lowering.launch(kernel);
    Ok(())
}

/// Tensors that come from nothing but dims: ranges, fills, shapes as data.
pub(super) fn generate(lowering: &mut Lowering<'_>, node: NodeId) -> Result<(), LowerError> {
    let graph = lowering.graph();
    let output = lowering.output(node, 0)?;
    elem_of(&graph.value(output).ty)?;
    let output = lowering.place(output)?;
    let symbols = lowering.symbols();
    let kernel = match &graph.node(node).op {
        Op::Range { start, step, .. } => {
            fill::range_kernel(symbols, &fill::RangeParams { start: start.clone(), step: *step, output })?
        }
        Op::Fill { value, .. } => fill::kernel(symbols, &fill::FillParams { value: *value, output })?,
        Op::Dims { values } => {
            fill::dims_kernel(symbols, &fill::DimsParams { values: values.clone(), output })?
        }
        other => return Err(LowerError::graph(format!("{} makes no tensor by itself", other.name()))),
    };
    lowering.launch(kernel);
    Ok(())
}
