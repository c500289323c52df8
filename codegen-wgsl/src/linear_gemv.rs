//! A fused linear layer of one row: the matrix-vector product of decoding.
//!
//! Decoding is bound by how fast weights stream in, so the kernel starts reading them at once: nothing is prepared in
//! shared memory, and x, which stays in the caches, is read along. Quantized weights are small beside x, and are the
//! exception: there x is put in workgroup memory first, if it fits.

use askama::Template;
use qwenc_ir::Dim;

use crate::checks::{Checks, render};
use crate::indexing::halves;
use crate::kernel::{CodegenError, Kernel, Symbols, grid_1d, limits};
use crate::linear::{BoundLayer, Layer, LinearParams};
use crate::view::Elem;
use crate::weight::WeightFormat;
use crate::weight_read::Grain;
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
    /// Units of the weight that a lane reads of each row in one turn of the loop.
    unroll: u32,
    /// Whether x goes through workgroup memory. A lane reads whole units, so that the lanes' vectors of x lie as far apart
    /// as units are long, in as many cache lines. In workgroup memory vectors that are read together lie side by side,
    /// and the norm is applied once for all groups.
    stage: bool,
}

impl Geometry {
    /// For rows of `units` units of the weight.
    fn choose(format: WeightFormat, units: u32, layer: &Layer, norm: bool) -> Self {
        let (n, per_output) = (layer.n, layer.per_output);
        // Few outputs want many lanes each, to keep the whole device busy; many outputs want rows that share x.
        let lanes = if n < 2048 { 64 } else { 32 };
        let lanes = lanes.min(units.next_power_of_two()).max(4);
        if format == WeightFormat::F32 {
            let rows = if n >= 16384 && per_output == 1 { 2 } else { 1 };
            return Self { lanes, groups: 128 / lanes, rows, unroll: 4, stage: false };
        }
        // The smaller the weight, the larger the part of x in what is read: more rows share it. Rows have few units, so
        // that the loop is unrolled only as far as they go.
        let rows = match (n, per_output) {
            (16384.., 1) => 4,
            (4096.., 1) | (16384.., _) => 2,
            _ => 1,
        };
        let unroll = (units / lanes).clamp(1, 4);
        // The more outputs a workgroup makes, the less it matters that it reads all of x first.
        let size = 256;
        let sums = (rows * per_output + u32::from(norm)) * size * 4;
        let staged = units.saturating_mul(format.unit_vectors() * 16).saturating_add(sums);
        let stage = matches!(format, WeightFormat::Quantized(_)) && staged <= limits::WORKGROUP_BYTES;
        Self { lanes, groups: if stage { size } else { 128 } / lanes, rows, unroll, stage }
    }

    const fn size(self) -> u32 {
        self.lanes * self.groups
    }
}

#[derive(Template)]
#[template(path = "linear_gemv.wgsl", escape = "none")]
struct Source {
    k: u32,
    n: u32,
    weight: String,
    read: String,
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
    /// The index of a unit in its row.
    index: &'static str,
    /// Units of a row.
    units: u32,
    /// Vectors of x for a unit.
    unit_vectors: u32,
    /// Unrolled turns of the loop.
    full: u32,
    declarations: String,
    functions: String,
    x_body: String,
    norm_body: Option<String>,
    store: String,
    first: String,
    weight_functions: String,
    /// For each dot product, statements that say where its row of the weight starts.
    starts: Vec<String>,
    /// Statements of an unrolled turn, for each unit of it.
    turns: Vec<String>,
    /// Statements of a turn that is not unrolled.
    last_turn: String,
    plain: String,
    scaled: String,
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
    let bound = layer.bind(checks, params, Grain::Unit)?;
    let mut library = MathLibrary::default();
    let store = bound.store(checks, symbols, params, &mut library)?;

