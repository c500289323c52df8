//! Rotary position embedding as a kernel of its own, and the description of angles that
//! [`crate::attention_prep`] shares.

use askama::Template;
use qwenc_ir::Dim;

use crate::checks::{Access, Checks, render};
use crate::kernel::{Bindings, CodegenError, Kernel, Symbols, grid_1d};
use crate::view::{Elem, View};

const FAMILY: &str = "rope";
const WORKGROUP: u32 = 256;
/// Axes of positions that the packed table of axes can tell apart.
const MAX_AXES: u32 = 16;

/// Where the rotation angles come from. R is the number of rotated elements of a head.
#[derive(Clone, Debug, PartialEq)]
pub enum Angles {
    /// One row of cosines and sines a position.
    Direct {
        /// `[S, R/2]` f32.
        cos: View,
        /// `[S, R/2]` f32.
        sin: View,
    },
    /// Rows of a table, chosen by position.
    Table {
        /// `[M, R]` f32; row p is `cos(p, 0..R/2)`, then `sin(p, 0..R/2)`. Positions outside of it use the last row.
        table: View,
        /// `[A, S]` i32.
        positions: View,
        /// For every frequency slot (R/2 of them) the row of `positions` that it reads.
        axes: Vec<u8>,
    },
}

/// A rotation: how many elements of a head, which of them pair up, by which angles.
#[derive(Clone, Debug, PartialEq)]
pub struct Rotation {
    /// R: leading elements of a head that are rotated; even, at most D.
    pub rotary_dim: usize,
    /// Pairs are neighbours (2i, 2i+1) instead of halves (i, i+R/2).
    pub interleaved: bool,
    /// The angles.
    pub angles: Angles,
}

impl Rotation {
    /// Checks the rotation against heads of width D at S positions, and gives R/2.
    pub(crate) fn check(&self, checks: Checks, tokens: &Dim, width: u32) -> Result<u32, CodegenError> {
        let half = u32::try_from(self.rotary_dim / 2).unwrap_or(u32::MAX);
        if half == 0 || !self.rotary_dim.is_multiple_of(2) || half > width / 2 {
            let message = format!("rotary dimension {} does not fit heads of width {width}", self.rotary_dim);
            return Err(checks.fail(message));
        }
        let columns = Dim::constant(i64::from(half));
        match &self.angles {
            Angles::Direct { cos, sin } => {
                checks.expect("cos", cos, Elem::F32, &[tokens, &columns])?;
                checks.expect("sin", sin, Elem::F32, &[tokens, &columns])?;
            }
            Angles::Table { table, positions, axes } => {
                let [rows, _] = checks.shape("the rope table", table, Elem::F32)?;
                checks.expect("the rope table", table, Elem::F32, &[&rows, &Dim::from(self.rotary_dim)])?;
                checks.constant("the number of rows of the rope table", &rows, u32::MAX)?;
                let [count, _] = checks.shape("positions", positions, Elem::I32)?;
                checks.expect("positions", positions, Elem::I32, &[&count, tokens])?;
                let count = checks.constant("the number of position axes", &count, MAX_AXES)?;
                let known = axes.iter().all(|axis| u32::from(*axis) < count);
                if !known || axes.len() != self.rotary_dim / 2 {
                    let message = format!("position axes {axes:?} for {half} frequencies and {count} axes");
                    return Err(checks.fail(message));
                }
            }
        }
        Ok(half)
    }

