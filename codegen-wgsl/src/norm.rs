//! Norms over the last axis: RMS, L2 and layer norm.

use askama::Template;
use qwenc_ir::Activation;

use crate::checks::{Checks, render};
use crate::indexing::{broadcast, collapse_rows, describe, halves, split_index, strs};
use crate::kernel::{Bindings, CodegenError, Kernel, Operand, Symbols, grid_1d};
use crate::view::{Elem, View};
use crate::wgsl_math::MathLibrary;

const FAMILY: &str = "norm";

/// Which norm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NormKind {
    /// `x / sqrt(mean(x^2) + eps)`.
    Rms,
    /// `x / sqrt(sum(x^2) + eps)`; a zero row with `eps = 0` stays zero.
    L2,
    /// `(x - mean) / sqrt(var + eps)`.
    Layer,
}

/// Parameters of [`kernel`]. With C channels: `output = norm(input) * weight + bias`, times `act(gate)`.
#[derive(Clone, Debug, PartialEq)]
pub struct NormParams {
    /// Which norm.
    pub kind: NormKind,
    /// Added under the root.
    pub eps: f32,
    /// `[..., C]` f32 in any layout.
    pub input: View,
    /// `[C]`.
    pub weight: Option<View>,
    /// `[C]`.
    pub bias: Option<View>,
    /// Of the input's shape, with the activation to apply to it.
    pub gate: Option<(View, Activation)>,
    /// Of the input's shape; may be the input itself.
    pub output: View,
}

#[derive(Template)]
#[template(path = "norm.wgsl", escape = "none")]
struct Source {
    what: &'static str,
    shape: String,
    lanes: u32,
    rows: u32,
    halves: Vec<u32>,
    declarations: String,
    functions: String,
    unit: String,
    width: u32,
    row_count: String,
    split: String,
    center: bool,
    x: String,
    scale: String,
    target: String,
    value: String,
}

/// A norm of every row.
pub fn kernel(symbols: &Symbols, params: &NormParams) -> Result<Kernel, CodegenError> {
    let checks = Checks::of(FAMILY);
    let shape = &params.output.shape;
    let Some((last, leading)) = shape.split_last() else {
        return Err(checks.fail("a scalar has no last axis"));
    };
    let width = checks.constant("the width", last, u32::MAX / 2)?;
    let mut views = vec![params.output.clone(), params.input.clone()];
    let gate = params.gate.iter().map(|(view, _)| view);
    for view in params.weight.iter().chain(&params.bias).chain(gate) {
        views.push(broadcast(view, shape).map_err(|message| checks.fail(message))?);
    }
    if params.input.shape != *shape || views.iter().any(|view| view.elem != Elem::F32) {
        return Err(checks.fail("operands must be f32, and the output of the input's shape"));
    }

    // Wide rows take a workgroup each; narrow ones share it.
    let lanes = (width / 4).next_power_of_two().clamp(8, 256);
    let rows_per_group = (64 / lanes).max(1);
    let views = collapse_rows(&views);
    let mut bindings = Bindings::new();
    let output = bindings.write(&views[0]);
    let mut operands = views[1..].iter().map(|view| bindings.read(view)).collect::<Vec<_>>().into_iter();
    let (split, mut names) = split_index(symbols, &output.view.shape[..output.view.rank() - 1], "row", "r");
    names.push("c".to_string());
    let at = |operand: &Operand| operand.at(symbols, &strs(&names));
    let mut next = || operands.next().map(|operand| at(&operand)).unwrap_or_default();

    let mut library = MathLibrary::default();
    let x = next();
    let center = params.kind == NormKind::Layer;
    let mut value = if center { format!("({x} - mean) * scale") } else { format!("{x} * scale") };
    if params.weight.is_some() {
        value = format!("{value} * {}", next());
    }
    if params.bias.is_some() {
        value = format!("{value} + {}", next());
    }
    if let Some((_, activation)) = &params.gate {
        value = format!("({value}) * {}", library.activation(*activation, &next()));
    }
    let eps = checks.literal("epsilon", params.eps)?;
    let scale = match params.kind {
        // The guard keeps a zero row zero when there is no epsilon.
        NormKind::L2 => format!("let scale = select(0.0, inverseSqrt(sum + {eps}), sum + {eps} > 0.0);"),
        NormKind::Rms | NormKind::Layer => format!("let scale = inverseSqrt(sum / {width}.0 + {eps});"),
    };
    let row_count = qwenc_ir::dim::product(leading);
    let (workgroups, unit) = grid_1d(symbols, &row_count.ceil_div(rows_per_group.into()), "wid");
    let source = Source {
        what: match params.kind {
            NormKind::Rms => "RMS norm",
            NormKind::L2 => "L2 norm",
            NormKind::Layer => "Layer norm",
        },
        shape: describe(shape),
        lanes,
        rows: rows_per_group,
        halves: halves(lanes),
        declarations: bindings.declarations(),
        functions: library.text(),
        unit,
        width,
        row_count: symbols.wgsl(&row_count),
        split,
        center,
        x,
        scale,
        target: at(&output),
        value,
    };
    let size = [lanes * rows_per_group, 1, 1];
    bindings.finish(FAMILY, symbols, render(FAMILY, &source)?, size, workgroups)
}
