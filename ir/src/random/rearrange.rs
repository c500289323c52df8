//! Steps that move elements.

use super::Builder;
use crate::dim::Dim;
use crate::dtype::Scalar;
use crate::graph::ValueId;
use crate::infer::MAX_RANK;
use crate::op::Op;
use crate::tensor::Tensor;

impl Builder {
    /// Splits an axis, joins two, or adds or drops one of size 1.
    pub(super) fn reshape(&mut self) -> Option<ValueId> {
        let x = self.float_value(|_| true)?;
        let mut shape = self.ty(x).shape;
        match self.rng.below(4) {
            0 => {
                let axis = self.axis_of(&self.ty(x))?;
                let divisor = *[2i64, 3]
                    .iter()
                    .find(|divisor| shape[axis].as_const().is_some_and(|size| size % **divisor == 0))?;
                let quotient = shape[axis].floor_div(&Dim::constant(divisor));
                shape.splice(axis..=axis, [quotient, Dim::constant(divisor)]);
            }
            1 if shape.len() >= 2 => {
                let axis = self.rng.below(shape.len() - 1);
                let joined = shape[axis].clone() * shape[axis + 1].clone();
                shape.splice(axis..=axis + 1, [joined]);
            }
            2 => {
                let axis = shape.iter().position(|dim| dim.is(1))?;
                shape.remove(axis);
            }
            _ => {
                let axis = self.rng.below(shape.len() + 1);
                shape.insert(axis, Dim::constant(1));
            }
        }
        if shape.len() > MAX_RANK - 3 {
            return None;
        }
        self.apply(Op::Reshape { shape }, &[x])
    }

    pub(super) fn transpose(&mut self) -> Option<ValueId> {
        let x = self.float_value(|ty| ty.rank() >= 2)?;
        let mut perm: Vec<usize> = (0..self.ty(x).rank()).collect();
        for at in (1..perm.len()).rev() {
            let other = self.rng.below(at + 1);
            perm.swap(at, other);
        }
        self.apply(Op::Transpose { perm }, &[x])
    }

    pub(super) fn slice(&mut self) -> Option<ValueId> {
        let x = self.float_value(|ty| ty.rank() > 0)?;
        let ty = self.ty(x);
        let axis = self.axis_of(&ty)?;
        let (start, len, step) = match ty.shape[axis].as_usize() {
            Some(0) => return None,
            Some(size) => {
                let (first, last) = (self.rng.below(size), self.rng.below(size));
                let stride = 1 + self.rng.below(2);
                let len = first.abs_diff(last) / stride + 1;
                let step = i64::try_from(stride).ok()?;
                (Dim::from(first), Dim::from(len), if first <= last { step } else { -step })
            }
            // Only `tokens` is never zero: its last row exists. Of any size the whole can be taken, also backwards.
            None if ty.shape[axis].as_sym() == Some("tokens") && self.rng.one_in(2) => {
                (ty.shape[axis].clone() - Dim::constant(1), Dim::constant(1), 1)
            }
            None if self.rng.one_in(2) => {
                (ty.shape[axis].clone() - Dim::constant(1), ty.shape[axis].clone(), -1)
            }
            None => (Dim::constant(0), ty.shape[axis].clone(), 1),
        };
        self.apply(Op::Slice { axis, start, len, step }, &[x])
    }

    pub(super) fn concat(&mut self) -> Option<ValueId> {
        let x = self.float_value(|ty| ty.rank() > 0)?;
        let ty = self.ty(x);
        let axis = self.axis_of(&ty)?;
        let fits = |other: &crate::graph::ValueType| {
            other.rank() == ty.rank()
                && (0..ty.rank()).all(|at| at == axis || other.shape[at] == ty.shape[at])
        };
        let other = self.float_value(fits)?;
        let mut parts = vec![x, other];
        if self.rng.one_in(3) {
            parts.push(x);
        }
        self.apply(Op::Concat { axis }, &parts)
    }

    pub(super) fn expand(&mut self) -> Option<ValueId> {
        let x = self.float_value(|ty| ty.shape.iter().any(|dim| dim.is(1)))?;
        let mut shape = self.ty(x).shape;
        let axis = shape.iter().position(|dim| dim.is(1))?;
        shape[axis] = if self.rng.one_in(2) { Dim::constant(3) } else { Dim::sym("tokens") };
        self.apply(Op::Expand { shape }, &[x])
    }

    pub(super) fn pad(&mut self) -> Option<ValueId> {
        let x = self.float_value(|ty| ty.rank() > 0)?;
        let rank = self.ty(x).rank();
        let mut amounts = |_| (0..rank).map(|_| Dim::from(self.rng.below(3) / 2)).collect::<Vec<_>>();
        let (before, after) = (amounts(0), amounts(1));
        let value = Scalar::F32(self.rng.float(-1.0, 1.0));
        self.apply(Op::Pad { before, after, value }, &[x])
    }

    /// Entries of an axis by a constant list, some counted from the end.
    pub(super) fn gather(&mut self) -> Option<ValueId> {
        let x = self.float_value(|ty| ty.rank() > 0)?;
        let ty = self.ty(x);
        let axis = self.axis_of(&ty)?;
        let size = ty.shape[axis].as_usize().filter(|size| *size > 0)?;
        let (low, high) = (-i32::try_from(size).ok()?, i32::try_from(size).ok()? - 1);
        let count = 1 + self.rng.below(3);
        let indices: Vec<i64> = (0..count).map(|_| self.rng.int(low.into(), high.into())).collect();
        let shape = if count == 1 && self.rng.one_in(2) { vec![] } else { vec![count] };
        let name = self.name("indices");
        let indices = self.graph.add_const(name, Tensor::from_i64(shape, &indices).ok()?);
        self.apply(Op::Gather { axis }, &[x, indices])
    }
}