    /// Binds what the angles read and gives `fn angle(s: u32, slot: u32) -> vec2<f32>`, cosine and sine.
    pub(crate) fn angle_function(&self, symbols: &Symbols, bindings: &mut Bindings) -> String {
        let body = match &self.angles {
            Angles::Direct { cos, sin } => {
                let cos = Access::new(bindings.read(cos), symbols);
                let sin = Access::new(bindings.read(sin), symbols);
                format!("    return vec2<f32>({}, {});", cos.at2("s", "slot"), sin.at2("s", "slot"))
            }
            Angles::Table { table, positions, axes } => {
                let last_row = symbols.wgsl(&(table.shape[0].clone() - Dim::constant(1)));
                let table = Access::new(bindings.read(table), symbols);
                let positions = Access::new(bindings.read(positions), symbols);
                let sine = format!("slot + {}u", self.rotary_dim / 2);
                format!(
                    "{}    let row = min(u32({}), {last_row});\n    return vec2<f32>({}, {});",
                    axis_of_slot(axes),
                    positions.at2("axis", "s"),
                    table.at2("row", "slot"),
                    table.at2("row", &sine),
                )
            }
        };
        format!(
            "// Cosine and sine of frequency `slot` at position s.\nfn angle(s: u32, slot: u32) -> vec2<f32> {{\n{body}\n}}"
        )
    }

    /// The elements of pair `i`, as WGSL.
    pub(crate) fn pair(&self, i: &str) -> (String, String) {
        if self.interleaved {
            (format!("2u * {i}"), format!("2u * {i} + 1u"))
        } else {
            (i.to_string(), format!("{i} + {}u", self.rotary_dim / 2))
        }
    }
}

/// WGSL that defines `axis` for `slot`: a constant when all agree, else four bits each in a packed table.
fn axis_of_slot(axes: &[u8]) -> String {
    if let [first, rest @ ..] = axes
        && rest.iter().all(|axis| axis == first)
    {
        return format!("    let axis = {first}u;\n");
    }
    let words: Vec<String> = axes
        .chunks(8)
        .map(|slots| slots.iter().rev().fold(0u32, |word, axis| word << 4 | u32::from(*axis)))
        .map(|word| format!("{word:#x}u"))
        .collect();
    format!(
        "    var axes = array<u32, {}>({});\n    let axis = (axes[slot / 8u] >> (slot % 8u * 4u)) & 15u;\n",
        words.len(),
        words.join(", ")
    )
}

/// Parameters of [`kernel`].
#[derive(Clone, Debug, PartialEq)]
pub struct RopeParams {
    /// `[S, H, D]` f32 in any layout; H and D are constants.
    pub input: View,
    /// The rotation.
    pub rotation: Rotation,
    /// `[S, H, D]`; may be the input itself.
    pub output: View,
}

#[derive(Template)]
#[template(path = "rope.wgsl", escape = "none")]
struct Source<'a> {
    declarations: String,
    angle: String,
    input: Access<'a>,
    output: Access<'a>,
    tokens: String,
    heads: u32,
    width: u32,
    half: u32,
    first: String,
    second: String,
    group: String,
    workgroup: u32,
}

/// Rotates the leading elements of every head and copies the rest.
///
/// # Errors
/// When shapes do not fit each other, or H and D are not constants.
pub fn kernel(symbols: &Symbols, params: &RopeParams) -> Result<Kernel, CodegenError> {
    let checks = Checks::of(FAMILY);
    let [tokens, heads, width] = checks.shape("the input", &params.input, Elem::F32)?;
    checks.expect("the output", &params.output, Elem::F32, &[&tokens, &heads, &width])?;
    let (heads, width) = (
        checks.constant("the number of heads", &heads, u32::MAX)?,
        checks.constant("the head width", &width, 65536)?,
    );
    let half = params.rotation.check(checks, &tokens, width)?;

    let units = tokens.clone() * Dim::constant(i64::from(heads) * i64::from(width - half));
    let (workgroups, group) = grid_1d(symbols, &units.ceil_div(i64::from(WORKGROUP)), "wid");
    let mut bindings = Bindings::new();
    let output = Access::new(bindings.write(&params.output), symbols);
    let input = Access::new(bindings.read(&params.input), symbols);
    let angle = params.rotation.angle_function(symbols, &mut bindings);
    let (first, second) = params.rotation.pair("item");
    let source = Source {
        declarations: bindings.declarations(),
        angle,
        input,
        output,
        tokens: symbols.wgsl(&tokens),
        heads,
        width,
        half,
        first,
        second,
        group,
        workgroup: WORKGROUP,
    };
    bindings.finish(FAMILY, symbols, render(FAMILY, &source)?, [WORKGROUP, 1, 1], workgroups)
}
