//! What a kernel family produces, and the parts that all families share: bindings, symbols, index expressions.

use qwenc_ir::dim::Atom;
use qwenc_ir::{Dim, Ranges};

use crate::validate::Features;
use crate::view::{BufferKey, Elem, View};

/// Limits that every kernel keeps: those that WebGPU guarantees on every device.
pub mod limits {
    /// Storage buffers of one shader stage.
    pub const STORAGE_BUFFERS: usize = 8;
    /// Bytes of workgroup memory.
    pub const WORKGROUP_BYTES: u32 = 16384;
    /// Invocations of a workgroup.
    pub const INVOCATIONS: u32 = 256;
    /// Workgroups per dimension of a dispatch.
    pub const WORKGROUPS: i64 = 65535;
    /// Bytes that one binding can reach.
    pub const BINDING_BYTES: u64 = 128 << 20;
    /// Symbols that the step buffer holds.
    pub const SYMBOLS: usize = 16;
}

/// A kernel cannot be generated for these parameters.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodegenError {
    /// The parameters do not fit the family: a bug in lowering, or a shape that the family cannot take.
    #[error("{family}: {message}")]
    Unsupported {
        /// The kernel family.
        family: &'static str,
        /// What does not fit.
        message: String,
    },
    /// The generated WGSL is not valid: a bug in the template.
    #[error("{family}: generated WGSL is not valid: {message}")]
    Invalid {
        /// The kernel family.
        family: &'static str,
        /// naga's diagnostics, with the source around them.
        message: String,
    },
}

/// A compute kernel: its WGSL, its bindings and its geometry.
///
/// Binding 0 of group 0 is the uniform step buffer; `reads` follow as read-only storage, then `writes` as read-write
/// storage. The source depends on views' layouts but not on which allocations they are in, so equal work in different
/// layers gives equal text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// The family, for example `linear_gemv`.
    pub family: &'static str,
    /// The complete WGSL module; the entry point is `main`.
    pub source: String,
    /// Modules that can stand in the source's place, the one to prefer first.
    pub variants: Vec<KernelVariant>,
    /// Another module for a processor, translated to WebAssembly ([`crate::cpu`]) in place of the first one: the same bindings
    /// and workgroups, of one invocation each. It must not be given to a GPU, whose limits on workgroup memory it may pass.
    pub cpu: Option<String>,
    /// Allocations bound read-only, in binding order.
    pub reads: Vec<BufferKey>,
    /// Allocations bound read-write, in binding order.
    pub writes: Vec<BufferKey>,
    /// Invocations per workgroup.
    pub workgroup_size: [u32; 3],
    /// Workgroups, over symbols; evaluated when a step is recorded.
    pub workgroups: [Dim; 3],
}

/// Another module for a kernel: the same bindings and counts of workgroups, the same results but for the order of sums.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelVariant {
    /// What it is called, for example `narrow`.
    pub name: &'static str,
    /// The complete WGSL module; the entry point is `main`.
    pub source: String,
    /// What a device must have for it.
    pub needs: &'static [Need],
    /// Invocations per workgroup.
    pub workgroup_size: [u32; 3],
}

/// What a variant needs that not every device has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Subgroups: of any size from 4 on, of neighbouring invocations.
    Subgroups,
    /// A device that is a renderer on a CPU: any other one is slow with it.
    Software,
    /// Cooperative matrices of 16 x 16, 16-bit floats multiplied and 32-bit floats added, of subgroups of exactly 32
    /// invocations, and 32 KiB of workgroup memory. What is multiplied is rounded to 11 bits: nobody gets this without asking.
    CooperativeMatrix,
}

impl Kernel {
    /// With another module beside those that there are.
    ///
    /// # Errors
    /// When it is not valid WGSL.
    pub(crate) fn with_variant(mut self, variant: KernelVariant) -> Result<Self, CodegenError> {
        let features = if variant.needs.contains(&Need::CooperativeMatrix) {
            Features::CooperativeMatrix
        } else if variant.needs.contains(&Need::Subgroups) {
            Features::Subgroups
        } else {
            Features::None
        };
        crate::validate::validate(self.family, &variant.source, variant.workgroup_size, features)?;
        self.variants.push(variant);
        Ok(self)
    }

