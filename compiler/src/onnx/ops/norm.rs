//! Normalisation. The IR normalises the last axis; several trailing axes are flattened into one around it.

use qwenc_ir::dim::product;
use qwenc_ir::op::ReduceKind;
use qwenc_ir::{Activation, BinaryOp, DType, Dim, Expr, Op, Real, UnaryOp};

use super::call::Call;
use super::elementwise::combine;
use super::one;
use super::registry::{OpEntry, microsoft, standard};
use crate::onnx::known::{Elem, Known};
use crate::onnx::values::{Builder, Result, V, fault};

pub(super) const OPS: &[OpEntry] = &[
    standard("LayerNormalization", layer_norm),
    standard("LpNormalization", lp_norm),
    standard("RMSNormalization", rms_norm),
    // ONNX Runtime's exporters put its operator into the standard domain.
    standard("SimplifiedLayerNormalization", rms_norm),
    microsoft("GatedRMSNorm", gated_rms_norm),
    microsoft("SimplifiedLayerNormalization", rms_norm),
    microsoft("SkipLayerNormalization", skip_layer_norm),
    microsoft("SkipSimplifiedLayerNormalization", skip_rms_norm),
];

/// A weight as the vector that spans the normalised axes.
fn spread(b: &mut Builder, weight: V, normalised: &[Dim]) -> Result<V> {
    let full = b.expand(weight, normalised)?;
    b.reshape(full, &[product(normalised)])
}

/// Runs `norm` on a tensor whose axes from `at` on are one.
fn on_last_axis(
    b: &mut Builder,
    x: V,
    at: usize,
    norm: impl FnOnce(&mut Builder, V) -> Result<V>,
) -> Result<V> {
    let shape = b.shape(x).to_vec();
    let mut flat = shape[..at].to_vec();
    flat.push(product(&shape[at..]));
    let flattened = b.reshape(x, &flat)?;
    let out = norm(b, flattened)?;
    b.reshape(out, &shape)
}

/// Norms are computed in f32; anything narrower is not a request that changes results for the worse.
fn check_stash(call: &Call<'_>) -> Result<()> {
    match call.int("stash_type", 1)? {
        1 | 10 | 16 => Ok(()),
        other => fault!("attribute `stash_type` = {other} is not supported; norms are computed in f32"),
    }
}

fn layer_norm(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    check_stash(call)?;
    let eps = Real(call.float("epsilon", 1e-5)?);
    let x = call.input(0)?;
    let at = call.axis(-1, b.rank(x))?;
    let normalised = b.shape(x)[at..].to_vec();
    let scale = spread(b, call.input(1)?, &normalised)?;
    let bias = call.optional(2).map(|bias| spread(b, bias, &normalised)).transpose()?;
    let out = on_last_axis(b, x, at, |b, x| {
        let mut inputs = vec![x, scale];
        inputs.extend(bias);
        b.apply(Op::LayerNorm { eps }, &inputs)
    })?;
    let mut outputs = vec![Some(out)];
    if call.wants(1) || call.wants(2) {
        outputs.extend(statistics(b, x, at, eps)?);
    }
    Ok(outputs)
}

/// Mean and `1 / sqrt(variance + eps)` over the axes from `at` on, which stay with size 1.
fn statistics(b: &mut Builder, x: V, at: usize, eps: Real) -> Result<[Option<V>; 2]> {
    let mean_of = |b: &mut Builder, v: V| {
        let axes = (at..b.rank(v)).collect();
        b.apply(Op::Reduce { kind: ReduceKind::Mean, axes, keep_dims: true }, &[v])
    };
    let x = b.cast(x, DType::F32)?;
    let mean = mean_of(b, x)?;
    let centred = combine(b, BinaryOp::Sub, x, mean)?;
    let square = combine(b, BinaryOp::Mul, centred, centred)?;
    let variance = mean_of(b, square)?;
    let deviation = Expr::Arg(0).binary(BinaryOp::Add, Expr::f32(eps.0)).unary(UnaryOp::Rsqrt);
    Ok([Some(mean), Some(b.pointwise(&deviation, &[variance])?)])
}

