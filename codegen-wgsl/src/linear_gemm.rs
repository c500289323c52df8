//! A fused linear layer of many rows: the matrix product of prefill.

use askama::Template;
use qwenc_ir::Dim;

use crate::checks::{Checks, render};
use crate::indexing::{describe, strs};
use crate::kernel::{CodegenError, Kernel, Symbols};
use crate::linear::{Layer, LinearParams};
use crate::linear_cpu;
use crate::weight_read::Grain;
use crate::wgsl_math::MathLibrary;

const FAMILY: &str = "linear_gemm";
/// Rows of x, and rows of the weight, in the tile of a workgroup.
const TILE: i64 = 64;
/// Vectors of four columns that go through workgroup memory together.
const SLICE: u32 = 8;

#[derive(Template)]
#[template(path = "linear_gemm.wgsl", escape = "none")]
struct Source {
    rows: String,
    k: u32,
    n: u32,
    slices: u32,
    weight: String,
    glu: bool,
    declarations: String,
    functions: String,
    m_count: String,
    x_split: String,
    x_body: String,
    weight_functions: String,
    store: String,
    /// Outputs that four accumulated columns make.
    values: Vec<String>,
}

/// The layer for `[..., K]`; `params.norm` must be absent (prefill normalises in a kernel of its own).
pub fn kernel(symbols: &Symbols, params: &LinearParams) -> Result<Kernel, CodegenError> {
    let checks = Checks::of(FAMILY);
    if params.norm.is_some() || params.conv.is_some() {
        return Err(checks.fail("a norm in front or a convolution behind; run it as a kernel of its own"));
    }
    let layer = Layer::new(checks, params)?;
    let bound = layer.bind(checks, params, Grain::Pair)?;
    let mut library = MathLibrary::default();
    let store = bound.store(checks, symbols, params, &mut library)?;
    let values = match params.glu {
        None => ["acc.x", "acc.y", "acc.z", "acc.w"].map(String::from).to_vec(),
        Some(activation) => [("acc.x", "acc.y"), ("acc.z", "acc.w")]
            .map(|(gate, up)| format!("{} * {up}", library.activation(activation, gate)))
            .to_vec(),
    };
    let (x_split, row) = bound.row(symbols);
    let slices = layer.k4.div_ceil(SLICE);
    let source = Source {
        rows: describe(std::slice::from_ref(&layer.rows)).trim_matches(['[', ']']).to_string(),
        k: layer.k,
        n: layer.n,
        slices,
        weight: bound.weight.describe(),
        glu: params.glu.is_some(),
        declarations: bound.bindings.declarations(),
        functions: library.text(),
        m_count: symbols.wgsl(&layer.rows),
        x_split,
        x_body: bound.x.body(symbols, &strs(&row), layer.k, slices * SLICE),
        weight_functions: bound.weight.functions(symbols)
            + &bound.weight.pair_functions(symbols, layer.weight_rows),
        store,
        values,
    };
    let workgroups =
        [Dim::from(layer.weight_rows).ceil_div(TILE), layer.rows.ceil_div(TILE), Dim::constant(1)];
    let baseline = render(FAMILY, &source)?;
    let on_processor = on_processor(&layer, &source, &bound.x.body(symbols, &strs(&row), layer.k, layer.k4))?;
    let kernel = bound.bindings.finish(FAMILY, symbols, baseline, [256, 1, 1], workgroups)?;
    match on_processor {
        Some(module) => kernel.with_cpu(module),
        None => Ok(kernel),
    }
}

/// The module for a processor, for rows that are not too long.
fn on_processor(layer: &Layer, source: &Source, x_body: &str) -> Result<Option<String>, CodegenError> {
    let module = linear_cpu::unpacks(layer.k).then(|| linear_cpu::Gemm {
        rows: &source.rows,
        k: layer.k,
        k4: layer.k4,
        pairs: layer.k.div_ceil(8),
        n: layer.n,
        weight_rows: layer.weight_rows,
        weight: &source.weight,
        glu: source.glu,
        declarations: &source.declarations,
        functions: &source.functions,
        m_count: &source.m_count,
        x_split: &source.x_split,
        x_body,
        weight_functions: &source.weight_functions,
        store: &source.store,
        values: &source.values,
    });
    module.map(|module| render(FAMILY, &module)).transpose()
}
