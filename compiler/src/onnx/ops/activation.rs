//! Activation functions, as pointwise expressions.

use qwenc_ir::{BinaryOp, Expr, Scalar, UnaryOp};

use super::call::Call;
use super::one;
use super::registry::{OpEntry, microsoft, standard};
use crate::onnx::values::{Builder, Result, V, fault};

pub(super) const OPS: &[OpEntry] = &[
    standard("Celu", celu),
    standard("Elu", elu),
    standard("Gelu", gelu),
    standard("HardSigmoid", hard_sigmoid),
    standard("HardSwish", hard_swish),
    standard("LeakyRelu", leaky_relu),
    standard("Mish", mish),
    standard("PRelu", prelu),
    standard("Relu", relu),
    standard("Selu", selu),
    standard("Shrink", shrink),
    standard("Softsign", softsign),
    standard("SwiGLU", swiglu),
    standard("Swish", swish),
    standard("ThresholdedRelu", thresholded_relu),
    microsoft("BiasGelu", bias_gelu),
    microsoft("FastGelu", fast_gelu),
    microsoft("Gelu", bias_gelu),
    microsoft("QuickGelu", quick_gelu),
];

fn x() -> Expr {
    Expr::Arg(0)
}

fn num(value: f32) -> Expr {
    Expr::f32(value)
}

fn add(a: Expr, b: Expr) -> Expr {
    a.binary(BinaryOp::Add, b)
}

fn mul(a: Expr, b: Expr) -> Expr {
    a.binary(BinaryOp::Mul, b)
}

/// `e^a - 1`.
fn exp_m1(a: Expr) -> Expr {
    a.unary(UnaryOp::Exp).binary(BinaryOp::Sub, num(1.0))
}

fn apply(b: &mut Builder, call: &Call<'_>, expr: &Expr) -> Result<Vec<Option<V>>> {
    one(b.pointwise(expr, &[call.input(0)?])?)
}

/// `x` below zero gives `below`, otherwise `above`.
fn by_sign(below: Expr, above: Expr) -> Expr {
    x().binary(BinaryOp::Lt, num(0.0)).select(below, above)
}

fn relu(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    let float = b.dtype(call.input(0)?).is_float();
    let zero = Expr::Const(if float { Scalar::F32(0.0) } else { Scalar::Int(0) });
    apply(b, call, &x().binary(BinaryOp::Max, zero))
}

fn leaky_relu(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    let alpha = call.float("alpha", 0.01)?;
    apply(b, call, &by_sign(mul(x(), num(alpha)), x()))
}

fn thresholded_relu(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    let alpha = call.float("alpha", 1.0)?;
    apply(b, call, &x().binary(BinaryOp::Gt, num(alpha)).select(x(), num(0.0)))
}

fn elu(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    let alpha = call.float("alpha", 1.0)?;
    apply(b, call, &by_sign(mul(num(alpha), exp_m1(x())), x()))
}

fn celu(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    let alpha = call.float("alpha", 1.0)?;
    if alpha == 0.0 {
        fault!("attribute `alpha` must not be 0");
    }
    let below = mul(num(alpha), exp_m1(x().binary(BinaryOp::Div, num(alpha))));
    apply(b, call, &by_sign(below, x()))
}

fn selu(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    let alpha = call.float("alpha", 1.673_263_2)?;
    let gamma = call.float("gamma", 1.050_701)?;
    let below = mul(num(alpha), exp_m1(x()));
    apply(b, call, &mul(num(gamma), by_sign(below, x())))
}

/// `min(max(alpha x + beta, 0), 1)`.
fn hard_sigmoid_of(alpha: f32, beta: f32) -> Expr {
    let line = add(mul(num(alpha), x()), num(beta));
    line.binary(BinaryOp::Max, num(0.0)).binary(BinaryOp::Min, num(1.0))
}

fn hard_sigmoid(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    let expr = hard_sigmoid_of(call.float("alpha", 0.2)?, call.float("beta", 0.5)?);
    apply(b, call, &expr)
}

