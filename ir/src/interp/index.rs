//! Positions in row-major tensors. Shapes were checked before: every product fits and every position is inside.

/// Elements to step over for one step along each axis.
pub(super) fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis];
    }
    strides
}

/// `offset` plus the dot product of index and strides, for every index of `shape` in row-major order.
pub(super) fn strided(shape: &[usize], strides: &[usize], offset: usize) -> Vec<usize> {
    let mut positions = vec![offset];
    for (size, stride) in shape.iter().zip(strides) {
        positions = positions.iter().flat_map(|base| (0..*size).map(move |i| base + i * stride)).collect();
    }
    positions
}

/// For every element of `target` the position of the element of `shape` that broadcasts to it.
pub(super) fn broadcast(shape: &[usize], target: &[usize]) -> Vec<usize> {
    let missing = target.len() - shape.len();
    let mut steps = vec![0; target.len()];
    for (axis, (size, stride)) in shape.iter().zip(strides(shape)).enumerate() {
        if *size != 1 {
            steps[missing + axis] = stride;
        }
    }
    strided(target, &steps, 0)
}

/// A shape seen along one axis: `outer` times `size` times `inner` elements.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lanes {
    /// Product of the dimensions before the axis.
    pub(super) outer: usize,
    /// The axis.
    pub(super) size: usize,
    /// Product of the dimensions behind the axis.
    pub(super) inner: usize,
}

impl Lanes {
    /// `axis` exists in `shape`.
    pub(super) fn new(shape: &[usize], axis: usize) -> Self {
        Self {
            outer: shape[..axis].iter().product(),
            size: shape[axis],
            inner: shape[axis + 1..].iter().product(),
        }
    }

    /// Position of element `at` of the lane (`outer`, `inner`).
    pub(super) fn position(self, outer: usize, at: usize, inner: usize) -> usize {
        (outer * self.size + at) * self.inner + inner
    }

    /// Every lane as (outer, inner), in row-major order.
    pub(super) fn each(self) -> impl Iterator<Item = (usize, usize)> {
        (0..self.outer).flat_map(move |outer| (0..self.inner).map(move |inner| (outer, inner)))
    }
}
