//! Tensors that the interpreter computes with.

use bytes::Bytes;
use half::{bf16, f16};

use super::scalar::wrap;
use crate::dtype::{DType, Scalar};
use crate::tensor::{Tensor, TensorError, element_count};

/// The elements of a [`HostTensor`], row-major.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// Every float type; f16, bf16 and f64 values are held as f32.
    F32(Vec<f32>),
    /// An integer type and its values; u64 as their two's complement.
    Int(DType, Vec<i64>),
    /// Booleans.
    Bool(Vec<bool>),
}

/// A tensor in memory: a shape and as many elements as it says.
#[derive(Clone, Debug, PartialEq)]
pub struct HostTensor {
    shape: Vec<usize>,
    data: Data,
}

/// Why a host tensor cannot be made or converted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// The number of elements differs from what the shape says.
    #[error("a tensor of shape {shape:?} does not have {actual} elements")]
    Length {
        /// The shape.
        shape: Vec<usize>,
        /// Elements given.
        actual: usize,
    },
    /// [`Data::Int`] with a type that is no integer type.
    #[error("{0} is no integer type")]
    NotInteger(DType),
    /// The values are of another kind than wanted.
    #[error("a {actual} tensor cannot be stored as {wanted}")]
    Kind {
        /// The kind of the values.
        actual: DType,
        /// The type wanted.
        wanted: DType,
    },
    /// The stored tensor cannot be read or made.
    #[error(transparent)]
    Tensor(#[from] TensorError),
}

impl Data {
    /// Number of elements.
    pub fn len(&self) -> usize {
        match self {
            Data::F32(values) => values.len(),
            Data::Int(_, values) => values.len(),
            Data::Bool(values) => values.len(),
        }
    }

    /// True without elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The element type; [`DType::F32`] for every float.
    pub fn dtype(&self) -> DType {
        match self {
            Data::F32(_) => DType::F32,
            Data::Int(dtype, _) => *dtype,
            Data::Bool(_) => DType::Bool,
        }
    }

    /// `count` times one value, converted to `dtype`.
    pub(super) fn filled(dtype: DType, value: Scalar, count: usize) -> Data {
        match dtype {
            DType::Bool => Data::Bool(vec![scalar_bool(value); count]),
            _ if dtype.is_float() => Data::F32(vec![value.as_f32(); count]),
            _ => Data::Int(dtype, vec![scalar_int(dtype, value); count]),
        }
    }

    /// The elements at `positions`, which lie inside.
    pub(super) fn pick(&self, positions: &[usize]) -> Data {
        match self {
            Data::F32(values) => Data::F32(positions.iter().map(|at| values[*at]).collect()),
            Data::Int(dtype, values) => Data::Int(*dtype, positions.iter().map(|at| values[*at]).collect()),
            Data::Bool(values) => Data::Bool(positions.iter().map(|at| values[*at]).collect()),
        }
    }

    /// Writes the elements of `source`, of the same type, to `positions`, which lie inside.
    pub(super) fn place(&mut self, positions: &[usize], source: &Data) {
        match (self, source) {
            (Data::F32(values), Data::F32(from)) => scatter(values, positions, from),
            (Data::Int(_, values), Data::Int(_, from)) => scatter(values, positions, from),
            (Data::Bool(values), Data::Bool(from)) => scatter(values, positions, from),
            _ => {}
        }
    }
}

fn scatter<T: Copy>(values: &mut [T], positions: &[usize], from: &[T]) {
    for (at, value) in positions.iter().zip(from) {
        values[*at] = *value;
    }
}

fn scalar_bool(value: Scalar) -> bool {
    match value {
        Scalar::Bool(value) => value,
        Scalar::Int(value) => value != 0,
        Scalar::F32(value) => value != 0.0,
    }
}

fn scalar_int(dtype: DType, value: Scalar) -> i64 {
    match value {
        Scalar::Bool(value) => i64::from(value),
        Scalar::Int(value) => wrap(dtype, i128::from(value)),
        Scalar::F32(value) => super::scalar::float_to_int(dtype, value),
    }
}

impl HostTensor {
    /// A tensor from its parts. Integers wrap to the width of their type.
    pub fn new(shape: Vec<usize>, mut data: Data) -> Result<Self, HostError> {
        if element_count(&shape) != Some(data.len()) {
            return Err(HostError::Length { shape, actual: data.len() });
        }
        if let Data::Int(dtype, values) = &mut data {
            if !dtype.is_int() {
                return Err(HostError::NotInteger(*dtype));
            }
            for value in values {
                *value = wrap(*dtype, i128::from(*value));
            }
        }
        Ok(Self { shape, data })
    }

    /// A float tensor.
    pub fn f32(shape: impl Into<Vec<usize>>, values: impl Into<Vec<f32>>) -> Result<Self, HostError> {
        Self::new(shape.into(), Data::F32(values.into()))
    }

