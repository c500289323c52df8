//! Constant matrices as they lie in the model's file: floats, or codes with scales, stored by rows or by columns.
//!
//! Nothing is copied here. A [`Matrix`] points at the file's tensors and says how each row is to be read; packing into a
//! kernel's layout happens when the bundle is written, one weight at a time.

use std::fmt;

use qwenc_codegen_wgsl::weight::{
    CodeBits, MAX_ZERO, QUANT_UNIT, QuantBlock, QuantFormat, ScaleType, WeightFormat, ZeroPoint,
};
use qwenc_ir::op::WeightLayout;
use qwenc_ir::{DType, Graph, Op, Tensor, ValueId};

/// A constant matrix of rank 2, seen as rows of K elements.
#[derive(Clone, Debug)]
pub struct Matrix {
    storage: Storage,
    /// `NK`: the tensor's rows are the matrix's rows; `KN`: its columns are.
    layout: WeightLayout,
}

#[derive(Clone, Debug)]
enum Storage {
    Floats(Tensor),
    Codes(Codes),
}

/// The operands of a [`Op::Dequantize`].
#[derive(Clone, Debug)]
struct Codes {
    codes: Tensor,
    scales: Tensor,
    zeros: Option<Tensor>,
    zero: i64,
    axis: usize,
    block: usize,
}

/// What a matrix's elements are, whatever their scales and zero points are stored as. Matrices of one kind can be packed
/// into one weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MatrixKind {
    /// 32-bit floats; wider ones are rounded.
    F32,
    /// IEEE 16-bit floats.
    F16,
    /// bfloat16.
    Bf16,
    /// Codes of so many bits, in blocks.
    Codes(CodeBits, QuantBlock),
}

impl fmt::Display for MatrixKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::F32 => f.write_str("f32"),
            Self::F16 => f.write_str("f16"),
            Self::Bf16 => f.write_str("bf16"),
            Self::Codes(bits, QuantBlock::Row) => write!(f, "q{} block row", bits.get()),
            Self::Codes(bits, QuantBlock::Elements(block)) => write!(f, "q{} block {block}", bits.get()),
        }
    }
}

impl Matrix {
    /// The constant matrix behind a value: a constant, or codes, scales and zero points that are constants, looking through
    /// transposes. The matrix's rows are the value's axis 0. `None` for anything else, also for codes in a form that kernels
    /// do not read, see [`Self::of_with_reason`].
    pub fn of(graph: &Graph, value: ValueId) -> Option<Self> {
        Self::of_with_reason(graph, value).ok()
    }

