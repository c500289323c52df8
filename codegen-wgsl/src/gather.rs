//! Taking slices along an axis by index: embedding lookup and the like.

use askama::Template;
use qwenc_ir::dim::product;

use crate::checks::{Checks, render};
use crate::indexing::{ElementGrid, collapse, describe, element_grid, split_index, strs};
use crate::kernel::{Bindings, CodegenError, Kernel, Symbols, zero};
use crate::view::{Elem, View};

const FAMILY: &str = "gather";

/// Parameters of [`kernel`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatherParams {
    /// Along which axis of `input`.
    pub axis: usize,
    /// What is taken from.
    pub input: View,
    /// i32 or u32 indices of any shape. Negative ones count from the end; what is still out of range takes zeros.
    pub indices: View,
    /// `input.shape[..axis] + indices.shape + input.shape[axis + 1..]`, of the input's element type.
    pub output: View,
}

#[derive(Template)]
#[template(path = "gather.wgsl", escape = "none")]
struct Source {
    data_shape: String,
    index_shape: String,
    axis: usize,
    grid: ElementGrid,
    declarations: String,
    split: String,
    signed: bool,
    index: String,
    size: String,
    zero: &'static str,
    value: String,
    target: String,
}

/// `output = take(input, indices, axis)`.
pub fn kernel(symbols: &Symbols, params: &GatherParams) -> Result<Kernel, CodegenError> {
    let checks = Checks::of(FAMILY);
    let GatherParams { axis, input, indices, output } = params;
    if *axis >= input.rank() || input.elem != output.elem || indices.elem == Elem::F32 {
        return Err(checks.fail("axis or element types do not fit"));
    }
    let expected = [&input.shape[..*axis], &indices.shape, &input.shape[axis + 1..]].concat();
    if output.shape != expected {
        let (have, want) = (describe(&output.shape), describe(&expected));
        return Err(checks.fail(format!("the output is {have}, expected {want}")));
    }

    // The output's axes are those before, those of the indices, and those behind; each part merges within itself.
    let behind = axis + indices.rank();
    let part = |view: &View, from: usize, to: usize| view.select_axes(&(from..to).collect::<Vec<_>>());
    let outer = collapse(&[part(output, 0, *axis), part(input, 0, *axis)]);
    let taken = collapse(&[part(output, *axis, behind), indices.clone()]);
    let inner = collapse(&[part(output, behind, output.rank()), part(input, axis + 1, input.rank())]);
    let joined = |parts: [&View; 3], base: &View| View {
        shape: parts.iter().flat_map(|view| view.shape.clone()).collect(),
        strides: parts.iter().flat_map(|view| view.strides.clone()).collect(),
        ..base.clone()
    };
    let (outer_rank, taken_rank) = (outer[0].rank(), taken[0].rank());

    let mut bindings = Bindings::new();
    let out = bindings.write(&joined([&outer[0], &taken[0], &inner[0]], output));
    let data = bindings.read(&joined([&outer[1], &part(input, *axis, axis + 1), &inner[1]], input));
    let index = bindings.read(&taken[1]);

    let grid = element_grid(symbols, &product(&output.shape));
    let (split, coordinates) = split_index(symbols, &out.view.shape, "i", "c");
    let coordinates = strs(&coordinates);
    let data_at: Vec<&str> = coordinates[..outer_rank]
        .iter()
        .copied()
        .chain(["taken"])
        .chain(coordinates[outer_rank + taken_rank..].iter().copied())
        .collect();
    let source = Source {
        data_shape: describe(&input.shape),
        index_shape: describe(&indices.shape),
        axis: *axis,
        declarations: bindings.declarations(),
        split,
        signed: indices.elem == Elem::I32,
        index: index.at(symbols, &coordinates[outer_rank..outer_rank + taken_rank]),
        size: symbols.wgsl(&input.shape[*axis]),
        zero: zero(input.elem),
        value: data.at(symbols, &data_at),
        target: out.at(symbols, &coordinates),
        grid: grid.clone(),
    };
    bindings.finish(FAMILY, symbols, render(FAMILY, &source)?, [grid.size, 1, 1], grid.workgroups)
}
