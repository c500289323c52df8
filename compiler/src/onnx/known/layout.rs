//! Rearranging known elements: reshape, transpose, slice, gather, concat, broadcast.

use qwenc_ir::{Dim, infer};

use super::{Elem, Known, constant_shape, count};

/// Row-major position of `index` in `shape`.
fn flat(index: &[usize], shape: &[usize]) -> usize {
    index.iter().zip(shape).fold(0, |position, (i, size)| position * size + i)
}

/// A tensor of `shape`, whose element at an index is the item that `source` names; `None` when there is none.
fn build(shape: Vec<usize>, items: &[Elem], source: impl Fn(&[usize]) -> usize) -> Option<Known> {
    let total = count(&shape)?;
    let mut out = Vec::with_capacity(total);
    let mut index = vec![0; shape.len()];
    for _ in 0..total {
        out.push(items.get(source(&index))?.clone());
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            if index[axis] < shape[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
    Some(Known::Elements { shape, items: out })
}

impl Known {
    /// The same elements under another shape; the caller has checked the counts.
    pub(in crate::onnx) fn reshaped(&self, shape: &[Dim]) -> Option<Known> {
        Some(match self {
            Known::Elements { items, .. } => {
                let shape = constant_shape(shape)?;
                if count(&shape)? != items.len() {
                    return None;
                }
                Known::Elements { shape, items: items.clone() }
            }
            Known::Splat { item, .. } => Known::Splat { shape: shape.to_vec(), item: item.clone() },
            Known::Ramp { start, step, .. } => {
                Known::Ramp { shape: shape.to_vec(), start: start.clone(), step: *step }
            }
        })
    }

    /// Axes permuted; the permutation is valid.
    pub(in crate::onnx) fn transposed(&self, perm: &[usize]) -> Option<Known> {
        if let Known::Splat { shape, item } = self {
            let shape = perm.iter().map(|axis| shape.get(*axis).cloned()).collect::<Option<_>>()?;
            return Some(Known::Splat { shape, item: item.clone() });
        }
        let (shape, items) = self.elements()?;
        let out = perm.iter().map(|axis| shape.get(*axis).copied()).collect::<Option<_>>()?;
        build(out, &items, |index| {
            let mut from = vec![0; shape.len()];
            for (axis, at) in perm.iter().zip(index) {
                from[*axis] = *at;
            }
            flat(&from, &shape)
        })
    }

    /// `len` elements along `axis`, from `start`, `step` apart; the range is valid.
    pub(in crate::onnx) fn sliced(&self, axis: usize, start: &Dim, len: &Dim, step: i64) -> Option<Known> {
        if let Known::Splat { shape, item } = self {
            let mut shape = shape.clone();
            *shape.get_mut(axis)? = len.clone();
            return Some(Known::Splat { shape, item: item.clone() });
        }
        if let Known::Ramp { shape, start: first, step: stride } = self
            && shape.len() == 1
        {
            let first = first.clone() + start.clone() * Dim::constant(*stride);
            return Some(Known::Ramp {
                shape: vec![len.clone()],
                start: first,
                step: stride.checked_mul(step)?,
            });
        }
        let (shape, items) = self.elements()?;
        let (start, len) = (start.as_const()?, len.as_usize()?);
        let mut out = shape.clone();
        *out.get_mut(axis)? = len;
        build(out, &items, |index| {
            let mut from = index.to_vec();
            let at = i64::try_from(index[axis]).unwrap_or(0);
            // An index below zero names no item, and the result is not known then.
            from[axis] = usize::try_from(start + at * step).unwrap_or(usize::MAX / 2);
            if from[axis] < shape[axis] { flat(&from, &shape) } else { usize::MAX }
        })
    }

    /// Slices along `axis` by constant indices, which have been made non-negative.
    pub(in crate::onnx) fn gathered(
        &self,
        axis: usize,
        indices: &[usize],
        indices_shape: &[usize],
    ) -> Option<Known> {
        let (shape, items) = self.elements()?;
        let mut out = shape.get(..axis)?.to_vec();
        out.extend(indices_shape);
        out.extend(shape.get(axis + 1..)?);
        let inner = indices_shape.len();
        build(out, &items, |index| {
            let at =
                indices.get(flat(&index[axis..axis + inner], indices_shape)).copied().unwrap_or(usize::MAX);
            if at >= shape[axis] {
                return usize::MAX;
            }
            let mut from = index[..axis].to_vec();
            from.push(at);
            from.extend(&index[axis + inner..]);
            flat(&from, &shape)
        })
    }

    /// Tensors joined along `axis`; their other sizes agree.
    pub(in crate::onnx) fn joined(parts: &[Known], axis: usize) -> Option<Known> {
        if let Some(whole) = joined_splats(parts, axis) {
            return Some(whole);
        }
        let parts: Vec<(Vec<usize>, Vec<Elem>)> = parts.iter().map(Known::elements).collect::<Option<_>>()?;
        let mut shape = parts.first()?.0.clone();
        let width = shape.get_mut(axis)?;
        *width = 0;
        let mut items = Vec::new();
        let mut starts = Vec::new();
        for (part, part_items) in &parts {
            starts.push((*width, items.len(), part));
            *width = width.checked_add(*part.get(axis)?)?;
            items.extend(part_items.iter().cloned());
        }
        build(shape, &items, |index| {
            let part = starts.iter().rfind(|(start, _, part)| index[axis] >= *start && part[axis] > 0);
            let Some((start, offset, part)) = part else {
                return usize::MAX;
            };
            let mut from = index.to_vec();
            from[axis] -= start;
            offset + flat(&from, part)
        })
    }

    /// Broadcast to a shape; broadcasting is valid.
    pub(in crate::onnx) fn expanded(&self, shape: &[Dim]) -> Option<Known> {
        if let Some(item) = self.uniform() {
            let splat = Known::Splat { shape: shape.to_vec(), item: item.clone() };
            return Some(splat.elements().map_or(splat, |(shape, items)| Known::Elements { shape, items }));
        }
        if self.shape() == shape {
            return Some(self.clone());
        }
        let (from, items) = self.elements()?;
        let out = constant_shape(shape)?;
        let skip = out.len().checked_sub(from.len())?;
        build(out, &items, |index| {
            let at: Vec<usize> =
                index[skip..].iter().zip(&from).map(|(i, size)| if *size == 1 { 0 } else { *i }).collect();
            flat(&at, &from)
        })
    }

    /// Known tensors brought to their common shape.
    pub(in crate::onnx) fn broadcast(parts: &[&Known]) -> Option<(Vec<Dim>, Vec<Known>)> {
        let shapes: Vec<Vec<Dim>> = parts.iter().map(|part| part.shape()).collect();
        let shape = infer::broadcast(shapes.iter().map(Vec::as_slice)).ok()?;
        let parts = parts.iter().map(|part| part.expanded(&shape)).collect::<Option<_>>()?;
        Some((shape, parts))
    }
}

fn joined_splats(parts: &[Known], axis: usize) -> Option<Known> {
    let first = parts.first()?;
    let item = first.uniform()?;
    let mut shape = first.shape();
    *shape.get_mut(axis)? = Dim::constant(0);
    for part in parts {
        if part.uniform()? != item {
            return None;
        }
        let width = part.shape().get(axis)?.clone();
        let slot = shape.get_mut(axis)?;
        *slot = slot.clone() + width;
    }
    let splat = Known::Splat { shape, item: item.clone() };
    Some(splat.elements().map_or(splat, |(shape, items)| Known::Elements { shape, items }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix() -> Known {
        Known::Elements { shape: vec![2, 3], items: (0..6).map(Elem::int).collect() }
    }

    fn values(known: &Known) -> Vec<i64> {
        known.elements().unwrap().1.iter().map(|item| item.constant().unwrap()).collect()
    }

    #[test]
    fn rearranging() {
        let (zero, one, two) = (Dim::constant(0), Dim::constant(1), Dim::constant(2));
        assert_eq!(values(&matrix().transposed(&[1, 0]).unwrap()), [0, 3, 1, 4, 2, 5]);
        assert_eq!(values(&matrix().sliced(1, &two, &two, -1).unwrap()), [2, 1, 5, 4]);
        assert_eq!(values(&matrix().gathered(0, &[1, 1], &[2]).unwrap()), [3, 4, 5, 3, 4, 5]);
        assert_eq!(values(&matrix().gathered(1, &[2], &[]).unwrap()), [2, 5]);
        assert_eq!(
            values(&Known::joined(&[matrix(), matrix()], 1).unwrap()),
            [0, 1, 2, 0, 1, 2, 3, 4, 5, 3, 4, 5]
        );
        let row = matrix().sliced(0, &one, &one, 1).unwrap();
        assert_eq!(values(&row.expanded(&[two.clone(), Dim::constant(3)]).unwrap()), [3, 4, 5, 3, 4, 5]);
        assert!(matrix().gathered(0, &[2], &[]).is_none());
        assert!(matrix().sliced(0, &zero, &two, -1).is_none());
    }

    #[test]
    fn splats_and_ramps_stay_symbolic() {
        let n = Dim::sym("n");
        let ones = Known::Splat { shape: vec![n.clone()], item: Elem::int(1) };
        let joined = Known::joined(&[ones.clone(), ones.clone()], 0).unwrap();
        assert_eq!(joined.shape(), [n.clone() * Dim::constant(2)]);
        let ramp = Known::Ramp { shape: vec![n.clone()], start: Dim::constant(0), step: 1 };
        let tail = ramp.sliced(0, &Dim::constant(2), &(n.clone() - Dim::constant(2)), 1).unwrap();
        assert_eq!(tail, Known::Ramp { shape: vec![n - Dim::constant(2)], start: Dim::constant(2), step: 1 });
    }
}
