//! Parameters that both kernels of fused linear layers share: [`crate::linear_gemv`] for one row, and
//! [`crate::linear_gemm`] for many.

use qwenc_ir::{Activation, DType, Dim, Expr};

use crate::checks::Checks;
use crate::indexing::{broadcast, collapse_rows, in_vec4, split_index, strs};
use crate::kernel::{Bindings, CodegenError, Operand, Symbols};
use crate::view::{Elem, View};
use crate::weight::Weight;
use crate::weight_read::{BoundWeight, Grain};
use crate::wgsl_expr::{self, Argument};
use crate::wgsl_math::MathLibrary;

/// A fused linear layer: `y = x @ weight^T`, or `act(x @ gate^T) * (x @ up^T)`, then the epilogue.
#[derive(Clone, Debug, PartialEq)]
pub struct LinearParams {
    /// `[..., K]` f32. One row for the matrix-vector kernel.
    pub x: View,
    /// RMS norm of x in front. Only the matrix-vector kernel takes it.
    pub norm: Option<NormPrologue>,
    /// `[N, K]`. With `glu` `[2N, K]`: rows 2i are the gate's, rows 2i+1 the up projection's.
    pub weight: Weight,
    /// Gated activation over pairs of rows.
    pub glu: Option<Activation>,
    /// Pointwise math behind.
    pub epilogue: Option<Epilogue>,
    /// `[..., N]`, with the leading axes of x. May overlay an extra input of the same shape and strides, but not x, which
    /// all workgroups read.
    pub output: View,
}

/// RMS norm in front of a linear layer: `x / sqrt(mean(x^2) + eps) * weight`.
#[derive(Clone, Debug, PartialEq)]
pub struct NormPrologue {
    /// `[K]`.
    pub weight: View,
    /// Added to the mean square.
    pub eps: f32,
}

/// Pointwise math behind a linear layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Epilogue {
    /// `Arg(0)` is the layer's result, `Arg(1..)` are `extras`.
    pub expr: Expr,
    /// Further inputs, which broadcast to the shape of the output.
    pub extras: Vec<Argument>,
}

/// Sizes of a layer, and its views with merged rows.
pub(crate) struct Layer {
    /// Columns of x.
    pub(crate) k: u32,
    /// `vec4`s that hold a row of x.
    pub(crate) k4: u32,
    /// Columns of the output.
    pub(crate) n: u32,
    /// Rows of the weight that make one output.
    pub(crate) per_output: u32,
    /// Rows of the weight.
    pub(crate) weight_rows: u32,
    /// Number of rows of x.
    pub(crate) rows: Dim,
    x: View,
    output: View,
    extras: Vec<View>,
}

impl Layer {
    /// Checks shapes and types.
    pub(crate) fn new(checks: Checks, params: &LinearParams) -> Result<Self, CodegenError> {
        let constant = |view: &View, what: &str| {
            let dim = view.shape.last().ok_or_else(|| checks.fail(format!("{what} is a scalar")))?;
            checks.constant(what, dim, u32::MAX / 4)
        };
        let k = constant(&params.x, "x's width")?;
        let n = constant(&params.output, "the output's width")?;
        let (k4, per_output) = (k.div_ceil(4), if params.glu.is_some() { 2 } else { 1 });
        let weight_rows =
            n.checked_mul(per_output).ok_or_else(|| checks.fail(format!("{n} pairs of rows")))?;
        params.weight.check(checks, weight_rows, k)?;
        let leading = &params.output.shape[..params.output.rank() - 1];
        if params.x.elem != Elem::F32 || params.x.shape[..params.x.rank() - 1] != *leading {
            return Err(checks.fail("x must be f32 with the leading axes of the output"));
        }
        let mut views = vec![params.x.clone(), params.output.clone()];
        for extra in params.epilogue.iter().flat_map(|epilogue| &epilogue.extras) {
            if Elem::of(extra.dtype) != Some(extra.view.elem) {
                return Err(
                    checks.fail(format!("an input of type {} lies in {:?}", extra.dtype, extra.view.elem))
                );
            }
            views.push(broadcast(&extra.view, &params.output.shape).map_err(|message| checks.fail(message))?);
        }
        let mut merged = collapse_rows(&views).into_iter();
        let (Some(x), Some(output)) = (merged.next(), merged.next()) else {
            return Err(checks.fail("no views"));
        };
        let rows = qwenc_ir::dim::product(leading);
        Ok(Self { k, k4, n, per_output, weight_rows, rows, x, output, extras: merged.collect() })
    }