    /// With another module for processors.
    ///
    /// # Errors
    /// When it is not valid WGSL.
    pub(crate) fn with_cpu(self, source: String) -> Result<Self, CodegenError> {
        crate::validate::validate(self.family, &source, [1, 1, 1], Features::Processor)?;
        Ok(Self { cpu: Some(source), ..self })
    }
}

/// The symbols of a bundle in slot order, with inclusive bounds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Symbols {
    names: Vec<String>,
    ranges: Ranges,
}

impl Symbols {
    /// Symbols with inclusive bounds; slots in the order given. At most [`limits::SYMBOLS`].
    pub fn new(symbols: impl IntoIterator<Item = (String, (i64, i64))>) -> Self {
        let mut out = Self::default();
        for (name, range) in symbols {
            out.names.push(name.clone());
            out.ranges.insert(name, range);
        }
        out
    }

    /// Names in slot order.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Bounds by name.
    pub fn ranges(&self) -> &Ranges {
        &self.ranges
    }

    /// The largest value that a dim takes, or `None` when it has none (unknown symbol, overflow).
    pub fn upper(&self, dim: &Dim) -> Option<i64> {
        dim.range(&self.ranges).ok().map(|(_, high)| high)
    }

    /// A dim as a WGSL expression of type u32, reading symbols from the step buffer. Always parenthesised when it is
    /// more than one token. The dim's value must not be negative; positive terms come first, so that partial sums do
    /// not wrap.
    pub fn wgsl(&self, dim: &Dim) -> String {
        let mut positive = Vec::new();
        let mut negative = Vec::new();
        let mut terms: Vec<_> = dim.terms().collect();
        // The constant term comes first in canonical order; it reads better last.
        terms.reverse();
        for (coefficient, atoms) in terms {
            let mut factors: Vec<String> = atoms.iter().map(|atom| self.atom(atom)).collect();
            if coefficient.unsigned_abs() != 1 || factors.is_empty() {
                factors.push(format!("{}u", coefficient.unsigned_abs()));
            }
            let text = factors.join(" * ");
            if coefficient < 0 { negative.push(text) } else { positive.push(text) }
        }
        let mut out = if positive.is_empty() { "0u".to_string() } else { positive.join(" + ") };
        for text in negative {
            out.push_str(" - ");
            out.push_str(&text);
        }
        if out.contains(' ') { format!("({out})") } else { out }
    }

    fn atom(&self, atom: &Atom) -> String {
        match atom {
            Atom::Sym(name) => {
                let slot = self.names.iter().position(|have| **have == **name);
                // An unknown symbol is refused when the kernel is finished; the name cannot reach the shader.
                let slot = slot.unwrap_or(usize::MAX);
                format!("step.s[{}].{}", slot / 4, ["x", "y", "z", "w"][slot % 4])
            }
            Atom::FloorDiv(a, b) => format!("({} / {})", self.wgsl(a), self.wgsl(b)),
            Atom::Mod(a, b) => format!("({} % {})", self.wgsl(a), self.wgsl(b)),
            Atom::Min(a, b) => format!("min({}, {})", self.wgsl(a), self.wgsl(b)),
            Atom::Max(a, b) => format!("max({}, {})", self.wgsl(a), self.wgsl(b)),
        }
    }
}

/// One operand inside a kernel: the name of its binding and how to index it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operand {
    /// The WGSL variable, an array of the view's element type.
    pub var: String,
    /// The view behind it.
    pub view: View,
}

