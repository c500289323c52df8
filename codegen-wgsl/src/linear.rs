//! Parameters that both kernels of fused linear layers share: [`crate::linear_gemv`] for one row, and
//! [`crate::linear_gemm`] for many.

use qwenc_ir::{Activation, DType, Dim, Expr};

use crate::checks::Checks;
use crate::conv::{MAX_STATE, MAX_TAPS};
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
    /// A causal convolution behind the first outputs. Only the matrix-vector kernel takes it, and no epilogue beside it.
    pub conv: Option<ConvEpilogue>,
    /// Pointwise math behind.
    pub epilogue: Option<Epilogue>,
    /// `[..., N]`, with the leading axes of x. May overlay an extra input of the same shape and strides, but not x, which
    /// all workgroups read.
    pub output: View,
}

/// RMS norm in front of a linear layer: `x / sqrt(mean(x^2) + eps) * weight * act(gate)`, the mean over each of equal parts.
#[derive(Clone, Debug, PartialEq)]
pub struct NormPrologue {
    /// `[K / heads]`.
    pub weight: View,
    /// Added to the mean square.
    pub eps: f32,
    /// Parts of x that are normalised each by itself.
    pub heads: u32,
    /// `[..., K]`, as x, behind an activation.
    pub gate: Option<(View, Activation)>,
}

impl NormPrologue {
    /// Over all of x, with a weight `[K]`.
    pub const fn plain(weight: View, eps: f32) -> Self {
        Self { weight, eps, heads: 1, gate: None }
    }

    /// Whether a factor of every dot product is all there is to it.
    pub(crate) const fn is_plain(&self) -> bool {
        self.heads == 1 && self.gate.is_none()
    }
}

/// One position of a causal depthwise convolution behind the first C outputs: output c of the layer joins the state of
/// channel c, and `act(sum_j weight[c, j] * state'[c, j] + bias[c])` takes its place.
#[derive(Clone, Debug, PartialEq)]
pub struct ConvEpilogue {
    /// `[C, J]` f32, J at most 16.
    pub weight: View,
    /// `[C]` f32.
    pub bias: Option<View>,
    /// `[C, W]` f32, newest column last, W from J - 1 to 64; moved by one column in place.
    pub state: View,
    /// Behind the sum.
    pub activation: Activation,
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
        let gate = params.norm.as_ref().and_then(|norm| norm.gate.as_ref()).map(|(view, _)| view);
        let keys: Vec<_> = [&self.output, &self.x, &params.weight.values]
            .into_iter()
            .chain(norm)
            .chain(gate)
            .chain(&self.extras)
            .map(|view| view.buffer)
            .collect();
        let alone = |view: &View| keys.iter().filter(|key| **key == view.buffer).count() == 1;
        let vector = |view: &View| in_vec4(view).filter(|_| alone(view));
        let mut bindings = Bindings::new();
        let output = bindings.write(&self.output);
        let x = Vector::bind(&mut bindings, &self.x, vector(&self.x));
        // First what is written: a state is bound once.
        let conv = match &params.conv {
            Some(conv) => Some(BoundConv::bind(checks, &mut bindings, conv, self.n)?),
            None => None,
        };
        let norm = norm.map(|view| Vector::bind(&mut bindings, view, vector(view)));
        let gate = gate.map(|view| Vector::bind(&mut bindings, view, vector(view)));
        let weight = BoundWeight::bind(checks, &mut bindings, &params.weight, self.k, grain)?;
        let extras = self.extras.iter().map(|view| bindings.read(view)).collect();
        Ok(BoundLayer { bindings, output, x, norm, gate, conv, weight, extras })
    }
}

/// An operand that is read four elements at a time along its last axis.
pub(crate) struct Vector {
    operand: Operand,
    /// Bound as `vec4<f32>`; else four elements are read one by one.
    packed: bool,
}

