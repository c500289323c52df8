//! Constant data as kernels read it: which tensors go into a packed weight, in what order, and the packing itself.
//!
//! A specification only points at the model's (memory-mapped) tensors; packing happens when the bundle is written, one
//! weight at a time, so that a full-size model never has to fit in memory.

use std::ops::Range;

use qwenc_codegen_wgsl::Elem;
use qwenc_codegen_wgsl::weight::{QuantBlock, ScaleType, WeightFormat, ZeroPoint};
use qwenc_ir::{DType, Dim, Tensor};

use super::LowerError;
use crate::matrix::{Matrix, common_format};

/// Rows of matrices of one kind, packed into one weight of the matrix kernels.
#[derive(Clone, Debug)]
pub struct RowStack {
    sources: Vec<Matrix>,
    interleave: bool,
    rows: Range<usize>,
    format: WeightFormat,
}

impl RowStack {
    /// All rows of the matrices, stacked; with `interleave` those of two matrices of equal height, in turn (gate and up).
    /// Fails when they are not of one kind.
    pub fn new(sources: Vec<Matrix>, interleave: bool) -> Result<Self, LowerError> {
        let format = common_format(&sources.iter().collect::<Vec<_>>()).map_err(LowerError::graph)?;
        let rows = 0..sources.iter().map(|source| source.extent().0).sum();
        Ok(Self { sources, interleave, rows, format })
    }

    /// A part of the rows: one binding cannot reach a very large matrix.
    #[must_use]
    pub fn part(&self, rows: Range<usize>) -> Self {
        Self { rows, ..self.clone() }
    }

    /// How the elements are stored.
    pub const fn format(&self) -> WeightFormat {
        self.format
    }

    /// Number of rows (N) and their length (K).
    pub fn extent(&self) -> (usize, usize) {
        (self.rows.len(), self.sources.first().map_or(0, |source| source.extent().1))
    }

    /// The matrix that a row comes from, and its row there.
    fn source(&self, row: usize) -> Option<(&Matrix, usize)> {
        if self.interleave {
            return Some((self.sources.get(row % 2)?, row / 2));
        }
        let mut local = row;
        for source in &self.sources {
            let height = source.extent().0;
            if local < height {
                return Some((source, local));
            }
            local -= height;
        }
        None
    }

    fn identity(&self) -> String {
        let sources: Vec<String> = self.sources.iter().map(Matrix::identity).collect();
        format!("{:?} {} {:?} {}", self.rows, self.interleave, self.format, sources.join(" "))
    }
}

/// Which of the buffers of packed rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowPart {
    /// The elements or codes.
    Values,
    /// One scale a block.
    Scales,
    /// One zero point a block.
    Zeros,
}

/// What a weight buffer holds.
#[derive(Clone, Debug)]
pub enum WeightSpec {
    /// One tensor, row-major, every element converted to four bytes.
    Dense {
        /// The tensor.
        tensor: Tensor,
        /// What it is converted to.
        elem: Elem,
    },
    /// Rows of matrices, laid out as [`qwenc_codegen_wgsl::weight`] says.
    Rows {
        /// Which rows.
        stack: RowStack,
        /// Which of their buffers.
        part: RowPart,
    },
    /// Rotation tables side by side: row p holds `cos(p, ..)` then `sin(p, ..)`, f32.
    RopeTable {
        /// `[M, R/2]`.
        cos: Tensor,
        /// `[M, R/2]`.
        sin: Tensor,
        /// Rows that are kept.
        rows: usize,
    },
}

impl WeightSpec {
    /// A dense weight. Fails when an integer does not fit the 32 bits that devices have.
    pub fn dense(tensor: Tensor, elem: Elem) -> Result<Self, LowerError> {
        if elem != Elem::F32 && matches!(tensor.dtype(), DType::I64 | DType::U32) {
            let fits = |value: i64| match elem {
                Elem::I32 => i32::try_from(value).is_ok(),
                _ => u32::try_from(value).is_ok(),
            };
            if let Some(index) = (0..tensor.len()).find(|index| !fits(tensor.i64_at(*index))) {
                return Err(LowerError::graph(format!(
                    "the constant {} does not fit 32 bits, and WebGPU has no wider integers",
                    tensor.i64_at(index)
                )));
            }
        }
        Ok(Self::Dense { tensor, elem })
    }

