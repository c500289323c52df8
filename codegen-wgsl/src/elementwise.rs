//! Pointwise expressions over inputs that broadcast: one thread an element.

use askama::Template;
use qwenc_ir::Expr;

use crate::checks::{Checks, render};
use crate::indexing::{ElementGrid, broadcast, collapse, describe, element_grid, split_index, strs};
use crate::kernel::{Bindings, CodegenError, Kernel, Symbols};
use crate::view::{Elem, View};
use crate::wgsl_expr::{self, Argument};
use crate::wgsl_math::MathLibrary;

const FAMILY: &str = "elementwise";

/// Parameters of [`kernel`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ElementwiseParams {
    /// The expression; `Arg(i)` is `inputs[i]`.
    pub expr: Expr,
    /// Inputs; their shapes broadcast to that of `output`.
    pub inputs: Vec<Argument>,
    /// Where the result goes. May be an input's allocation when each element is read only where it is written.
    pub output: View,
}

#[derive(Template)]
#[template(path = "elementwise.wgsl", escape = "none")]
struct Source {
    inputs: usize,
    shape: String,
    grid: ElementGrid,
    declarations: String,
    functions: String,
    split: String,
    loads: Vec<String>,
    statements: String,
    target: String,
    value: String,
}

/// `output = expr(inputs...)`.
pub fn kernel(symbols: &Symbols, params: &ElementwiseParams) -> Result<Kernel, CodegenError> {
    let checks = Checks::of(FAMILY);
    let fail = |message: String| checks.fail(message);
    let mut views = vec![params.output.clone()];
    for input in &params.inputs {
        if Elem::of(input.dtype) != Some(input.view.elem) {
            return Err(fail(format!("an input of type {} lies in {:?}", input.dtype, input.view.elem)));
        }
        views.push(broadcast(&input.view, &params.output.shape).map_err(fail)?);
    }
    let views = collapse(&views);
    let mut bindings = Bindings::new();
    let output = bindings.write(&views[0]);
    let inputs: Vec<_> = views[1..].iter().map(|view| bindings.read(view)).collect();

    let grid = element_grid(symbols, &params.output.elements());
    let (split, coordinates) = split_index(symbols, &output.view.shape, "i", "c");
    let coordinates = strs(&coordinates);
    let arguments: Vec<_> =
        params.inputs.iter().enumerate().map(|(index, input)| (format!("a{index}"), input.dtype)).collect();
    let mut library = MathLibrary::default();
    let rendered = wgsl_expr::render(&params.expr, &arguments, &mut library).map_err(fail)?;
    if Elem::of(rendered.dtype) != Some(output.view.elem) {
        return Err(fail(format!("a result of type {} for {:?}", rendered.dtype, output.view.elem)));
    }
    let source = Source {
        inputs: params.inputs.len(),
        shape: describe(&params.output.shape),
        declarations: bindings.declarations(),
        functions: library.text(),
        split,
        loads: inputs.iter().map(|input| input.at(symbols, &coordinates)).collect(),
        statements: rendered.statements,
        target: output.at(symbols, &coordinates),
        value: rendered.value,
        grid: grid.clone(),
    };
    bindings.finish(FAMILY, symbols, render(FAMILY, &source)?, [grid.size, 1, 1], grid.workgroups)
}
