//! Running sums along an axis.

use askama::Template;

use crate::checks::{Checks, render};
use crate::indexing::describe;
use crate::kernel::{Bindings, CodegenError, Kernel, Symbols, zero};
use crate::lanes::{LineGrid, Lines, along, without};
use crate::view::View;

const FAMILY: &str = "cumsum";

/// Parameters of [`kernel`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CumSumParams {
    /// Along which axis.
    pub axis: usize,
    /// Element i sums those before it only.
    pub exclusive: bool,
    /// From the end.
    pub reverse: bool,
    /// The operand.
    pub input: View,
    /// Where the result goes; of the input's shape and element type. May be the input itself.
    pub output: View,
}

#[derive(Template)]
#[template(path = "cumsum.wgsl", escape = "none")]
struct Source {
    axis: usize,
    shape: String,
    g: LineGrid,
    declarations: String,
    split: String,
    start: String,
    target_start: String,
    length: String,
    zero: &'static str,
    reverse: bool,
    exclusive: bool,
    input: String,
    index: String,
    output: String,
    target_index: String,
}

/// `output = cumsum(input, axis)`.
pub fn kernel(symbols: &Symbols, params: &CumSumParams) -> Result<Kernel, CodegenError> {
    let checks = Checks::of(FAMILY);
    let CumSumParams { axis, exclusive, reverse, input, output } = params;
    if *axis >= input.rank() || input.elem != output.elem || input.shape != output.shape {
        return Err(checks.fail("input, axis and output do not fit each other"));
    }
    let axes = [*axis];
    let mut bindings = Bindings::new();
    let out = bindings.write(output);
    let data = bindings.read(input);
    let (kept, result) = (without(input, &axes), without(output, &axes));
    let g = LineGrid::with_lanes(symbols, &qwenc_ir::dim::product(&kept.shape), 1);
    let lines = Lines::new(symbols, &[kept, result]);
    let source = Source {
        axis: *axis,
        shape: describe(&input.shape),
        declarations: bindings.declarations(),
        start: lines.start(symbols, 0),
        target_start: lines.start(symbols, 1),
        split: lines.split,
        length: symbols.wgsl(&input.shape[*axis]),
        zero: zero(input.elem),
        reverse: *reverse,
        exclusive: *exclusive,
        input: data.var,
        index: along(symbols, input, &axes).1,
        output: out.var,
        target_index: along(symbols, output, &axes).1,
        g: g.clone(),
    };
    bindings.finish(FAMILY, symbols, render(FAMILY, &source)?, [g.size(), 1, 1], g.workgroups)
}
