//! Causal convolution with its state.

use qwenc_codegen_wgsl::View;
use qwenc_codegen_wgsl::conv::{self, ConvParams};
use qwenc_ir::NodeId;
use qwenc_ir::op::Activation;

use super::{LowerError, Lowering};

/// One dispatch for a single position; two, the outputs and then the state, for more.
pub(super) fn causal_conv(
    lowering: &mut Lowering<'_>,
    node: NodeId,
    activation: Activation,
) -> Result<(), LowerError> {
    let graph = lowering.graph();
    let input = lowering.input(node, 0)?;
    let weight = lowering.input(node, 1)?;
    let bias = lowering.optional_input(node, 2)?;
    let past = lowering.optional_input(node, 3)?;
    let output = lowering.output(node, 0)?;
    let output = lowering.place(output)?;
    let present_value = lowering.output(node, 1)?;
    let wanted = graph.is_output(present_value) || !graph.consumers(present_value).is_empty();
    let present = if wanted { Some(lowering.place(present_value)?) } else { None };

    let one =
        |view: &Option<View>, lowering: &Lowering<'_>, batch: usize| -> Result<Option<View>, LowerError> {
            view.as_ref().map(|view| Ok(lowering.batch(view)?[batch].clone())).transpose()
        };
    for (batch, input) in lowering.batch(&input)?.into_iter().enumerate() {
        let params = ConvParams {
            input,
            weight: weight.clone(),
            bias: bias.clone(),
            past: one(&past, lowering, batch)?,
            present: one(&present, lowering, batch)?,
            activation,
            output: lowering.batch(&output)?[batch].clone(),
        };
        if params.input.shape[0].is(1) {
            let kernel = conv::step(lowering.symbols(), &params)?;
            lowering.launch(kernel);
            continue;
        }
        let kernel = conv::prefill(lowering.symbols(), &params)?;
        lowering.launch(kernel);
        if params.present.is_some() {
            let kernel = conv::update_state(lowering.symbols(), &params)?;
            lowering.launch(kernel);
        }
    }
    Ok(())
}
