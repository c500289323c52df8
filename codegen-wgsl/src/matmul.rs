//! Matrix products of activations, batched and in any layout.

use askama::Template;
use qwenc_ir::Dim;
use qwenc_ir::dim::product;

use crate::checks::{Checks, render};
use crate::indexing::{broadcast, collapse, describe, split_index, strs};
use crate::kernel::{Bindings, CodegenError, Kernel, Operand, Symbols, zero};
use crate::view::View;

const FAMILY: &str = "matmul";
/// Rows and columns of a workgroup's tile.
const TILE: i64 = 32;

/// Parameters of [`kernel`]. A transposed operand is a view with its last two axes swapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MatMulParams {
    /// `[..., M, K]`.
    pub a: View,
    /// `[..., K, N]`; the leading axes of both broadcast.
    pub b: View,
    /// `[..., M, N]`; at most 65535 matrices.
    pub output: View,
}

#[derive(Template)]
#[template(path = "matmul.wgsl", escape = "none")]
struct Source {
    a_shape: String,
    b_shape: String,
    declarations: String,
    elem: &'static str,
    zero: &'static str,
    split: String,
    m: String,
    n: String,
    k: String,
    a_var: String,
    a_start: String,
    a_index: String,
    a_rows: bool,
    b_var: String,
    b_start: String,
    b_index: String,
    b_rows: bool,
    target: String,
    results: [(&'static str, u32, u32); 4],
}

/// `output = a @ b`.
pub fn kernel(symbols: &Symbols, params: &MatMulParams) -> Result<Kernel, CodegenError> {
    let checks = Checks::of(FAMILY);
    let MatMulParams { a, b, output } = params;
    if a.elem != b.elem || a.elem != output.elem {
        return Err(checks.fail("operands have different element types"));
    }
    let ([batch @ .., m, n], [.., a_m, k], [.., b_k, b_n]) =
        (output.shape.as_slice(), a.shape.as_slice(), b.shape.as_slice())
    else {
        return Err(checks.fail("operands must have ranks of at least 2"));
    };
    if a_m != m || b_n != n || k != b_k {
        let shapes = [a, b, output].map(|view| describe(&view.shape)).join(", ");
        return Err(checks.fail(format!("shapes {shapes} do not fit")));
    }
    let wide = |view: &View, matrix: [&Dim; 2]| {
        let shape: Vec<Dim> = batch.iter().chain(matrix).cloned().collect();
        broadcast(view, &shape).map_err(|message| checks.fail(message))
    };
    let (a, b) = (wide(a, [m, k])?, wide(b, [k, n])?);

    let leading = |view: &View| view.select_axes(&(0..batch.len()).collect::<Vec<_>>());
    let starts = collapse(&[leading(output), leading(&a), leading(&b)]);
    let (split, batch_names) = split_index(symbols, &starts[0].shape, "batch", "b");
    let start = |view: &View| index(symbols, view, &strs(&batch_names));
    let matrix = |view: &View, rows: &str, columns: &str| {
        let mut matrix = view.select_axes(&[batch.len(), batch.len() + 1]);
        matrix.offset = Dim::constant(0);
        index(symbols, &matrix, &[rows, columns])
    };
    let mut bindings = Bindings::new();
    let out = bindings.write(output).var;
    let (a_var, b_var) = (bindings.read(&a).var, bindings.read(&b).var);
    let source = Source {
        a_shape: describe(&a.shape),
        b_shape: describe(&b.shape),
        declarations: bindings.declarations(),
        elem: output.elem.wgsl(),
        zero: zero(output.elem),
        split,
        m: symbols.wgsl(m),
        n: symbols.wgsl(n),
        k: symbols.wgsl(k),
        a_var,
        a_start: start(&starts[1]),
        a_index: matrix(&a, "m", "k"),
        a_rows: !a.strides[batch.len()].is(1),
        b_var,
        b_start: start(&starts[2]),
        b_index: matrix(&b, "k", "n"),
        b_rows: !b.strides[batch.len()].is(1),
        target: format!("{out}[{} + {}]", start(&starts[0]), matrix(output, "m", "n")),
        results: [("acc00", 0, 0), ("acc01", 0, 16), ("acc10", 16, 0), ("acc11", 16, 16)],
    };
    let workgroups = [n.ceil_div(TILE), m.ceil_div(TILE), product(batch)];
    bindings.finish(FAMILY, symbols, render(FAMILY, &source)?, [256, 1, 1], workgroups)
}

fn index(symbols: &Symbols, view: &View, names: &[&str]) -> String {
    Operand { var: String::new(), view: view.clone() }.index(symbols, names)
}