    /// [`Self::of`], with what is in the way.
    pub fn of_with_reason(graph: &Graph, value: ValueId) -> Result<Self, &'static str> {
        if let Some(tensor) = graph.constant(value) {
            let fits = tensor.shape().len() == 2 && tensor.dtype().is_float();
            let matrix = Self { storage: Storage::Floats(tensor.clone()), layout: WeightLayout::NK };
            return fits.then_some(matrix).ok_or("the constant is no matrix of floats");
        }
        match graph.producer_op(value) {
            Some((node, Op::Transpose { perm })) if *perm == [1, 0] => {
                let input = graph.node_input(node, 0).ok_or("an input is missing")?;
                Ok(Self::of_with_reason(graph, input)?.transposed())
            }
            Some((node, Op::Dequantize { axis, block, zero })) => {
                let constant =
                    |port: usize| graph.node_input(node, port).and_then(|input| graph.constant(input));
                let (Some(codes), Some(scales)) = (constant(0), constant(1)) else {
                    return Err("codes or scales are computed");
                };
                let zeros = constant(2).cloned();
                if zeros.is_none() && graph.node_input(node, 2).is_some() {
                    return Err("zero points are computed");
                }
                if codes.shape().len() != 2 {
                    return Err("the codes are no matrix");
                }
                let codes = Codes {
                    codes: codes.clone(),
                    scales: scales.clone(),
                    zeros,
                    zero: *zero,
                    axis: *axis,
                    block: *block,
                };
                Ok(Self { storage: Storage::Codes(codes), layout: WeightLayout::NK })
            }
            _ => Err("it is computed"),
        }
    }

    /// The same elements with rows and columns exchanged.
    #[must_use]
    pub fn transposed(mut self) -> Self {
        self.layout = match self.layout {
            WeightLayout::NK => WeightLayout::KN,
            WeightLayout::KN => WeightLayout::NK,
        };
        self
    }

    /// A matrix of floats from a tensor; its rows are the tensor's for `NK`, its columns for `KN`. Empty unless the tensor
    /// has rank 2.
    pub fn floats(tensor: Tensor, layout: WeightLayout) -> Self {
        Self { storage: Storage::Floats(tensor), layout }
    }

    fn main(&self) -> &Tensor {
        match &self.storage {
            Storage::Floats(tensor) => tensor,
            Storage::Codes(codes) => &codes.codes,
        }
    }

    /// Number of rows (N) and their length (K).
    pub fn extent(&self) -> (usize, usize) {
        match (self.layout, self.main().shape()) {
            (WeightLayout::NK, [n, k]) | (WeightLayout::KN, [k, n]) => (*n, *k),
            _ => (0, 0),
        }
    }

    /// The axis of the tensor that runs along a row.
    const fn row_axis(&self) -> usize {
        match self.layout {
            WeightLayout::NK => 1,
            WeightLayout::KN => 0,
        }
    }

    /// What the elements are; an error says why kernels cannot read the codes packed.
    pub fn kind(&self) -> Result<MatrixKind, &'static str> {
        let codes = match &self.storage {
            Storage::Floats(tensor) => {
                return Ok(match tensor.dtype() {
                    DType::F16 => MatrixKind::F16,
                    DType::Bf16 => MatrixKind::Bf16,
                    _ => MatrixKind::F32,
                });
            }
            Storage::Codes(codes) => codes,
        };
        let bits = match codes.codes.dtype() {
            DType::U2 | DType::I2 => CodeBits::Two,
            DType::U4 | DType::I4 => CodeBits::Four,
            DType::U8 | DType::I8 => CodeBits::Eight,
            _ => return Err("codes of more than 8 bits"),
        };
        let (axis, k) = (self.row_axis(), self.extent().1);
        if codes.scales.shape().get(axis).is_none_or(|blocks| *blocks <= 1) {
            return Ok(MatrixKind::Codes(bits, QuantBlock::Row));
        }
        if codes.axis != axis {
            return Err("scales differ within a row, but not by blocks of it");
        }
        match u32::try_from(codes.block) {
            Ok(_) if codes.block >= k => Ok(MatrixKind::Codes(bits, QuantBlock::Row)),
            Ok(block) if codes.block.is_multiple_of(QUANT_UNIT) => {
                Ok(MatrixKind::Codes(bits, QuantBlock::Elements(block)))
            }
            _ => Err("blocks that are no multiple of 16 codes"),
        }
    }

    /// The element at a row and a column.
    pub fn value(&self, row: usize, column: usize) -> f32 {
        let at = self.position(row, column);
        match &self.storage {
            Storage::Floats(tensor) => tensor.f32_at(at),
            Storage::Codes(codes) => {
                let scale = codes.scale_position(self.tensor_index(row, column));
                (float(codes.codes.i64_at(at)) - codes.zero_at(scale)) * codes.scales.f32_at(scale)
            }
        }
    }

    fn tensor_index(&self, row: usize, column: usize) -> [usize; 2] {
        match self.layout {
            WeightLayout::NK => [row, column],
            WeightLayout::KN => [column, row],
        }
    }

    fn position(&self, row: usize, column: usize) -> usize {
        let [a, b] = self.tensor_index(row, column);
        a * self.main().shape().get(1).copied().unwrap_or(0) + b
    }

    /// The code at a row and a column, unsigned; 0 for floats.
    pub(crate) fn code(&self, row: usize, column: usize) -> u8 {
        match &self.storage {
            Storage::Floats(_) => 0,
            Storage::Codes(codes) => {
                let code = codes.codes.i64_at(self.position(row, column)) + codes.offset();
                u8::try_from(code).unwrap_or(0)
            }
        }
    }

    /// The scale of the block that begins at `column`.
    pub(crate) fn scale(&self, row: usize, column: usize) -> f32 {
        match &self.storage {
            Storage::Floats(_) => 1.0,
            Storage::Codes(codes) => {
                codes.scales.f32_at(codes.scale_position(self.tensor_index(row, column)))
            }
        }
    }

    /// The zero point of the block that begins at `column`, on the scale of unsigned codes.
    pub(crate) fn zero(&self, row: usize, column: usize) -> f32 {
        match &self.storage {
            Storage::Floats(_) => 0.0,
            Storage::Codes(codes) => {
                let at = codes.scale_position(self.tensor_index(row, column));
                codes.zero_at(at) + float(codes.offset())
            }
        }
    }

    /// The bytes of a row as they lie in the file, when its codes lie one behind the other from a byte on, and what makes
    /// them unsigned by exclusive or.
    pub(crate) fn row_bytes(&self, row: usize) -> Option<(&[u8], u8)> {
        let Storage::Codes(codes) = &self.storage else { return None };
        let (bits, (_, k)) = (codes.codes.dtype().bits(), self.extent());
        let row_bits = k.checked_mul(bits)?;
        if self.layout != WeightLayout::NK || bits > 8 || !row_bits.is_multiple_of(8) {
            return None;
        }
        let flip = match codes.codes.dtype() {
            DType::I8 => 0x80,
            DType::I4 => 0x88,
            DType::I2 => 0xAA,
            _ => 0,
        };
        let start = row.checked_mul(row_bits / 8)?;
        Some((codes.codes.bytes().get(start..start + row_bits / 8)?, flip))
    }

    /// A text that tells matrices apart by where their bytes lie.
    pub(crate) fn identity(&self) -> String {
        let tensor =
            |t: &Tensor| format!("{}{:?}@{:p}+{}", t.dtype(), t.shape(), t.bytes().as_ptr(), t.bytes().len());
        match &self.storage {
            Storage::Floats(floats) => format!("{:?} {}", self.layout, tensor(floats)),
            Storage::Codes(Codes { codes, scales, zeros, zero, axis, block }) => {
                let zeros = zeros.as_ref().map_or_else(|| zero.to_string(), tensor);
                format!(
                    "{:?} {} {} {zeros} along {axis} by {block}",
                    self.layout,
                    tensor(codes),
                    tensor(scales)
                )
            }
        }
    }
}

