//! Norms over the last axis.

use qwenc_codegen_wgsl::norm::{self, NormKind, NormParams};
use qwenc_ir::NodeId;
use qwenc_ir::op::{Activation, Real};

use super::{LowerError, Lowering};

fn launch(lowering: &mut Lowering<'_>, params: &NormParams) -> Result<(), LowerError> {
    let kernel = norm::kernel(lowering.symbols(), params)?;
    lowering.launch(kernel);
    Ok(())
}

/// Layer norm.
pub(super) fn layer_norm(lowering: &mut Lowering<'_>, node: NodeId, eps: Real) -> Result<(), LowerError> {
    let input = lowering.input(node, 0)?;
    let weight = lowering.optional_input(node, 1)?;
    let bias = lowering.optional_input(node, 2)?;
    let output = lowering.output(node, 0)?;
    let output = lowering.place(output)?;
    launch(
        lowering,
        &NormParams { kind: NormKind::Layer, eps: eps.0, input, weight, bias, gate: None, output },
    )
}

/// RMS norm, with an optional gate.
pub(super) fn rms_norm(
    lowering: &mut Lowering<'_>,
    node: NodeId,
    eps: Real,
    gate: Option<Activation>,
) -> Result<(), LowerError> {
    let input = lowering.input(node, 0)?;
    let weight = Some(lowering.input(node, 1)?);
    let gate = match gate {
        Some(activation) => Some((lowering.input(node, 2)?, activation)),
        None => None,
    };
    let output = lowering.output(node, 0)?;
    let output = lowering.place(output)?;
    launch(lowering, &NormParams { kind: NormKind::Rms, eps: eps.0, input, weight, bias: None, gate, output })
}

/// L2 norm.
pub(super) fn l2_norm(lowering: &mut Lowering<'_>, node: NodeId, eps: Real) -> Result<(), LowerError> {
    let input = lowering.input(node, 0)?;
    let output = lowering.output(node, 0)?;
    let output = lowering.place(output)?;
    let (weight, bias, gate) = (None, None, None);
    launch(lowering, &NormParams { kind: NormKind::L2, eps: eps.0, input, weight, bias, gate, output })
}