    let format = params.weight.format;
    let units = layer.k4.div_ceil(format.unit_vectors());
    let vectors = units * format.unit_vectors();
    let g = Geometry::choose(format, units, &layer, params.norm.is_some());
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
    let index = if format == WeightFormat::F32 { "q" } else { "u" };
    let staged = g.stage.then_some(units);
    let turn = |suffix: &str| turn(&bound, accs, staged, &format!("{index}{suffix}"), suffix);
    let source = Source {
        k: layer.k,
        n: layer.n,
        weight: bound.weight.describe(),
        read: if format == WeightFormat::F32 {
            "as vec4".into()
        } else {
            format!("by {} elements", format.unit())
        },
        per_output: layer.per_output,
        glu: params.glu.is_some(),
        norm: params.norm.is_some(),
        eps: params.norm.as_ref().map_or(Ok(String::new()), |norm| checks.literal("epsilon", norm.eps))?,
        g,
        halves: halves(g.lanes),
        accs,
        slots: accs + u32::from(params.norm.is_some()),
        index,
        units,
        unit_vectors: format.unit_vectors(),
        full: units / (g.lanes * g.unroll),
        declarations: bound.bindings.declarations(),
        functions: library.text(),
        weight_functions: bound.weight.functions(symbols) + &bound.weight.unit_function(),
        x_body: bound.x.body(symbols, &[], layer.k, vectors),
        norm_body: bound.norm.as_ref().map(|norm| norm.body(symbols, &[], layer.k, vectors)),
        store,
        first: first_output(&workgroup, g),
        starts: (0..accs).map(|acc| starts(&bound, symbols, &layer, acc)).collect(),
        turns: (0..g.unroll)
            .map(|part| {
                let at = format!("i * {}u + lane", g.unroll * g.lanes);
                let at = if part == 0 { at } else { format!("{at} + {}u", part * g.lanes) };
                format!("        let {index}{part} = {at};\n{}", turn(&part.to_string()))
            })
            .collect(),
        last_turn: turn(""),
        plain,
        scaled,
    };
    bound.bindings.finish(FAMILY, symbols, render(FAMILY, &source)?, [g.size(), 1, 1], workgroups)
}

/// Statements that say where the row of the weight behind an accumulator starts, and where its scales do.
fn starts(bound: &BoundLayer, symbols: &Symbols, layer: &Layer, acc: u32) -> String {
    let output = match acc / layer.per_output {
        0 => "first".to_string(),
        index => format!("first + {index}u"),
    };
    let output = format!("min({output}, {}u)", layer.n - 1);
    let row = match (layer.per_output, acc % 2) {
        (1, _) => output,
        (_, 0) => format!("2u * {output}"),
        _ => format!("(2u * {output} + 1u)"),
    };
    let mut text = format!("    let w{acc} = {};", bound.weight.row_start(symbols, &row));
    if let Some(start) = bound.weight.scale_start(&row) {
        text += &format!("\n    let s{acc} = {start};");
    }
    text
}

/// Statements that take the unit `unit` of every row, and x along with it, into the sums. Names end in `suffix`. x is
/// read where it is, or from workgroup memory, which holds it for `staged` units.
fn turn(bound: &BoundLayer, accs: u32, staged: Option<u32>, unit: &str, suffix: &str) -> String {
    let vectors = bound.weight.format.unit_vectors();
    let mut lines = Vec::new();
    let mut x = Vec::new();
    for vector in 0..vectors {
        let (name, at) = match (vectors, vector) {
            (1, _) => (suffix.to_string(), unit.to_string()),
            (_, 0) => (format!("{suffix}_0"), format!("{vectors}u * {unit}")),
            _ => (format!("{suffix}_{vector}"), format!("{vectors}u * {unit} + {vector}u")),
        };
        if let Some(units) = staged {
            let at = if vector == 0 { unit.to_string() } else { format!("{unit} + {}u", vector * units) };
            lines.push(format!("        let x{name} = staged[{at}];"));
            x.push(format!("x{name}"));
            continue;
        }
        lines.push(format!("        let x{name} = x4({at});"));
        if bound.norm.is_some() {
            lines.push(format!("        squares = fma(x{name}, x{name}, squares);"));
            lines.push(format!("        let h{name} = x{name} * norm4({at});"));
            x.push(format!("h{name}"));
        } else {
            x.push(format!("x{name}"));
        }
    }
    for acc in 0..accs {
        let (at, scales, sum) = (format!("w{acc} + {unit}"), format!("s{acc}"), format!("acc{acc}"));
        lines.push(format!("        {sum} = {};", bound.weight.add_unit(&at, &scales, unit, &x, &sum)));
    }
    lines.join("\n")
}

/// The first output of a group, as WGSL.
fn first_output(workgroup: &str, g: Geometry) -> String {
    let index =
        if g.groups == 1 { workgroup.to_string() } else { format!("{workgroup} * {}u + group", g.groups) };
    if g.rows == 1 { index } else { format!("({index}) * {}u", g.rows) }
}
