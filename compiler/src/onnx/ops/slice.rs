//! Parts of tensors: Slice, Split, Concat.

use qwenc_ir::Dim;

use super::call::{Call, axis};
use super::one;
use super::registry::{OpEntry, standard};
use crate::onnx::known::{Bounds, Elem, Known};
use crate::onnx::values::{Builder, Result, V, fault};

pub(super) const OPS: &[OpEntry] =
    &[standard("Concat", concat), standard("Slice", slice), standard("Split", split)];

/// Most parts that one Split may have.
const MAX_PARTS: usize = 4096;

fn concat(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    let parts = call.all_inputs()?;
    let Some(first) = parts.first() else {
        fault!("no operands");
    };
    if !call.has("axis") {
        fault!("attribute `axis` is missing");
    }
    let at = call.axis(0, b.rank(*first))?;
    one(b.concat(&parts, at)?)
}

/// The elements of an operand of Slice, which may be far out of range ("to the end").
fn ends(b: &Builder, call: &Call<'_>, index: usize) -> Result<Option<Vec<Elem>>> {
    let Some(v) = call.optional(index) else {
        return Ok(None);
    };
    match b.known(v).filter(|_| !b.dtype(v).is_float()).and_then(Known::elements) {
        Some((_, items)) => Ok(Some(items)),
        None => fault!(
            "operand {index} (`{}`) is computed from data; only values that follow from the shapes of the inputs are \
             supported here. Export the model with this operand constant, or bind the input that it comes from",
            call.node.input.get(index).map_or("", String::as_str)
        ),
    }
}

fn slice(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    let mut x = call.input(0)?;
    let rank = b.rank(x);
    let (Some(starts), Some(stops)) = (ends(b, call, 1)?, ends(b, call, 2)?) else {
        fault!("operands 1 and 2, starts and ends, are missing");
    };
    let axes = match call.optional_constants(b, 3)? {
        Some(axes) => axes.iter().map(|value| axis(*value, rank)).collect::<Result<Vec<_>>>()?,
        None => (0..starts.len()).collect(),
    };
    let steps = call.optional_constants(b, 4)?.unwrap_or_else(|| vec![1; starts.len()]);
    if stops.len() != starts.len() || axes.len() != starts.len() || steps.len() != starts.len() {
        fault!("starts, ends, axes and steps have different lengths");
    }
    for (position, at) in axes.iter().enumerate() {
        let Some(size) = b.shape(x).get(*at).cloned() else {
            fault!("axis {at} does not exist in {}", b.ty(x));
        };
        if axes[..position].contains(at) {
            fault!("axis {at} is sliced twice");
        }
        let (start, len) = extent(&b.bounds, &size, &starts[position], &stops[position], steps[position])?;
        x = b.slice(x, *at, &start, &len, steps[position])?;
    }
    one(x)
}

/// Start and length of what a slice takes of an axis, with ONNX's rules for negative and excessive ends.
fn extent(bounds: &Bounds, size: &Dim, start: &Elem, stop: &Elem, step: i64) -> Result<(Dim, Dim)> {
    if step == 0 || step == i64::MIN {
        fault!("a slice with step {step}");
    }
    let zero = Dim::constant(0);
    let one = Dim::constant(1);
    if step > 0 {
        let start = clamped(bounds, size, start, &zero, size)?;
        let stop = clamped(bounds, size, stop, &zero, size)?;
        let len = bounds.max(&(stop - start.clone()).ceil_div(step), &zero);
        // An empty slice may start anywhere; from 0 it is inside.
        return Ok(if len.is(0) { (zero, len) } else { (start, len) });
    }
    let last = size.clone() - one.clone();
    let minus_one = zero.clone() - one;
    let start = clamped(bounds, size, start, &zero, &last)?;
    let stop = clamped(bounds, size, stop, &minus_one, &last)?;
    let len = bounds.max(&(start.clone() - stop).ceil_div(-step), &zero);
    Ok(if len.is(0) { (zero, len) } else { (start, len) })
}

/// An index that may count from the end, moved into `low..=high`.
fn clamped(bounds: &Bounds, size: &Dim, index: &Elem, low: &Dim, high: &Dim) -> Result<Dim> {
    let dim = match index {
        Elem::Wide(value) => return Ok(if *value < 0 { low.clone() } else { high.clone() }),
        Elem::Int(dim) => dim,
        Elem::Real(_) => fault!("an end of the slice is no integer"),
    };
    // Sizes are below 2^31, so that such numbers mean "to the end".
    const FAR: i64 = (1 << 31) - 1;
    match dim.as_const() {
        Some(value) if value >= FAR => return Ok(high.clone()),
        Some(value) if value <= -FAR => return Ok(low.clone()),
        _ => {}
    }
    let from_start = if bounds.non_negative(dim) {
        dim.clone()
    } else if bounds.negative(dim) {
        size.clone() + dim.clone()
    } else {
        fault!(
            "whether the end {dim} of the slice counts from the start or from the end is not known; bind its symbols"
        );
    };
    // The last index is inside even where an empty axis is not excluded: the slice is empty then.
    if from_start == *high {
        return Ok(from_start);
    }
    Ok(bounds.max(&bounds.min(&from_start, high), low))
}