    /// Element type of the packed weight.
    pub fn elem(&self) -> Elem {
        match self {
            Self::Dense { elem, .. } => *elem,
            Self::RopeTable { .. } => Elem::F32,
            Self::Rows { stack, part } => {
                let (n, k) = stack.extent();
                let flat = match part {
                    RowPart::Values => Some((stack.format.values(n, k).0, 0)),
                    RowPart::Scales => stack.format.scales(n, k),
                    RowPart::Zeros => stack.format.zeros(n, k),
                };
                flat.map_or(Elem::F32, |(elem, _)| elem)
            }
        }
    }

    /// Shape of the packed weight.
    pub fn shape(&self) -> Vec<Dim> {
        match self {
            Self::Dense { tensor, .. } => tensor.shape().iter().map(|dim| Dim::from(*dim)).collect(),
            Self::Rows { stack, part } => {
                let (n, k) = stack.extent();
                match part {
                    RowPart::Values => stack.format.values(n, k).1.map(Dim::from).to_vec(),
                    RowPart::Scales => vec![stack.format.scales(n, k).map_or(0, |(_, words)| words).into()],
                    RowPart::Zeros => vec![stack.format.zeros(n, k).map_or(0, |(_, words)| words).into()],
                }
            }
            Self::RopeTable { cos, rows, .. } => {
                vec![(*rows).into(), (2 * cos.shape().get(1).copied().unwrap_or(0)).into()]
            }
        }
    }

    /// Bytes of the packed weight.
    pub fn bytes(&self) -> usize {
        self.shape().iter().filter_map(Dim::as_usize).product::<usize>() * 4
    }

    /// A text that is equal for specifications of equal content. Tensors are told apart by where their bytes lie, which
    /// is cheap and, within one compilation, exact enough: equal content elsewhere is found when shards are written.
    pub fn identity(&self) -> String {
        let tensor =
            |t: &Tensor| format!("{}{:?}@{:p}+{}", t.dtype(), t.shape(), t.bytes().as_ptr(), t.bytes().len());
        match self {
            Self::Dense { tensor: t, elem } => format!("dense {} {}", elem.wgsl(), tensor(t)),
            Self::Rows { stack, part } => format!("rows {part:?} {}", stack.identity()),
            Self::RopeTable { cos, sin, rows } => format!("rope {rows} {} {}", tensor(cos), tensor(sin)),
        }
    }
}

/// Packs a weight into little-endian bytes, as its kernel reads it.
pub fn pack(spec: &WeightSpec) -> Vec<u8> {
    let mut out = Vec::with_capacity(spec.bytes());
    match spec {
        WeightSpec::Dense { tensor, elem } => pack_dense(tensor, *elem, &mut out),
        WeightSpec::Rows { stack, part: RowPart::Values } => {
            for (source, row) in stack.rows.clone().filter_map(|row| stack.source(row)) {
                pack_row(source, row, stack.format, &mut out);
            }
        }
        WeightSpec::Rows { stack, part } => pack_blocks(stack, *part, &mut out),
        WeightSpec::RopeTable { cos, sin, rows } => {
            let half = cos.shape().get(1).copied().unwrap_or(0);
            for row in 0..*rows {
                for table in [cos, sin] {
                    for column in 0..half {
                        out.extend_from_slice(&table.f32_at(row * half + column).to_le_bytes());
                    }
                }
            }
        }
    }
    out
}

fn pack_dense(tensor: &Tensor, elem: Elem, out: &mut Vec<u8>) {
    if tensor.dtype() == DType::F32 && elem == Elem::F32 {
        out.extend_from_slice(tensor.bytes());
        return;
    }
    for index in 0..tensor.len() {
        match elem {
            Elem::F32 => out.extend_from_slice(&tensor.f32_at(index).to_le_bytes()),
            // Checked to fit when the specification was made.
            Elem::I32 => {
                out.extend_from_slice(&i32::try_from(tensor.i64_at(index)).unwrap_or(0).to_le_bytes())
            }
            Elem::U32 => {
                out.extend_from_slice(&u32::try_from(tensor.i64_at(index)).unwrap_or(0).to_le_bytes())
            }
        }
    }
}

