//! A fused linear layer of one row: the matrix-vector product of decoding.
//!
//! Decoding is bound by how fast weights stream in, so the kernel starts reading them at once: nothing is prepared in
//! shared memory, and x, which stays in the caches, is read along. Quantized weights are small beside x, and are the
//! exception: there x is put in workgroup memory first, if it fits, and a lane's share of the weights is on its way
//! meanwhile, if it is not too large for registers.

use askama::Template;
use qwenc_ir::Dim;

use crate::checks::{Checks, render};
use crate::gemv_geometry::{Geometry, Norm};
use crate::indexing::halves;
use crate::kernel::{CodegenError, Kernel, KernelVariant, Need, Symbols, grid_1d, limits};
use crate::linear::{BoundLayer, Layer, LinearParams};
use crate::linear_cpu;
use crate::view::Elem;
use crate::weight::WeightFormat;
use crate::weight_read::Grain;
use crate::wgsl_math::MathLibrary;

const FAMILY: &str = "linear_gemv";

/// A norm over parts of x.
pub(crate) struct Part {
    /// Vectors of x.
    pub(crate) vectors: u32,
    /// Vectors of x that one invocation takes.
    turns: u32,
    /// Vectors of a part.
    pub(crate) part_vectors: u32,
    /// Elements of a part.
    pub(crate) width: u32,
    /// Distances at which lanes of a part add up, when subgroups do that and no part is in two turns; else none.
    halves: Vec<u32>,
}

/// The width of the parts that a norm goes over, unless it goes over all of x without a gate.
fn check_norm(checks: Checks, layer: &Layer, params: &LinearParams) -> Result<Option<u32>, CodegenError> {
    let Some(norm) = &params.norm else { return Ok(None) };
    if norm.heads == 0 || !layer.k.is_multiple_of(norm.heads) {
        return Err(checks.fail(format!("{} columns in {} parts", layer.k, norm.heads)));
    }
    let width = layer.k / norm.heads;
    checks.expect("the norm's weight", &norm.weight, Elem::F32, &[&Dim::from(width)])?;
    if norm.is_plain() {
        return Ok(None);
    }
    if let Some((gate, _)) = &norm.gate {
        checks.expect("the norm's gate", gate, Elem::F32, &[&Dim::constant(1), &Dim::from(layer.k)])?;
    }
    if takes_parts(layer.k, norm.heads) {
        Ok(Some(width))
    } else {
        Err(checks.fail(format!("{} columns in {} parts do not fit", layer.k, norm.heads)))
    }
}

/// Whether a row of `k` columns can be normalised in `heads` equal parts on its way into the kernel.
pub fn takes_parts(k: u32, heads: u32) -> bool {
    // x, squares of its vectors, and the sums: one output a group.
    let bytes = u64::from(k.div_ceil(16)) * 64 + u64::from(k.div_ceil(4)) * 4 + 256 * 4;
    heads > 0
        && k.is_multiple_of(heads)
        && (k / heads).is_multiple_of(4)
        && bytes <= u64::from(limits::WORKGROUP_BYTES)
}

/// A turn whose weights are loaded ahead.
struct Ahead {
    /// Statements that say which unit it is, and load it.
    loads: String,
    /// What holds of lanes that have a unit in this turn; none when all have.
    guard: Option<String>,
    /// Statements that take it into the sums.
    turn: String,
}

impl Ahead {
    fn new(bound: &BoundLayer, accs: u32, g: Geometry, units: u32, index: &str, turn: u32) -> Self {
        let suffix = turn.to_string();
        let unit = format!("{index}{suffix}");
        let at = if turn == 0 { "lane".to_string() } else { format!("lane + {}u", turn * g.lanes) };
        let partial = (turn + 1) * g.lanes > units;
        let clamped = if partial { format!("min({at}, {}u)", units - 1) } else { at.clone() };
        Self {
            loads: format!("    let {unit} = {clamped};\n{}", loads(bound, accs, &unit, &suffix)),
            guard: partial.then(|| format!("{at} < {units}u")),
            turn: self::turn(bound, accs, Some(units), &unit, &suffix),
        }
    }
}

#[derive(Template)]
#[template(path = "linear_gemv.wgsl", escape = "none")]
struct Source<'a> {
    k: u32,
    n: u32,
    weight: String,
    read: String,
    per_output: u32,
    glu: bool,
    /// A norm over all of x.
    norm: bool,
    /// A norm over parts of x.
    part: Option<Part>,
    g: Geometry,
    /// The module for devices with subgroups.
    subgroups: bool,
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
    /// Channels of the convolution.
    channels: u32,
    first: String,
    /// For each dot product, statements that say where its row of the weight starts.
    starts: Vec<String>,
    /// Turns whose weights are loaded before x is put in workgroup memory: all, or none.
    ahead: Vec<Ahead>,
    /// Statements of an unrolled turn, for each unit of it.
    turns: Vec<String>,
    /// Statements of a turn that is not unrolled.
    last_turn: String,
    text: &'a Text,
}

