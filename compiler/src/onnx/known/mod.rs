//! Values that are known while importing, symbolically: the shape arithmetic that exporters leave in graphs.
//!
//! A known value is a small tensor of elements, or a large one with a rule. Elements are symbolic integers (also the
//! integral ones of float tensors, such as a mask of ones) or floats. Evaluation is exact or does not happen:
//! whatever is not provable gives `None`, and the computation goes into the graph instead.

mod bounds;
mod eval;
mod layout;

pub(super) use bounds::Bounds;
pub(super) use eval::eval;

use qwenc_ir::{DType, Dim, Scalar, Tensor};

/// Most elements that are held one by one.
pub(super) const MAX_ELEMENTS: usize = 4096;
/// Most elements of a float constant that are held: scalars and the like, not weights.
const MAX_FLOATS: usize = 8;

/// One element.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Elem {
    /// An integer, a boolean (0 or 1), or an integral float.
    Int(Dim),
    /// A float.
    Real(f32),
    /// An integer beyond the range of dimensions, such as the "to the end" of a slice. It can be moved and compared
    /// with a bound, but not computed with.
    Wide(i64),
}

/// A known tensor.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Known {
    /// Every element, row-major.
    Elements {
        /// The shape; its product is the number of items.
        shape: Vec<usize>,
        /// The elements.
        items: Vec<Elem>,
    },
    /// One element everywhere.
    Splat {
        /// The shape.
        shape: Vec<Dim>,
        /// The element.
        item: Elem,
    },
    /// `start`, `start + step`, ... in row-major order.
    Ramp {
        /// The shape.
        shape: Vec<Dim>,
        /// The first element.
        start: Dim,
        /// The difference.
        step: i64,
    },
}

impl Elem {
    /// An integer of any size.
    pub(super) fn int(value: i64) -> Self {
        let dim = Dim::constant(value);
        if dim.is_poison() { Elem::Wide(value) } else { Elem::Int(dim) }
    }

    /// A float of a type. Those that are integers are kept as such, to compute with them exactly.
    pub(super) fn float(value: f32, dtype: DType) -> Self {
        match eval::integral(value) {
            Some(integer) if eval::fits(integer, dtype) && !(integer == 0 && value.is_sign_negative()) => {
                Elem::int(integer)
            }
            _ => Elem::Real(value),
        }
    }

    /// The whole number that the element is.
    pub(super) fn whole(&self) -> Option<Dim> {
        match self {
            Elem::Int(dim) => Some(dim.clone()),
            Elem::Real(value) => eval::integral(*value).map(Dim::constant),
            Elem::Wide(_) => None,
        }
    }

    /// The dimension, for an integer.
    pub(super) fn dim(&self) -> Option<&Dim> {
        match self {
            Elem::Int(dim) => Some(dim),
            _ => None,
        }
    }

    /// The integer, when it is constant.
    pub(super) fn constant(&self) -> Option<i64> {
        match self {
            Elem::Int(dim) => dim.as_const(),
            Elem::Wide(value) => Some(*value),
            Elem::Real(_) => None,
        }
    }

    /// The value as a constant of an element type.
    pub(super) fn scalar(&self, dtype: DType) -> Option<Scalar> {
        match self {
            Elem::Real(value) => Some(Scalar::F32(*value)),
            _ if dtype.is_float() => Some(Scalar::F32(Scalar::Int(self.constant()?).as_f32())),
            _ if dtype == DType::Bool => Some(Scalar::Bool(self.constant()? != 0)),
            _ => Some(Scalar::Int(self.constant()?)),
        }
    }

    /// True when the value is provably zero.
    pub(super) fn is_zero(&self) -> bool {
        match self {
            Elem::Int(dim) => dim.is(0),
            Elem::Real(value) => *value == 0.0,
            Elem::Wide(_) => false,
        }
    }
}

impl Known {
    /// A scalar.
    pub(super) fn scalar(item: Elem) -> Self {
        Known::Elements { shape: vec![], items: vec![item] }
    }