impl Codes {
    /// Position of the scale that belongs to a code.
    fn scale_position(&self, index: [usize; 2]) -> usize {
        let sizes = self.scales.shape();
        let along = |axis: usize| {
            let at = if axis == self.axis { index[axis] / self.block.max(1) } else { index[axis] };
            if sizes.get(axis).is_none_or(|size| *size <= 1) { 0 } else { at }
        };
        along(0) * sizes.get(1).copied().unwrap_or(1) + along(1)
    }

    fn zero_at(&self, scale: usize) -> f32 {
        match &self.zeros {
            None => float(self.zero),
            Some(zeros) => zeros.f32_at(scale),
        }
    }

    /// What makes a code unsigned.
    fn offset(&self) -> i64 {
        let dtype = self.codes.dtype();
        if dtype.is_signed_int() && dtype.bits() <= 8 { 1 << (dtype.bits() - 1) } else { 0 }
    }
}

#[expect(clippy::cast_precision_loss, reason = "codes and zero points are small; others round")]
fn float(value: i64) -> f32 {
    value as f32
}

/// The format that holds all of these matrices, which must be of one kind. Scales are stored in 16 bits when that loses
/// nothing, and a zero point that is the same everywhere is not stored.
pub(crate) fn common_format(matrices: &[&Matrix]) -> Result<WeightFormat, &'static str> {
    let mut kinds = matrices.iter().map(|matrix| matrix.kind());
    let kind = kinds.next().ok_or("no matrix")??;
    if kinds.any(|other| other != Ok(kind)) {
        return Err("matrices of several formats in one weight");
    }
    Ok(match kind {
        MatrixKind::F32 => WeightFormat::F32,
        MatrixKind::F16 => WeightFormat::F16,
        MatrixKind::Bf16 => WeightFormat::Bf16,
        MatrixKind::Codes(bits, block) => {
            let codes: Vec<&Codes> = matrices
                .iter()
                .filter_map(|matrix| match &matrix.storage {
                    Storage::Codes(codes) => Some(codes),
                    Storage::Floats(_) => None,
                })
                .collect();
            let narrow = codes.iter().all(|codes| fits_f16(&codes.scales));
            let scales = if narrow { ScaleType::F16 } else { ScaleType::F32 };
            WeightFormat::Quantized(QuantFormat { bits, block, scales, zero: common_zero(&codes, bits) })
        }
    })
}

/// True when every value has an equal f16.
fn fits_f16(tensor: &Tensor) -> bool {
    let exact = |value: f32| half::f16::from_f32(value).to_f32().to_bits() == value.to_bits();
    tensor.dtype() == DType::F16 || (0..tensor.len()).all(|at| exact(tensor.f32_at(at)))
}

