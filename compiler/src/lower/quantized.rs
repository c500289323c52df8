//! Quantized and packed tables: lookups of rows, and codes that no layer reads packed.

use qwenc_codegen_wgsl::dequantize::{self, DequantizeParams, Zero};
use qwenc_codegen_wgsl::gather::{self, GatherParams};
use qwenc_codegen_wgsl::rows::{self, RowsParams};
use qwenc_ir::NodeId;

use super::linear::{packed, pieces};
use super::packed_only::reads_packed;
use super::weights::RowStack;
use super::{LowerError, Lowering};
use crate::matrix::Matrix;

/// Gather. A lookup of rows in a constant matrix reads it packed as a linear layer's weight, so that an embedding and a
/// head of equal content are stored once; a table that one binding does not reach is as many dispatches as a head.
pub(super) fn gather(lowering: &mut Lowering<'_>, node: NodeId, axis: usize) -> Result<(), LowerError> {
    let graph = lowering.graph();
    let data = graph.node_input(node, 0).ok_or_else(|| LowerError::graph("input 0 is missing"))?;
    let table = Matrix::of(graph, data).filter(|_| reads_packed(graph, node, 0));
    let indices = lowering.input(node, 1)?;
    let output = lowering.output(node, 0)?;
    let output = lowering.place(output)?;
    let Some(table) = table else {
        let input = lowering.view(data)?;
        let kernel = gather::kernel(lowering.symbols(), &GatherParams { axis, input, indices, output })?;
        lowering.launch(kernel);
        return Ok(());
    };
    let stack = RowStack::new(vec![table], false)?;
    let number = |rows: usize| {
        u32::try_from(rows).map_err(|_| LowerError::graph(format!("a table of {rows} rows is too large")))
    };
    let total = number(stack.extent().0)?;
    for part in pieces(&stack, 1)? {
        let params = RowsParams {
            first: number(part.start)?,
            total,
            // Ids that are in no part get their zeros from the first.
            fill: part.start == 0,
            weight: packed(lowering, &stack.part(part)),
            ids: indices.clone(),
            output: output.clone(),
        };
        let kernel = rows::kernel(lowering.symbols(), &params)?;
        lowering.launch(kernel);
    }
    Ok(())
}

/// Codes to floats on the device: of what a graph computes, or in blocks that layers do not read.
pub(super) fn dequantize(
    lowering: &mut Lowering<'_>,
    node: NodeId,
    axis: usize,
    block: usize,
    zero: i64,
) -> Result<(), LowerError> {
    let block = u32::try_from(block).map_err(|_| LowerError::graph(format!("blocks of {block} codes")))?;
    let (codes, scales) = (lowering.input(node, 0)?, lowering.input(node, 1)?);
    let zero = match lowering.optional_input(node, 2)? {
        Some(zeros) => Zero::View(zeros),
        None => Zero::Constant(
            i32::try_from(zero).map_err(|_| LowerError::graph(format!("a zero point of {zero}")))?,
        ),
    };
    let output = lowering.output(node, 0)?;
    let output = lowering.place(output)?;
    let params = DequantizeParams { axis, block, codes, scales, zero, output };
    let kernel = dequantize::kernel(lowering.symbols(), &params)?;
    lowering.launch(kernel);
    Ok(())
}
