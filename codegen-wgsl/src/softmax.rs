//! Softmax and log-softmax along any axis.

use askama::Template;

use crate::checks::{Checks, render};
use crate::indexing::describe;
use crate::kernel::{Bindings, CodegenError, Kernel, Symbols};
use crate::lanes::{LineGrid, Lines, along, without};
use crate::view::{Elem, View};
use crate::wgsl_math::MathLibrary;

const FAMILY: &str = "softmax";

/// Parameters of [`kernel`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SoftmaxParams {
    /// Along which axis.
    pub axis: usize,
    /// The logarithm of it.
    pub log: bool,
    /// The operand, f32.
    pub input: View,
    /// Where the result goes; of the input's shape. May be the input itself.
    pub output: View,
}

#[derive(Template)]
#[template(path = "softmax.wgsl", escape = "none")]
struct Source {
    what: &'static str,
    axis: usize,
    shape: String,
    log: bool,
    g: LineGrid,
    declarations: String,
    functions: String,
    split: String,
    start: String,
    target_start: String,
    length: String,
    input: String,
    index: String,
    output: String,
    target_index: String,
    across: [(&'static str, &'static str); 2],
}

/// `output = softmax(input, axis)`, or its logarithm.
pub fn kernel(symbols: &Symbols, params: &SoftmaxParams) -> Result<Kernel, CodegenError> {
    let checks = Checks::of(FAMILY);
    let SoftmaxParams { axis, log, input, output } = params;
    if *axis >= input.rank() || input.shape != output.shape {
        return Err(checks.fail("input, axis and output do not fit each other"));
    }
    if input.elem != Elem::F32 || output.elem != Elem::F32 {
        return Err(checks.fail("operands must be f32"));
    }
    let axes = [*axis];
    let mut bindings = Bindings::new();
    let out = bindings.write(output);
    let data = bindings.read(input);
    let (kept, result) = (without(input, &axes), without(output, &axes));
    let g = LineGrid::new(symbols, &qwenc_ir::dim::product(&kept.shape), &input.shape[*axis]);
    let lines = Lines::new(symbols, &[kept, result]);
    let mut library = MathLibrary::default();
    library.need("float_from_bits");
    let source = Source {
        what: if *log { "Log-softmax" } else { "Softmax" },
        axis: *axis,
        shape: describe(&input.shape),
        log: *log,
        declarations: bindings.declarations(),
        functions: library.text(),
        start: lines.start(symbols, 0),
        target_start: lines.start(symbols, 1),
        split: lines.split,
        length: symbols.wgsl(&input.shape[*axis]),
        input: data.var,
        index: along(symbols, input, &axes).1,
        output: out.var,
        target_index: along(symbols, output, &axes).1,
        across: [("max", "max(a, b)"), ("sum", "a + b")],
        g: g.clone(),
    };
    bindings.finish(FAMILY, symbols, render(FAMILY, &source)?, [g.size(), 1, 1], g.workgroups)
}