/// The layer for one row: all leading axes of `params.x` are 1 (its offset may depend on symbols).
pub fn kernel(symbols: &Symbols, params: &LinearParams) -> Result<Kernel, CodegenError> {
    let checks = Checks::of(FAMILY);
    let layer = Layer::new(checks, params)?;
    if !layer.rows.is(1) {
        return Err(checks.fail(format!("{} rows, expected one", layer.rows)));
    }
    let part = check_norm(checks, &layer, params)?;
    let bound = layer.bind(checks, params, Grain::Unit)?;
    let mut library = MathLibrary::default();
    let (extras, store) = bound.early_store(checks, symbols, params, &mut library, "column")?;
    if params.conv.is_some() && (params.epilogue.is_some() || params.glu.is_some()) {
        return Err(checks.fail("a convolution beside an epilogue or a gate"));
    }
    let convolve = bound.conv.as_ref().map(|conv| conv.function(symbols, &mut library));

    let format = params.weight.format;
    let units = layer.k4.div_ceil(format.unit_vectors());
    let vectors = units * format.unit_vectors();
    let norm = match (&params.norm, part) {
        (None, _) => Norm::None,
        (Some(_), None) => Norm::Whole,
        (Some(_), Some(_)) => Norm::Parts,
    };
    let mut result = |scale: &str| match params.glu {
        None => format!("y0{scale}"),
        Some(activation) => {
            let gate = library.activation(activation, &format!("y0{scale}"));
            format!("{gate} * (y1{scale})")
        }
    };
    let (plain, scaled) = (result(""), result(" * scale"));
    let gate = bound.gate.as_ref().zip(params.norm.as_ref().and_then(|norm| norm.gate.as_ref())).map(
        |(vector, (_, activation))| {
            let lane = |lane: char| library.activation(*activation, &format!("g.{lane}"));
            (vector.body(symbols, &["0u"], layer.k, vectors), ['x', 'y', 'z', 'w'].map(lane).join(", "))
        },
    );
    let text = Text {
        eps: params.norm.as_ref().map_or(Ok(String::new()), |norm| checks.literal("epsilon", norm.eps))?,
        declarations: bound.bindings.declarations(),
        functions: library.text(),
        weight_functions: bound.weight.functions(symbols) + &bound.weight.unit_function(),
        x_body: bound.x.body(symbols, &[], layer.k, vectors),
        norm_body: bound.norm.as_ref().map(|norm| {
            norm.body(symbols, &[], part.unwrap_or(layer.k), part.map_or(vectors, |width| width / 4))
        }),
        convolve,
        store,
        extras,
        gate,
        plain,
        scaled,
    };

    let g = Geometry::choose(format, units, &layer, norm);
    let (workgroups, workgroup) = grid_1d(symbols, &Dim::from(layer.n.div_ceil(g.groups * g.rows)), "wid");
    let source_of = |g: Geometry, subgroups: bool| {
        let glu = params.glu.is_some();
        let shape = Shape { units, norm, part, glu, subgroups };
        source(&bound, symbols, &layer, g, shape, &workgroup, &text)
    };
    let baseline = source_of(g, false);
    let on_processor = on_processor(symbols, &layer, &bound, &baseline)?;
    let baseline = render(FAMILY, &baseline)?;
    let variant = |name, g: Geometry, needs: &'static [Need]| {
        let source = render(FAMILY, &source_of(g, needs.contains(&Need::Subgroups)))?;
        Ok::<_, CodegenError>(KernelVariant { name, source, needs, workgroup_size: [g.size(), 1, 1] })
    };
    let mut variants = vec![variant("subgroups", g, &[Need::Subgroups])?];
    if let Some(narrow) = g.narrow() {
        variants.push(variant("narrow", narrow, &[])?);
        variants.push(variant("narrow_subgroups", narrow, &[Need::Subgroups])?);
    }
    if let Some(software) = g.software(layer.per_output, norm) {
        variants.push(variant("software", software, &[Need::Software])?);
    }
    let kernel = bound.bindings.finish(FAMILY, symbols, baseline, [g.size(), 1, 1], workgroups)?;
    variants.into_iter().try_fold(kernel, Kernel::with_variant)?.with_cpu(on_processor)
}

/// What of a module does not depend on its geometry.
struct Text {
    /// The norm's.
    eps: String,
    declarations: String,
    functions: String,
    weight_functions: String,
    x_body: String,
    norm_body: Option<String>,
    /// The convolution's function.
    convolve: Option<String>,
    store: String,
    /// Further inputs of the epilogue at `column`.
    extras: Vec<String>,
    /// The body of the gate's function of `q`, and its four elements `g` behind the activation.
    gate: Option<(String, String)>,
    plain: String,
    scaled: String,
}

/// What a module is made for.
struct Shape {
    units: u32,
    norm: Norm,
    /// The width of the norm's parts.
    part: Option<u32>,
    glu: bool,
    subgroups: bool,
}

