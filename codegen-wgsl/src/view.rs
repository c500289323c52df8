//! Strided views into device buffers: how kernels address their operands.

use qwenc_ir::{DType, Dim};

/// Element type of a device buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Elem {
    /// 32-bit float.
    F32,
    /// 32-bit signed integer; also holds the IR's 64-bit integers, whose constants are checked to fit.
    I32,
    /// 32-bit unsigned integer; also holds booleans as 0 and 1, and 64-bit ones, whose constants are checked to fit.
    U32,
}

impl Elem {
    /// The WGSL type.
    pub const fn wgsl(self) -> &'static str {
        match self {
            Elem::F32 => "f32",
            Elem::I32 => "i32",
            Elem::U32 => "u32",
        }
    }

    /// How values of an IR type are held on the device; `None` for types that kernels do not compute in.
    pub const fn of(dtype: DType) -> Option<Self> {
        match dtype {
            DType::F32 | DType::F16 | DType::Bf16 | DType::F64 => Some(Elem::F32),
            DType::I64 | DType::I32 | DType::I16 | DType::I8 | DType::I4 | DType::I2 => Some(Elem::I32),
            DType::U64 | DType::U32 | DType::U16 | DType::U8 | DType::U4 | DType::U2 | DType::Bool => {
                Some(Elem::U32)
            }
        }
    }
}

/// Identifies a device allocation during lowering. Two views with the same key share memory and one binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BufferKey(pub u32);

/// A tensor's place in an allocation: element `i` lies at `offset + sum(i[axis] * strides[axis])`, in elements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// The allocation.
    pub buffer: BufferKey,
    /// Element type of the allocation.
    pub elem: Elem,
    /// Elements before the first.
    pub offset: Dim,
    /// Shape.
    pub shape: Vec<Dim>,
    /// Distance in elements per axis; 0 repeats.
    pub strides: Vec<Dim>,
}

impl View {
    /// A dense row-major view of a whole allocation.
    pub fn dense(buffer: BufferKey, elem: Elem, shape: Vec<Dim>) -> Self {
        let strides = dense_strides(&shape);
        Self { buffer, elem, offset: Dim::constant(0), shape, strides }
    }

    /// Number of axes.
    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// Number of elements.
    pub fn elements(&self) -> Dim {
        qwenc_ir::dim::product(&self.shape)
    }

    /// True when the elements lie row-major without gaps. Axes of size 1 do not count.
    pub fn is_dense(&self) -> bool {
        let dense = dense_strides(&self.shape);
        self.shape
            .iter()
            .zip(self.strides.iter().zip(&dense))
            .all(|(dim, (have, want))| dim.is(1) || have == want)
    }

    /// The view with axes of constant size 1 removed.
    #[must_use]
    pub fn squeezed(&self) -> Self {
        let keep: Vec<usize> = (0..self.rank()).filter(|axis| !self.shape[*axis].is(1)).collect();
        self.select_axes(&keep)
    }

    /// The view with only these axes, in this order; the caller drops only axes of size 1.
    #[must_use]
    pub fn select_axes(&self, axes: &[usize]) -> Self {
        Self {
            shape: axes.iter().map(|axis| self.shape[*axis].clone()).collect(),
            strides: axes.iter().map(|axis| self.strides[*axis].clone()).collect(),
            ..self.clone()
        }
    }

