//! Normalisation of image tensors `[N,C,...]` by channel, and pooling over whole images.

use qwenc_ir::dim::product;
use qwenc_ir::op::ReduceKind;
use qwenc_ir::{BinaryOp, Dim, Expr, Op, Real, UnaryOp};

use super::call::{Call, sorted_axes};
use super::elementwise::combine;
use super::one;
use super::registry::{OpEntry, standard};
use crate::onnx::values::{Builder, Result, V, fault};

pub(super) const OPS: &[OpEntry] = &[
    standard("BatchNormalization", batch_norm),
    standard("GlobalAveragePool", global_pool),
    standard("GlobalMaxPool", global_pool),
    standard("GroupNormalization", group_norm),
    standard("InstanceNormalization", instance_norm),
    standard("MeanVarianceNormalization", mean_variance_norm),
];

/// A vector `[C]` so that it broadcasts along axis 1 of a tensor of `rank`.
fn per_channel(b: &mut Builder, v: V, rank: usize) -> Result<V> {
    let [channels] = b.shape(v) else {
        fault!("{} must have one value for every channel", b.ty(v));
    };
    let mut shape = vec![Dim::constant(1); rank.saturating_sub(1)];
    if let Some(first) = shape.first_mut() {
        *first = channels.clone();
    }
    b.reshape(v, &shape)
}

/// `x * scale + bias`, which must not widen x.
fn affine(b: &mut Builder, x: V, scale: V, bias: V) -> Result<V> {
    let product = combine(b, BinaryOp::Mul, x, scale)?;
    let out = combine(b, BinaryOp::Add, product, bias)?;
    if b.shape(out) != b.shape(x) {
        fault!("{} and {} do not fit {}", b.ty(scale), b.ty(bias), b.ty(x));
    }
    Ok(out)
}

fn batch_norm(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    call.only_int("training_mode", 0)?;
    call.ignore(&["momentum"]);
    let eps = call.float("epsilon", 1e-5)?;
    let x = call.input(0)?;
    let rank = b.rank(x);
    let mut parameters = Vec::new();
    for index in 1..5 {
        parameters.push(per_channel(b, call.input(index)?, rank)?);
    }
    let [scale, bias, mean, variance] = parameters[..] else {
        fault!("four parameters are needed");
    };
    let factor = Expr::Arg(0).binary(BinaryOp::Add, Expr::f32(eps)).unary(UnaryOp::Rsqrt);
    let factor = b.pointwise(&factor, &[variance])?;
    let factor = combine(b, BinaryOp::Mul, factor, scale)?;
    let centred = combine(b, BinaryOp::Sub, x, mean)?;
    one(affine(b, centred, factor, bias)?)
}

/// Normalises groups of channels: x as `[N,G,...]` over everything behind G.
fn normalise_groups(b: &mut Builder, x: V, groups: &Dim, eps: Real) -> Result<V> {
    let shape = b.shape(x).to_vec();
    let [batch, channels, space @ ..] = shape.as_slice() else {
        fault!("{} has no channels", b.ty(x));
    };
    let Some(each) = channels.exact_div(groups) else {
        fault!("{channels} channels do not form {groups} groups");
    };
    let flat = [batch.clone(), groups.clone(), each * product(space)];
    let flat = b.reshape(x, &flat)?;
    let normal = b.apply(Op::LayerNorm { eps }, &[flat])?;
    b.reshape(normal, &shape)
}

fn instance_norm(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    let eps = Real(call.float("epsilon", 1e-5)?);
    let x = call.input(0)?;
    let Some(channels) = b.shape(x).get(1).cloned() else {
        fault!("{} has no channels", b.ty(x));
    };
    let normal = normalise_groups(b, x, &channels, eps)?;
    let (scale, bias) = (call.input(1)?, call.input(2)?);
    let (scale, bias) = (per_channel(b, scale, b.rank(x))?, per_channel(b, bias, b.rank(x))?);
    one(affine(b, normal, scale, bias)?)
}

fn group_norm(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    call.ignore(&["stash_type"]);
    let eps = Real(call.float("epsilon", 1e-5)?);
    let groups = Dim::from(call.count("num_groups")?);
    let x = call.input(0)?;
    let normal = normalise_groups(b, x, &groups, eps)?;
    let shape = b.shape(x).to_vec();
    let mut inner = normal;
    // Up to opset 20 there is one parameter for every group, since then one for every channel.
    if call.opset < 21 {
        let each = product(&shape[1..]).exact_div(&groups);
        let Some(each) = each else {
            fault!("{} does not form {groups} groups", b.ty(x));
        };
        inner = b.reshape(normal, &[shape[0].clone(), groups, each])?;
    }
    let (scale, bias) = (call.input(1)?, call.input(2)?);
    let (scale, bias) = (per_channel(b, scale, b.rank(inner))?, per_channel(b, bias, b.rank(inner))?);
    let out = affine(b, inner, scale, bias)?;
    one(b.reshape(out, &shape)?)
}

/// `(x - mean) / (std + 1e-9)`, as its definition in ONNX has it.
fn mean_variance_norm(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    let x = call.input(0)?;
    let axes = sorted_axes(call.ints("axes")?.unwrap_or(&[0, 2, 3]), b.rank(x))?;
    let mean_of = |b: &mut Builder, v: V| {
        b.apply(Op::Reduce { kind: ReduceKind::Mean, axes: axes.clone(), keep_dims: true }, &[v])
    };
    let mean = mean_of(b, x)?;
    let centred = combine(b, BinaryOp::Sub, x, mean)?;
    let square = combine(b, BinaryOp::Mul, centred, centred)?;
    let variance = mean_of(b, square)?;
    let deviation = Expr::Arg(1).unary(UnaryOp::Sqrt).binary(BinaryOp::Add, Expr::f32(1e-9));
    one(b.pointwise(&Expr::Arg(0).binary(BinaryOp::Div, deviation), &[centred, variance])?)
}

fn global_pool(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    let kind = if call.node.op_type() == "GlobalMaxPool" { ReduceKind::Max } else { ReduceKind::Mean };
    let x = call.input(0)?;
    if b.rank(x) < 3 {
        fault!("{} is no image", b.ty(x));
    }
    let axes = (2..b.rank(x)).collect();
    one(b.apply(Op::Reduce { kind, axes, keep_dims: true }, &[x])?)
}
