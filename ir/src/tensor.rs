//! Constant tensors: a type, a concrete shape, and bytes that may live in a memory-mapped file.

use std::fmt;

use bytes::Bytes;
use half::{bf16, f16};
use sha2::{Digest, Sha256};

use crate::dtype::{DType, Scalar};

/// Largest number of elements that [`Tensor::to_f32`] and its kin expand (1 GiB of f32).
pub const MAX_EXPANDED: usize = 1 << 28;

/// A constant tensor, dense and row-major, little-endian. Cloning shares the bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Tensor {
    dtype: DType,
    shape: Vec<usize>,
    bytes: Bytes,
}

/// Why a tensor cannot be made or read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TensorError {
    /// The number of elements or bytes does not fit the address space.
    #[error("shape {0:?} has too many elements")]
    TooLarge(Vec<usize>),
    /// The bytes given do not match type and shape.
    #[error("a {dtype} tensor of shape {shape:?} takes {expected} bytes, but {actual} are given")]
    WrongLength {
        /// Element type.
        dtype: DType,
        /// Shape.
        shape: Vec<usize>,
        /// Bytes that type and shape need.
        expected: usize,
        /// Bytes that were given.
        actual: usize,
    },
    /// The conversion is not defined for this element type.
    #[error("a {0} tensor has no values of the wanted kind")]
    WrongType(DType),
}

/// Number of elements of a shape, or `None` on overflow.
pub fn element_count(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |count, dim| count.checked_mul(*dim))
}

impl Tensor {
    /// Wraps packed little-endian bytes. Fails when their number does not match type and shape.
    pub fn new(dtype: DType, shape: Vec<usize>, bytes: Bytes) -> Result<Self, TensorError> {
        let expected = element_count(&shape)
            .and_then(|count| dtype.bytes_for(count))
            .ok_or_else(|| TensorError::TooLarge(shape.clone()))?;
        if expected != bytes.len() {
            return Err(TensorError::WrongLength { dtype, shape, expected, actual: bytes.len() });
        }
        Ok(Self { dtype, shape, bytes })
    }

    /// An f32 tensor from values.
    pub fn from_f32(shape: Vec<usize>, values: &[f32]) -> Result<Self, TensorError> {
        Self::new(DType::F32, shape, values.iter().flat_map(|v| v.to_le_bytes()).collect())
    }

    /// An i64 tensor from values.
    pub fn from_i64(shape: Vec<usize>, values: &[i64]) -> Result<Self, TensorError> {
        Self::new(DType::I64, shape, values.iter().flat_map(|v| v.to_le_bytes()).collect())
    }

    /// A bool tensor from values.
    pub fn from_bool(shape: Vec<usize>, values: &[bool]) -> Result<Self, TensorError> {
        Self::new(DType::Bool, shape, values.iter().map(|v| u8::from(*v)).collect())
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Shape, outermost dimension first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        // Checked when the tensor was made.
        self.shape.iter().product()
    }

    /// True when there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The packed little-endian bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The same elements under another shape of the same count.
    pub fn reshaped(&self, shape: Vec<usize>) -> Result<Self, TensorError> {
        Self::new(self.dtype, shape, self.bytes.clone())
    }