/// One row of a matrix, padded with zeros to whole units.
fn pack_row(source: &Matrix, row: usize, format: WeightFormat, out: &mut Vec<u8>) {
    let k = source.extent().1;
    let end = out.len() + 4 * format.row_words(k);
    match format {
        WeightFormat::F32 => (0..k).for_each(|at| out.extend(source.value(row, at).to_le_bytes())),
        WeightFormat::F16 => {
            (0..k).for_each(|at| out.extend(half::f16::from_f32(source.value(row, at)).to_le_bytes()));
        }
        WeightFormat::Bf16 => {
            (0..k).for_each(|at| out.extend(half::bf16::from_f32(source.value(row, at)).to_le_bytes()));
        }
        WeightFormat::Quantized(quant) => match source.row_bytes(row) {
            Some((bytes, flip)) => out.extend(bytes.iter().map(|byte| byte ^ flip)),
            None => pack_bits((0..k).map(|at| source.code(row, at)), quant.bits.get(), out),
        },
    }
    out.resize(end, 0);
}

/// Small numbers packed from the low bits of bytes up; the last byte is padded with zeros.
fn pack_bits(values: impl Iterator<Item = u8>, bits: u32, out: &mut Vec<u8>) {
    let (mut byte, mut used) = (0u8, 0);
    for value in values {
        byte |= value << used;
        used += bits;
        if used == 8 {
            out.push(byte);
            (byte, used) = (0, 0);
        }
    }
    if used > 0 {
        out.push(byte);
    }
}

/// Scales or zero points of all rows, one behind the other.
fn pack_blocks(stack: &RowStack, part: RowPart, out: &mut Vec<u8>) {
    let WeightFormat::Quantized(quant) = stack.format else { return };
    let (_, k) = stack.extent();
    let blocks = stack.format.blocks(k);
    let step = match quant.block {
        QuantBlock::Row => k,
        QuantBlock::Elements(block) => block as usize,
    };
    let rows = || stack.rows.clone().filter_map(|row| stack.source(row));
    let each = |read: fn(&Matrix, usize, usize) -> f32| {
        rows().flat_map(move |(source, row)| (0..blocks).map(move |block| read(source, row, block * step)))
    };
    match (part, quant.scales, quant.zero) {
        (RowPart::Scales, ScaleType::F32, _) => {
            each(Matrix::scale).for_each(|scale| out.extend(scale.to_le_bytes()))
        }
        (RowPart::Scales, ScaleType::F16, _) => {
            each(Matrix::scale).for_each(|scale| out.extend(half::f16::from_f32(scale).to_le_bytes()));
        }
        (RowPart::Zeros, _, ZeroPoint::Float) => {
            each(Matrix::zero).for_each(|zero| out.extend(zero.to_le_bytes()))
        }
        (RowPart::Zeros, _, ZeroPoint::Codes) => {
            pack_bits(each(Matrix::zero).map(small), quant.bits.get(), out)
        }
        (RowPart::Values, ..) | (RowPart::Zeros, _, ZeroPoint::Constant(_)) => {}
    }
    out.resize(out.len().next_multiple_of(4), 0);
}

