//! Codes to floats with a scale for each block along an axis: what a graph computes, or takes as input. Constant matrices
//! stay quantized instead ([`crate::weight`]).

use askama::Template;
use qwenc_ir::Dim;
use qwenc_ir::dim::product;

use crate::checks::{Checks, render};
use crate::indexing::{ElementGrid, broadcast, collapse, describe, element_grid, split_index, strs};
use crate::kernel::{Bindings, CodegenError, Kernel, Symbols};
use crate::view::{Elem, View};
use crate::wgsl_expr::i32_literal;

const FAMILY: &str = "dequantize";

/// Parameters of [`kernel`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DequantizeParams {
    /// The axis that blocks lie along.
    pub axis: usize,
    /// Elements of a block; the last block may be shorter.
    pub block: u32,
    /// i32 or u32. Exact up to a magnitude of 2^24.
    pub codes: View,
    /// f32, of the codes' rank: along `axis` one for each block, along other axes as many as codes, or 1.
    pub scales: View,
    /// What is subtracted from codes.
    pub zero: Zero,
    /// f32, of the codes' shape.
    pub output: View,
}

/// A zero point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Zero {
    /// The same for all.
    Constant(i32),
    /// f32, i32 or u32, of the scales' shape.
    View(View),
}

#[derive(Template)]
#[template(path = "dequantize.wgsl", escape = "none")]
struct Source {
    shape: String,
    axis: usize,
    block: u32,
    grid: ElementGrid,
    declarations: String,
    split: String,
    /// The index along the axis.
    along: String,
    code: String,
    scale: String,
    zero: Option<String>,
    target: String,
}

/// `output = (codes - zero) * scales`, each scale and zero point for a block of codes.
pub fn kernel(symbols: &Symbols, params: &DequantizeParams) -> Result<Kernel, CodegenError> {
    let checks = Checks::of(FAMILY);
    let DequantizeParams { axis, block, codes, scales, zero, output } = params;
    if codes.elem == Elem::F32 || scales.elem != Elem::F32 || output.elem != Elem::F32 {
        return Err(checks.fail("element types do not fit"));
    }
    if *axis >= codes.rank() || scales.rank() != codes.rank() || output.shape != codes.shape {
        let (codes, scales, output) =
            (describe(&codes.shape), describe(&scales.shape), describe(&output.shape));
        return Err(checks.fail(format!("codes {codes} to {output} along axis {axis} with scales {scales}")));
    }
    let length = &codes.shape[*axis];
    if *block == 0 {
        return Err(checks.fail("blocks of no elements"));
    }
    // One block also when the length varies, as long as it cannot be longer.
    let one =
        scales.shape[*axis].is(1) && symbols.upper(length).is_some_and(|most| most <= i64::from(*block));
    if scales.shape[*axis] != length.ceil_div(i64::from(*block)) && !one {
        let message = format!("{} scales for {length} elements in blocks of {block}", scales.shape[*axis]);
        return Err(checks.fail(message));
    }

    // The axes before, the axis, and the axes behind: each part merges within itself.
    let before: Vec<usize> = (0..*axis).collect();
    let behind: Vec<usize> = (axis + 1..codes.rank()).collect();
    let mut views = vec![output, codes, scales];
    if let Zero::View(zeros) = zero {
        if zeros.shape != scales.shape {
            let (have, want) = (describe(&zeros.shape), describe(&scales.shape));
            return Err(checks.fail(format!("zero points {have}, expected {want}")));
        }
        views.push(zeros);
    }
    let part = |axes: &[usize]| {
        let shape: Vec<Dim> = axes.iter().map(|axis| codes.shape[*axis].clone()).collect();
        let parts: Result<Vec<View>, String> =
            views.iter().map(|view| broadcast(&view.select_axes(axes), &shape)).collect();
        parts.map(|parts| collapse(&parts)).map_err(|message| checks.fail(message))
    };
    let (outer, inner) = (part(&before)?, part(&behind)?);
    let joined = |index: usize| {
        let (outer, inner, view) = (&outer[index], &inner[index], views[index]);
        let axis_only = view.select_axes(&[*axis]);
        View {
            shape: [&outer.shape[..], &axis_only.shape, &inner.shape].concat(),
            strides: [&outer.strides[..], &axis_only.strides, &inner.strides].concat(),
            ..view.clone()
        }
    };
    let at_axis = outer[0].rank();
    let mut bindings = Bindings::new();
    let out = bindings.write(&joined(0));
    let code = bindings.read(&joined(1));
    let scale = bindings.read(&joined(2));
    let zeros = matches!(zero, Zero::View(_)).then(|| bindings.read(&joined(3)));

    let grid = element_grid(symbols, &product(&out.view.shape));
    let (split, coordinates) = split_index(symbols, &out.view.shape, "i", "c");
    let coordinates = strs(&coordinates);
    let mut in_block = coordinates.clone();
    in_block[at_axis] = "block";
    let zero = match (zero, &zeros) {
        (Zero::Constant(0), _) => None,
        (Zero::Constant(zero), _) => {
            let literal = i32_literal(i64::from(*zero)).map_err(|message| checks.fail(message))?;
            Some(format!("f32({literal})"))
        }
        (Zero::View(_), zeros) => {
            zeros.as_ref().map(|zeros| format!("f32({})", zeros.at(symbols, &in_block)))
        }
    };
    let source = Source {
        shape: describe(&codes.shape),
        axis: *axis,
        block: *block,
        declarations: bindings.declarations(),
        split,
        along: coordinates[at_axis].to_string(),
        code: code.at(symbols, &coordinates),
        scale: scale.at(symbols, &in_block),
        zero,
        target: out.at(symbols, &coordinates),
        grid: grid.clone(),
    };
    bindings.finish(FAMILY, symbols, render(FAMILY, &source)?, [grid.size, 1, 1], grid.workgroups)
}
