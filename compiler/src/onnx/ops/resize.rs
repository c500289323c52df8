//! Resampling: `Resize`.
//!
//! Every mode is linear and works on one axis at a time. Nearest neighbours are a gather with constant indices, the others
//! a product with a constant matrix `[out, in]`. Sizes must therefore be fixed along the axes that change.

use qwenc_ir::{BinaryOp, Dim, Expr, Op, Tensor};

use super::call::{Call, axis};
use super::one;
use super::registry::{OpEntry, standard};
use crate::onnx::known::{Elem, Known};
use crate::onnx::values::{Builder, Result, V, fault};

pub(super) const OPS: &[OpEntry] = &[standard("Resize", resize)];

/// Most elements of the matrix of one axis.
const MAX_MATRIX: usize = 1 << 22;

/// How a value between elements is found.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode<'a> {
    Nearest(&'a str),
    Linear,
    /// With the coefficient that ONNX calls `cubic_coeff_a`.
    Cubic(f64),
}

/// Where an output element lies in the input.
struct Coordinates<'a> {
    transformation: &'a str,
    size: f64,
    scale: f64,
    /// Number of output elements.
    count: usize,
    /// Start and end of the region of interest, in parts of the axis.
    region: [f64; 2],
}

#[expect(clippy::cast_precision_loss, reason = "sizes are far below 2^53")]
const fn real(value: usize) -> f64 {
    value as f64
}

impl Coordinates<'_> {
    /// The place of output element `at`, in input elements.
    fn of(&self, at: usize) -> Result<f64> {
        let (at, wide) = (real(at), self.scale * self.size);
        let half_pixel = (at + 0.5) / self.scale - 0.5;
        #[expect(clippy::float_cmp, reason = "ONNX compares exactly")]
        let single = wide == 1.0;
        Ok(match self.transformation {
            "half_pixel" => half_pixel,
            "pytorch_half_pixel" => {
                if single {
                    -0.5
                } else {
                    half_pixel
                }
            }
            "half_pixel_symmetric" => half_pixel + self.size / 2.0 * (1.0 - real(self.count) / wide),
            "asymmetric" => at / self.scale,
            "align_corners" => {
                if single {
                    0.0
                } else {
                    at * (self.size - 1.0) / (wide - 1.0)
                }
            }
            "tf_crop_and_resize" => {
                let [start, end] = self.region;
                let extent = (end - start) * (self.size - 1.0);
                let within = if single { extent / 2.0 } else { at * extent / (wide - 1.0) };
                within + start * (self.size - 1.0)
            }
            other => fault!("attribute `coordinate_transformation_mode` = {other} is not known"),
        })
    }
}

/// The weight of an element at a distance.
fn weight(mode: Mode<'_>, distance: f64) -> f64 {
    let d = distance.abs();
    match mode {
        Mode::Cubic(a) if d <= 1.0 => ((a + 2.0) * d - (a + 3.0)) * d * d + 1.0,
        Mode::Cubic(a) if d < 2.0 => ((a * d - 5.0 * a) * d + 8.0 * a) * d - 4.0 * a,
        Mode::Cubic(_) => 0.0,
        _ => (1.0 - d).max(0.0),
    }
}

/// The neighbour that is nearest by ONNX's four ways to round.
fn nearest(place: f64, rounding: &str) -> Result<f64> {
    Ok(match rounding {
        "round_prefer_floor" => (place - 0.5).ceil(),
        "round_prefer_ceil" => (place + 0.5).floor(),
        "floor" => place.floor(),
        "ceil" => place.ceil(),
        other => fault!("attribute `nearest_mode` = {other} is not known"),
    })
}

/// An index moved into `0..size`.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to an index before")]
fn clamped(index: f64, size: usize) -> usize {
    index.clamp(0.0, real(size.saturating_sub(1))) as usize
}

