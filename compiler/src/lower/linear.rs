//! Fused linear layers: one matrix-vector dispatch for a single row, a norm and a matrix product for many. Weights of
//! several kinds side by side (quantized ones and floats) are as many dispatches.

use qwenc_codegen_wgsl::kernel::limits;
use qwenc_codegen_wgsl::linear::{Epilogue, LinearParams, NormPrologue};
use qwenc_codegen_wgsl::norm::{self, NormKind, NormParams};
use qwenc_codegen_wgsl::weight::Weight;
use qwenc_codegen_wgsl::{View, linear_gemm, linear_gemv};
use qwenc_ir::op::{LinearAttrs, WeightLayout, linear as slot};
use qwenc_ir::{Dim, NodeId, Op, ValueId};

use super::generic::arguments;
use super::move_ops::{broadcast, slice_axis};
use super::step_fusion;
use super::weights::{RowPart, RowStack, WeightSpec};
use super::{LowerError, Lowering};
use crate::matrix::Matrix;

/// Lowers a fused linear layer.
pub(super) fn linear(
    lowering: &mut Lowering<'_>,
    node: NodeId,
    attrs: &LinearAttrs,
    norm_node: Option<NodeId>,
) -> Result<(), LowerError> {
    let sources = weight_sources(lowering, node, attrs)?;
    let (mut x, mut norm) = match norm_node.map(|norm| (norm, &lowering.graph().node(norm).op)) {
        Some((norm, Op::RmsNorm { eps, gate: Some(gate) })) => {
            let (x, norm) = step_fusion::norm_prologue(lowering, norm, *eps, *gate)?;
            (x, Some(norm))
        }
        _ => {
            let x = lowering.input(node, slot::X)?;
            (lowering.rows(&x)?, None)
        }
    };
    let one_row = x.shape[0].is(1);

    if let Some(eps) = attrs.norm {
        let weight = lowering.input(node, slot::NORM)?;
        if one_row {
            norm = Some(NormPrologue::plain(weight, eps.0));
        } else {
            x = normed(lowering, x, weight, eps.0)?;
        }
    }

    let output = lowering.output(node, 0)?;
    let place = lowering.place(output)?;
    let out = place.as_rows().ok_or_else(|| LowerError::graph("the layer's output has no rows"))?;

    let mut epilogue = None;
    if let Some(expr) = &attrs.epilogue {
        let first = slot::WEIGHTS + attrs.weights.len();
        let extras: Vec<ValueId> =
            (first..).map_while(|port| lowering.graph().node_input(node, port)).collect();
        let (expr, mut arguments) = arguments(lowering, expr, &extras, 1)?;
        for argument in &mut arguments {
            // Extras are seen as rows and columns, like x and the output.
            let full = broadcast(&argument.view, &place.shape);
            argument.view = match full.as_rows() {
                Some(rows) => rows,
                None => lowering.rows(&full)?,
            };
        }
        epilogue = Some(Epilogue { expr, extras: arguments });
    }

    let stacks = stacks(sources, attrs.glu.is_some())?;
    let mut conv = None;
    // One kernel must have all of the state's channels.
    if let ([stack], None, None, true) = (stacks.as_slice(), &epilogue, attrs.glu, one_row)
        && pieces(stack, 1)?.len() == 1
    {
        conv = step_fusion::conv_behind(lowering, output)?;
    }
    if let Some(conv) = &conv {
        step_fusion::take_conv(lowering, conv, &out)?;
    }

    let mut start = 0;
    for stack in stacks {
        let per_column = if attrs.glu.is_some() { 2 } else { 1 };
        for rows in pieces(&stack, per_column)? {
            let (first, len) = (Dim::from(start + rows.start / per_column), rows.len() / per_column);
            let narrow = |view: &View| slice_axis(view, 1, &first, &Dim::from(len));
            let params = LinearParams {
                x: x.clone(),
                norm: norm.clone(),
                weight: packed(lowering, &stack.part(rows)),
                glu: attrs.glu,
                conv: conv.as_ref().map(|conv| conv.epilogue.clone()),
                epilogue: epilogue.clone().map(|mut epilogue| {
                    for extra in &mut epilogue.extras {
                        extra.view = narrow(&extra.view);
                    }
                    epilogue
                }),
                output: narrow(&out),
            };
            let kernel = if one_row {
                linear_gemv::kernel(lowering.symbols(), &params)?
            } else {
                linear_gemm::kernel(lowering.symbols(), &params)?
            };
            lowering.launch(kernel);
        }
        start += stack.extent().0 / per_column;
    }
    Ok(())
}

