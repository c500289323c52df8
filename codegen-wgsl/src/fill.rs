//! Tensors that come from no data: constants, ranges, and the values of dims.

use askama::Template;
use qwenc_ir::{Dim, Scalar};

use crate::checks::{Checks, render};
use crate::indexing::{ElementGrid, collapse, describe, element_grid, split_index, strs};
use crate::kernel::{Bindings, CodegenError, Kernel, Symbols};
use crate::view::{Elem, View};
use crate::wgsl_expr::{i32_literal, literal};
use crate::wgsl_math::MathLibrary;

/// Parameters of [`kernel`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FillParams {
    /// The value; must be of the kind of `output.elem`.
    pub value: Scalar,
    /// Where it goes.
    pub output: View,
}

/// Parameters of [`range_kernel`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeParams {
    /// First value.
    pub start: Dim,
    /// Difference.
    pub step: i64,
    /// i32, rank 1; its size says how many.
    pub output: View,
}

/// Parameters of [`dims_kernel`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DimsParams {
    /// The values; none may contain a division of something negative.
    pub values: Vec<Dim>,
    /// i32 `[values.len()]`.
    pub output: View,
}

#[derive(Template)]
#[template(path = "fill.wgsl", escape = "none")]
struct Source {
    what: String,
    grid: ElementGrid,
    declarations: String,
    functions: String,
    split: String,
    target: String,
    /// The value of every element.
    value: Option<String>,
    /// Or one value for each.
    cases: Vec<String>,
}

struct Target {
    bindings: Bindings,
    grid: ElementGrid,
    split: String,
    place: String,
}

impl Target {
    fn new(symbols: &Symbols, view: &View) -> Self {
        let mut bindings = Bindings::new();
        let output = bindings.write(&collapse(std::slice::from_ref(view))[0]);
        let grid = element_grid(symbols, &view.elements());
        let (split, coordinates) = split_index(symbols, &output.view.shape, "i", "c");
        let place = output.at(symbols, &strs(&coordinates));
        Self { bindings, grid, split, place }
    }

    fn finish(
        self,
        family: &'static str,
        symbols: &Symbols,
        what: String,
        functions: String,
        value: Option<String>,
        cases: Vec<String>,
    ) -> Result<Kernel, CodegenError> {
        let grid = self.grid;
        let source = Source {
            what,
            declarations: self.bindings.declarations(),
            functions,
            split: self.split,
            target: self.place,
            value,
            cases,
            grid: grid.clone(),
        };
        self.bindings.finish(family, symbols, render(family, &source)?, [grid.size, 1, 1], grid.workgroups)
    }
}

/// `output = value` everywhere.
pub fn kernel(symbols: &Symbols, params: &FillParams) -> Result<Kernel, CodegenError> {
    const FAMILY: &str = "fill";
    let target = Target::new(symbols, &params.output);
    let mut library = MathLibrary::default();
    let value = literal(params.value, params.output.elem, &mut library)
        .map_err(|message| Checks::of(FAMILY).fail(message))?;
    let what = format!("Fills {} with a constant.", describe(&params.output.shape));
    target.finish(FAMILY, symbols, what, library.text(), Some(value), Vec::new())
}

/// `output[i] = start + step * i`.
pub fn range_kernel(symbols: &Symbols, params: &RangeParams) -> Result<Kernel, CodegenError> {
    const FAMILY: &str = "range";
    let checks = Checks::of(FAMILY);
    check_output(checks, &params.output)?;
    let target = Target::new(symbols, &params.output);
    let start = signed(checks, symbols, &params.start)?;
    let step = i32_literal(params.step).map_err(|message| checks.fail(message))?;
    let what = format!("An arithmetic sequence of {}.", describe(&params.output.shape));
    target.finish(
        FAMILY,
        symbols,
        what,
        String::new(),
        Some(format!("{start} + {step} * i32(i)")),
        Vec::new(),
    )
}

/// `output[i] = values[i]`, evaluated from the symbols on the device.
pub fn dims_kernel(symbols: &Symbols, params: &DimsParams) -> Result<Kernel, CodegenError> {
    const FAMILY: &str = "dims";
    let checks = Checks::of(FAMILY);
    check_output(checks, &params.output)?;
    if params.output.shape[0] != Dim::from(params.values.len()) {
        return Err(checks.fail(format!("{} values for {}", params.values.len(), params.output.shape[0])));
    }
    let target = Target::new(symbols, &params.output);
    let cases = params.values.iter().map(|value| signed(checks, symbols, value)).collect::<Result<_, _>>()?;
    let what = format!("The values of {} dims.", params.values.len());
    target.finish(FAMILY, symbols, what, String::new(), None, cases)
}

fn check_output(checks: Checks, output: &View) -> Result<(), CodegenError> {
    if output.elem == Elem::I32 && output.rank() == 1 {
        Ok(())
    } else {
        Err(checks.fail(format!("an output of {:?} and rank {}", output.elem, output.rank())))
    }
}

/// A dim that may be negative, as an i32. Sums wrap as u32 does, which gives the right i32 in the end.
fn signed(checks: Checks, symbols: &Symbols, dim: &Dim) -> Result<String, CodegenError> {
    let value = match dim.as_const() {
        Some(value) => i32_literal(value),
        None => match dim.range(symbols.ranges()) {
            Ok((low, high)) if low >= i32::MIN.into() && high <= i32::MAX.into() => {
                Ok(format!("bitcast<i32>({})", symbols.wgsl(dim)))
            }
            _ => Err(format!("{dim} does not fit 32 bits")),
        },
    };
    value.map_err(|message| checks.fail(message))
}