    /// SHA-256 over type, shape and bytes, as lower-case hex: the identity of the content.
    pub fn content_hash(&self) -> String {
        let mut hasher = Sha256::new();
        hasher.update(self.dtype.name());
        for dim in &self.shape {
            hasher.update([0]);
            hasher.update(dim.to_string());
        }
        hasher.update([1]);
        hasher.update(&self.bytes);
        hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The values as f32. Any numeric or boolean type converts; f64 and wide integers round to nearest.
    pub fn to_f32(&self) -> Result<Vec<f32>, TensorError> {
        self.check_expandable()?;
        let count = self.len();
        Ok((0..count).map(|index| self.f32_at(index)).collect())
    }

    /// The values as i64. Fails for float types; u64 values above `i64::MAX` wrap to their two's complement.
    pub fn to_i64(&self) -> Result<Vec<i64>, TensorError> {
        self.check_expandable()?;
        if self.dtype.is_float() {
            return Err(TensorError::WrongType(self.dtype));
        }
        Ok((0..self.len()).map(|index| self.i64_at(index)).collect())
    }

    /// The single value of a tensor with one element.
    pub fn scalar(&self) -> Option<Scalar> {
        if self.len() != 1 {
            return None;
        }
        Some(match self.dtype {
            DType::Bool => Scalar::Bool(self.i64_at(0) != 0),
            dtype if dtype.is_float() => Scalar::F32(self.f32_at(0)),
            _ => Scalar::Int(self.i64_at(0)),
        })
    }

    fn check_expandable(&self) -> Result<(), TensorError> {
        if self.len() > MAX_EXPANDED { Err(TensorError::TooLarge(self.shape.clone())) } else { Ok(()) }
    }

    fn word<const N: usize>(&self, index: usize) -> [u8; N] {
        let mut out = [0; N];
        if let Some(bytes) = self.bytes.get(index * N..(index + 1) * N) {
            out.copy_from_slice(bytes);
        }
        out
    }

    /// The element at flat position `index` as f32; 0 when out of range.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "rounding to f32 is the definition"
    )]
    pub fn f32_at(&self, index: usize) -> f32 {
        match self.dtype {
            DType::F32 => f32::from_le_bytes(self.word(index)),
            DType::F16 => f16::from_le_bytes(self.word(index)).to_f32(),
            DType::Bf16 => bf16::from_le_bytes(self.word(index)).to_f32(),
            DType::F64 => f64::from_le_bytes(self.word(index)) as f32,
            DType::U64 => u64::from_le_bytes(self.word(index)) as f32,
            _ => self.i64_at(index) as f32,
        }
    }

    /// The element at flat position `index` as i64; 0 when out of range or for float types.
    pub fn i64_at(&self, index: usize) -> i64 {
        match self.dtype {
            DType::I64 | DType::U64 => i64::from_le_bytes(self.word(index)),
            DType::I32 => i32::from_le_bytes(self.word(index)).into(),
            DType::U32 => u32::from_le_bytes(self.word(index)).into(),
            DType::I16 => i16::from_le_bytes(self.word(index)).into(),
            DType::U16 => u16::from_le_bytes(self.word(index)).into(),
            DType::I8 => i8::from_le_bytes(self.word(index)).into(),
            DType::U8 => i64::from(self.word::<1>(index)[0]),
            DType::Bool => i64::from(self.word::<1>(index)[0] != 0),
            DType::U4 | DType::U2 => i64::from(self.small(index)),
            DType::I4 | DType::I2 => {
                let (value, bits) = (i64::from(self.small(index)), self.dtype.bits());
                if value >> (bits - 1) == 1 { value - (1 << bits) } else { value }
            }
            DType::F32 | DType::F16 | DType::Bf16 | DType::F64 => 0,
        }
    }

    /// An element of less than eight bits, unsigned.
    fn small(&self, index: usize) -> u8 {
        let bits = self.dtype.bits();
        let per_byte = 8 / bits;
        let byte = self.bytes.get(index / per_byte).copied().unwrap_or(0);
        (byte >> (index % per_byte * bits)) & ((1 << bits) - 1)
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tensor({}{:?})", self.dtype, self.shape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_must_match() {
        assert!(Tensor::new(DType::F32, vec![2], Bytes::from_static(&[0; 7])).is_err());
        assert!(Tensor::new(DType::F32, vec![usize::MAX, 3], Bytes::new()).is_err());
    }

    #[test]
    fn nibbles_read_low_first_and_signed() {
        let tensor = Tensor::new(DType::I4, vec![3], Bytes::from_static(&[0x8F, 0x07])).unwrap();
        assert_eq!(tensor.to_i64().unwrap(), [-1, -8, 7]);
        let tensor = Tensor::new(DType::U4, vec![3], Bytes::from_static(&[0x8F, 0x07])).unwrap();
        assert_eq!(tensor.to_i64().unwrap(), [15, 8, 7]);
        let tensor = Tensor::new(DType::U2, vec![5], Bytes::from_static(&[0b11_10_01_00, 0b10])).unwrap();
        assert_eq!(tensor.to_i64().unwrap(), [0, 1, 2, 3, 2]);
        let tensor = Tensor::new(DType::I2, vec![5], Bytes::from_static(&[0b11_10_01_00, 0b10])).unwrap();
        assert_eq!(tensor.to_i64().unwrap(), [0, 1, -2, -1, -2]);
    }

    #[test]
    fn hash_tells_shapes_apart() {
        let a = Tensor::from_f32(vec![2, 3], &[0.0; 6]).unwrap();
        assert_ne!(a.content_hash(), a.reshaped(vec![3, 2]).unwrap().content_hash());
    }
}