/// One row of the matrix: what an output element takes of every input element.
fn row(mode: Mode<'_>, place: f64, size: usize, shrink: f64, exclude_outside: bool) -> Result<Vec<f64>> {
    let mut row = vec![0.0; size];
    if let Mode::Nearest(rounding) = mode {
        row[clamped(nearest(place, rounding)?, size)] = 1.0;
        return Ok(row);
    }
    let reach = if matches!(mode, Mode::Cubic(_)) { 2.0 } else { 1.0 } / shrink;
    let mut total = 0.0;
    let mut index = (place - reach).floor();
    while index <= (place + reach).ceil() {
        let outside = index < 0.0 || index >= real(size);
        if !(outside && exclude_outside) {
            let part = weight(mode, (index - place) * shrink);
            row[clamped(index, size)] += part;
            total += part;
        }
        index += 1.0;
    }
    if total != 0.0 {
        row.iter_mut().for_each(|part| *part /= total);
    }
    Ok(row)
}

/// Numbers in an operand that must be constant.
fn numbers(b: &Builder, call: &Call<'_>, index: usize) -> Result<Option<Vec<f64>>> {
    let Some(v) = call.optional(index) else {
        return Ok(None);
    };
    let number = |item: Elem| match item {
        Elem::Real(value) => Some(f64::from(value)),
        Elem::Int(_) => item.scalar(qwenc_ir::DType::F32).map(|scalar| f64::from(scalar.as_f32())),
        Elem::Wide(_) => None,
    };
    let items = b.known(v).and_then(Known::elements).map(|(_, items)| items);
    match items.and_then(|items| items.into_iter().map(number).collect::<Option<Vec<f64>>>()) {
        Some(values) if values.is_empty() => Ok(None),
        Some(values) => Ok(Some(values)),
        None => fault!("operand {index} (`{}`) must be constant", call.node.input[index]),
    }
}

/// An axis that changes.
struct Change {
    at: usize,
    size: usize,
    count: usize,
    scale: f64,
    region: [f64; 2],
}

/// The factors by which all axes grow, when they are whole numbers: then every element is repeated, and sizes may be open.
fn whole_factors(b: &Builder, call: &Call<'_>, x: V) -> Result<Option<Vec<i64>>> {
    if call.ints("axes")?.is_some() || call.optional(3).is_some_and(|sizes| !b.ty(sizes).elements().is(0)) {
        return Ok(None);
    }
    let scales = numbers(b, call, 2)?.unwrap_or_default();
    if scales.len() != b.rank(x) || !scales.iter().all(|s| s.fract() == 0.0 && (1.0..4096.0).contains(s)) {
        return Ok(None);
    }
    // Asked for here, so that they count as seen; they have no effect on a repetition.
    call.ignore_input(1);
    call.ignore(&["keep_aspect_ratio_policy"]);
    #[expect(clippy::cast_possible_truncation, reason = "whole and small")]
    let factors = scales.iter().map(|scale| *scale as i64).collect();
    Ok(Some(factors))
}

/// Every element as often as the factor of each axis says, next to each other.
fn repeat(b: &mut Builder, x: V, factors: &[i64]) -> Result<V> {
    let mut v = x;
    for (at, factor) in factors.iter().enumerate().filter(|(_, factor)| **factor != 1) {
        let mut shape = b.shape(v).to_vec();
        let size = shape[at].clone();
        shape.insert(at + 1, Dim::constant(1));
        v = b.reshape(v, &shape)?;
        shape[at + 1] = Dim::constant(*factor);
        v = b.expand(v, &shape)?;
        shape.remove(at + 1);
        shape[at] = size * Dim::constant(*factor);
        v = b.reshape(v, &shape)?;
    }
    Ok(v)
}