fn hard_swish(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    apply(b, call, &mul(x(), hard_sigmoid_of(1.0 / 6.0, 0.5)))
}

fn swish_of(alpha: f32) -> Expr {
    if alpha.to_bits() == 1f32.to_bits() {
        return x().unary(UnaryOp::Silu);
    }
    mul(x(), mul(num(alpha), x()).unary(UnaryOp::Sigmoid))
}

fn swish(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    let alpha = call.float("alpha", 1.0)?;
    apply(b, call, &swish_of(alpha))
}

/// A gate and a value of one shape.
fn swiglu(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    let alpha = call.float("alpha", 1.0)?;
    let (gate, value) = (call.input(0)?, call.input(1)?);
    if b.shape(gate) != b.shape(value) {
        fault!("{} and {} must have one shape", b.ty(gate), b.ty(value));
    }
    one(b.pointwise(&mul(swish_of(alpha), Expr::Arg(1)), &[gate, value])?)
}

fn quick_gelu(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    let alpha = call.float("alpha", 1.702)?;
    apply(b, call, &swish_of(alpha))
}

fn softsign(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    let denominator = add(num(1.0), x().unary(UnaryOp::Abs));
    apply(b, call, &x().binary(BinaryOp::Div, denominator))
}

fn mish(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    apply(b, call, &mul(x(), x().unary(UnaryOp::Softplus).unary(UnaryOp::Tanh)))
}

fn shrink(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    let (bias, lambda) = (call.float("bias", 0.0)?, call.float("lambd", 0.5)?);
    let below = x().binary(BinaryOp::Lt, num(-lambda));
    let above = x().binary(BinaryOp::Gt, num(lambda));
    let expr = below.select(add(x(), num(bias)), above.select(add(x(), num(-bias)), num(0.0)));
    apply(b, call, &expr)
}

/// `0.5 a (1 + erf(a / sqrt 2))`.
fn gelu_erf(a: &Expr) -> Expr {
    let erf = mul(a.clone(), num(std::f32::consts::FRAC_1_SQRT_2)).unary(UnaryOp::Erf);
    mul(mul(num(0.5), a.clone()), add(num(1.0), erf))
}

/// `0.5 a (1 + tanh(sqrt(2/pi) (a + 0.044715 a^3)))`.
fn gelu_tanh(a: &Expr) -> Expr {
    let cube = mul(mul(a.clone(), a.clone()), a.clone());
    let inner = mul(num(0.797_884_6), add(a.clone(), mul(num(0.044_715), cube)));
    mul(mul(num(0.5), a.clone()), add(num(1.0), inner.unary(UnaryOp::Tanh)))
}

fn gelu(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    let expr = match call.text("approximate", "none")? {
        "none" => gelu_erf(&x()),
        "tanh" => gelu_tanh(&x()),
        other => fault!("approximation `{other}` is neither none nor tanh"),
    };
    apply(b, call, &expr)
}

/// ONNX Runtime's exact GELU, with or without a bias.
fn bias_gelu(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    with_bias(b, call, gelu_erf)
}

fn fast_gelu(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    with_bias(b, call, gelu_tanh)
}

fn with_bias(b: &mut Builder, call: &Call<'_>, of: fn(&Expr) -> Expr) -> Result<Vec<Option<V>>> {
    let input = call.input(0)?;
    match call.optional(1) {
        None => one(b.pointwise(&of(&x()), &[input])?),
        Some(bias) => one(b.pointwise(&of(&add(x(), Expr::Arg(1))), &[input, bias])?),
    }
}

fn prelu(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    let (input, slope) = (call.input(0)?, call.input(1)?);
    let out = b.pointwise(&by_sign(mul(Expr::Arg(1), x()), x()), &[input, slope])?;
    if b.shape(out) != b.shape(input) {
        fault!("slope {} does not broadcast to {}", b.ty(slope), b.ty(input));
    }
    one(out)
}