    /// An i64 tensor.
    pub fn i64(shape: impl Into<Vec<usize>>, values: impl Into<Vec<i64>>) -> Result<Self, HostError> {
        Self::new(shape.into(), Data::Int(DType::I64, values.into()))
    }

    /// A bool tensor.
    pub fn bool(shape: impl Into<Vec<usize>>, values: impl Into<Vec<bool>>) -> Result<Self, HostError> {
        Self::new(shape.into(), Data::Bool(values.into()))
    }

    /// Zeros (or `false`) of a type and shape.
    pub fn zeros(dtype: DType, shape: impl Into<Vec<usize>>) -> Result<Self, HostError> {
        let shape = shape.into();
        let count = element_count(&shape)
            .filter(|count| *count <= crate::tensor::MAX_EXPANDED)
            .ok_or_else(|| TensorError::TooLarge(shape.clone()))?;
        Ok(Self { shape, data: Data::filled(dtype, Scalar::Int(0), count) })
    }

    /// The values of a constant. Fails above [`crate::tensor::MAX_EXPANDED`] elements.
    pub fn from_tensor(tensor: &Tensor) -> Result<Self, HostError> {
        let data = match tensor.dtype() {
            DType::Bool => Data::Bool(tensor.to_i64()?.into_iter().map(|value| value != 0).collect()),
            dtype if dtype.is_float() => Data::F32(tensor.to_f32()?),
            dtype => Data::Int(dtype, tensor.to_i64()?),
        };
        Ok(Self { shape: tensor.shape().to_vec(), data })
    }

    /// The values as a constant of `dtype`: floats as any float type (rounding to nearest), other types as themselves.
    pub fn to_tensor(&self, dtype: DType) -> Result<Tensor, HostError> {
        let bytes: Bytes = match (&self.data, dtype) {
            (Data::F32(values), DType::F32) => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            (Data::F32(values), DType::F16) => {
                values.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect()
            }
            (Data::F32(values), DType::Bf16) => {
                values.iter().flat_map(|v| bf16::from_f32(*v).to_le_bytes()).collect()
            }
            (Data::F32(values), DType::F64) => {
                values.iter().flat_map(|v| f64::from(*v).to_le_bytes()).collect()
            }
            (Data::Int(own, values), _) if *own == dtype => pack_ints(dtype, values),
            (Data::Bool(values), DType::Bool) => values.iter().map(|v| u8::from(*v)).collect(),
            _ => return Err(HostError::Kind { actual: self.dtype(), wanted: dtype }),
        };
        Ok(Tensor::new(dtype, self.shape.clone(), bytes)?)
    }

    /// Shape, outermost dimension first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The elements.
    pub fn data(&self) -> &Data {
        &self.data
    }

    /// The element type; [`DType::F32`] for every float.
    pub fn dtype(&self) -> DType {
        self.data.dtype()
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.data.len()
    }

    /// True without elements.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// The values, when they are floats.
    pub fn as_f32(&self) -> Option<&[f32]> {
        match &self.data {
            Data::F32(values) => Some(values),
            _ => None,
        }
    }

    /// The values, when they are integers.
    pub fn as_int(&self) -> Option<&[i64]> {
        match &self.data {
            Data::Int(_, values) => Some(values),
            _ => None,
        }
    }

    /// The values, when they are booleans.
    pub fn as_bool(&self) -> Option<&[bool]> {
        match &self.data {
            Data::Bool(values) => Some(values),
            _ => None,
        }
    }

    /// Largest absolute difference of two tensors of one shape and type; `None` when these differ. Equal elements
    /// (also infinities, and NaN against NaN) count as 0, NaN against a number as infinity.
    pub fn max_abs_diff(&self, other: &HostTensor) -> Option<f32> {
        if self.shape != other.shape || self.dtype() != other.dtype() {
            return None;
        }
        let unequal = |same: bool| if same { 0.0 } else { f32::INFINITY };
        match (&self.data, &other.data) {
            (Data::F32(a), Data::F32(b)) => {
                Some(a.iter().zip(b).map(|(a, b)| distance(*a, *b)).fold(0.0, f32::max))
            }
            (a, b) => Some(unequal(a == b)),
        }
    }
}

fn distance(a: f32, b: f32) -> f32 {
    if a == b || (a.is_nan() && b.is_nan()) {
        return 0.0;
    }
    let difference = (a - b).abs();
    if difference.is_nan() { f32::INFINITY } else { difference }
}

/// Little-endian two's complement at the width of `dtype`; types below a byte share bytes, the first in the low bits.
fn pack_ints(dtype: DType, values: &[i64]) -> Bytes {
    let bits = dtype.bits();
    if bits < 8 {
        let low = |value: &i64| value.to_le_bytes()[0] & ((1 << bits) - 1);
        let pack = |group: &[i64]| group.iter().rev().fold(0u8, |byte, value| (byte << bits) | low(value));
        return values.chunks(8 / bits).map(pack).collect();
    }
    let width = bits / 8;
    values.iter().flat_map(|value| value.to_le_bytes().into_iter().take(width)).collect()
}
