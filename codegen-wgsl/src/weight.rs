//! Matrices as the linear layers and the row lookup read them: in 32-bit floats, in 16-bit floats, or quantized.
//!
//! The layout is the same for all kernels, and what packs a matrix takes its sizes from here. A matrix has N rows of K
//! elements, row-major; each row is padded to whole units ([`WeightFormat::unit`] elements), so that a kernel reads a
//! unit by one aligned load. All buffers are arrays of 32-bit words:
//!
//! - **Values.** F32: one word an element. F16 and Bf16: two elements a word, the first in the low half. Quantized: codes
//!   of 2, 4 or 8 bits, unsigned, element e of a word at bit `e * bits`. Elements beyond K are zero for floats; for codes
//!   they may be anything.
//! - **Scales**, of quantized matrices: one for each block of a row, `blocks` a row, all rows behind each other. As f32, or
//!   as f16, two a word, the first in the low half.
//! - **Zero points**, unless all are the same: one for each scale. As f32, or as codes, which are packed over the ends of
//!   rows: number i lies in word `i * bits / 32` at bit `i * bits % 32`.
//!
//! A quantized element is `(code - zero) * scale`.

use qwenc_ir::Dim;

use crate::checks::Checks;
use crate::kernel::CodegenError;
use crate::view::{Elem, View};

/// Elements of a quantized unit; blocks are multiples of it.
pub const QUANT_UNIT: usize = 16;
/// The largest zero point that is the same for all: what a code of 8 bits holds.
pub const MAX_ZERO: u32 = 255;

/// How the elements of a matrix are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WeightFormat {
    /// 32-bit floats.
    F32,
    /// IEEE 16-bit floats.
    F16,
    /// The upper halves of 32-bit floats.
    Bf16,
    /// Codes of a few bits, with a scale for each block of them.
    Quantized(QuantFormat),
}

/// How a matrix is quantized.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct QuantFormat {
    /// Size of a code.
    pub bits: CodeBits,
    /// Elements that share a scale and a zero point.
    pub block: QuantBlock,
    /// How scales are stored.
    pub scales: ScaleType,
    /// What is subtracted from codes.
    pub zero: ZeroPoint,
}

/// Size of a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CodeBits {
    /// 2 bits, 16 codes a word.
    Two,
    /// 4 bits, 8 codes a word.
    Four,
    /// 8 bits, 4 codes a word.
    Eight,
}

impl CodeBits {
    /// The number of bits.
    pub const fn get(self) -> u32 {
        match self {
            Self::Two => 2,
            Self::Four => 4,
            Self::Eight => 8,
        }
    }

    /// Codes in a 32-bit word.
    pub const fn per_word(self) -> usize {
        match self {
            Self::Two => 16,
            Self::Four => 8,
            Self::Eight => 4,
        }
    }
}

/// Elements of a row that share a scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum QuantBlock {
    /// So many, a multiple of [`QUANT_UNIT`]; the last block of a row may be shorter.
    Elements(u32),
    /// All of them.
    Row,
}

/// How scales are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ScaleType {
    /// 32-bit floats.
    F32,
    /// IEEE 16-bit floats, two a word.
    F16,
}

/// What is subtracted from codes before they are scaled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ZeroPoint {
    /// The same number everywhere, at most [`MAX_ZERO`].
    Constant(u32),
    /// One for each block, packed like codes.
    Codes,
    /// One for each block, an f32.
    Float,
}

impl WeightFormat {
    /// Elements that rows are padded to a multiple of.
    pub const fn unit(self) -> usize {
        4 * self.unit_vectors() as usize
    }

    /// Fours of elements in a unit.
    pub(crate) const fn unit_vectors(self) -> u32 {
        match self {
            Self::F32 => 1,
            Self::F16 | Self::Bf16 => 2,
            Self::Quantized(_) => 4,
        }
    }

    /// Words of a unit: 1, 2 or 4.
    pub const fn unit_words(self) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::Bf16 => 4,
            Self::Quantized(quant) => QUANT_UNIT / quant.bits.per_word(),
        }
    }

    /// Words of a row of `k` elements.
    pub const fn row_words(self, k: usize) -> usize {
        k.div_ceil(self.unit()) * self.unit_words()
    }

    /// Scales of a row of `k` elements; none for floats.
    pub const fn blocks(self, k: usize) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::Bf16 => 0,
            Self::Quantized(quant) => match quant.block {
                QuantBlock::Row => 1,
                QuantBlock::Elements(0) => 0,
                QuantBlock::Elements(block) => k.div_ceil(block as usize),
            },
        }
    }

    /// Element type and shape of the values of `[n, k]`: f32 or u32 `[n, row_words]`.
    pub const fn values(self, n: usize, k: usize) -> (Elem, [usize; 2]) {
        let elem = if matches!(self, Self::F32) { Elem::F32 } else { Elem::U32 };
        (elem, [n, self.row_words(k)])
    }

    /// Element type and number of words of the scales of `[n, k]`, if there are any.
    pub const fn scales(self, n: usize, k: usize) -> Option<(Elem, usize)> {
        let Self::Quantized(quant) = self else { return None };
        let count = n * self.blocks(k);
        Some(match quant.scales {
            ScaleType::F32 => (Elem::F32, count),
            ScaleType::F16 => (Elem::U32, count.div_ceil(2)),
        })
    }

    /// Element type and number of words of the zero points of `[n, k]`, if they are stored.
    pub const fn zeros(self, n: usize, k: usize) -> Option<(Elem, usize)> {
        let Self::Quantized(quant) = self else { return None };
        let count = n * self.blocks(k);
        match quant.zero {
            ZeroPoint::Constant(_) => None,
            ZeroPoint::Codes => Some((Elem::U32, count.div_ceil(quant.bits.per_word()))),
            ZeroPoint::Float => Some((Elem::F32, count)),
        }
    }
}

