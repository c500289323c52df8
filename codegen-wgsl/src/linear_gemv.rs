//! A fused linear layer of one row: the matrix-vector product of decoding.
//!
//! Decoding is bound by how fast weights stream in, so the kernel starts reading them at once: nothing is prepared in
//! shared memory, and x, which stays in the caches, is read along.

use askama::Template;
use qwenc_ir::Dim;

use crate::checks::{Checks, render};
use crate::indexing::halves;
use crate::kernel::{CodegenError, Kernel, Symbols, grid_1d};
use crate::linear::{Layer, LinearParams};
use crate::view::Elem;
use crate::wgsl_math::MathLibrary;

const FAMILY: &str = "linear_gemv";

/// How a workgroup divides its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Geometry {
    /// Lanes that share one dot product, a power of two.
    lanes: u32,
    /// Groups of lanes in a workgroup.
    groups: u32,
    /// Outputs of a group; at most `lanes`.
    rows: u32,
    /// Vectors that a lane reads in one turn of the loop.
    unroll: u32,
}

impl Geometry {
    fn choose(k4: u32, n: u32, per_output: u32) -> Self {
        // Few outputs want many lanes each, to keep the whole device busy; many outputs want rows that share x.
        let lanes = if n < 2048 { 64 } else { 32 };
        let lanes = lanes.min(k4.next_power_of_two()).max(4);
        let rows = if n >= 16384 && per_output == 1 { 2 } else { 1 };
        Self { lanes, groups: 128 / lanes, rows, unroll: 4 }
    }

    const fn size(self) -> u32 {
        self.lanes * self.groups
    }
}

#[derive(Template)]
#[template(path = "linear_gemv.wgsl", escape = "none")]
struct Source {
    k: u32,
    k4: u32,
    n: u32,
    weight_rows: u32,
    per_output: u32,
    glu: bool,
    norm: bool,
    eps: String,
    g: Geometry,
    halves: Vec<u32>,
    /// Dot products of a group.
    accs: u32,
    /// Sums of a group: its dot products, and the sum of squares.
    slots: u32,
    /// Unrolled turns of the loop.
    full: u32,
    declarations: String,
    functions: String,
    x_body: String,
    norm_body: Option<String>,
    store: String,
    first: String,
    weight: String,
    weight_offset: String,
    h: &'static str,
    plain: String,
    scaled: String,
}

impl Source {
    /// The index of the first vector of the weight's row behind an accumulator.
    fn row_start(&self, acc: &u32) -> String {
        let output = match acc / self.per_output {
            0 => "first".to_string(),
            index => format!("first + {index}u"),
        };
        let output = format!("min({output}, {}u)", self.n - 1);
        let row = match (self.glu, acc % 2) {
            (false, _) => output,
            (true, 0) => format!("2u * {output}"),
            (true, _) => format!("(2u * {output} + 1u)"),
        };
        format!("{row} * {}u{}", self.k4, self.weight_offset)
    }
}

/// The layer for one row: all leading axes of `params.x` are 1 (its offset may depend on symbols).
pub fn kernel(symbols: &Symbols, params: &LinearParams) -> Result<Kernel, CodegenError> {
    let checks = Checks::of(FAMILY);
    let layer = Layer::new(checks, params)?;
    if !layer.rows.is(1) {
        return Err(checks.fail(format!("{} rows, expected one", layer.rows)));
    }
    let columns = Dim::from(layer.k);
    if let Some(norm) = &params.norm {
        checks.expect("the norm's weight", &norm.weight, Elem::F32, &[&columns])?;
    }
    let bound = layer.bind(params);
    let mut library = MathLibrary::default();
    let store = bound.store(checks, symbols, params, &mut library)?;

    let g = Geometry::choose(layer.k4, layer.n, layer.per_output);
    let accs = g.rows * layer.per_output;
    let mut result = |scale: &str| match params.glu {
        None => format!("partial[at]{scale}"),
        Some(activation) => {
            let gate = library.activation(activation, &format!("partial[at]{scale}"));
            format!("{gate} * (partial[at + {}u]{scale})", g.size())
        }
    };
    let (plain, scaled) = (result(""), result(" * scale"));
    let (workgroups, workgroup) = grid_1d(symbols, &Dim::from(layer.n.div_ceil(g.groups * g.rows)), "wid");
    let offset = &bound.weight.view.offset;
    let source = Source {
        k: layer.k,
        k4: layer.k4,
        n: layer.n,
        weight_rows: layer.n * layer.per_output,
        per_output: layer.per_output,
        glu: params.glu.is_some(),
        norm: params.norm.is_some(),
        eps: params.norm.as_ref().map_or(Ok(String::new()), |norm| checks.literal("epsilon", norm.eps))?,
        g,
        halves: halves(g.lanes),
        accs,
        slots: accs + u32::from(params.norm.is_some()),
        full: layer.k4 / (g.lanes * g.unroll),
        declarations: bound.bindings.declarations(),
        functions: library.text(),
        x_body: bound.x.body(symbols, &[], layer.k),
        norm_body: bound.norm.as_ref().map(|norm| norm.body(symbols, &[], layer.k)),
        store,
        first: first_output(&workgroup, g),
        weight: bound.weight.var.clone(),
        weight_offset: if offset.is(0) { String::new() } else { format!(" + {}", symbols.wgsl(offset)) },
        h: if params.norm.is_some() { "h" } else { "x" },
        plain,
        scaled,
    };
    bound.bindings.finish(FAMILY, symbols, render(FAMILY, &source)?, [g.size(), 1, 1], workgroups)
}

/// The first output of a group, as WGSL.
fn first_output(workgroup: &str, g: Geometry) -> String {
    let index =
        if g.groups == 1 { workgroup.to_string() } else { format!("{workgroup} * {}u + group", g.groups) };
    if g.rows == 1 { index } else { format!("({index}) * {}u", g.rows) }
}