    /// Binds all operands, reading as `vec4` what is aligned, and the weight by `grain`.
    pub(crate) fn bind(
        &self,
        checks: Checks,
        params: &LinearParams,
        grain: Grain,
    ) -> Result<BoundLayer, CodegenError> {
        let norm = params.norm.as_ref().map(|norm| &norm.weight);
        let keys: Vec<_> = [&self.output, &self.x, &params.weight.values]
            .into_iter()
            .chain(norm)
            .chain(&self.extras)
            .map(|view| view.buffer)
            .collect();
        let alone = |view: &View| keys.iter().filter(|key| **key == view.buffer).count() == 1;
        let vector = |view: &View| in_vec4(view).filter(|_| alone(view));
        let mut bindings = Bindings::new();
        let output = bindings.write(&self.output);
        let x = Vector::bind(&mut bindings, &self.x, vector(&self.x));
        let norm = norm.map(|view| Vector::bind(&mut bindings, view, vector(view)));
        let weight = BoundWeight::bind(checks, &mut bindings, &params.weight, self.k, grain)?;
        let extras = self.extras.iter().map(|view| bindings.read(view)).collect();
        Ok(BoundLayer { bindings, output, x, norm, weight, extras })
    }
}

/// An operand that is read four elements at a time along its last axis.
pub(crate) struct Vector {
    operand: Operand,
    /// Bound as `vec4<f32>`; else four elements are read one by one.
    packed: bool,
}

impl Vector {
    fn bind(bindings: &mut Bindings, view: &View, packed: Option<View>) -> Self {
        match packed {
            Some(view) => Self { operand: bindings.read_as(&view, "vec4<f32>"), packed: true },
            None => Self { operand: bindings.read(view), packed: false },
        }
    }

    /// The body of a WGSL function of `q` (and the names in `leading`) that gives elements 4q to 4q+3 of the last axis,
    /// which has `k` of them; zeros beyond. `q` must be below `vectors`, which is at least `ceil(k / 4)`.
    pub(crate) fn body(&self, symbols: &Symbols, leading: &[&str], k: u32, vectors: u32) -> String {
        let (k4, beyond) = (k.div_ceil(4), vectors > k.div_ceil(4));
        let at = |index: &str| {
            let mut indices = leading.to_vec();
            indices.push(index);
            self.operand.at(symbols, &indices)
        };
        if self.packed && beyond {
            let last = at(&format!("min(q, {}u)", k4 - 1));
            return format!("    return select(vec4<f32>(), {last}, q < {k4}u);\n");
        }
        if self.packed {
            return format!("    return {};\n", at("q"));
        }
        let element = |lane: u32| {
            let index = if lane == 0 { "4u * q".to_string() } else { format!("4u * q + {lane}u") };
            // Only vectors from the last on can reach past the end.
            if !beyond && (lane == 0 || k.is_multiple_of(4)) {
                return at(&index);
            }
            format!("select(0.0, {}, {index} < {k}u)", at(&format!("min({index}, {}u)", k - 1)))
        };
        let elements: Vec<String> = (0..4).map(|lane| format!("        {},\n", element(lane))).collect();
        format!("    return vec4<f32>(\n{}    );\n", elements.concat())
    }
}

/// A layer's operands.
pub(crate) struct BoundLayer {
    pub(crate) bindings: Bindings,
    pub(crate) output: Operand,
    pub(crate) x: Vector,
    pub(crate) norm: Option<Vector>,
    pub(crate) weight: BoundWeight,
    pub(crate) extras: Vec<Operand>,
}

impl BoundLayer {
    /// The row index `m` split into coordinates: statements and names.
    pub(crate) fn row(&self, symbols: &Symbols) -> (String, Vec<String>) {
        let shape = &self.output.view.shape;
        split_index(symbols, &shape[..shape.len() - 1], "m", "m")
    }

    /// `fn store(y: f32, m: u32, n: u32)`: the epilogue of one element, and where it goes.
    pub(crate) fn store(
        &self,
        checks: Checks,
        symbols: &Symbols,
        params: &LinearParams,
        library: &mut MathLibrary,
    ) -> Result<String, CodegenError> {
        let (split, mut names) = self.row(symbols);
        names.push("n".to_string());
        let coordinates = strs(&names);
        let mut text =
            String::from("// Finishes element n of row m.\nfn store(y: f32, m: u32, n: u32) {\n") + &split;
        let value = match &params.epilogue {
            None => "y".to_string(),
            Some(epilogue) => {
                let mut arguments = vec![("y".to_string(), DType::F32)];
                for (index, (operand, extra)) in self.extras.iter().zip(&epilogue.extras).enumerate() {
                    text += &format!("    let a{index} = {};\n", operand.at(symbols, &coordinates));
                    arguments.push((format!("a{index}"), extra.dtype));
                }
                let rendered = wgsl_expr::render(&epilogue.expr, &arguments, library)
                    .map_err(|message| checks.fail(message))?;
                if Elem::of(rendered.dtype) != Some(self.output.view.elem) {
                    let message =
                        format!("a result of type {} for {:?}", rendered.dtype, self.output.view.elem);
                    return Err(checks.fail(message));
                }
                text += &rendered.statements;
                rendered.value
            }
        };
        text += &format!("    {} = {value};\n}}\n", self.output.at(symbols, &coordinates));
        Ok(text)
    }
}
