//! Index of the largest or smallest element along an axis.

use askama::Template;

use crate::checks::{Checks, render};
use crate::indexing::describe;
use crate::kernel::{Bindings, CodegenError, Kernel, Symbols, zero};
use crate::lanes::{LineGrid, Lines, along, without};
use crate::view::{Elem, View};
use crate::wgsl_math::MathLibrary;

const FAMILY: &str = "arg_reduce";

/// Parameters of [`kernel`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArgReduceParams {
    /// The smallest instead of the largest.
    pub min: bool,
    /// Along which axis of `input`.
    pub axis: usize,
    /// Of several equal ones the last, instead of the first.
    pub last: bool,
    /// The operand. NaN is passed over; a line of nothing else gives 0.
    pub input: View,
    /// i32, with the axis kept as 1 or without it.
    pub output: View,
}

#[derive(Template)]
#[template(path = "arg_reduce.wgsl", escape = "none")]
struct Source {
    which: &'static str,
    tie: &'static str,
    axis: usize,
    shape: String,
    none: &'static str,
    g: LineGrid,
    elem: &'static str,
    float: bool,
    zero: &'static str,
    order: &'static str,
    tie_order: &'static str,
    declarations: String,
    functions: String,
    length: String,
    split: String,
    start: String,
    index: String,
    input: String,
    target: String,
}

/// `output = argmax(input, axis)` or `argmin`.
pub fn kernel(symbols: &Symbols, params: &ArgReduceParams) -> Result<Kernel, CodegenError> {
    let checks = Checks::of(FAMILY);
    let ArgReduceParams { min, axis, last, input, output } = params;
    if *axis >= input.rank() || output.elem != Elem::I32 {
        return Err(checks.fail("the axis or the output's element type does not fit"));
    }
    let axes = [*axis];
    let kept = without(input, &axes);
    let result = if output.rank() == input.rank() { without(output, &axes) } else { output.clone() };
    if result.shape != kept.shape {
        let (have, want) = (describe(&result.shape), describe(&kept.shape));
        return Err(checks.fail(format!("the output is {have}, expected {want}")));
    }
    let length = &input.shape[*axis];
    let g = LineGrid::new(symbols, &qwenc_ir::dim::product(&kept.shape), length);
    let mut bindings = Bindings::new();
    let out = bindings.write(&result);
    let data = bindings.read(input);
    let lines = Lines::new(symbols, &[kept, result]);
    let (_, index) = along(symbols, input, &axes);
    let mut library = MathLibrary::default();
    if input.elem == Elem::F32 {
        library.need("is_nan");
    }
    let source = Source {
        which: if *min { "smallest" } else { "largest" },
        tie: if *last { "last" } else { "first" },
        axis: *axis,
        shape: describe(&input.shape),
        none: "0xffffffffu",
        elem: input.elem.wgsl(),
        float: input.elem == Elem::F32,
        zero: zero(input.elem),
        order: if *min { "<" } else { ">" },
        tie_order: if *last { ">" } else { "<" },
        declarations: bindings.declarations(),
        functions: library.text(),
        length: symbols.wgsl(length),
        start: lines.start(symbols, 0),
        target: format!("{}[{}]", out.var, lines.start(symbols, 1)),
        split: lines.split,
        index,
        input: data.var,
        g: g.clone(),
    };
    bindings.finish(FAMILY, symbols, render(FAMILY, &source)?, [g.size(), 1, 1], g.workgroups)
}
