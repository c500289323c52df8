//! Element types and scalar values.

use std::fmt;
use std::str::FromStr;

/// Element type of a tensor, as a model file states it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DType {
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary16.
    F16,
    /// bfloat16.
    Bf16,
    /// IEEE 754 binary64.
    F64,
    /// Signed 64-bit integer.
    I64,
    /// Signed 32-bit integer.
    I32,
    /// Signed 16-bit integer.
    I16,
    /// Signed 8-bit integer.
    I8,
    /// Unsigned 64-bit integer.
    U64,
    /// Unsigned 32-bit integer.
    U32,
    /// Unsigned 16-bit integer.
    U16,
    /// Unsigned 8-bit integer.
    U8,
    /// Signed 4-bit integer, two elements a byte, low nibble first.
    I4,
    /// Unsigned 4-bit integer, two elements a byte, low nibble first.
    U4,
    /// Signed 2-bit integer, four elements a byte, low bits first.
    I2,
    /// Unsigned 2-bit integer, four elements a byte, low bits first.
    U2,
    /// Boolean, one byte an element.
    Bool,
}

impl DType {
    /// Every element type, in declaration order.
    pub const ALL: [DType; 17] = [
        DType::F32,
        DType::F16,
        DType::Bf16,
        DType::F64,
        DType::I64,
        DType::I32,
        DType::I16,
        DType::I8,
        DType::U64,
        DType::U32,
        DType::U16,
        DType::U8,
        DType::I4,
        DType::U4,
        DType::I2,
        DType::U2,
        DType::Bool,
    ];

    /// Bits of one stored element.
    pub const fn bits(self) -> usize {
        match self {
            DType::F64 | DType::I64 | DType::U64 => 64,
            DType::F32 | DType::I32 | DType::U32 => 32,
            DType::F16 | DType::Bf16 | DType::I16 | DType::U16 => 16,
            DType::I8 | DType::U8 | DType::Bool => 8,
            DType::I4 | DType::U4 => 4,
            DType::I2 | DType::U2 => 2,
        }
    }

    /// Bytes that `count` packed elements take, or `None` on overflow. Sub-byte types round up.
    pub fn bytes_for(self, count: usize) -> Option<usize> {
        Some(count.checked_mul(self.bits())?.div_ceil(8))
    }

    /// True for f16, bf16, f32 and f64.
    pub const fn is_float(self) -> bool {
        matches!(self, DType::F32 | DType::F16 | DType::Bf16 | DType::F64)
    }

    /// True for every signed or unsigned integer type (not for `Bool`).
    pub const fn is_int(self) -> bool {
        !self.is_float() && !matches!(self, DType::Bool)
    }

    /// True for the signed integer types.
    pub const fn is_signed_int(self) -> bool {
        matches!(self, DType::I64 | DType::I32 | DType::I16 | DType::I8 | DType::I4 | DType::I2)
    }

    /// The name used in the text form of the IR.
    pub const fn name(self) -> &'static str {
        match self {
            DType::F32 => "f32",
            DType::F16 => "f16",
            DType::Bf16 => "bf16",
            DType::F64 => "f64",
            DType::I64 => "i64",
            DType::I32 => "i32",
            DType::I16 => "i16",
            DType::I8 => "i8",
            DType::U64 => "u64",
            DType::U32 => "u32",
            DType::U16 => "u16",
            DType::U8 => "u8",
            DType::I4 => "i4",
            DType::U4 => "u4",
            DType::I2 => "i2",
            DType::U2 => "u2",
            DType::Bool => "bool",
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for DType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|dtype| dtype.name() == text)
            .ok_or_else(|| format!("`{text}` is no element type"))
    }
}

/// One scalar value of an expression or a fill. Floats compare by their bits, so that equality is total.
#[derive(Clone, Copy, Debug)]
pub enum Scalar {
    /// A float; f16, bf16 and f64 constants are held as f32, the precision that kernels compute in.
    F32(f32),
    /// An integer of any width.
    Int(i64),
    /// A boolean.
    Bool(bool),
}

impl Scalar {
    /// The value as f32 (integers round to nearest, booleans are 0 and 1).
    #[expect(clippy::cast_precision_loss, reason = "kernels compute in f32; rounding is the definition")]
    pub fn as_f32(self) -> f32 {
        match self {
            Scalar::F32(value) => value,
            Scalar::Int(value) => value as f32,
            Scalar::Bool(value) => f32::from(u8::from(value)),
        }
    }
}

impl PartialEq for Scalar {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Scalar::F32(a), Scalar::F32(b)) => a.to_bits() == b.to_bits(),
            (Scalar::Int(a), Scalar::Int(b)) => a == b,
            (Scalar::Bool(a), Scalar::Bool(b)) => a == b,
            _ => false,
        }
    }
}

impl Eq for Scalar {}

impl std::hash::Hash for Scalar {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        match self {
            Scalar::F32(value) => (0u8, value.to_bits()).hash(state),
            Scalar::Int(value) => (1u8, value).hash(state),
            Scalar::Bool(value) => (2u8, value).hash(state),
        }
    }
}
