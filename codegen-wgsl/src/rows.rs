//! Rows of a weight by number: the lookup of embeddings.

use askama::Template;
use qwenc_ir::Dim;

use crate::checks::{Checks, render};
use crate::indexing::{ElementGrid, collapse, describe, element_grid, split_index, strs};
use crate::kernel::{Bindings, CodegenError, Kernel, Symbols};
use crate::view::{Elem, View};
use crate::weight::Weight;
use crate::weight_read::{BoundWeight, Grain};
use crate::wgsl_expr::i32_literal;

const FAMILY: &str = "rows";

/// Parameters of [`kernel`].
///
/// A table that one binding cannot reach is several weights, each launched for the rows that it holds. A launch leaves
/// the others' rows of the output alone.
#[derive(Clone, Debug, PartialEq)]
pub struct RowsParams {
    /// `[count, K]`: rows `first..first + count` of the table.
    pub weight: Weight,
    /// The number of the weight's first row.
    pub first: u32,
    /// Rows of the whole table.
    pub total: u32,
    /// Whether this launch writes zeros for ids that are out of the table's range. One launch of a table must.
    pub fill: bool,
    /// i32 or u32 row numbers of any shape. Negative ones count from the end.
    pub ids: View,
    /// `ids.shape + [K]`, f32.
    pub output: View,
}

#[derive(Template)]
#[template(path = "rows.wgsl", escape = "none")]
struct Source {
    ids_shape: String,
    weight: String,
    first: u32,
    last: u32,
    total: u32,
    fill: bool,
    grid: ElementGrid,
    declarations: String,
    weight_functions: String,
    weight_body: String,
    k4: u32,
    split: String,
    signed: bool,
    id: String,
    total_signed: String,
    /// Where the four elements of an invocation go.
    targets: Vec<Target>,
}

/// Where one of four elements goes.
struct Target {
    place: String,
    part: &'static str,
    /// That the element is one, where it may lie beyond K.
    condition: Option<String>,
}

/// `output[i, :] = table[ids[i], :]`, for the ids whose rows the weight holds.
pub fn kernel(symbols: &Symbols, params: &RowsParams) -> Result<Kernel, CodegenError> {
    let checks = Checks::of(FAMILY);
    let RowsParams { weight, ids, output, first, total, .. } = params;
    if output.elem != Elem::F32 || ids.elem == Elem::F32 {
        return Err(checks.fail("element types do not fit"));
    }
    let Some((width, leading)) = output.shape.split_last() else {
        return Err(checks.fail("the output is a scalar"));
    };
    if leading != ids.shape {
        let (have, want) = (describe(leading), describe(&ids.shape));
        return Err(checks.fail(format!("the output's leading axes are {have}, expected {want}")));
    }
    let k = checks.constant("the output's width", width, u32::MAX / 4)?;
    let rows = weight.values.shape.first().ok_or_else(|| checks.fail("the weight is a scalar"))?;
    let count = checks.constant("the weight's height", rows, u32::MAX / 4)?;
    weight.check(checks, count, k)?;
    let last = first.checked_add(count - 1).filter(|last| last < total);
    let last = last.ok_or_else(|| checks.fail(format!("rows {first} and {count} more, of {total}")))?;

    // Rows of the output are split like the ids; the last axis stays apart.
    let axes: Vec<usize> = (0..ids.rank()).collect();
    let mut merged = collapse(&[output.select_axes(&axes), ids.clone()]);
    let mut bindings = Bindings::new();
    let rank = merged[0].rank();
    merged[0].shape.push(width.clone());
    merged[0].strides.extend(output.strides.last().cloned());
    let out = bindings.write(&merged[0]);
    let id = bindings.read(&merged[1]);
    let bound = BoundWeight::bind(checks, &mut bindings, weight, k, Grain::Vector)?;

    let k4 = k.div_ceil(4);
    let grid = element_grid(symbols, &(ids.elements() * Dim::from(k4)));
    let (split, coordinates) = split_index(symbols, &out.view.shape[..rank], "row", "c");
    let target = |lane: u32| {
        let column = if lane == 0 { "4u * q".to_string() } else { format!("4u * q + {lane}u") };
        let mut at = strs(&coordinates);
        at.push(&column);
        Target {
            place: out.at(symbols, &at),
            part: ["x", "y", "z", "w"][lane as usize],
            condition: (k4 * 4 - k > 3 - lane).then(|| format!("{column} < {k}u")),
        }
    };
    let source = Source {
        ids_shape: describe(&ids.shape),
        weight: bound.describe(),
        first: *first,
        last,
        total: *total,
        fill: params.fill,
        declarations: bindings.declarations(),
        weight_functions: bound.functions(symbols),
        weight_body: bound.vector(symbols),
        k4,
        split,
        signed: ids.elem == Elem::I32,
        id: id.at(symbols, &strs(&coordinates)),
        total_signed: i32_literal(i64::from(*total)).map_err(|message| checks.fail(message))?,
        targets: (0..4).map(target).collect(),
        grid: grid.clone(),
    };
    bindings.finish(FAMILY, symbols, render(FAMILY, &source)?, [grid.size, 1, 1], grid.workgroups)
}