fn rms_norm(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    check_stash(call)?;
    let eps = Real(call.float("epsilon", 1e-5)?);
    let x = call.input(0)?;
    let at = call.axis(-1, b.rank(x))?;
    let weight = call.input(1)?;
    let normalised = b.shape(x)[at..].to_vec();
    let weight = spread(b, weight, &normalised)?;
    // The result has the weight's type, and so is it computed.
    let (from, to) = (b.dtype(x), b.dtype(weight));
    let out = on_last_axis(b, x, at, |b, x| b.apply(Op::RmsNorm { eps, gate: None }, &[x, weight]))?;
    if from == to
        || call.node.op_type() == "SimplifiedLayerNormalization" && from.is_float() && to == DType::F32
    {
        // ONNX Runtime: f32 weights beside f16 activations keep the activations' type.
        return one(out);
    }
    one(b.cast(out, to)?)
}

/// `input + skip (+ bias)`.
fn skip_sum(b: &mut Builder, call: &Call<'_>, bias: usize) -> Result<V> {
    let (input, skip) = (call.input(0)?, call.input(1)?);
    let mut sum = combine(b, BinaryOp::Add, input, skip)?;
    if let Some(bias) = call.optional(bias) {
        sum = combine(b, BinaryOp::Add, sum, bias)?;
    }
    if b.shape(sum) != b.shape(input) {
        fault!("{} and {} do not fit each other", b.ty(input), b.ty(skip));
    }
    Ok(sum)
}

fn skip_rms_norm(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    let eps = Real(call.float("epsilon", 1e-12)?);
    let sum = skip_sum(b, call, 3)?;
    let out = b.apply(Op::RmsNorm { eps, gate: None }, &[sum, call.input(2)?])?;
    Ok(vec![Some(out), None, None, Some(sum)])
}

fn skip_layer_norm(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    let eps = Real(call.float("epsilon", 1e-12)?);
    let sum = skip_sum(b, call, 4)?;
    let mut inputs = vec![sum, call.input(2)?];
    inputs.extend(call.optional(3));
    let out = b.apply(Op::LayerNorm { eps }, &inputs)?;
    Ok(vec![Some(out), None, None, Some(sum)])
}

/// The last axis holds several groups, each as wide as the weight.
fn gated_rms_norm(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    let eps = Real(call.float("epsilon", 1e-5)?);
    let gate = Some(match call.text("activation", "silu")? {
        "silu" | "swish" => Activation::Silu,
        "sigmoid" => Activation::Sigmoid,
        other => fault!("activation `{other}` is not supported"),
    });
    let (x, weight, z) = (call.input(0)?, call.input(1)?, call.input(2)?);
    let shape = b.shape(x).to_vec();
    let ([width], Some((last, outer))) = (b.shape(weight), shape.split_last()) else {
        fault!("{} and {} do not fit each other", b.ty(x), b.ty(weight));
    };
    let Some(groups) = last.exact_div(width) else {
        fault!("width {last} is no multiple of the weight's {width}");
    };
    let mut grouped = outer.to_vec();
    grouped.extend([groups, width.clone()]);
    let (x, z) = (b.reshape(x, &grouped)?, b.reshape(z, &grouped)?);
    let out = b.apply(Op::RmsNorm { eps, gate }, &[x, weight, z])?;
    one(b.reshape(out, &shape)?)
}

/// `x / |x|` along an axis.
fn lp_norm(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    let x = call.input(0)?;
    let at = call.axis(-1, b.rank(x))?;
    match call.int("p", 2)? {
        2 if at + 1 == b.rank(x) => one(b.apply(Op::L2Norm { eps: Real(0.0) }, &[x])?),
        power @ (1 | 2) => {
            let kind = if power == 1 { ReduceKind::L1 } else { ReduceKind::L2 };
            let norm = b.apply(Op::Reduce { kind, axes: vec![at], keep_dims: true }, &[x])?;
            // A zero vector stays zero instead of becoming NaN.
            let zero = b.known_value(b.dtype(x), Known::scalar(Elem::Real(0.0)))?;
            let quotient = Expr::Arg(0).binary(BinaryOp::Div, Expr::Arg(1));
            let expr = Expr::Arg(1).binary(BinaryOp::Eq, Expr::Arg(2)).select(Expr::Arg(2), quotient);
            one(b.pointwise(&expr, &[x, norm, zero])?)
        }
        other => fault!("attribute `p` = {other} is not supported, only 1 and 2"),
    }
}
