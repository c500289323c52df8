//! Convolutions: those that are matrix products, those along one axis with a filter for every channel, and the others.

use qwenc_ir::dim::product;
use qwenc_ir::{Activation, BinaryOp, Dim, Op};

use super::call::Call;
use super::elementwise::combine;
use super::registry::{OpEntry, standard};
use super::{image_conv, one};
use crate::onnx::known::{Elem, Known};
use crate::onnx::values::{Builder, Result, V, fault};

pub(super) const OPS: &[OpEntry] =
    &[standard("Conv", conv), standard("ConvTranspose", image_conv::transposed)];

fn conv(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    let (x, weight) = (call.input(0)?, call.input(1)?);
    // It repeats the weight's shape.
    call.ignore(&["kernel_shape"]);
    if b.rank(weight) != b.rank(x) || b.rank(x) < 3 {
        fault!("{} is no kernel for {}", b.ty(weight), b.ty(x));
    }
    let plain = matches!(call.text("auto_pad", "NOTSET")?, "NOTSET" | "VALID");
    let groups = call.int("group", 1)?;
    let channels = b.shape(x).get(1).filter(|channels| channels.is(groups));
    let one_each = channels.is_some() && b.shape(weight).first() == channels;
    if plain && b.rank(x) == 3 && one_each && is_causal(b, call, weight)? {
        return depthwise(b, call, x, weight);
    }
    if plain && groups == 1 && is_disjoint(b, call, x, weight)? {
        return blockwise(b, call, x, weight);
    }
    image_conv::conv(b, call, x, weight)
}

/// True for a filter along one axis that the kernel for causal convolutions computes.
fn is_causal(b: &Builder, call: &Call<'_>, weight: V) -> Result<bool> {
    let fits = match call.ints("pads")?.unwrap_or(&[0, 0]) {
        [before, after] => {
            let taps = b.shape(weight)[2].clone() - Dim::constant(1);
            *before >= 0 && *after >= 0 && b.bounds.at_most(&Dim::constant(*before), &taps)
        }
        _ => false,
    };
    Ok(fits && all(call, "strides", 1)? && all(call, "dilations", 1)?)
}

/// True for windows that lie side by side and cover the input.
fn is_disjoint(b: &Builder, call: &Call<'_>, x: V, weight: V) -> Result<bool> {
    let (space, kernel) = (&b.shape(x)[2..], &b.shape(weight)[2..]);
    let strides = call.ints("strides")?.map_or_else(|| vec![1; space.len()], <[i64]>::to_vec);
    if strides.len() != space.len() || !all(call, "pads", 0)? || !all(call, "dilations", 1)? {
        return Ok(false);
    }
    // Where the kernel covers the whole axis there is one window, whatever the stride.
    let fits = |at: usize| {
        space[at] == kernel[at] || (kernel[at].is(strides[at]) && space[at].exact_div(&kernel[at]).is_some())
    };
    Ok((0..space.len()).all(fits))
}

/// True when every entry of a list attribute is `neutral`.
fn all(call: &Call<'_>, name: &str, neutral: i64) -> Result<bool> {
    Ok(call.ints(name)?.is_none_or(|values| values.iter().all(|value| *value == neutral)))
}

/// One filter for every channel along one axis: a causal convolution, of which padding takes more or less.
fn depthwise(b: &mut Builder, call: &Call<'_>, x: V, weight: V) -> Result<Vec<Option<V>>> {
    let bias = call.optional(2).filter(|bias| !b.is_zero(*bias));
    let (Some(channels), [out, one_each, taps]) = (b.shape(x).get(1).cloned(), b.shape(weight)) else {
        fault!("{} is no filter for {}", b.ty(weight), b.ty(x));
    };
    let (filters, taps) = ([out.clone(), taps.clone()], taps.clone());
    if filters[0] != channels || !one_each.is(1) {
        fault!("{} is not one filter for every channel of {}", b.ty(weight), b.ty(x));
    }
    let pads = call.ints("pads")?.unwrap_or(&[0, 0]);
    let (before, after) = match pads {
        [before, after] if *before >= 0 && *after >= 0 => (Dim::constant(*before), Dim::constant(*after)),
        _ => fault!("attribute `pads` {pads:?} must be two amounts"),
    };
    let weight = b.reshape(weight, &filters)?;
    let mut rows = b.transpose(x, &[0, 2, 1])?;
    if !after.is(0) {
        let mut shape = b.shape(rows).to_vec();
        shape[1] = after.clone();
        let zeros = Known::Splat { shape, item: Elem::int(0) };
        let zeros = b.known_value(b.dtype(rows), zeros)?;
        rows = b.concat(&[rows, zeros], 1)?;
    }
    let outputs = b.apply_all(
        Op::CausalConv { activation: Activation::Identity },
        &[Some(rows), Some(weight), bias, None],
    )?;
    let Some(y) = outputs.first().copied() else {
        fault!("the convolution gave no output");
    };
    // Row s of y ends at row s of the input; a window begins with row `taps - 1 - before`.
    let start = taps - Dim::constant(1) - before;
    if !b.bounds.non_negative(&start) {
        fault!("padding wider than the filter is not supported");
    }
    let len = b.shape(y)[1].clone() - start.clone();
    if !b.bounds.non_negative(&len) {
        fault!("the filter {filters:?} may be wider than {}", b.ty(x));
    }
    let y = b.slice(y, 1, &start, &len, 1)?;
    one(b.transpose(y, &[0, 2, 1])?)
}

/// A convolution whose windows do not overlap cuts its input into blocks and multiplies each with the same matrix:
/// the patch embedding of vision models, and pointwise convolutions.
fn blockwise(b: &mut Builder, call: &Call<'_>, x: V, weight: V) -> Result<Vec<Option<V>>> {
    let bias = call.optional(2);
    let [batch, channels, space @ ..] = b.shape(x) else {
        fault!("{} is no image", b.ty(x));
    };
    let (batch, channels, space) = (batch.clone(), channels.clone(), space.to_vec());
    let [out_channels, in_channels, kernel @ ..] = b.shape(weight) else {
        fault!("{} is no kernel", b.ty(weight));
    };
    let (out_channels, in_channels, kernel) = (out_channels.clone(), in_channels.clone(), kernel.to_vec());
    if in_channels != channels || kernel.len() != space.len() {
        fault!("kernel {} does not fit {}", b.ty(weight), b.ty(x));
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
    if windows.iter().all(|count| count.is(1)) {
        // The kernel is as large as the image: rows are in order already.
        shape.push(out_channels);
        shape.extend(windows);
        return one(b.reshape(out, &shape)?);
    }
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
