//! The gated delta rule for many positions, in chunks of [`CHUNK`]: [`prepare`] computes what is local to a chunk, for
//! all chunks at once; [`scan`] then walks the chunks with the state.
//!
//! Within a chunk, with G the running sum of the log decay and k, q normed (the WY form):
//!
//! ```text
//! A = tril(beta k k^T exp(G_i - G_j), -1)      T = (I + A)^-1
//! w = T (beta k exp(G))    u = T (beta v)      P = tril(q k^T exp(G_i - G_j))
//! v' = u - w s;   o = exp(G) q s + P v';   s = exp(G_last) s + (k exp(G_last - G))^T v'
//! ```
//!
//! Every exponent is a sum of log decays, so at most 0: nothing overflows. `G_i - G_j` is summed directly and not as a
//! difference, which would lose what little separates neighbours behind a strong decay.

use askama::Template;
use qwenc_ir::Dim;

use crate::checks::{Access, Checks, render};
use crate::delta::{DeltaParams, DeltaSizes};
use crate::kernel::{Bindings, CodegenError, Kernel, Symbols, limits};
use crate::quads::{Quads, all_packed};
use crate::view::{Elem, View};

/// Positions in a chunk.
pub const CHUNK: usize = 64;

const CHUNK_ROWS: u32 = 64;
const WORKGROUP: u32 = 256;
/// Elements of workgroup memory that hold columns of the state in [`scan`]. The other half holds a chunk of fresh values
/// for up to 16 of them, twice.
const STATE_ELEMENTS: u32 = limits::WORKGROUP_BYTES / 8;

/// Where things lie in the scratch of one chunk and head.
struct Layout {
    /// `[w | u]`, `[64, dk + dv]`; in front of it P, `[64, 64]`.
    solved: u32,
    /// Factors that make raw q rows into `exp(G) q`, then k rows into `k exp(G_last - G)`, then `exp(G_last)`.
    factors: u32,
    /// Size of all.
    elements: u32,
}

impl Layout {
    fn of(sizes: &DeltaSizes) -> Self {
        let solved = CHUNK_ROWS * CHUNK_ROWS;
        let factors = solved + CHUNK_ROWS * (sizes.key_width + sizes.value_width);
        Self { solved, factors, elements: factors + 2 * CHUNK_ROWS + 4 }
    }
}

fn chunks(sizes: &DeltaSizes) -> Dim {
    sizes.tokens.ceil_div(i64::from(CHUNK_ROWS))
}

fn shape_of_scratch(sizes: &DeltaSizes) -> Vec<Dim> {
    let elements = Layout::of(sizes).elements;
    vec![chunks(sizes), Dim::constant(i64::from(sizes.heads)), Dim::constant(i64::from(elements))]
}

/// Shape of the scratch that carries chunk-local quantities from [`prepare`] to [`scan`]: `[chunks, Hv, elements]`.
///
/// # Errors
/// When shapes do not fit each other.
pub fn scratch_shape(params: &DeltaParams) -> Result<Vec<Dim>, CodegenError> {
    Ok(shape_of_scratch(&params.sizes(Checks::of("delta_chunk"))?))
}

/// Holds the scratch to its shape, and to what one binding can reach.
fn check_scratch(
    checks: Checks,
    symbols: &Symbols,
    sizes: &DeltaSizes,
    scratch: &View,
) -> Result<(), CodegenError> {
    let shape = shape_of_scratch(sizes);
    checks.expect("the scratch", scratch, Elem::F32, &shape.iter().collect::<Vec<_>>())?;
    let bytes =
        symbols.upper(&scratch.elements()).and_then(|count| u64::try_from(count).ok()).map(|count| count * 4);
    match bytes {
        Some(bytes) if bytes <= limits::BINDING_BYTES => Ok(()),
        _ => Err(checks.fail(format!(
            "the scratch of {} positions can exceed the {} bytes that a binding reaches; use shorter prefill chunks",
            sizes.tokens,
            limits::BINDING_BYTES
        ))),
    }
}

#[derive(Template)]
#[template(path = "delta_prepare.wgsl", escape = "none")]
struct PrepareSource<'a> {
    declarations: String,
    gates: String,
    norm: String,
    query: Access<'a>,
    key: Access<'a>,
    value: Access<'a>,
    scratch: Access<'a>,
    layout: Layout,
    tokens: String,
    group: u32,
    key_width: u32,
    value_width: u32,
    scale: String,
    workgroup: u32,
}