/// A matrix `[N, K]` on the device. Each of its views has an allocation of its own, which nothing writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Weight {
    /// How it is stored.
    pub format: WeightFormat,
    /// [`WeightFormat::values`], dense at an offset that is a multiple of [`WeightFormat::unit_words`].
    pub values: View,
    /// [`WeightFormat::scales`], dense and flat.
    pub scales: Option<View>,
    /// [`WeightFormat::zeros`], dense and flat.
    pub zeros: Option<View>,
}

impl Weight {
    /// A matrix of 32-bit floats.
    pub const fn f32(values: View) -> Self {
        Self { format: WeightFormat::F32, values, scales: None, zeros: None }
    }

    /// Holds the views to the format and to `[n, k]`.
    pub(crate) fn check(&self, checks: Checks, n: u32, k: u32) -> Result<(), CodegenError> {
        let (n, k) = (n as usize, k as usize);
        if let WeightFormat::Quantized(quant) = self.format {
            match quant.block {
                QuantBlock::Elements(block) if block == 0 || !(block as usize).is_multiple_of(QUANT_UNIT) => {
                    let message = format!("blocks of {block} elements, expected a multiple of {QUANT_UNIT}");
                    return Err(checks.fail(message));
                }
                QuantBlock::Elements(_) | QuantBlock::Row => {}
            }
            match quant.zero {
                ZeroPoint::Constant(zero) if zero > MAX_ZERO => {
                    return Err(checks.fail(format!("a zero point of {zero}, expected at most {MAX_ZERO}")));
                }
                ZeroPoint::Constant(_) | ZeroPoint::Codes | ZeroPoint::Float => {}
            }
        }
        let (elem, [rows, words]) = self.format.values(n, k);
        checks.expect("weight", &self.values, elem, &[&rows.into(), &words.into()])?;
        let unit = self.format.unit_words();
        if !self.values.is_dense() || self.values.offset.exact_div(&Dim::from(unit)).is_none() {
            let message = format!("the weight must be dense at an offset that is a multiple of {unit}");
            return Err(checks.fail(message));
        }
        check_flat(checks, "the scales", self.scales.as_ref(), self.format.scales(n, k))?;
        check_flat(checks, "the zero points", self.zeros.as_ref(), self.format.zeros(n, k))?;
        let mut keys: Vec<_> =
            [Some(&self.values), self.scales.as_ref(), self.zeros.as_ref()].into_iter().flatten().collect();
        keys.sort_by_key(|view| view.buffer);
        if keys.windows(2).any(|pair| pair[0].buffer == pair[1].buffer) {
            return Err(checks.fail("the parts of a weight share an allocation"));
        }
        Ok(())
    }
}

fn check_flat(
    checks: Checks,
    what: &str,
    view: Option<&View>,
    expected: Option<(Elem, usize)>,
) -> Result<(), CodegenError> {
    match (view, expected) {
        (None, None) => Ok(()),
        (Some(view), Some((elem, words))) => {
            checks.expect(what, view, elem, &[&words.into()])?;
            if view.is_dense() { Ok(()) } else { Err(checks.fail(format!("{what} must be dense"))) }
        }
        (have, _) => {
            let (have, want) = if have.is_some() { ("given", "not stored") } else { ("missing", "stored") };
            Err(checks.fail(format!("{what} are {have}; in this format they are {want}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_follow_the_format() {
        assert_eq!(WeightFormat::F32.values(3, 37), (Elem::F32, [3, 40]));
        assert_eq!(WeightFormat::F16.values(3, 37), (Elem::U32, [3, 20]));
        assert_eq!(WeightFormat::Bf16.values(3, 40), (Elem::U32, [3, 20]));
        assert_eq!(WeightFormat::F16.scales(3, 37), None);
        let quant =
            |bits, block, scales, zero| WeightFormat::Quantized(QuantFormat { bits, block, scales, zero });
        let format = quant(CodeBits::Two, QuantBlock::Elements(16), ScaleType::F16, ZeroPoint::Codes);
        assert_eq!(format.values(3, 37), (Elem::U32, [3, 3]));
        assert_eq!(format.scales(3, 37), Some((Elem::U32, 5)));
        assert_eq!(format.zeros(3, 37), Some((Elem::U32, 1)));
        let format = quant(CodeBits::Four, QuantBlock::Elements(32), ScaleType::F32, ZeroPoint::Float);
        assert_eq!(format.values(3, 37), (Elem::U32, [3, 6]));
        assert_eq!(format.scales(3, 37), Some((Elem::F32, 6)));
        assert_eq!(format.zeros(3, 37), Some((Elem::F32, 6)));
        let format = quant(CodeBits::Eight, QuantBlock::Row, ScaleType::F16, ZeroPoint::Constant(128));
        assert_eq!(format.values(3, 37), (Elem::U32, [3, 12]));
        assert_eq!(format.scales(3, 37), Some((Elem::U32, 2)));
        assert_eq!(format.zeros(3, 37), None);
    }
}
