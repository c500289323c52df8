//! Fused linear layers: one matrix-vector dispatch for a single row, a norm and a matrix product for many.

use qwenc_codegen_wgsl::kernel::limits;
use qwenc_codegen_wgsl::linear::{Epilogue, LinearParams, NormPrologue};
use qwenc_codegen_wgsl::norm::{self, NormKind, NormParams};
use qwenc_codegen_wgsl::weight::Weight;
use qwenc_codegen_wgsl::{View, linear_gemm, linear_gemv};
use qwenc_ir::op::{LinearAttrs, WeightLayout, linear as slot};
use qwenc_ir::{Dim, NodeId, ValueId};

use super::generic::arguments;
use super::move_ops::{broadcast, slice_axis};
use super::weights::{RowSource, WeightSpec, constant_matrix};
use super::{LowerError, Lowering};

/// Lowers a fused linear layer.
pub(super) fn linear(
    lowering: &mut Lowering<'_>,
    node: NodeId,
    attrs: &LinearAttrs,
) -> Result<(), LowerError> {
    let sources = weight_sources(lowering, node, attrs)?;
    let x = lowering.input(node, slot::X)?;
    let mut x = lowering.rows(&x)?;
    let one_row = x.shape[0].is(1);

    let mut norm = None;
    if let Some(eps) = attrs.norm {
        let weight = lowering.input(node, slot::NORM)?;
        if one_row {
            norm = Some(NormPrologue { weight, eps: eps.0 });
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

    for rows in pieces(&sources, attrs.glu.is_some())? {
        let columns = if attrs.glu.is_some() { rows.start / 2..rows.end / 2 } else { rows.clone() };
        let (start, len) = (Dim::from(columns.start), Dim::from(columns.len()));
        let narrow = |view: &View| slice_axis(view, 1, &start, &len);
        let weight = lowering.weight(WeightSpec::Rows {
            sources: sources.clone(),
            interleave: attrs.glu.is_some(),
            rows,
        });
        let params = LinearParams {
            x: x.clone(),
            norm: norm.clone(),
            weight: Weight::f32(weight),
            glu: attrs.glu,
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
    Ok(())
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
) -> Result<Vec<RowSource>, LowerError> {
    let graph = lowering.graph();
    let mut sources = Vec::new();
    for (index, layout) in attrs.weights.iter().enumerate() {
        let source = graph
            .node_input(node, slot::WEIGHTS + index)
            .and_then(|value| constant_matrix(graph, value))
            .ok_or_else(|| LowerError::graph(format!("weight {index} is no constant matrix")))?;
        // `constant_matrix` says which axis of the tensor runs along the value's axis 0.
        let layout = match (layout, source.layout) {
            (WeightLayout::NK, layout) => layout,
            (WeightLayout::KN, WeightLayout::NK) => WeightLayout::KN,
            (WeightLayout::KN, WeightLayout::KN) => WeightLayout::NK,
        };
        sources.push(RowSource { layout, ..source });
    }
    Ok(sources)
}

/// Ranges of rows that one binding reaches, in equal parts. Pairs of gate and up rows stay together.
fn pieces(sources: &[RowSource], paired: bool) -> Result<Vec<std::ops::Range<usize>>, LowerError> {
    let rows: usize = sources.iter().map(|source| source.extent().0).sum();
    let k = sources.first().map_or(0, |source| source.extent().1);
    let row_bytes = (k.next_multiple_of(4) as u64) * 4;
    let most = usize::try_from(limits::BINDING_BYTES / row_bytes.max(1)).unwrap_or(usize::MAX);
    if most < 2 {
        return Err(LowerError::graph(format!("rows of {k} elements do not fit a binding")));
    }
    let unit = if paired { 2 } else { 1 };
    let parts = rows.div_ceil(most - most % unit).max(1);
    let step = rows.div_ceil(parts).next_multiple_of(unit);
    Ok((0..rows).step_by(step.max(1)).map(|start| start..rows.min(start + step)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use qwenc_ir::Tensor;

    #[test]
    fn large_matrices_are_split_between_pairs() {
        // 40,000 rows of 4,096 bytes are 156 MiB: two bindings. The tensor's bytes are shared zeros, not touched here.
        let tensor =
            Tensor::new(qwenc_ir::DType::I4, vec![20_000, 1024], bytes::Bytes::from(vec![0; 10_240_000]));
        let source = RowSource { tensor: tensor.unwrap(), layout: WeightLayout::NK };
        let pieces = pieces(&[source.clone(), source], true).unwrap();
        assert_eq!(pieces, [0..20_000, 20_000..40_000]);
    }
}
