//! A fused linear layer of many rows: the matrix product of prefill.

use askama::Template;
use qwenc_ir::Dim;

use crate::checks::{Checks, render};
use crate::indexing::{describe, strs};
use crate::kernel::{CodegenError, Kernel, KernelVariant, Need, Symbols};
use crate::linear::{Layer, LinearParams};
use crate::weight_read::Grain;
use crate::wgsl_math::MathLibrary;

const FAMILY: &str = "linear_gemm";
/// Rows of x, and rows of the weight, in the tile of a workgroup.
const TILE: i64 = 64;
/// Vectors of four columns that go through workgroup memory together.
const SLICE: u32 = 8;

/// Rows of the weight from which on matrix cores take large tiles.
const WIDE: u32 = 2048;

/// What all modules of a layer have: its operands, and what is done with them.
struct Parts {
    rows: String,
    k: u32,
    /// Vectors of four columns.
    k4: u32,
    /// Eights of columns.
    pairs: u32,
    n: u32,
    weight_rows: u32,
    weight: String,
    glu: bool,
    declarations: String,
    functions: String,
    m_count: String,
    x_split: String,
    weight_functions: String,
    store: String,
    /// Outputs that four accumulated columns make.
    values: Vec<String>,
}

/// The module for GPUs.
#[derive(Template)]
#[template(path = "linear_gemm.wgsl", escape = "none")]
struct Tiled<'a> {
    parts: &'a Parts,
    x_body: String,
    /// The end of the vectors that x has or is padded to, where some behind it are asked for.
    beyond: Option<u32>,
    slices: u32,
}

/// The module for renderers on a CPU.
#[derive(Template)]
#[template(path = "linear_gemm_software.wgsl", escape = "none")]
struct Software<'a> {
    parts: &'a Parts,
    x_body: String,
    beyond: Option<u32>,
}

/// The module for matrix cores.
#[derive(Template)]
#[template(path = "linear_gemm_cooperative.wgsl", escape = "none")]
struct Cooperative<'a> {
    parts: &'a Parts,
    x_body: String,
    beyond: Option<u32>,
    slices: u32,
    /// Rows of x, and rows of the weight, in the tile of a workgroup.
    tile: u32,
    /// Groups of four subgroups.
    groups: u32,
}

impl<'a> Cooperative<'a> {
    fn new(parts: &'a Parts, x_body: impl Fn(u32) -> String) -> Self {
        // Large tiles read and unpack less for each product, but leave few workgroups, of few invocations: where there would be
        // too few, two groups of subgroups halve the columns instead.
        let (tile, groups) = if parts.weight_rows < WIDE { (64, 2) } else { (128, 1) };
        let slices = parts.k4.div_ceil(SLICE * groups);
        let padded = slices * SLICE * groups;
        Self { parts, x_body: x_body(padded), beyond: Some(padded), slices, tile, groups }
    }

    const fn workgroup_size(&self) -> [u32; 3] {
        [128 * self.groups, 1, 1]
    }
}

/// The module for one thread: what a device without a GPU runs.
///
/// Invocations that share a dot product and add up through workgroup memory are what keeps a GPU busy, and on one thread
/// nothing but work: adding up costs more than the products. Here one invocation makes everything, in the order in which it
/// lies, and sums stay in registers.
#[derive(Template)]
#[template(path = "linear_gemm_cpu.wgsl", escape = "none")]
struct OneThread<'a> {
    parts: &'a Parts,
    x_body: String,
    beyond: Option<u32>,
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
    let parts = Parts {
        rows: describe(std::slice::from_ref(&layer.rows)).trim_matches(['[', ']']).to_string(),
        k: layer.k,
        k4: layer.k4,
        pairs: layer.k.div_ceil(8),
        n: layer.n,
        weight_rows: layer.weight_rows,
        weight: bound.weight.describe(),
        glu: params.glu.is_some(),
        declarations: bound.bindings.declarations(),
        functions: library.text(),
        m_count: symbols.wgsl(&layer.rows),
        x_split,
        weight_functions: bound.weight.functions(symbols)
            + &bound.weight.pair_functions(symbols, layer.weight_rows),
        store,
        values,
    };
    let x_body = |vectors| bound.x.body(symbols, &strs(&row), layer.k, vectors);
    let slices = layer.k4.div_ceil(SLICE);
    let padded = slices * SLICE;
    let tiled = Tiled { parts: &parts, x_body: x_body(padded), beyond: Some(padded), slices };
    let cooperative = Cooperative::new(&parts, x_body);
    let software = Software { parts: &parts, x_body: x_body(2 * parts.pairs), beyond: None };
    let one_thread = OneThread { parts: &parts, x_body: x_body(layer.k4), beyond: None };

    let workgroups =
        [Dim::from(layer.weight_rows).ceil_div(TILE), layer.rows.ceil_div(TILE), Dim::constant(1)];
    let (tiled, software) = (render(FAMILY, &tiled)?, render(FAMILY, &software)?);
    let one_thread = unpacks(layer.k).then(|| render(FAMILY, &one_thread)).transpose()?;
    let kernel = bound.bindings.finish(FAMILY, symbols, tiled, [256, 1, 1], workgroups)?;
    let kernel = kernel.with_variant(KernelVariant {
        name: "cooperative",
        source: render(FAMILY, &cooperative)?,
        needs: &[Need::CooperativeMatrix],
        workgroup_size: cooperative.workgroup_size(),
    })?;
    let kernel = kernel.with_variant(KernelVariant {
        name: "software",
        source: software,
        needs: &[Need::Software],
        workgroup_size: [128, 1, 1],
    })?;
    match one_thread {
        Some(module) => kernel.with_cpu(module),
        None => Ok(kernel),
    }
}

/// Whether the four rows of a weight of `k` columns that are unpacked at a time are worth a memory of their own: they should stay
/// in a cache.
const fn unpacks(k: u32) -> bool {
    k <= 1 << 15
}