/// The chunk-local part. `scratch` is dense f32 of shape [`scratch_shape`].
///
/// # Errors
/// When shapes do not fit each other, or the scratch can outgrow a binding.
pub fn prepare(symbols: &Symbols, params: &DeltaParams, scratch: &View) -> Result<Kernel, CodegenError> {
    const FAMILY: &str = "delta_prepare";
    let checks = Checks::of(FAMILY);
    let sizes = params.sizes(checks)?;
    check_scratch(checks, symbols, &sizes, scratch)?;
    let mut bindings = Bindings::new();
    let scratch = Access::new(bindings.write(scratch), symbols);
    let query = Access::new(bindings.read(&params.query), symbols);
    let key = Access::new(bindings.read(&params.key), symbols);
    let value = Access::new(bindings.read(&params.value), symbols);
    let gates = params.gates_function(symbols, &mut bindings);
    let source = PrepareSource {
        declarations: bindings.declarations(),
        gates,
        norm: params.norm_function(checks)?,
        query,
        key,
        value,
        scratch,
        layout: Layout::of(&sizes),
        tokens: symbols.wgsl(&sizes.tokens),
        group: sizes.group,
        key_width: sizes.key_width,
        value_width: sizes.value_width,
        scale: checks.literal("the scale", params.scale)?,
        workgroup: WORKGROUP,
    };
    let workgroups = [chunks(&sizes), Dim::constant(i64::from(sizes.heads)), Dim::constant(1)];
    bindings.finish(FAMILY, symbols, render(FAMILY, &source)?, [WORKGROUP, 1, 1], workgroups)
}

#[derive(Template)]
#[template(path = "delta_scan.wgsl", escape = "none")]
struct ScanSource<'a> {
    declarations: String,
    query: Quads<'a>,
    key: Quads<'a>,
    scratch: Access<'a>,
    /// The scratch, like query and key, is bound as `vec4<f32>`.
    packed: bool,
    past: Option<Access<'a>>,
    present: Option<Access<'a>>,
    output: Access<'a>,
    layout: Layout,
    tokens: String,
    group: u32,
    key_width: u32,
    value_width: u32,
    key_quads: u32,
    /// `vec4` columns of w and q that are read together; divides them.
    turn: u32,
    /// Columns of the state in one workgroup, 8 or 16, and the WGSL type of what one of 8 lanes has of them.
    columns: u32,
    cell: &'static str,
    workgroup: u32,
}

/// The walk over chunks: writes output and state. Must be dispatched behind [`prepare`].
///
/// # Errors
/// As [`prepare`].
pub fn scan(symbols: &Symbols, params: &DeltaParams, scratch: &View) -> Result<Kernel, CodegenError> {
    const FAMILY: &str = "delta_scan";
    let checks = Checks::of(FAMILY);
    let sizes = params.sizes(checks)?;
    check_scratch(checks, symbols, &sizes, scratch)?;
    let rows = [scratch, &params.query, &params.key];
    let mut others =
        [Some(&params.output), params.past.as_ref(), params.present.as_ref()].into_iter().flatten();
    let packed = all_packed(rows)
        && sizes.value_width.is_multiple_of(4)
        && others.all(|other| rows.iter().all(|view| view.buffer != other.buffer));
    let mut bindings = Bindings::new();
    let output = Access::new(bindings.write(&params.output), symbols);
    let present = params.present.as_ref().map(|view| Access::new(bindings.write(view), symbols));
    let past = params.past.as_ref().map(|view| Access::new(bindings.read(view), symbols));
    let [scratch, query, key] = rows.map(|view| Quads::bind(&mut bindings, symbols, view, packed, false));
    let key_quads = sizes.key_width.div_ceil(4);
    let (columns, cell) = if key_quads * 4 * 16 <= STATE_ELEMENTS { (16, "vec2<f32>") } else { (8, "f32") };
    let source = ScanSource {
        declarations: bindings.declarations(),
        query,
        key,
        scratch: scratch.access,
        packed,
        past,
        present,
        output,
        layout: Layout::of(&sizes),
        tokens: symbols.wgsl(&sizes.tokens),
        group: sizes.group,
        key_width: sizes.key_width,
        value_width: sizes.value_width,
        key_quads,
        turn: 1 << key_quads.trailing_zeros().min(2),
        columns,
        cell,
        workgroup: WORKGROUP,
    };
    let slices = sizes.value_width.div_ceil(columns);
    let workgroups =
        [Dim::constant(i64::from(sizes.heads)), Dim::constant(i64::from(slices)), Dim::constant(1)];
    bindings.finish(FAMILY, symbols, render(FAMILY, &source)?, [WORKGROUP, 1, 1], workgroups)
}