/// Sizes and scales of the axes, from either operand.
fn changes(b: &Builder, call: &Call<'_>, x: V) -> Result<Vec<Change>> {
    let rank = b.rank(x);
    let axes = match call.ints("axes")? {
        Some(axes) => axes.iter().map(|value| axis(*value, rank)).collect::<Result<Vec<_>>>()?,
        None => (0..rank).collect(),
    };
    let region = numbers(b, call, 1)?.filter(|region| region.len() == 2 * axes.len());
    let (scales, sizes) = (numbers(b, call, 2)?, call.optional_dims(b, 3)?.filter(|sizes| !sizes.is_empty()));
    let policy = call.text("keep_aspect_ratio_policy", "stretch")?;
    let given = scales.as_ref().map(Vec::len).or(sizes.as_ref().map(Vec::len));
    if given != Some(axes.len()) || scales.is_some() == sizes.is_some() {
        fault!("either scales or sizes must be given, one for each of {} axes", axes.len());
    }
    let mut out = Vec::new();
    for (position, at) in axes.iter().copied().enumerate() {
        let stated = &b.shape(x)[at];
        let untouched = match (&scales, &sizes) {
            (Some(scales), _) => (scales[position] - 1.0).abs() < 1e-9,
            (_, Some(sizes)) => policy == "stretch" && sizes[position] == *stated,
            _ => true,
        };
        let region = region.as_ref().map_or([0.0, 1.0], |all| [all[position], all[axes.len() + position]]);
        if untouched && (region[0].abs() + (region[1] - 1.0).abs()) < 1e-9 {
            continue;
        }
        let Some(size) = stated.as_usize().filter(|size| *size > 0) else {
            fault!(
                "axis {at} is resized and must have a fixed size, not {stated}; give its symbol one with --dim"
            );
        };
        let (scale, count) = match (&scales, &sizes) {
            (Some(scales), _) => (scales[position], (scales[position] * real(size)).floor()),
            (_, Some(sizes)) => {
                let Some(count) = sizes[position].as_usize() else {
                    fault!("size {} of axis {at} must be fixed", sizes[position]);
                };
                (real(count) / real(size), real(count))
            }
            _ => (1.0, real(size)),
        };
        if !(scale > 0.0 && count >= 1.0 && count * real(size) <= real(MAX_MATRIX)) {
            fault!("axis {at} is resized from {size} to {count} elements, which is not supported");
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded above")]
        out.push(Change { at, size, count: count as usize, scale, region });
    }
    keep_ratio(policy, &mut out)?;
    Ok(out)
}

/// One scale for all axes, where the aspect ratio is to be kept.
fn keep_ratio(policy: &str, changes: &mut [Change]) -> Result<()> {
    let scales = changes.iter().map(|change| change.scale);
    let scale = match policy {
        "stretch" => return Ok(()),
        "not_larger" => scales.fold(f64::INFINITY, f64::min),
        "not_smaller" => scales.fold(0.0, f64::max),
        other => fault!("attribute `keep_aspect_ratio_policy` = {other} is not known"),
    };
    for change in changes {
        let count = (scale * real(change.size) + 0.5).floor();
        if !(count >= 1.0 && count * real(change.size) <= real(MAX_MATRIX)) {
            fault!("axis {} would get {count} elements", change.at);
        }
        change.scale = scale;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded above")]
        let count = count as usize;
        change.count = count;
    }
    Ok(())
}

fn resize(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    let rounding = call.text("nearest_mode", "round_prefer_floor")?;
    let cubic = call.float("cubic_coeff_a", -0.75)?;
    let mode = match call.text("mode", "nearest")? {
        "nearest" => Mode::Nearest(rounding),
        "linear" => Mode::Linear,
        "cubic" => Mode::Cubic(f64::from(cubic)),
        other => fault!("attribute `mode` = {other} is not known"),
    };
    let transformation = call.text("coordinate_transformation_mode", "half_pixel")?;
    let (antialias, exclude) = (call.flag("antialias", false)?, call.flag("exclude_outside", false)?);
    let outside = call.float("extrapolation_value", 0.0)?;
    let mut x = call.input(0)?;
    if let (Mode::Nearest(rounding), Some(factors)) = (mode, whole_factors(b, call, x)?) {
        let plain = matches!(
            (transformation, rounding),
            ("asymmetric", "floor") | ("half_pixel", "round_prefer_floor" | "round_prefer_ceil")
        );
        if plain {
            return one(repeat(b, x, &factors)?);
        }
    }
    for change in changes(b, call, x)? {
        let Change { at, size, count, scale, region } = change;
        let coordinates = Coordinates { transformation, size: real(size), scale, count, region };
        let places = (0..count).map(|index| coordinates.of(index)).collect::<Result<Vec<f64>>>()?;
        let cropped = transformation == "tf_crop_and_resize";
        if let (Mode::Nearest(rounding), false) = (mode, cropped) {
            let mut indices = Vec::with_capacity(count);
            for place in &places {
                indices.push(i64::try_from(clamped(nearest(*place, rounding)?, size)).unwrap_or(0));
            }
            let indices = b.generated("resize.indices", Tensor::from_i64(vec![count], &indices)?)?;
            x = b.apply(Op::Gather { axis: at }, &[x, indices])?;
            continue;
        }
        let shrink = if antialias { scale.min(1.0) } else { 1.0 };
        let mut matrix = Vec::with_capacity(size * count);
        let mut beyond = Vec::with_capacity(count);
        for place in &places {
            let out = cropped && (*place < 0.0 || *place > real(size - 1));
            let row = if out { vec![0.0; size] } else { row(mode, *place, size, shrink, exclude)? };
            #[expect(clippy::cast_possible_truncation, reason = "weights are used as f32")]
            matrix.extend(row.into_iter().map(|part| part as f32));
            beyond.push(if out { outside } else { 0.0 });
        }
        x = along(b, x, at, [count, size], &matrix, &beyond)?;
    }
    one(x)
}

/// The product of a matrix `[out, in]` with an axis of x, plus a constant for every output element.
fn along(b: &mut Builder, x: V, at: usize, shape: [usize; 2], matrix: &[f32], plus: &[f32]) -> Result<V> {
    let dtype = b.dtype(x);
    let x = b.cast(x, qwenc_ir::DType::F32)?;
    let matrix = b.generated("resize.matrix", Tensor::from_f32(shape.to_vec(), matrix)?)?;
    // [outer, in, inner], so that the axis is that of a matrix's rows.
    let own = b.shape(x).to_vec();
    let (outer, inner) = (qwenc_ir::dim::product(&own[..at]), qwenc_ir::dim::product(&own[at + 1..]));
    let rows = b.reshape(x, &[outer, Dim::from(shape[1]), inner])?;
    let mut out = b.apply(Op::MatMul { transpose_a: false, transpose_b: false }, &[matrix, rows])?;
    if plus.iter().any(|value| *value != 0.0) {
        let plus = b.generated("resize.outside", Tensor::from_f32(vec![shape[0], 1], plus)?)?;
        out = b.pointwise(&Expr::Arg(0).binary(BinaryOp::Add, Expr::Arg(1)), &[out, plus])?;
    }
    let mut shape_out = own;
    shape_out[at] = Dim::from(shape[0]);
    let out = b.reshape(out, &shape_out)?;
    b.cast(out, dtype)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding() {
        let all = |rounding| [0.4, 0.5, 0.6, 1.0].map(|place| nearest(place, rounding).unwrap());
        assert_eq!(all("round_prefer_floor"), [0.0, 0.0, 1.0, 1.0]);
        assert_eq!(all("round_prefer_ceil"), [0.0, 1.0, 1.0, 1.0]);
        assert_eq!(all("floor"), [0.0, 0.0, 0.0, 1.0]);
        assert_eq!(all("ceil"), [1.0, 1.0, 1.0, 1.0]);
    }

    #[test]
    fn rows_sum_to_one_and_repeat_the_edge() {
        assert_eq!(row(Mode::Linear, -0.25, 3, 1.0, false).unwrap(), [1.0, 0.0, 0.0]);
        assert_eq!(row(Mode::Linear, 0.25, 3, 1.0, false).unwrap(), [0.75, 0.25, 0.0]);
        let cubic = row(Mode::Cubic(-0.75), 0.5, 4, 1.0, true).unwrap();
        assert!((cubic.iter().sum::<f64>() - 1.0).abs() < 1e-12);
    }
}