    /// A vector.
    pub(super) fn vector(items: Vec<Elem>) -> Self {
        Known::Elements { shape: vec![items.len()], items }
    }

    /// The content of a constant, when it is small enough.
    pub(super) fn from_tensor(tensor: &Tensor) -> Option<Self> {
        let limit = if tensor.dtype().is_float() { MAX_FLOATS } else { MAX_ELEMENTS };
        if tensor.len() > limit {
            return None;
        }
        let item = |index| match tensor.dtype() {
            dtype if dtype.is_float() => Elem::float(tensor.f32_at(index), dtype),
            // An i64 cannot hold every u64; such values are not known.
            DType::U64 if tensor.i64_at(index) < 0 => Elem::Real(f32::NAN),
            _ => Elem::int(tensor.i64_at(index)),
        };
        let items: Vec<Elem> = (0..tensor.len()).map(item).collect();
        if !tensor.dtype().is_float() && items.iter().any(|item| matches!(item, Elem::Real(_))) {
            return None;
        }
        Some(Known::Elements { shape: tensor.shape().to_vec(), items })
    }

    /// How much there is of the tensor, in parts of dimensions.
    pub(super) fn size(&self) -> usize {
        let item = |item: &Elem| 1 + item.dim().map_or(0, Dim::size);
        let dims = |dims: &[Dim]| dims.iter().map(|dim| 1 + dim.size()).sum::<usize>();
        match self {
            Known::Elements { shape, items } => shape.len() + items.iter().map(item).sum::<usize>(),
            Known::Splat { shape, item: value } => dims(shape) + item(value),
            Known::Ramp { shape, start, .. } => dims(shape) + 1 + start.size(),
        }
    }

    /// The shape.
    pub(super) fn shape(&self) -> Vec<Dim> {
        match self {
            Known::Elements { shape, .. } => shape.iter().map(|size| Dim::from(*size)).collect(),
            Known::Splat { shape, .. } | Known::Ramp { shape, .. } => shape.clone(),
        }
    }

    /// The element that the tensor consists of, when it is provably one.
    pub(super) fn uniform(&self) -> Option<&Elem> {
        match self {
            Known::Splat { item, .. } => Some(item),
            Known::Elements { items, .. } => {
                let (first, rest) = items.split_first()?;
                rest.iter().all(|item| item == first).then_some(first)
            }
            Known::Ramp { .. } => None,
        }
    }

    /// Shape and elements one by one, when they are few enough.
    pub(super) fn elements(&self) -> Option<(Vec<usize>, Vec<Elem>)> {
        if let Known::Elements { shape, items } = self {
            return Some((shape.clone(), items.clone()));
        }
        let shape = constant_shape(&self.shape())?;
        let count = count(&shape)?;
        let items = match self {
            Known::Splat { item, .. } => vec![item.clone(); count],
            Known::Ramp { start, step, .. } => {
                let mut items = Vec::with_capacity(count);
                let mut next = start.clone();
                for _ in 0..count {
                    items.push(Elem::Int(next.clone()));
                    next = next + Dim::constant(*step);
                }
                if items.iter().any(|item| item.dim().is_some_and(Dim::is_poison)) {
                    return None;
                }
                items
            }
            Known::Elements { .. } => return None,
        };
        Some((shape, items))
    }

    /// The elements as dimensions, row-major, when all are integers in range.
    pub(super) fn dims(&self) -> Option<Vec<Dim>> {
        let (_, items) = self.elements()?;
        items.into_iter().map(|item| item.dim().cloned()).collect()
    }
}

/// Sizes, when all are constant.
pub(super) fn constant_shape(shape: &[Dim]) -> Option<Vec<usize>> {
    shape.iter().map(Dim::as_usize).collect()
}

/// Number of elements, when there are at most [`MAX_ELEMENTS`].
pub(super) fn count(shape: &[usize]) -> Option<usize> {
    qwenc_ir::tensor::element_count(shape).filter(|count| *count <= MAX_ELEMENTS)
}