impl Vector {
    /// Binds a view, by `packed` (the same in units of four, from [`in_vec4`]) where there is one.
    pub(crate) fn bind(bindings: &mut Bindings, view: &View, packed: Option<View>) -> Self {
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

/// Operands of a [`ConvEpilogue`].
pub(crate) struct BoundConv {
    state: Operand,
    weight: Operand,
    bias: Option<Operand>,
    /// C.
    pub(crate) channels: u32,
    taps: u32,
    columns: u32,
    activation: Activation,
}

impl BoundConv {
    fn bind(
        checks: Checks,
        bindings: &mut Bindings,
        conv: &ConvEpilogue,
        n: u32,
    ) -> Result<Self, CodegenError> {
        let [channels, taps] = checks.shape("the convolution's weight", &conv.weight, Elem::F32)?;
        let [_, columns] = checks.shape("the convolution's state", &conv.state, Elem::F32)?;
        checks.expect("the convolution's state", &conv.state, Elem::F32, &[&channels, &columns])?;
        if let Some(bias) = &conv.bias {
            checks.expect("the convolution's bias", bias, Elem::F32, &[&channels])?;
        }
        let taps = checks.constant("the number of taps", &taps, MAX_TAPS)?;
        let columns = checks.constant("the width of the state", &columns, MAX_STATE)?;
        if columns + 1 < taps {
            return Err(checks.fail(format!("a state of {columns} columns is too narrow for {taps} taps")));
        }
        Ok(Self {
            state: bindings.write(&conv.state),
            weight: bindings.read(&conv.weight),
            bias: conv.bias.as_ref().map(|bias| bindings.read(bias)),
            channels: checks.constant("the number of channels", &channels, n)?,
            taps,
            columns,
            activation: conv.activation,
        })
    }

    /// `fn convolve(y: f32, c: u32) -> f32`: takes y into the state of channel c, and gives what comes out.
    pub(crate) fn function(&self, symbols: &Symbols, library: &mut MathLibrary) -> String {
        let column = |j: u32| self.state.at(symbols, &["c", &format!("{j}u")]);
        let mut text = String::from(
            "// Takes y into the state of channel c of the convolution, and gives what comes out.\n\
             fn convolve(y: f32, c: u32) -> f32 {\n",
        );
        for j in 0..self.columns {
            text += &format!("    let x{j} = {};\n", column(j));
        }
        text += &format!("    let x{} = y;\n", self.columns);
        let bias = self.bias.as_ref().map_or("0.0".to_string(), |bias| bias.at(symbols, &["c"]));
        text += &format!("    var sum = {bias};\n");
        for j in 0..self.taps {
            let weight = self.weight.at(symbols, &["c", &format!("{j}u")]);
            text += &format!("    sum += {weight} * x{};\n", self.columns + 1 - self.taps + j);
        }
        for j in 0..self.columns {
            text += &format!("    {} = x{};\n", column(j), j + 1);
        }
        text + &format!("    return {};\n}}\n\n", library.activation(self.activation, "sum"))
    }
}

/// A layer's operands.
pub(crate) struct BoundLayer {
    pub(crate) bindings: Bindings,
    pub(crate) output: Operand,
    pub(crate) x: Vector,
    pub(crate) norm: Option<Vector>,
    pub(crate) gate: Option<Vector>,
    pub(crate) conv: Option<BoundConv>,
    pub(crate) weight: BoundWeight,
    pub(crate) extras: Vec<Operand>,
}

impl BoundLayer {
    /// The row index `m` split into coordinates: statements and names.
    pub(crate) fn row(&self, symbols: &Symbols) -> (String, Vec<String>) {
        let shape = &self.output.view.shape;
        split_index(symbols, &shape[..shape.len() - 1], "m", "m")
    }

    /// What the epilogue of one row needs: expressions of its further inputs at column `column`, and
    /// `fn store(y: f32, a0: …, n: u32)`, which finishes element n. So they can be on their way early.
    pub(crate) fn early_store(
        &self,
        checks: Checks,
        symbols: &Symbols,
        params: &LinearParams,
        library: &mut MathLibrary,
        column: &str,
    ) -> Result<(Vec<String>, String), CodegenError> {
        let rank = self.output.view.rank();
        let at = |last: &'static str| {
            let mut coordinates = vec!["0u"; rank - 1];
            coordinates.push(last);
            coordinates
        };
        let loads = self.extras.iter().map(|operand| {
            let mut coordinates = vec!["0u"; rank - 1];
            coordinates.push(column);
            operand.at(symbols, &coordinates)
        });
        let elems = params.epilogue.iter().flat_map(|epilogue| &epilogue.extras).map(|extra| extra.view.elem);
        let arguments: String =
            elems.enumerate().map(|(index, elem)| format!("a{index}: {}, ", elem.wgsl())).collect();
        let mut text = format!("// Finishes element n.\nfn store(y: f32, {arguments}n: u32) {{\n");
        let (statements, value) = self.finished(checks, params, library)?;
        text += &statements;
        text += &format!("    {} = {value};\n}}\n", self.output.at(symbols, &at("n")));
        Ok((loads.collect(), text))
    }

    /// Statements behind the layer's result `y` and the further inputs `a0`, `a1`, …, and the value that they give.
    fn finished(
        &self,
        checks: Checks,
        params: &LinearParams,
        library: &mut MathLibrary,
    ) -> Result<(String, String), CodegenError> {
        let Some(epilogue) = &params.epilogue else { return Ok((String::new(), "y".to_string())) };
        let mut arguments = vec![("y".to_string(), DType::F32)];
        arguments.extend(
            epilogue.extras.iter().enumerate().map(|(index, extra)| (format!("a{index}"), extra.dtype)),
        );
        let rendered =
            wgsl_expr::render(&epilogue.expr, &arguments, library).map_err(|message| checks.fail(message))?;
        if Elem::of(rendered.dtype) != Some(self.output.view.elem) {
            let message = format!("a result of type {} for {:?}", rendered.dtype, self.output.view.elem);
            return Err(checks.fail(message));
        }
        Ok((rendered.statements, rendered.value))
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
        for (index, operand) in self.extras.iter().enumerate() {
            text += &format!("    let a{index} = {};\n", operand.at(symbols, &coordinates));
        }
        let (statements, value) = self.finished(checks, params, library)?;
        text += &statements;
        text += &format!("    {} = {value};\n}}\n", self.output.at(symbols, &coordinates));
        Ok(text)
    }
}
