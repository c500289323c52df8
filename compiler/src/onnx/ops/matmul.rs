//! Matrix products, and convolutions that are matrix products.

use qwenc_ir::dim::product;
use qwenc_ir::{BinaryOp, Dim, Expr, Op};

use super::call::Call;
use super::elementwise::combine;
use super::one;
use super::registry::{OpEntry, microsoft, standard};
use crate::onnx::values::{Builder, Result, V, fault, show};

pub(super) const OPS: &[OpEntry] = &[
    standard("Conv", conv),
    standard("Gemm", gemm),
    standard("MatMul", matmul),
    microsoft("FusedMatMul", fused_matmul),
];

const PLAIN: Op = Op::MatMul { transpose_a: false, transpose_b: false };

/// A vector on the left is a row, one on the right a column, and the result loses that axis again.
fn matmul(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    let (mut left, mut right) = (call.input(0)?, call.input(1)?);
    let (row, column) = (b.rank(left) == 1, b.rank(right) == 1);
    if row {
        let shape = [Dim::constant(1), b.shape(left)[0].clone()];
        left = b.reshape(left, &shape)?;
    }
    if column {
        let shape = [b.shape(right)[0].clone(), Dim::constant(1)];
        right = b.reshape(right, &shape)?;
    }
    let out = b.apply(PLAIN, &[left, right])?;
    let mut shape = b.shape(out).to_vec();
    if column {
        shape.pop();
    }
    if row {
        shape.remove(shape.len() - if column { 1 } else { 2 });
    }
    one(b.reshape(out, &shape)?)
}

fn fused_matmul(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    call.only_int("transBatchA", 0)?;
    call.only_int("transBatchB", 0)?;
    let (transpose_a, transpose_b) = (call.flag("transA", false)?, call.flag("transB", false)?);
    let out = b.apply(Op::MatMul { transpose_a, transpose_b }, &[call.input(0)?, call.input(1)?])?;
    let alpha = call.float("alpha", 1.0)?;
    one(scaled(b, out, alpha)?)
}

fn scaled(b: &mut Builder, v: V, factor: f32) -> Result<V> {
    if factor.to_bits() == 1f32.to_bits() {
        return Ok(v);
    }
    b.pointwise(&Expr::Arg(0).binary(BinaryOp::Mul, Expr::f32(factor)), &[v])
}

fn gemm(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    let (transpose_a, transpose_b) = (call.flag("transA", false)?, call.flag("transB", false)?);
    let (alpha, beta) = (call.float("alpha", 1.0)?, call.float("beta", 1.0)?);
    let product = b.apply(Op::MatMul { transpose_a, transpose_b }, &[call.input(0)?, call.input(1)?])?;
    let mut out = scaled(b, product, alpha)?;
    if let Some(bias) = call.optional(2) {
        let bias = scaled(b, bias, beta)?;
        out = combine(b, BinaryOp::Add, out, bias)?;
        if b.shape(out) != b.shape(product) {
            fault!("{} does not broadcast to {}", b.ty(bias), b.ty(product));
        }
    }
    one(out)
}

/// A convolution whose windows do not overlap cuts its input into blocks and multiplies each with the same matrix:
/// the patch embedding of vision models, and pointwise convolutions.
fn conv(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    let (x, weight) = (call.input(0)?, call.input(1)?);
    let bias = call.optional(2);
    let [batch, channels, space @ ..] = b.shape(x) else {
        fault!("{} is no image", b.ty(x));
    };
    let (batch, channels, space) = (batch.clone(), channels.clone(), space.to_vec());
    let [out_channels, in_channels, kernel @ ..] = b.shape(weight) else {
        fault!("{} is no kernel", b.ty(weight));
    };
    let (out_channels, in_channels, kernel) = (out_channels.clone(), in_channels.clone(), kernel.to_vec());
    call.only_int("group", 1)?;
    match call.text("auto_pad", "NOTSET")? {
        "NOTSET" | "VALID" => {}
        other => fault!("attribute `auto_pad` = {other} is not supported"),
    }
    call.ignore(&["kernel_shape"]);
    let all = |name: &str, neutral: i64| -> Result<bool> {
        Ok(call.ints(name)?.is_none_or(|values| values.iter().all(|value| *value == neutral)))
    };
    let strides: Vec<Dim> = match call.ints("strides")? {
        Some(strides) => strides.iter().map(|value| Dim::constant(*value)).collect(),
        None => vec![Dim::constant(1); space.len()],
    };
    if in_channels != channels || kernel.len() != space.len() || strides.len() != space.len() {
        fault!("kernel {} and strides {} do not fit {}", b.ty(weight), show(&strides), b.ty(x));
    }
    // Where the kernel covers the whole axis there is one window, whatever the stride.
    let single = |at: usize| space[at] == kernel[at];
    let disjoint = (0..space.len()).all(|at| single(at) || strides[at] == kernel[at]);
    if !disjoint || !all("pads", 0)? || !all("dilations", 1)? {
        fault!(
            "a convolution with overlapping windows, padding or dilation is not supported; only kernels that are as \
             wide as their stride are"
        );
    }
    let mut split = vec![batch.clone(), channels];
    let mut windows = Vec::new();
    for (size, width) in space.iter().zip(&kernel) {
        let count = if size == width { Some(Dim::constant(1)) } else { size.exact_div(width) };
        let Some(count) = count else {
            fault!("size {size} is no multiple of the kernel's {width}");
        };
        split.extend([count.clone(), width.clone()]);
        windows.push(count);
    }
    let blocks = patches(b, x, split)?;
    let depth = product(&b.shape(blocks)[1..]);
    let rows = b.shape(blocks)[0].clone();
    let blocks = b.reshape(blocks, &[rows, depth.clone()])?;
    let weight = b.reshape(weight, &[out_channels.clone(), depth])?;
    let mut out = b.apply(Op::MatMul { transpose_a: false, transpose_b: true }, &[blocks, weight])?;
    if let Some(bias) = bias {
        out = combine(b, BinaryOp::Add, out, bias)?;
    }
    let mut shape = vec![batch];
    shape.extend(windows);
    shape.push(out_channels);
    let out = b.reshape(out, &shape)?;
    let rank = shape.len();
    let mut perm = vec![0, rank - 1];
    perm.extend(1..rank - 1);
    one(b.transpose(out, &perm)?)
}

/// `[N,C,n0,k0,n1,k1,...]` as `[N*n0*n1..., C, k0, k1, ...]`. Axes with one window need no permutation.
fn patches(b: &mut Builder, x: V, split: Vec<Dim>) -> Result<V> {
    let spatial = split[2..].as_chunks::<2>().0.to_vec();
    let moved: Vec<bool> = spatial.iter().map(|[count, _]| !count.is(1)).collect();
    let mut shape = split[..2].to_vec();
    let mut windows = vec![0];
    let mut kept = vec![1];
    for ([count, width], moved) in spatial.iter().zip(&moved) {
        if *moved {
            windows.push(shape.len());
            shape.push(count.clone());
        }
        kept.push(shape.len());
        shape.push(width.clone());
    }
    if shape.len() > qwenc_ir::infer::MAX_RANK {
        fault!("a convolution over {} axes is not supported", spatial.len());
    }
    let v = b.reshape(x, &shape)?;
    let perm: Vec<usize> = windows.iter().chain(&kept).copied().collect();
    let v = b.transpose(v, &perm)?;
    let mut out = vec![product(&b.shape(v)[..windows.len()])];
    out.extend(b.shape(v)[windows.len()..].iter().cloned());
    b.reshape(v, &out)
}