fn split(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    let x = call.input(0)?;
    let at = call.axis(0, b.rank(x))?;
    let size = b.shape(x)[at].clone();
    let outputs = call.node.output.len();
    if outputs > MAX_PARTS {
        fault!("{outputs} parts are more than {MAX_PARTS}");
    }
    let stated = call.optional_int("num_outputs")?;
    let sizes = match call.optional_dims(b, 1)? {
        Some(sizes) => sizes,
        None => {
            // Up to opset 17 the number of outputs is what the node lists.
            let parts = match stated {
                Some(parts) => usize::try_from(parts).ok().filter(|parts| (1..=MAX_PARTS).contains(parts)),
                None => Some(outputs),
            };
            let Some(parts) = parts.and_then(|parts| i64::try_from(parts).ok()).filter(|parts| *parts > 0)
            else {
                fault!("a split into no parts");
            };
            equal_parts(&size, parts)?
        }
    };
    if sizes.len() < outputs {
        fault!("{outputs} outputs, but {} parts", sizes.len());
    }
    let total = sizes.iter().fold(Dim::constant(0), |sum, part| sum + part.clone());
    if total != size {
        fault!("the parts of the split sum to {total}, but axis {at} of {} is {size}", b.ty(x));
    }
    let mut start = Dim::constant(0);
    let mut parts = Vec::new();
    for part in &sizes {
        if b.bounds.negative(part) {
            fault!("a part of the split has the negative size {part}");
        }
        parts.push(Some(b.slice(x, at, &start, part, 1)?));
        start = start + part.clone();
    }
    Ok(parts)
}

/// Equal parts; the last one is smaller when the size does not divide.
fn equal_parts(size: &Dim, parts: i64) -> Result<Vec<Dim>> {
    if let Some(part) = size.exact_div(&Dim::constant(parts)) {
        return Ok((0..parts).map(|_| part.clone()).collect());
    }
    let Some(size) = size.as_const() else {
        fault!("size {size} does not provably divide into {parts} parts");
    };
    let part = size.saturating_add(parts - 1) / parts;
    let last = size - part * (parts - 1);
    if last < 0 {
        fault!("size {size} does not divide into {parts} parts");
    }
    let mut sizes = vec![Dim::constant(part); usize::try_from(parts - 1).unwrap_or(0)];
    sizes.push(Dim::constant(last));
    Ok(sizes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(size: Dim, start: i64, stop: i64, step: i64) -> (Dim, Dim) {
        extent(&Bounds::default(), &size, &Elem::int(start), &Elem::int(stop), step).unwrap()
    }

    fn of(start: i64, len: i64) -> (Dim, Dim) {
        (Dim::constant(start), Dim::constant(len))
    }

    #[test]
    fn ends_are_clamped() {
        let ten = || Dim::constant(10);
        assert_eq!(taken(ten(), 2, i64::MAX, 1), of(2, 8));
        assert_eq!(taken(ten(), -3, 100, 1), of(7, 3));
        assert_eq!(taken(ten(), -30, -1, 2), of(0, 5));
        assert_eq!(taken(ten(), 8, 3, 1), of(0, 0));
        assert_eq!(taken(ten(), -1, i64::MIN, -1), of(9, 10));
        assert_eq!(taken(ten(), 100, 4, -2), of(9, 3));
        assert_eq!(taken(ten(), 1, 3, -1), of(0, 0));
    }

    #[test]
    fn symbolic_sizes() {
        let n = Dim::sym("n");
        assert_eq!(taken(n.clone(), 0, i64::MAX, 1), (Dim::constant(0), n.clone()));
        assert_eq!(taken(n.clone(), -1, i64::MIN, -1).1, n.clone());
        let past = Elem::Int(Dim::sym("past"));
        let total = Dim::sym("past") + n.clone();
        let tail = extent(&Bounds::default(), &total, &past, &Elem::Wide(i64::MAX), 1).unwrap();
        assert_eq!(tail, (Dim::sym("past"), n));
    }

    #[test]
    fn uneven_splits() {
        assert_eq!(equal_parts(&Dim::constant(7), 3).unwrap(), [3, 3, 1].map(Dim::constant));
        assert!(equal_parts(&Dim::constant(3), 5).is_err());
        assert!(equal_parts(&Dim::sym("n"), 2).is_err());
    }
}