impl Operand {
    /// The flat index of an element, as a WGSL expression of type u32. `indices` are u32 expressions, one per axis;
    /// terms of stride 0 vanish. A stride that is never positive (a reversed axis) is subtracted.
    pub fn index(&self, symbols: &Symbols, indices: &[&str]) -> String {
        debug_assert_eq!(indices.len(), self.view.rank());
        let mut terms = Vec::new();
        let mut reversed = String::new();
        if !self.view.offset.is(0) {
            terms.push(symbols.wgsl(&self.view.offset));
        }
        for (index, (stride, dim)) in indices.iter().zip(self.view.strides.iter().zip(&self.view.shape)) {
            if stride.is(0) || dim.is(1) || *index == "0u" {
                continue;
            }
            if stride.is(1) {
                terms.push(format!("({index})"));
            } else if symbols.upper(stride).is_some_and(|high| high <= 0) {
                let distance = symbols.wgsl(&(stride.clone() * Dim::constant(-1)));
                reversed += &format!(" - ({index}) * {distance}");
            } else {
                terms.push(format!("({index}) * {}", symbols.wgsl(stride)));
            }
        }
        let sum = if terms.is_empty() { "0u".to_string() } else { terms.join(" + ") };
        sum + &reversed
    }

    /// The element itself: `var[index]`.
    pub fn at(&self, symbols: &Symbols, indices: &[&str]) -> String {
        format!("{}[{}]", self.var, self.index(symbols, indices))
    }
}

/// Assigns bindings to views. Register every written view first, then those read: a view whose allocation is also
/// written uses the read-write binding, because WebGPU refuses one buffer in both modes in a dispatch.
#[derive(Clone, Debug, Default)]
pub struct Bindings {
    reads: Vec<(BufferKey, String)>,
    writes: Vec<(BufferKey, String)>,
}

impl Bindings {
    /// No bindings.
    pub fn new() -> Self {
        Self::default()
    }

    /// Binds a view for writing (and reading).
    pub fn write(&mut self, view: &View) -> Operand {
        self.write_as(view, view.elem.wgsl())
    }

    /// Binds a view for writing under another WGSL element type of the same memory, for example `vec4<f32>`.
    pub fn write_as(&mut self, view: &View, wgsl_type: &str) -> Operand {
        Operand { var: bind(&mut self.writes, "out", view.buffer, wgsl_type), view: view.clone() }
    }

    /// Binds a view for reading.
    pub fn read(&mut self, view: &View) -> Operand {
        self.read_as(view, view.elem.wgsl())
    }

    /// Binds a view for reading under another WGSL element type of the same memory, for example `vec4<f32>`. All views
    /// of one allocation in one kernel must agree on it.
    pub fn read_as(&mut self, view: &View, wgsl_type: &str) -> Operand {
        let written = self.writes.iter().any(|(key, _)| *key == view.buffer);
        let var = if written {
            bind(&mut self.writes, "out", view.buffer, wgsl_type)
        } else {
            bind(&mut self.reads, "in", view.buffer, wgsl_type)
        };
        Operand { var, view: view.clone() }
    }

    /// The WGSL declarations of the step buffer and of every binding.
    pub fn declarations(&self) -> String {
        let mut out = String::from(
            "struct Step {\n    s: array<vec4<u32>, 4>,\n}\n\n@group(0) @binding(0) var<uniform> step: Step;\n",
        );
        for (index, (_, wgsl_type)) in self.reads.iter().enumerate() {
            let binding = index + 1;
            out +=
                &format!("@group(0) @binding({binding}) var<storage, read> in{index}: array<{wgsl_type}>;\n");
        }
        for (index, (_, wgsl_type)) in self.writes.iter().enumerate() {
            let binding = self.reads.len() + index + 1;
            out += &format!(
                "@group(0) @binding({binding}) var<storage, read_write> out{index}: array<{wgsl_type}>;\n"
            );
        }
        out
    }