/// A zero point that is known to be a code.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked when the format was chosen"
)]
fn small(zero: f32) -> u8 {
    zero as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use qwenc_ir::interp::{Data, HostTensor};
    use qwenc_ir::op::WeightLayout;
    use qwenc_ir::{Graph, Op};

    fn floats(bytes: &[u8]) -> Vec<f32> {
        bytes.chunks_exact(4).map(|word| f32::from_le_bytes(word.try_into().unwrap())).collect()
    }

    fn source(layout: WeightLayout, shape: [usize; 2], values: &[f32]) -> Matrix {
        Matrix::floats(Tensor::from_f32(shape.to_vec(), values).unwrap(), layout)
    }

    fn values(stack: &RowStack) -> WeightSpec {
        WeightSpec::Rows { stack: stack.clone(), part: RowPart::Values }
    }

    #[test]
    fn rows_are_padded_and_columns_transposed() {
        let kn = source(WeightLayout::KN, [3, 2], &[1., 2., 3., 4., 5., 6.]);
        let nk = source(WeightLayout::NK, [1, 3], &[7., 8., 9.]);
        let stack = RowStack::new(vec![kn, nk], false).unwrap();
        assert_eq!(values(&stack).shape(), [Dim::constant(3), Dim::constant(4)]);
        assert_eq!(floats(&pack(&values(&stack))), [1., 3., 5., 0., 2., 4., 6., 0., 7., 8., 9., 0.]);
        assert_eq!(floats(&pack(&values(&stack.part(1..3)))), [2., 4., 6., 0., 7., 8., 9., 0.]);
    }

    #[test]
    fn pairs_interleave() {
        let gate = source(WeightLayout::NK, [2, 4], &[1., 1., 1., 1., 2., 2., 2., 2.]);
        let up = source(WeightLayout::NK, [2, 4], &[3., 3., 3., 3., 4., 4., 4., 4.]);
        let stack = RowStack::new(vec![gate, up], true).unwrap();
        let rows: Vec<f32> = floats(&pack(&values(&stack))).into_iter().step_by(4).collect();
        assert_eq!(rows, [1., 3., 2., 4.]);
    }

    /// Two rows of 18 codes in blocks of 16, scales 1 to 4, zero points 5 to 8.
    fn quantized(dtype: DType, codes: impl Iterator<Item = i64>) -> Matrix {
        let mut graph = Graph::new("g");
        let mut add = |dtype, shape: [usize; 2], values: Vec<i64>| {
            let host = HostTensor::new(shape.to_vec(), Data::Int(dtype, values)).unwrap();
            graph.add_const("c", host.to_tensor(dtype).unwrap())
        };
        let codes = add(dtype, [2, 18], codes.collect());
        let zeros = add(dtype, [2, 2], vec![5, 6, 7, 8]);
        let scales = graph.add_const("s", Tensor::from_f32(vec![2, 2], &[1.0, 2.0, 3.0, 4.1]).unwrap());
        let op = Op::Dequantize { axis: 1, block: 16, zero: 0 };
        let value = graph.apply("q", op, &[codes, scales, zeros]).unwrap();
        Matrix::of(&graph, value).unwrap()
    }

    #[test]
    fn codes_lie_from_the_low_bits_up_with_their_scales_and_zero_points() {
        let stack = RowStack::new(vec![quantized(DType::U4, (0..36).map(|at| at % 16))], false).unwrap();
        let part = |part| pack(&WeightSpec::Rows { stack: stack.clone(), part });
        let mut first = [0x10, 0x32, 0x54, 0x76, 0x98, 0xBA, 0xDC, 0xFE, 0x10].to_vec();
        first.resize(16, 0);
        let mut second = [0x32, 0x54, 0x76, 0x98, 0xBA, 0xDC, 0xFE, 0x10, 0x32].to_vec();
        second.resize(16, 0);
        assert_eq!(part(RowPart::Values), [first, second].concat());
        assert_eq!(floats(&part(RowPart::Scales)), [1.0, 2.0, 3.0, 4.1]);
        assert_eq!(part(RowPart::Zeros), [0x65, 0x87, 0, 0]);
    }

    #[test]
    fn signed_codes_become_unsigned_whichever_way_they_are_packed() {
        // 18 codes of 2 bits end within a byte, so that they are packed one by one.
        for dtype in [DType::I8, DType::I4, DType::I2] {
            let signed = quantized(dtype, (0..36).map(|at| at % 4 - 2));
            let stack = RowStack::new(vec![signed], false).unwrap();
            let bytes = pack(&values(&stack));
            let (bits, offset) = (dtype.bits(), 1u8 << (dtype.bits() - 1));
            let code = |row: usize, at: usize| {
                let bit = row * bytes.len() / 2 * 8 + at * bits;
                (bytes[bit / 8] >> (bit % 8)) & (u8::MAX >> (8 - bits))
            };
            assert_eq!([0, 1, 2, 3].map(|at| code(0, at)), [0, 1, 2, 3].map(|at| offset - 2 + at));
            assert_eq!((code(1, 0), code(1, 17)), (offset, offset + 1));
        }
    }

    #[test]
    fn several_kinds_do_not_mix() {
        let floats = source(WeightLayout::NK, [2, 18], &[0.0; 36]);
        let error = RowStack::new(vec![floats, quantized(DType::U8, 0..36)], false).unwrap_err();
        assert!(error.to_string().contains("several formats"), "{error}");
    }

    #[test]
    fn rope_tables_lie_side_by_side() {
        let cos = Tensor::from_f32(vec![3, 2], &[1., 2., 3., 4., 5., 6.]).unwrap();
        let sin = Tensor::from_f32(vec![3, 2], &[-1., -2., -3., -4., -5., -6.]).unwrap();
        let spec = WeightSpec::RopeTable { cos, sin, rows: 2 };
        assert_eq!(floats(&pack(&spec)), [1., 2., -1., -2., 3., 4., -3., -4.]);
    }

    #[test]
    fn wide_integers_are_refused() {
        let tensor = Tensor::from_i64(vec![1], &[1 << 40]).unwrap();
        assert!(WeightSpec::dense(tensor, Elem::I32).unwrap_err().to_string().contains("1099511627776"));
    }
}
