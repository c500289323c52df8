//! Reductions over any axes.

use askama::Template;
use qwenc_ir::dim::product;
use qwenc_ir::op::ReduceKind;

use crate::checks::{Checks, render};
use crate::indexing::describe;
use crate::kernel::{Bindings, CodegenError, Kernel, Symbols};
use crate::lanes::{LineGrid, Lines, along, without};
use crate::view::{Elem, View};
use crate::wgsl_math::MathLibrary;

const FAMILY: &str = "reduce";

/// Parameters of [`kernel`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReduceParams {
    /// How.
    pub kind: ReduceKind,
    /// Which axes of `input`, sorted; none reduces nothing.
    pub axes: Vec<usize>,
    /// The operand. Booleans are u32, of which the largest is `any` and the smallest `all`.
    pub input: View,
    /// Where the result goes, with the reduced axes kept as 1 or without them.
    pub output: View,
}

#[derive(Template)]
#[template(path = "reduce.wgsl", escape = "none")]
struct Source {
    what: String,
    g: LineGrid,
    elem: &'static str,
    declarations: String,
    functions: String,
    along: String,
    index: String,
    input: String,
    length: String,
    split: String,
    start: String,
    target: String,
    /// Exponentials are taken of differences to the largest element.
    shifted: bool,
    across: Vec<&'static str>,
    identity: String,
    map: &'static str,
    combine: String,
    finish: String,
}

/// `output = reduce(input, axes)`.
pub fn kernel(symbols: &Symbols, params: &ReduceParams) -> Result<Kernel, CodegenError> {
    let checks = Checks::of(FAMILY);
    let ReduceParams { kind, axes, input, output } = params;
    if axes.iter().any(|axis| *axis >= input.rank()) || input.elem != output.elem {
        return Err(checks.fail("axes or element types do not fit"));
    }
    let kept = without(input, axes);
    let result = if output.rank() == input.rank() { without(output, axes) } else { output.clone() };
    if result.shape != kept.shape {
        let (have, want) = (describe(&result.shape), describe(&kept.shape));
        return Err(checks.fail(format!("the output is {have}, expected {want}")));
    }
    let reduced: Vec<_> = axes.iter().map(|axis| input.shape[*axis].clone()).collect();
    let length = product(&reduced);
    let g = LineGrid::new(symbols, &product(&kept.shape), &length);
    let mut bindings = Bindings::new();
    let out = bindings.write(&result);
    let data = bindings.read(input);
    let lines = Lines::new(symbols, &[kept, result]);
    let (along, index) = along(symbols, input, axes);

    let mut library = MathLibrary::default();
    let length = symbols.wgsl(&length);
    let parts = Parts::new(*kind, input.elem, &length, &mut library)
        .ok_or_else(|| checks.fail(format!("{kind:?} of {:?}", input.elem)))?;
    let shifted = *kind == ReduceKind::LogSumExp;
    if shifted {
        library.need("max_nan");
        library.need("float_from_bits");
    }
    let source = Source {
        what: format!("{kind:?} of {} over axes {axes:?}", describe(&input.shape)),
        elem: input.elem.wgsl(),
        declarations: bindings.declarations(),
        functions: library.text(),
        along,
        index,
        input: data.var,
        length,
        start: lines.start(symbols, 0),
        target: format!("{}[{}]", out.var, lines.start(symbols, 1)),
        split: lines.split,
        shifted,
        across: if shifted { vec!["larger", "combine"] } else { vec!["combine"] },
        identity: parts.identity,
        map: parts.map,
        combine: parts.combine,
        finish: parts.finish,
        g: g.clone(),
    };
    bindings.finish(FAMILY, symbols, render(FAMILY, &source)?, [g.size(), 1, 1], g.workgroups)
}

/// The parts of a reduction as WGSL: the result of nothing, what each element `x` becomes, how two become one, and what
/// is done to the last `value`.
struct Parts {
    identity: String,
    map: &'static str,
    combine: String,
    finish: String,
}

impl Parts {
    /// `None` where the element type has no such reduction.
    fn new(kind: ReduceKind, elem: Elem, length: &str, library: &mut MathLibrary) -> Option<Self> {
        use ReduceKind::{L1, L2, LogSum, LogSumExp, Max, Mean, Min, Prod, Sum, SumSquare};
        let float = elem == Elem::F32;
        let identity = match (kind, elem) {
            (Max, Elem::F32) => library.literal(f32::NEG_INFINITY),
            (Min, Elem::F32) => library.literal(f32::INFINITY),
            (Max, Elem::I32) => "(-2147483647i - 1i)".to_string(),
            (Min, Elem::I32) => "2147483647i".to_string(),
            (Min, Elem::U32) => "0xffffffffu".to_string(),
            (Prod, Elem::F32) => "1.0".to_string(),
            (Prod, _) => format!("{}(1)", elem.wgsl()),
            _ => crate::kernel::zero(elem).to_string(),
        };
        let map = match (kind, elem) {
            (SumSquare | L2, _) => "x * x",
            (L1, Elem::F32 | Elem::I32) => "abs(x)",
            (LogSumExp, _) => "exp(x - shift)",
            _ => "x",
        };
        let combine = match (kind, elem) {
            (Max, Elem::F32) => library.call("max_nan", &["a", "b"]),
            (Min, Elem::F32) => library.call("min_nan", &["a", "b"]),
            (Max, _) => "max(a, b)".to_string(),
            (Min, _) => "min(a, b)".to_string(),
            (Prod, _) => "a * b".to_string(),
            _ => "a + b".to_string(),
        };
        let finish = match (kind, elem) {
            (Mean, Elem::F32) => format!("value / f32({length})"),
            (Mean, Elem::I32) => library.call("div_i32", &["value", &format!("bitcast<i32>({length})")]),
            (Mean, Elem::U32) => library.call("div_u32", &["value", length]),
            (L2, _) if float => "sqrt(value)".to_string(),
            (LogSum, _) if float => "log(value)".to_string(),
            // An infinite or NaN largest element is the result; without one the sum is at least 1.
            (LogSumExp, _) if float => "select(largest, shift + log(value), shift == largest)".to_string(),
            (L2 | LogSum | LogSumExp, _) => return None,
            (Sum | Max | Min | Prod | SumSquare | L1, _) => "value".to_string(),
        };
        Some(Self { identity, map, combine, finish })
    }
}