/// How zero points are stored: not at all when they are one small number, as codes when codes can hold them, else as floats.
fn common_zero(codes: &[&Codes], bits: CodeBits) -> ZeroPoint {
    let all = || {
        codes.iter().flat_map(|codes| {
            let count = codes.zeros.as_ref().map_or(1, Tensor::len);
            (0..count).map(|at| codes.zero_at(at) + float(codes.offset()))
        })
    };
    let whole = |zero: f32, most: u32| (0..=most).find(|whole| float(i64::from(*whole)) == zero);
    let first = all().next().and_then(|zero| whole(zero, MAX_ZERO));
    if let Some(zero) = first.filter(|first| all().all(|zero| zero == float(i64::from(*first)))) {
        return ZeroPoint::Constant(zero);
    }
    let most = (1 << bits.get()) - 1;
    if all().all(|zero| whole(zero, most).is_some()) { ZeroPoint::Codes } else { ZeroPoint::Float }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use qwenc_ir::ValueId;

    fn tensor(dtype: DType, shape: [usize; 2], bytes: &'static [u8]) -> Tensor {
        Tensor::new(dtype, shape.to_vec(), Bytes::from_static(bytes)).unwrap()
    }

    fn dequantize(graph: &mut Graph, op: Op, tensors: Vec<Tensor>) -> ValueId {
        let inputs: Vec<ValueId> = tensors.into_iter().map(|tensor| graph.add_const("c", tensor)).collect();
        graph.apply("q", op, &inputs).unwrap()
    }

    fn rows(matrix: &Matrix) -> Vec<Vec<f32>> {
        let (n, k) = matrix.extent();
        (0..n).map(|row| (0..k).map(|column| matrix.value(row, column)).collect()).collect()
    }

    #[test]
    fn signed_codes_by_columns_read_like_unsigned_ones_by_rows() {
        let mut graph = Graph::new("g");
        // [K=4, N=2], codes -8..7, blocks of two along K, one scale a column and block.
        let codes = tensor(DType::I4, [4, 2], &[0x18, 0x2F, 0x73, 0x04]);
        let scales = Tensor::from_f32(vec![2, 2], &[1.0, 10.0, 0.5, 2.0]).unwrap();
        let op = Op::Dequantize { axis: 0, block: 2, zero: 1 };
        let value = dequantize(&mut graph, op, vec![codes, scales]);
        let turned = graph.apply("t", Op::Transpose { perm: vec![1, 0] }, &[value]).unwrap();
        let matrix = Matrix::of(&graph, turned).unwrap();
        assert_eq!(rows(&matrix), [vec![-9.0, -2.0, 1.0, 1.5], vec![0.0, 10.0, 12.0, -2.0]]);
        assert_eq!((matrix.code(0, 0), matrix.code(1, 2), matrix.zero(1, 2)), (0, 15, 9.0));
        assert_eq!(matrix.kind(), Err("blocks that are no multiple of 16 codes"));
        assert_eq!(matrix.row_bytes(0), None, "a row is spread over the file");
    }

    #[test]
    fn zero_points_are_stored_as_narrow_as_they_are() {
        let format = |zeros: &[f32], scales: &[f32]| {
            let mut graph = Graph::new("g");
            let codes = Tensor::new(DType::U4, vec![2, 32], Bytes::from(vec![0; 32])).unwrap();
            let parts = [scales, zeros].map(|values| Tensor::from_f32(vec![2, 2], values).unwrap());
            let [scales, zeros] = parts;
            let op = Op::Dequantize { axis: 1, block: 16, zero: 0 };
            let value = dequantize(&mut graph, op, vec![codes, scales, zeros]);
            match common_format(&[&Matrix::of(&graph, value).unwrap()]) {
                Ok(WeightFormat::Quantized(quant)) => (quant.zero, quant.scales),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(format(&[8.0; 4], &[0.5; 4]), (ZeroPoint::Constant(8), ScaleType::F16));
        assert_eq!(format(&[8.0, 8.0, 0.0, 15.0], &[0.5, 0.1, 1.0, 1.0]), (ZeroPoint::Codes, ScaleType::F32));
        assert_eq!(format(&[8.0, 8.0, 0.0, 16.0], &[0.5; 4]).0, ZeroPoint::Float);
        assert_eq!(format(&[7.5; 4], &[0.5; 4]).0, ZeroPoint::Float);
    }

    #[test]
    fn rows_of_whole_bytes_are_taken_as_they_lie() {
        let mut graph = Graph::new("g");
        let codes = tensor(DType::I4, [2, 2], &[0x18, 0x2F]);
        let scales = Tensor::from_f32(vec![1, 2], &[1.0, 10.0]).unwrap();
        let value =
            dequantize(&mut graph, Op::Dequantize { axis: 0, block: 2, zero: 0 }, vec![codes, scales]);
        let matrix = Matrix::of(&graph, value).unwrap();
        assert_eq!(matrix.row_bytes(1), Some((&[0x2F][..], 0x88)));
        // One scale a column cannot be packed by rows of K, by columns it can.
        assert!(matrix.kind().is_err());
        assert_eq!(matrix.transposed().kind(), Ok(MatrixKind::Codes(CodeBits::Four, QuantBlock::Row)));
    }
}
