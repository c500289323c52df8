//! Constant data as kernels read it: which tensors go into a packed weight, in what order, and the packing itself.
//!
//! A specification only points at the model's (memory-mapped) tensors; packing happens when the bundle is written, one
//! weight at a time, so that a full-size model never has to fit in memory.

use std::ops::Range;

use qwenc_codegen_wgsl::Elem;
use qwenc_ir::op::WeightLayout;
use qwenc_ir::{DType, Dim, Graph, Op, Tensor, ValueId};

use super::LowerError;

/// Where rows of a packed matrix come from.
#[derive(Clone, Debug)]
pub struct RowSource {
    /// A rank-2 tensor.
    pub tensor: Tensor,
    /// `NK`: its rows are the packed rows; `KN`: its columns are.
    pub layout: WeightLayout,
}

impl RowSource {
    /// Number of rows (N) and their length (K).
    pub fn extent(&self) -> (usize, usize) {
        match (self.layout, self.tensor.shape()) {
            (WeightLayout::NK, [n, k]) | (WeightLayout::KN, [k, n]) => (*n, *k),
            _ => (0, 0),
        }
    }

    fn at(&self, row: usize, column: usize) -> f32 {
        let (n, k) = self.extent();
        match self.layout {
            WeightLayout::NK => self.tensor.f32_at(row * k + column),
            WeightLayout::KN => self.tensor.f32_at(column * n + row),
        }
    }
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
    /// Rows of f32, each padded with zeros to a multiple of four: the operand of the matrix kernels.
    Rows {
        /// The matrices, stacked; with `interleave` two of equal height, row by row in turn.
        sources: Vec<RowSource>,
        /// Alternate the rows of two sources (gate and up).
        interleave: bool,
        /// The rows of the whole that this buffer holds (one binding cannot reach a very large matrix).
        rows: Range<usize>,
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
            Self::Rows { .. } | Self::RopeTable { .. } => Elem::F32,
        }
    }

    /// Shape of the packed weight.
    pub fn shape(&self) -> Vec<Dim> {
        match self {
            Self::Dense { tensor, .. } => tensor.shape().iter().map(|dim| Dim::from(*dim)).collect(),
            Self::Rows { sources, rows, .. } => {
                let k = sources.first().map_or(0, |source| source.extent().1);
                vec![rows.len().into(), k.next_multiple_of(4).into()]
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
            Self::Rows { sources, interleave, rows } => {
                let sources: Vec<String> =
                    sources.iter().map(|s| format!("{:?} {}", s.layout, tensor(&s.tensor))).collect();
                format!("rows {rows:?} {interleave} {}", sources.join(" "))
            }
            Self::RopeTable { cos, sin, rows } => format!("rope {rows} {} {}", tensor(cos), tensor(sin)),
        }
    }
}

/// Packs a weight into little-endian bytes, as its kernel reads it.
pub fn pack(spec: &WeightSpec) -> Vec<u8> {
    let mut out = Vec::with_capacity(spec.bytes());
    match spec {
        WeightSpec::Dense { tensor, elem } => pack_dense(tensor, *elem, &mut out),
        WeightSpec::Rows { sources, interleave, rows } => {
            for row in rows.clone() {
                pack_row(sources, *interleave, row, &mut out);
            }
        }
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

fn pack_row(sources: &[RowSource], interleave: bool, row: usize, out: &mut Vec<u8>) {
    let mut local = row;
    let source = if interleave {
        local = row / 2;
        sources.get(row % 2)
    } else {
        sources.iter().find(|source| {
            let height = source.extent().0;
            let here = local < height;
            if !here {
                local -= height;
            }
            here
        })
    };
    let Some(source) = source else { return };
    let k = source.extent().1;
    for column in 0..k {
        out.extend_from_slice(&source.at(local, column).to_le_bytes());
    }
    for _ in k..k.next_multiple_of(4) {
        out.extend_from_slice(&0f32.to_le_bytes());
    }
}

/// The constant matrix behind a value, looking through transposes: rows of the packed weight are its axis 0 for
/// [`WeightLayout::NK`].
pub(super) fn constant_matrix(graph: &Graph, value: ValueId) -> Option<RowSource> {
    if let Some(tensor) = graph.constant(value) {
        return (tensor.shape().len() == 2)
            .then(|| RowSource { tensor: tensor.clone(), layout: WeightLayout::NK });
    }
    match graph.producer_op(value)? {
        (node, Op::Transpose { perm }) if *perm == [1, 0] => {
            let mut source = constant_matrix(graph, graph.node_input(node, 0)?)?;
            source.layout = match source.layout {
                WeightLayout::NK => WeightLayout::KN,
                WeightLayout::KN => WeightLayout::NK,
            };
            Some(source)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floats(bytes: &[u8]) -> Vec<f32> {
        bytes.chunks_exact(4).map(|word| f32::from_le_bytes(word.try_into().unwrap())).collect()
    }

    fn source(layout: WeightLayout, shape: [usize; 2], values: &[f32]) -> RowSource {
        RowSource { tensor: Tensor::from_f32(shape.to_vec(), values).unwrap(), layout }
    }

    #[test]
    fn rows_are_padded_and_columns_transposed() {
        let kn = source(WeightLayout::KN, [3, 2], &[1., 2., 3., 4., 5., 6.]);
        let nk = source(WeightLayout::NK, [1, 3], &[7., 8., 9.]);
        let spec = WeightSpec::Rows { sources: vec![kn, nk], interleave: false, rows: 0..3 };
        assert_eq!(spec.shape(), [Dim::constant(3), Dim::constant(4)]);
        assert_eq!(floats(&pack(&spec)), [1., 3., 5., 0., 2., 4., 6., 0., 7., 8., 9., 0.]);
        let part = WeightSpec::Rows {
            sources: match spec {
                WeightSpec::Rows { sources, .. } => sources,
                _ => vec![],
            },
            interleave: false,
            rows: 1..3,
        };
        assert_eq!(floats(&pack(&part)), [2., 4., 6., 0., 7., 8., 9., 0.]);
    }

    #[test]
    fn pairs_interleave() {
        let gate = source(WeightLayout::NK, [2, 4], &[1., 1., 1., 1., 2., 2., 2., 2.]);
        let up = source(WeightLayout::NK, [2, 4], &[3., 3., 3., 3., 4., 4., 4., 4.]);
        let spec = WeightSpec::Rows { sources: vec![gate, up], interleave: true, rows: 0..4 };
        let rows: Vec<f32> = floats(&pack(&spec)).into_iter().step_by(4).collect();
        assert_eq!(rows, [1., 3., 2., 4.]);
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