    /// Puts the kernel together: checks limits and validates the WGSL with naga.
    pub fn finish(
        self,
        family: &'static str,
        symbols: &Symbols,
        source: String,
        workgroup_size: [u32; 3],
        workgroups: [Dim; 3],
    ) -> Result<Kernel, CodegenError> {
        let unsupported = |message: String| CodegenError::Unsupported { family, message };
        let bound = self.reads.len() + self.writes.len();
        if bound > limits::STORAGE_BUFFERS {
            return Err(unsupported(format!(
                "{bound} storage buffers, WebGPU guarantees {}",
                limits::STORAGE_BUFFERS
            )));
        }
        if workgroup_size.iter().product::<u32>() > limits::INVOCATIONS {
            return Err(unsupported(format!("{workgroup_size:?} invocations in a workgroup")));
        }
        for dim in &workgroups {
            match symbols.upper(dim) {
                Some(high) if high <= limits::WORKGROUPS => {}
                _ => return Err(unsupported(format!("up to {dim} workgroups along one dimension"))),
            }
        }
        crate::validate::validate(family, &source, workgroup_size, Features::None)?;
        Ok(Kernel {
            family,
            source,
            variants: Vec::new(),
            cpu: None,
            reads: self.reads.into_iter().map(|(key, _)| key).collect(),
            writes: self.writes.into_iter().map(|(key, _)| key).collect(),
            workgroup_size,
            workgroups,
        })
    }
}

fn bind(list: &mut Vec<(BufferKey, String)>, prefix: &str, key: BufferKey, wgsl_type: &str) -> String {
    let at = list.iter().position(|(have, _)| *have == key).unwrap_or_else(|| {
        list.push((key, wgsl_type.to_string()));
        list.len() - 1
    });
    format!("{prefix}{at}")
}

/// Workgroups for `count` units of one workgroup each, and the WGSL expression of the unit's index. Spreads over two
/// dimensions when there can be more than one dimension holds; then the kernel must check the index against `count`,
/// which it should do anyway. `wid` is the WGSL name of the workgroup id.
pub fn grid_1d(symbols: &Symbols, count: &Dim, wid: &str) -> ([Dim; 3], String) {
    const WIDTH: i64 = 32768;
    let one = Dim::constant(1);
    if symbols.upper(count).is_some_and(|high| high <= limits::WORKGROUPS) {
        ([count.clone(), one.clone(), one], format!("{wid}.x"))
    } else {
        ([Dim::constant(WIDTH), count.ceil_div(WIDTH), one], format!("({wid}.y * {WIDTH}u + {wid}.x)"))
    }
}

/// Zero of an element type as a WGSL literal.
pub const fn zero(elem: Elem) -> &'static str {
    match elem {
        Elem::F32 => "0.0",
        Elem::I32 => "0i",
        Elem::U32 => "0u",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn symbols() -> Symbols {
        Symbols::new([("tokens".to_string(), (1, 512)), ("past".to_string(), (0, 4096))])
    }

    #[test]
    fn dims_become_unsigned_expressions() {
        let dim = Dim::sym("tokens") * Dim::constant(64) + Dim::sym("past") - Dim::constant(1);
        assert_eq!(symbols().wgsl(&dim), "(step.s[0].x * 64u + step.s[0].y - 1u)");
        assert_eq!(symbols().wgsl(&Dim::constant(7)), "7u");
        assert_eq!(symbols().wgsl(&Dim::sym("tokens").ceil_div(64)), "(((step.s[0].x + 63u) / 64u))");
    }

    #[test]
    fn an_allocation_that_is_written_is_bound_once() {
        let view = View::dense(BufferKey(3), Elem::F32, vec![Dim::constant(4)]);
        let other = View { buffer: BufferKey(5), ..view.clone() };
        let mut bindings = Bindings::new();
        assert_eq!(bindings.write(&view).var, "out0");
        assert_eq!(bindings.read(&view).var, "out0");
        assert_eq!(bindings.read(&other).var, "in0");
        assert_eq!(bindings.declarations().matches("@binding").count(), 3);
    }

    #[test]
    fn large_grids_fold() {
        let (grid, index) = grid_1d(&symbols(), &Dim::constant(100_000), "wid");
        assert_eq!(grid[1], Dim::constant(4));
        assert_eq!(index, "(wid.y * 32768u + wid.x)");
    }
}
