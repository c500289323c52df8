//! Copies between layouts, and constant padding.

use askama::Template;
use qwenc_ir::{Dim, Scalar};

use crate::checks::{Checks, render};
use crate::indexing::{ElementGrid, broadcast, collapse, describe, element_grid, split_index, strs};
use crate::kernel::{Bindings, CodegenError, Kernel, Symbols};
use crate::view::View;
use crate::wgsl_expr::literal;
use crate::wgsl_math::MathLibrary;

/// Parameters of [`kernel`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyParams {
    /// What is copied; broadcasts to the shape of `output`. Strides may be negative.
    pub input: View,
    /// Where it goes; of the same element type.
    pub output: View,
}

/// Parameters of [`pad_kernel`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PadParams {
    /// The inner part.
    pub input: View,
    /// Elements before it, per axis.
    pub before: Vec<Dim>,
    /// What is around it.
    pub value: Scalar,
    /// Where the whole goes; its shape says how much comes after.
    pub output: View,
}

#[derive(Template)]
#[template(path = "copy.wgsl", escape = "none")]
struct Source {
    what: String,
    grid: ElementGrid,
    declarations: String,
    functions: String,
    split: String,
    /// The statements of a padded store, in place of the plain one.
    pad: Option<String>,
    target: String,
    value: String,
}

/// `output = input`, element by element.
pub fn kernel(symbols: &Symbols, params: &CopyParams) -> Result<Kernel, CodegenError> {
    const FAMILY: &str = "copy";
    let checks = Checks::of(FAMILY);
    if params.input.elem != params.output.elem {
        return Err(checks.fail("input and output have different element types"));
    }
    let input = broadcast(&params.input, &params.output.shape).map_err(|message| checks.fail(message))?;
    let views = collapse(&[params.output.clone(), input]);
    let mut bindings = Bindings::new();
    let output = bindings.write(&views[0]);
    let input = bindings.read(&views[1]);
    let grid = element_grid(symbols, &params.output.elements());
    let (split, coordinates) = split_index(symbols, &output.view.shape, "i", "c");
    let coordinates = strs(&coordinates);
    let source = Source {
        what: format!("Copies {} between layouts.", describe(&params.output.shape)),
        declarations: bindings.declarations(),
        functions: String::new(),
        split,
        pad: None,
        target: output.at(symbols, &coordinates),
        value: input.at(symbols, &coordinates),
        grid: grid.clone(),
    };
    bindings.finish(FAMILY, symbols, render(FAMILY, &source)?, [grid.size, 1, 1], grid.workgroups)
}

/// `output = input` surrounded by a constant.
pub fn pad_kernel(symbols: &Symbols, params: &PadParams) -> Result<Kernel, CodegenError> {
    const FAMILY: &str = "pad";
    let checks = Checks::of(FAMILY);
    let rank = params.output.rank();
    if params.input.elem != params.output.elem || params.input.rank() != rank || params.before.len() != rank {
        return Err(checks.fail("input, amounts and output do not fit each other"));
    }
    let mut bindings = Bindings::new();
    let output = bindings.write(&params.output);
    let input = bindings.read(&params.input);
    let grid = element_grid(symbols, &params.output.elements());
    let (split, coordinates) = split_index(symbols, &params.output.shape, "i", "c");
    let mut library = MathLibrary::default();
    let around =
        literal(params.value, params.output.elem, &mut library).map_err(|message| checks.fail(message))?;

    // Coordinates in the input; those before its start wrap to large numbers, which the comparison excludes too.
    let mut pad = String::new();
    let mut inside = Vec::new();
    let mut names = Vec::new();
    for (axis, coordinate) in coordinates.iter().enumerate() {
        pad += &format!("    let p{axis} = {coordinate} - {};\n", symbols.wgsl(&params.before[axis]));
        inside.push(format!("p{axis} < {}", symbols.wgsl(&params.input.shape[axis])));
        names.push(format!("p{axis}"));
    }
    let condition = if inside.is_empty() { "true".to_string() } else { inside.join(" && ") };
    pad += &format!(
        "    var value = {around};\n    if ({condition}) {{\n        value = {};\n    }}\n    {} = value;\n",
        input.at(symbols, &strs(&names)),
        output.at(symbols, &strs(&coordinates)),
    );
    let source = Source {
        what: format!(
            "Pads {} with a constant to {}.",
            describe(&params.input.shape),
            describe(&params.output.shape)
        ),
        declarations: bindings.declarations(),
        functions: library.text(),
        split,
        pad: Some(pad),
        target: String::new(),
        value: String::new(),
        grid: grid.clone(),
    };
    bindings.finish(FAMILY, symbols, render(FAMILY, &source)?, [grid.size, 1, 1], grid.workgroups)
}