/// The buffers of packed rows.
pub(super) fn packed(lowering: &mut Lowering<'_>, stack: &RowStack) -> Weight {
    let format = stack.format();
    let (n, k) = stack.extent();
    let mut part = |part| lowering.weight(WeightSpec::Rows { stack: stack.clone(), part });
    Weight {
        format,
        values: part(RowPart::Values),
        scales: format.scales(n, k).map(|_| part(RowPart::Scales)),
        zeros: format.zeros(n, k).map(|_| part(RowPart::Zeros)),
    }
}

/// RMS norm of all rows into a temporary. The layers that read the same norm were fused into one before, so nothing is
/// computed twice.
fn normed(lowering: &mut Lowering<'_>, x: View, weight: View, eps: f32) -> Result<View, LowerError> {
    let out = lowering.temp(x.elem, x.shape.clone());
    let params = NormParams {
        kind: NormKind::Rms,
        eps,
        input: x,
        weight: Some(weight),
        bias: None,
        gate: None,
        output: out.clone(),
    };
    let kernel = norm::kernel(lowering.symbols(), &params)?;
    lowering.launch(kernel);
    Ok(out)
}

fn weight_sources(
    lowering: &Lowering<'_>,
    node: NodeId,
    attrs: &LinearAttrs,
) -> Result<Vec<Matrix>, LowerError> {
    let graph = lowering.graph();
    let mut sources = Vec::new();
    for (index, layout) in attrs.weights.iter().enumerate() {
        let fail = |reason| LowerError::graph(format!("weight {index} is no constant matrix: {reason}"));
        let value = graph.node_input(node, slot::WEIGHTS + index).ok_or_else(|| fail("it is missing"))?;
        let matrix = Matrix::of_with_reason(graph, value).map_err(fail)?;
        sources.push(match layout {
            WeightLayout::NK => matrix,
            WeightLayout::KN => matrix.transposed(),
        });
    }
    Ok(sources)
}

/// The matrices as packed weights, one for each run of matrices of one kind. A gated pair is interleaved in one.
fn stacks(sources: Vec<Matrix>, pair: bool) -> Result<Vec<RowStack>, LowerError> {
    if pair {
        return Ok(vec![RowStack::new(sources, true)?]);
    }
    let runs = sources.chunk_by(|a, b| a.kind() == b.kind());
    runs.map(|run| RowStack::new(run.to_vec(), false)).collect()
}

/// Ranges of rows that one binding reaches, in equal parts. The rows of one column stay together.
pub(super) fn pieces(stack: &RowStack, per_column: usize) -> Result<Vec<std::ops::Range<usize>>, LowerError> {
    let (rows, k) = stack.extent();
    // Scales and zero points take no more: a block is at least 16 codes of at least 2 bits.
    let row_bytes = stack.format().row_words(k) as u64 * 4;
    let most = usize::try_from(limits::BINDING_BYTES / row_bytes.max(1)).unwrap_or(usize::MAX);
    if most < per_column {
        return Err(LowerError::graph(format!("rows of {k} elements do not fit a binding")));
    }
    let parts = rows.div_ceil(most - most % per_column).max(1);
    let step = rows.div_ceil(parts).next_multiple_of(per_column);
    Ok((0..rows).step_by(step.max(1)).map(|start| start..rows.min(start + step)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use qwenc_ir::{DType, Tensor};

    #[test]
    fn large_matrices_are_split_between_pairs() {
        // 40,000 rows of 4,096 bytes are 156 MiB: two bindings. The tensor's bytes are shared zeros, not touched here.
        let tensor = Tensor::new(DType::F32, vec![20_000, 1024], bytes::Bytes::from(vec![0; 81_920_000]));
        let source = Matrix::floats(tensor.unwrap(), WeightLayout::NK);
        let stack = RowStack::new(vec![source.clone(), source], true).unwrap();
        assert_eq!(pieces(&stack, 2).unwrap(), [0..20_000, 20_000..40_000]);
    }
}