    /// The same elements under another shape, when strides can express it.
    ///
    /// Axes of both shapes are matched in groups of equal element count; each group of the old shape must be dense in
    /// itself (its inner strides multiply up), so that it can be split anew.
    pub fn reshaped(&self, shape: &[Dim]) -> Option<Self> {
        let old = self.squeezed();
        let mut strides = Vec::with_capacity(shape.len());
        let mut at = 0;
        let mut index = 0;
        while index < shape.len() {
            if shape[index].is(1) {
                strides.push(Dim::constant(0));
                index += 1;
                continue;
            }
            // Grow both sides until they hold the same number of elements.
            let (group_start, new_start) = (at, index);
            let mut have = Dim::constant(1);
            let mut want = Dim::constant(1);
            loop {
                if have == want && at > group_start {
                    break;
                }
                // Take from the side that is provably a divisor of the other; at the start take from both.
                if at == group_start || (at < old.rank() && want.exact_div(&have).is_some() && want != have) {
                    have = have * old.shape.get(at)?.clone();
                    at += 1;
                    if index == new_start {
                        want = want * shape[index].clone();
                        index += 1;
                    }
                } else if index < shape.len() {
                    want = want * shape[index].clone();
                    index += 1;
                } else {
                    return None;
                }
            }
            for axis in group_start..at - 1 {
                if old.strides[axis] != old.strides[axis + 1].clone() * old.shape[axis + 1].clone() {
                    return None;
                }
            }
            let mut stride = old.strides[at - 1].clone();
            let mut group = Vec::new();
            for dim in shape[new_start..index].iter().rev() {
                group.push(stride.clone());
                stride = stride * dim.clone();
            }
            strides.extend(group.into_iter().rev());
        }
        if at < old.rank() {
            return None;
        }
        Some(Self { shape: shape.to_vec(), strides, ..self.clone() })
    }

    /// The view as rows and columns: all axes but the last merged into one.
    pub fn as_rows(&self) -> Option<Self> {
        let (last, leading) = self.shape.split_last()?;
        self.reshaped(&[qwenc_ir::dim::product(leading), last.clone()])
    }
}

/// Row-major strides of a shape.
pub fn dense_strides(shape: &[Dim]) -> Vec<Dim> {
    let mut strides = vec![Dim::constant(1); shape.len()];
    for axis in (0..shape.len().saturating_sub(1)).rev() {
        strides[axis] = strides[axis + 1].clone() * shape[axis + 1].clone();
    }
    strides
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dims(values: &[i64]) -> Vec<Dim> {
        values.iter().map(|v| Dim::constant(*v)).collect()
    }

    fn tokens() -> Dim {
        Dim::sym("tokens")
    }

    #[test]
    fn splitting_and_merging_axes() {
        let view = View::dense(BufferKey(0), Elem::F32, vec![Dim::constant(1), tokens(), Dim::constant(64)]);
        let heads =
            view.reshaped(&[Dim::constant(1), tokens(), Dim::constant(4), Dim::constant(16)]).unwrap();
        assert_eq!(heads.strides[1..], [Dim::constant(64), Dim::constant(16), Dim::constant(1)]);
        let flat = heads.reshaped(&[tokens() * Dim::constant(4), Dim::constant(16)]).unwrap();
        assert_eq!(flat.strides, dims(&[16, 1]));
        assert_eq!(flat.reshaped(&[tokens() * Dim::constant(64)]).unwrap().strides, dims(&[1]));
    }

    #[test]
    fn a_slice_of_columns_splits_but_does_not_merge_with_rows() {
        let mut view = View::dense(BufferKey(0), Elem::F32, vec![tokens(), Dim::constant(100)]);
        view.shape[1] = Dim::constant(64);
        assert!(!view.is_dense());
        let heads = view.reshaped(&[tokens(), Dim::constant(4), Dim::constant(16)]).unwrap();
        assert_eq!(heads.strides, dims(&[100, 16, 1]));
        assert!(view.reshaped(&[tokens() * Dim::constant(4), Dim::constant(16)]).is_none());
        assert!(view.reshaped(&[tokens() * Dim::constant(64)]).is_none());
    }

    #[test]
    fn transposed_axes_do_not_merge() {
        let view = View::dense(BufferKey(0), Elem::F32, dims(&[3, 5])).select_axes(&[1, 0]);
        assert!(view.reshaped(&dims(&[15])).is_none());
        assert_eq!(view.reshaped(&dims(&[5, 1, 3])).unwrap().strides, dims(&[1, 0, 5]));
        assert!(view.reshaped(&dims(&[3, 5])).is_none());
    }

    #[test]
    fn regrouping_across_axes() {
        let view = View::dense(BufferKey(0), Elem::F32, dims(&[4, 6]));
        assert_eq!(view.reshaped(&dims(&[3, 8])).unwrap().strides, dims(&[8, 1]));
        assert_eq!(view.reshaped(&dims(&[2, 2, 6])).unwrap().strides, dims(&[12, 6, 1]));
        assert_eq!(view.reshaped(&dims(&[24, 1])).unwrap().strides, dims(&[1, 0]));
    }
}