fn source<'a>(
    bound: &BoundLayer,
    symbols: &Symbols,
    layer: &Layer,
    g: Geometry,
    shape: Shape,
    workgroup: &str,
    text: &'a Text,
) -> Source<'a> {
    let Shape { units, norm, part, glu, subgroups } = shape;
    let format = bound.weight.format;
    let accs = g.rows * layer.per_output;
    let index = if format == WeightFormat::F32 { "q" } else { "u" };
    let staged = g.stage.then_some(units);
    let ahead = g.ahead(units, accs);
    let turn = |suffix: &str| {
        let unit = format!("{index}{suffix}");
        let turn = turn(bound, accs, staged, &unit, suffix);
        if ahead > 0 { turn } else { loads(bound, accs, &unit, suffix) + "\n" + &turn }
    };
    Source {
        k: layer.k,
        n: layer.n,
        weight: bound.weight.describe(),
        read: if format == WeightFormat::F32 {
            "as vec4".into()
        } else {
            format!("by {} elements", format.unit())
        },
        per_output: layer.per_output,
        glu,
        norm: norm == Norm::Whole,
        part: part.map(|width| Part {
            vectors: layer.k4,
            turns: layer.k4.div_ceil(g.size()),
            part_vectors: width / 4,
            width,
            halves: part_halves(subgroups, g, width / 4),
        }),
        g,
        subgroups,
        halves: halves(g.lanes),
        accs,
        slots: accs + u32::from(norm == Norm::Whole),
        index,
        units,
        unit_vectors: format.unit_vectors(),
        full: units / (g.lanes * g.unroll),
        channels: bound.conv.as_ref().map_or(0, |conv| conv.channels),
        first: first_output(workgroup, g),
        starts: (0..accs).map(|acc| starts(bound, symbols, layer, acc)).collect(),
        ahead: (0..ahead).map(|turn| Ahead::new(bound, accs, g, units, index, turn)).collect(),
        turns: (0..g.unroll)
            .map(|part| {
                let at = format!("i * {}u + lane", g.unroll * g.lanes);
                let at = if part == 0 { at } else { format!("{at} + {}u", part * g.lanes) };
                format!("        let {index}{part} = {at};\n{}", turn(&part.to_string()))
            })
            .collect(),
        last_turn: turn(""),
        text,
    }
}

/// Distances at which subgroups add up a part's sums of squares, one vector a lane; none when a part is no power of two.
fn part_halves(subgroups: bool, g: Geometry, part_vectors: u32) -> Vec<u32> {
    let fits = part_vectors.is_power_of_two() && g.size().is_multiple_of(part_vectors);
    if subgroups && fits { halves(part_vectors) } else { Vec::new() }
}

/// The module for a processor: two dot products at a time, which share x.
fn on_processor(
    symbols: &Symbols,
    layer: &Layer,
    bound: &BoundLayer,
    source: &Source<'_>,
) -> Result<String, CodegenError> {
    let text = source.text;
    let staged = source.g.stage.then_some(source.units);
    let module = linear_cpu::Gemv {
        k: layer.k,
        n: layer.n,
        weight: &source.weight,
        read: &source.read,
        glu: source.glu,
        per_output: layer.per_output,
        step: 2 / layer.per_output,
        norm: source.norm,
        part: source.part.as_ref(),
        gate: text.gate.as_ref(),
        eps: &text.eps,
        stage: source.g.stage,
        index: source.index,
        units: source.units,
        unit_vectors: source.unit_vectors,
        declarations: &text.declarations,
        functions: &text.functions,
        x_body: &text.x_body,
        norm_body: text.norm_body.as_deref(),
        store: &text.store,
        extras: &text.extras,
        convolve: text.convolve.as_deref(),
        channels: source.channels,
        weight_functions: &text.weight_functions,
        starts: (0..2).map(|acc| starts(bound, symbols, layer, acc)).collect(),
        turn: loads(bound, 2, source.index, "") + "\n" + &turn(bound, 2, staged, source.index, ""),
        value: if source.norm { &text.scaled } else { &text.plain },
    };
    render(FAMILY, &module)
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

/// Statements that load the unit `unit` of every row. Names end in `suffix`.
fn loads(bound: &BoundLayer, accs: u32, unit: &str, suffix: &str) -> String {
    let load = |acc: u32| {
        let (part, at, scales) = (format!("{acc}_{suffix}"), format!("w{acc} + {unit}"), format!("s{acc}"));
        format!("        {}", bound.weight.load_unit(&part, &at, &scales, unit))
    };
    (0..accs).map(load).collect::<Vec<_>>().join("\n")
}

/// Statements that take what [`loads`] has loaded, and x along with it, into the sums. x is read where it is, or from
/// workgroup memory, which holds it for `staged` units.
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
        let (part, sum) = (format!("{acc}_{suffix}"), format!("acc{acc}"));
        lines.push(format!("        {sum} = {};", bound.weight.add_unit(&part, &x, &sum)));
    }
    lines.join("\n")
}

/// The first output of a group, as WGSL.
fn first_output(workgroup: &str, g: Geometry) -> String {
    let index =
        if g.groups == 1 { workgroup.to_string() } else { format!("{workgroup} * {}u + group", g.groups) };
    if g.rows == 1 { index } else { format!("({index}) * {}u", g.rows) }
}
