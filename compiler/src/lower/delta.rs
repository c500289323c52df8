//! The gated delta rule: one dispatch for a single position, the chunked form for more.

use qwenc_codegen_wgsl::delta::{DeltaParams, RawGates};
use qwenc_codegen_wgsl::{Elem, View, delta_chunk, delta_step};
use qwenc_ir::NodeId;
use qwenc_ir::op::{GatedDeltaAttrs, gated_delta as slot};

use super::{LowerError, Lowering};

/// Lowers the gated delta rule.
pub(super) fn gated_delta(
    lowering: &mut Lowering<'_>,
    node: NodeId,
    attrs: &GatedDeltaAttrs,
) -> Result<(), LowerError> {
    let graph = lowering.graph();
    let query = lowering.input(node, slot::Q)?;
    let key = lowering.input(node, slot::K)?;
    let value = lowering.input(node, slot::V)?;
    let decay = lowering.input(node, slot::DECAY)?;
    let beta = lowering.input(node, slot::BETA)?;
    let past = lowering.optional_input(node, slot::PAST)?;
    let raw = if attrs.raw_gates {
        Some(RawGates {
            neg_exp_a: lowering.input(node, slot::NEG_EXP_A)?,
            dt_bias: lowering.input(node, slot::DT_BIAS)?,
        })
    } else {
        None
    };
    let output = lowering.output(node, 0)?;
    let output = lowering.place(output)?;
    let present_value = lowering.output(node, 1)?;
    let wanted = graph.is_output(present_value) || !graph.consumers(present_value).is_empty();
    let present = if wanted { Some(lowering.place(present_value)?) } else { None };

    let batches = lowering.batch(&query)?.len();
    for batch in 0..batches {
        let one = |view: &View| -> Result<View, LowerError> { Ok(lowering.batch(view)?[batch].clone()) };
        let params = DeltaParams {
            query: one(&query)?,
            key: one(&key)?,
            value: one(&value)?,
            decay: one(&decay)?,
            beta: one(&beta)?,
            raw: raw.clone(),
            qk_norm: attrs.qk_norm.map(|eps| eps.0),
            scale: attrs.scale.0,
            past: past.as_ref().map(one).transpose()?,
            present: present.as_ref().map(one).transpose()?,
            output: one(&output)?,
        };
        if params.query.shape[0].is(1) {
            let kernel = delta_step::kernel(lowering.symbols(), &params)?;
            lowering.launch(kernel);
            continue;
        }
        let scratch = lowering.temp(Elem::F32, delta_chunk::scratch_shape(&params)?);
        let kernel = delta_chunk::prepare(lowering.symbols(), &params, &scratch)?;
        lowering.launch(kernel);
        let kernel = delta_chunk::scan(lowering.symbols(), &params, &scratch)?;
        lowering.launch(kernel);
    }
    Ok(())
}
