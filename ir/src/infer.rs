//! Types of an operator's outputs from those of its inputs. Nothing is assumed: what cannot be proven equal is an error.

use crate::dim::{Dim, product};
use crate::dtype::DType;
use crate::graph::ValueType;
use crate::op::{
    self, AttentionAttrs, GatedDeltaAttrs, LinearAttrs, Op, RopeAttrs, RopeSource, WeightLayout,
};

/// Highest rank of a tensor.
pub const MAX_RANK: usize = 8;

/// An operator does not fit its inputs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InferError(String);

impl InferError {
    /// An error with its explanation.
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

type Result<T> = std::result::Result<T, InferError>;

macro_rules! fail {
    ($($arg:tt)*) => { return Err(InferError::new(format!($($arg)*))) };
}

/// Inputs by slot, with errors that name the slot.
struct Inputs<'a>(&'a [Option<&'a ValueType>]);

impl<'a> Inputs<'a> {
    fn need(&self, slot: usize) -> Result<&'a ValueType> {
        self.get(slot).ok_or_else(|| InferError::new(format!("input {slot} is missing")))
    }

    fn get(&self, slot: usize) -> Option<&'a ValueType> {
        self.0.get(slot).copied().flatten()
    }

    fn float(&self, slot: usize) -> Result<&'a ValueType> {
        let ty = self.need(slot)?;
        if !ty.dtype.is_float() {
            fail!("input {slot} must be a float tensor, not {ty}");
        }
        Ok(ty)
    }

    /// A float input of this exact shape.
    fn float_shaped(&self, slot: usize, shape: &[Dim]) -> Result<&'a ValueType> {
        self.float(slot)?;
        self.shaped(slot, shape)
    }

    /// An input of this exact shape.
    fn shaped(&self, slot: usize, shape: &[Dim]) -> Result<&'a ValueType> {
        let ty = self.need(slot)?;
        if ty.shape != shape {
            fail!("input {slot} is {ty}, expected shape {}", show(shape));
        }
        Ok(ty)
    }
}

fn show(shape: &[Dim]) -> String {
    let dims: Vec<String> = shape.iter().map(ToString::to_string).collect();
    format!("[{}]", dims.join(", "))
}

fn dims<const N: usize>(ty: &ValueType, what: &str) -> Result<[Dim; N]> {
    <[Dim; N]>::try_from(ty.shape.clone())
        .map_err(|_| InferError::new(format!("{what} must have rank {N}, not {ty}")))
}

fn last_dim(ty: &ValueType) -> Result<&Dim> {
    ty.shape.last().ok_or_else(|| InferError::new("a scalar has no last axis"))
}

fn check_axis(ty: &ValueType, axis: usize) -> Result<()> {
    if axis >= ty.rank() {
        fail!("axis {axis} does not exist in {ty}");
    }
    Ok(())
}

/// The NumPy broadcast of shapes. Fails where neither equality nor a 1 is proven.
pub fn broadcast<'a>(shapes: impl IntoIterator<Item = &'a [Dim]>) -> Result<Vec<Dim>> {
    let mut out: Vec<Dim> = Vec::new();
    for shape in shapes {
        while out.len() < shape.len() {
            out.insert(0, Dim::constant(1));
        }
        let skip = out.len() - shape.len();
        for (have, dim) in out.iter_mut().skip(skip).zip(shape) {
            if have.is(1) {
                *have = dim.clone();
            } else if !dim.is(1) && have != dim {
                fail!("dimensions {have} and {dim} do not broadcast");
            }
        }
    }
    Ok(out)
}

/// The types of the outputs of `op`, one per output. Errors say which input does not fit and how.
pub fn infer(op: &Op, inputs: &[Option<&ValueType>]) -> Result<Vec<ValueType>> {
    let inputs = Inputs(inputs);
    let outputs = match op {
        Op::Elementwise(expr) => {
            let mut types = Vec::new();
            for slot in 0..expr.arity().max(inputs.0.len()) {
                types.push(inputs.need(slot)?);
            }
            if expr.size() > crate::expr::MAX_EXPR_NODES {
                fail!("the expression has more than {} nodes", crate::expr::MAX_EXPR_NODES);
            }
            let dtypes: Vec<DType> = types.iter().map(|ty| ty.dtype).collect();
            let dtype = expr.infer(&dtypes).map_err(InferError::new)?;
            vec![ValueType { dtype, shape: broadcast(types.iter().map(|ty| ty.shape.as_slice()))? }]
        }
        Op::MatMul { transpose_a, transpose_b } => vec![matmul(&inputs, *transpose_a, *transpose_b)?],
        Op::Reduce { axes, keep_dims, .. } => {
            let x = inputs.need(0)?;
            vec![ValueType { dtype: x.dtype, shape: reduced(x, axes, *keep_dims)? }]
        }
        Op::Dequantize { axis, block, zero } => vec![dequantize(&inputs, *axis, *block, *zero)?],
        Op::ArgReduce { axis, keep_dims, .. } => {
            let x = inputs.need(0)?;
            vec![ValueType { dtype: DType::I64, shape: reduced(x, &[*axis], *keep_dims)? }]
        }
        Op::CumSum { axis, .. } => {
            let x = inputs.need(0)?;
            check_axis(x, *axis)?;
            vec![x.clone()]
        }
        Op::Softmax { axis, .. } => {
            let x = inputs.float(0)?;
            check_axis(x, *axis)?;
            vec![x.clone()]
        }
        Op::LayerNorm { .. } => {
            let x = inputs.float(0)?;
            let width = [last_dim(x)?.clone()];
            for slot in [1, 2] {
                if inputs.get(slot).is_some() {
                    inputs.float_shaped(slot, &width)?;
                }
            }
            vec![x.clone()]
        }
        Op::RmsNorm { gate, .. } => {
            let x = inputs.float(0)?;
            inputs.float_shaped(1, &[last_dim(x)?.clone()])?;
            if gate.is_some() {
                inputs.float_shaped(2, &x.shape)?;
            }
            vec![x.clone()]
        }
        Op::L2Norm { .. } => {
            let x = inputs.float(0)?;
            last_dim(x)?;
            vec![x.clone()]
        }
        Op::Gather { axis } => vec![gather(inputs.need(0)?, inputs.need(1)?, *axis)?],
        Op::Reshape { shape } => {
            let x = inputs.need(0)?;
            if product(shape) != x.elements() {
                fail!("{x} cannot be reshaped to {}: element counts differ", show(shape));
            }
            vec![ValueType { dtype: x.dtype, shape: shape.clone() }]
        }
        Op::Transpose { perm } => {
            let x = inputs.need(0)?;
            let mut sorted = perm.clone();
            sorted.sort_unstable();
            if sorted != (0..x.rank()).collect::<Vec<_>>() {
                fail!("{perm:?} is no permutation of the axes of {x}");
            }
            vec![ValueType {
                dtype: x.dtype,
                shape: perm.iter().map(|axis| x.shape[*axis].clone()).collect(),
            }]
        }
        Op::Slice { axis, start, len, step } => vec![slice(inputs.need(0)?, *axis, start, len, *step)?],
        Op::Concat { axis } => vec![concat(&inputs, *axis)?],
        Op::Expand { shape } => {
            let x = inputs.need(0)?;
            if broadcast([x.shape.as_slice(), shape.as_slice()])? != *shape {
                fail!("{x} does not broadcast to {}", show(shape));
            }
            vec![ValueType { dtype: x.dtype, shape: shape.clone() }]
        }
        Op::Pad { before, after, .. } => {
            let x = inputs.need(0)?;
            if before.len() != x.rank() || after.len() != x.rank() {
                fail!("pad amounts for {} axes on {x}", before.len());
            }
            if before.iter().chain(after).any(|amount| amount.as_const().is_some_and(|v| v < 0)) {
                fail!("negative padding");
            }
            let shape = x.shape.iter().zip(before.iter().zip(after));
            let shape = shape.map(|(dim, (b, a))| dim.clone() + b.clone() + a.clone()).collect();
            vec![ValueType { dtype: x.dtype, shape }]
        }
        Op::Range { len, .. } => vec![ValueType { dtype: DType::I64, shape: vec![len.clone()] }],
        Op::Fill { dtype, shape, .. } => vec![ValueType { dtype: *dtype, shape: shape.clone() }],
        Op::Dims { values } => vec![ValueType::new(DType::I64, [values.len()])],
        Op::Rope(attrs) => {
            let x = inputs.float(0)?;
            check_rope(attrs, x, &inputs, [1, 2, 3])?;
            vec![x.clone()]
        }
        Op::Attention(attrs) => infer_attention(attrs, &inputs)?,
        Op::CausalConv { .. } => causal_conv(&inputs)?,
        Op::GatedDelta(attrs) => infer_gated_delta(attrs, &inputs)?,
        Op::Linear(attrs) => vec![infer_linear(attrs, &inputs)?],
    };
    for ty in &outputs {
        if ty.rank() > MAX_RANK {
            fail!("rank {} is above the supported {MAX_RANK}", ty.rank());
        }
        if ty.shape.iter().any(Dim::is_poison) || ty.elements().is_poison() {
            fail!("the dimensions of the result overflow");
        }
        if ty.shape.iter().any(|dim| dim.as_const().is_some_and(|value| value < 0)) {
            fail!("the result {ty} has a negative dimension");
        }
    }
    Ok(outputs)
}

fn matmul(inputs: &Inputs<'_>, transpose_a: bool, transpose_b: bool) -> Result<ValueType> {
    let (a, b) = (inputs.need(0)?, inputs.need(1)?);
    let Some(dtype) = product_type(a.dtype, b.dtype) else { fail!("matmul of {a} and {b}") };
    let ([a_batch @ .., a0, a1], [b_batch @ .., b0, b1]) = (a.shape.as_slice(), b.shape.as_slice()) else {
        fail!("matmul wants ranks of at least 2, not {a} and {b}");
    };
    let (m, k) = if transpose_a { (a1, a0) } else { (a0, a1) };
    let (k2, n) = if transpose_b { (b1, b0) } else { (b0, b1) };
    if k != k2 {
        fail!("matmul of {a} and {b}: inner dimensions {k} and {k2} differ");
    }
    let mut shape = broadcast([a_batch, b_batch])?;
    shape.extend([m.clone(), n.clone()]);
    Ok(ValueType { dtype, shape })
}

/// The element type of a product. A float weight may be stored in fewer bits than the activations have.
fn product_type(a: DType, b: DType) -> Option<DType> {
    match (a, b) {
        _ if a == b => Some(a),
        _ if !a.is_float() || !b.is_float() || a.bits() == b.bits() => None,
        _ => Some(if a.bits() > b.bits() { a } else { b }),
    }
}

fn reduced(x: &ValueType, axes: &[usize], keep_dims: bool) -> Result<Vec<Dim>> {
    if !axes.is_sorted_by(|a, b| a < b) {
        fail!("axes {axes:?} must be sorted and distinct");
    }
    for axis in axes {
        check_axis(x, *axis)?;
    }
    let keep = |axis: usize, dim: &Dim| match (axes.contains(&axis), keep_dims) {
        (false, _) => Some(dim.clone()),
        (true, true) => Some(Dim::constant(1)),
        (true, false) => None,
    };
    Ok(x.shape.iter().enumerate().filter_map(|(axis, dim)| keep(axis, dim)).collect())
}

fn dequantize(inputs: &Inputs<'_>, axis: usize, block: usize, zero: i64) -> Result<ValueType> {
    let (codes, scales) = (inputs.need(0)?, inputs.float(1)?);
    if !codes.dtype.is_int() {
        fail!("codes must be integers, not {codes}");
    }
    check_axis(codes, axis)?;
    let Ok(length) = i64::try_from(block.max(1)) else { fail!("blocks of {block}") };
    if block == 0 {
        fail!("blocks of no codes");
    }
    let fits = |at: usize, size: &Dim| match at == axis {
        true => *size == codes.shape[at].ceil_div(length),
        false => *size == codes.shape[at] || size.is(1),
    };
    if scales.rank() != codes.rank() || !scales.shape.iter().enumerate().all(|(at, size)| fits(at, size)) {
        fail!("scales {scales} do not fit {codes} in blocks of {block} along axis {axis}");
    }
    if let Some(points) = inputs.get(2) {
        if !(points.dtype.is_float() || points.dtype == codes.dtype) || points.shape != scales.shape {
            fail!("zero points {points} do not fit codes {codes} and scales {scales}");
        }
        if zero != 0 {
            fail!("zero points are given twice");
        }
    }
    Ok(ValueType { dtype: scales.dtype, shape: codes.shape.clone() })
}

fn gather(data: &ValueType, indices: &ValueType, axis: usize) -> Result<ValueType> {
    check_axis(data, axis)?;
    if !indices.dtype.is_int() {
        fail!("indices must be integers, not {indices}");
    }
    let mut shape = data.shape[..axis].to_vec();
    shape.extend(indices.shape.iter().cloned());
    shape.extend(data.shape[axis + 1..].iter().cloned());
    Ok(ValueType { dtype: data.dtype, shape })
}

fn slice(x: &ValueType, axis: usize, start: &Dim, len: &Dim, step: i64) -> Result<ValueType> {
    check_axis(x, axis)?;
    if step == 0 {
        fail!("a slice with step 0");
    }
    if let (Some(size), Some(start), Some(len)) = (x.shape[axis].as_const(), start.as_const(), len.as_const())
    {
        let last = (len - 1).checked_mul(step).and_then(|distance| distance.checked_add(start));
        let inside = |index: i64| (0..size).contains(&index);
        if len < 0 || (len > 0 && !(inside(start) && last.is_some_and(inside))) {
            fail!("a slice of {len} from {start} by {step} leaves axis {axis} of {x}");
        }
    }
    let mut shape = x.shape.clone();
    shape[axis] = len.clone();
    Ok(ValueType { dtype: x.dtype, shape })
}

fn concat(inputs: &Inputs<'_>, axis: usize) -> Result<ValueType> {
    let first = inputs.need(0)?;
    check_axis(first, axis)?;
    let mut out = first.clone();
    for slot in 1..inputs.0.len() {
        let next = inputs.need(slot)?;
        let fits = next.dtype == first.dtype
            && next.rank() == first.rank()
            && (0..first.rank()).all(|at| at == axis || next.shape[at] == first.shape[at]);
        if !fits {
            fail!("{first} and {next} do not join along axis {axis}");
        }
        out.shape[axis] = out.shape[axis].clone() + next.shape[axis].clone();
    }
    Ok(out)
}

/// Checks rope attributes against x `[B,S,H,D]`; `slots` are those of (cos, sin) or (positions, cos, sin).
fn check_rope(attrs: &RopeAttrs, x: &ValueType, inputs: &Inputs<'_>, slots: [usize; 3]) -> Result<()> {
    let [batch, sequence, _, width] = dims(x, "the rotated tensor")?;
    let half = attrs.rotary_dim / 2;
    let fits = width.as_usize().is_some_and(|width| attrs.rotary_dim <= width);
    if !attrs.rotary_dim.is_multiple_of(2) || attrs.rotary_dim == 0 || !fits {
        fail!("rotary dimension {} does not fit heads of width {width}", attrs.rotary_dim);
    }
    match &attrs.source {
        RopeSource::Direct => {
            for slot in &slots[..2] {
                inputs.float(*slot)?;
                inputs.shaped(*slot, &[batch.clone(), sequence.clone(), half.into()])?;
            }
        }
        RopeSource::Table { axes } => {
            let positions = inputs.need(slots[0])?;
            let [position_axes, position_batch, position_sequence] = dims(positions, "positions")?;
            if !positions.dtype.is_int() || position_batch != batch || position_sequence != sequence {
                fail!("positions {positions} do not fit {x}");
            }
            let known = position_axes.as_usize().unwrap_or(0);
            if axes.len() != half || axes.iter().any(|axis| usize::from(*axis) >= known) {
                fail!("position axes {axes:?} do not fit {half} frequencies and {position_axes} axes");
            }
            let [rows, columns] = dims(inputs.float(slots[1])?, "the cosine table")?;
            if columns != Dim::from(half) {
                fail!("the cosine table has {columns} columns, expected {half}");
            }
            inputs.float(slots[2])?;
            inputs.shaped(slots[2], &[rows, columns])?;
        }
    }
    Ok(())
}

fn infer_attention(attrs: &AttentionAttrs, inputs: &Inputs<'_>) -> Result<Vec<ValueType>> {
    use op::attention as slot;
    let q = inputs.float(slot::Q)?;
    let [batch, sequence, heads, width] = dims(q, "query")?;
    let k = inputs.float(slot::K)?;
    let [k_batch, k_sequence, kv_heads, k_width] = dims(k, "key")?;
    let v = inputs.float(slot::V)?;
    let [v_batch, v_sequence, v_heads, v_width] = dims(v, "value")?;
    if k_batch != batch
        || v_batch != batch
        || k_width != width
        || v_heads != kv_heads
        || v_sequence != k_sequence
    {
        fail!("query {q}, key {k} and value {v} do not fit each other");
    }
    let grouped =
        matches!((heads.as_usize(), kv_heads.as_usize()), (Some(h), Some(kv)) if kv > 0 && h % kv == 0);
    if !grouped {
        fail!("{heads} query heads are no multiple of {kv_heads} key heads");
    }
    let mut past = Dim::constant(0);
    if let Some(past_k) = inputs.get(slot::PAST_K) {
        let [_, _, length, _] = dims(past_k, "past key")?;
        past = length;
        inputs.float_shaped(slot::PAST_K, &[batch.clone(), kv_heads.clone(), past.clone(), width.clone()])?;
        inputs
            .float_shaped(slot::PAST_V, &[batch.clone(), kv_heads.clone(), past.clone(), v_width.clone()])?;
    }
    let total = past + k_sequence;
    if let Some(mask) = inputs.get(slot::MASK) {
        let full = [batch.clone(), heads.clone(), sequence.clone(), total.clone()];
        if broadcast([mask.shape.as_slice(), &full])? != full
            || !(mask.dtype.is_float() || mask.dtype == DType::Bool)
        {
            fail!("mask {mask} does not broadcast to {}", show(&full));
        }
    }
    if let Some(segments) = inputs.get(slot::SEGMENTS) {
        if segments.dtype != DType::I64 || segments.shape != [sequence.clone(), Dim::constant(2)] {
            fail!("segments {segments} are not i64[{sequence}, 2]");
        }
        let masked = attrs.causal || inputs.get(slot::MASK).is_some();
        if masked || attrs.present || inputs.get(slot::PAST_K).is_some() || !batch.is(1) {
            fail!("segments need a batch of 1, and neither mask nor causal attention nor states");
        }
    }
    if attrs.qk_norm.is_some() {
        inputs.float_shaped(slot::Q_NORM, std::slice::from_ref(&width))?;
        inputs.float_shaped(slot::K_NORM, std::slice::from_ref(&width))?;
    }
    if let Some(rope) = &attrs.rope {
        if rope.source == RopeSource::Direct {
            fail!("fused rope reads its tables by position");
        }
        check_rope(rope, q, inputs, [slot::POSITIONS, slot::COS, slot::SIN])?;
        check_rope(rope, k, inputs, [slot::POSITIONS, slot::COS, slot::SIN])?;
    }
    let out = vec![batch.clone(), sequence, heads, v_width.clone()];
    if attrs.gate.is_some() {
        inputs.float_shaped(slot::GATE, &out)?;
    }
    let mut types = vec![ValueType { dtype: q.dtype, shape: out }];
    if attrs.present {
        let state = |width: Dim| vec![batch.clone(), kv_heads.clone(), total.clone(), width];
        types.push(ValueType { dtype: k.dtype, shape: state(width) });
        types.push(ValueType { dtype: v.dtype, shape: state(v_width) });
    }
    Ok(types)
}

fn causal_conv(inputs: &Inputs<'_>) -> Result<Vec<ValueType>> {
    let x = inputs.float(0)?;
    let [batch, _, channels] = dims(x, "the convolution's input")?;
    let weight = inputs.float(1)?;
    let [weight_channels, taps] = dims(weight, "the convolution's weight")?;
    let Some(taps) = taps.as_usize().filter(|taps| *taps > 0 && weight_channels == channels) else {
        fail!("weight {weight} does not fit input {x}");
    };
    if inputs.get(2).is_some() {
        inputs.float_shaped(2, std::slice::from_ref(&channels))?;
    }
    let mut width = Dim::from(taps - 1);
    if let Some(past) = inputs.get(3) {
        let [_, _, w] = dims(past, "the convolution's state")?;
        if w.as_usize().is_none_or(|w| w + 1 < taps) {
            fail!("a state of {w} columns is too narrow for {taps} taps");
        }
        inputs.float_shaped(3, &[batch.clone(), channels.clone(), w.clone()])?;
        width = w;
    }
    Ok(vec![x.clone(), ValueType { dtype: x.dtype, shape: vec![batch, channels, width] }])
}

fn infer_gated_delta(attrs: &GatedDeltaAttrs, inputs: &Inputs<'_>) -> Result<Vec<ValueType>> {
    use op::gated_delta as slot;
    let q = inputs.float(slot::Q)?;
    let [batch, sequence, k_heads, k_width] = dims(q, "query")?;
    inputs.float_shaped(slot::K, &q.shape)?;
    let v = inputs.float(slot::V)?;
    let [v_batch, v_sequence, v_heads, v_width] = dims(v, "value")?;
    let grouped =
        matches!((v_heads.as_usize(), k_heads.as_usize()), (Some(v), Some(k)) if k > 0 && v % k == 0);
    if v_batch != batch || v_sequence != sequence || !grouped {
        fail!("query {q} and value {v} do not fit each other");
    }
    let state = vec![batch.clone(), v_heads.clone(), k_width, v_width];
    if inputs.get(slot::PAST).is_some() {
        inputs.float_shaped(slot::PAST, &state)?;
    }
    let gate = [batch, sequence, v_heads.clone()];
    inputs.float_shaped(slot::DECAY, &gate)?;
    inputs.float_shaped(slot::BETA, &gate)?;
    if attrs.raw_gates {
        inputs.float_shaped(slot::NEG_EXP_A, std::slice::from_ref(&v_heads))?;
        inputs.float_shaped(slot::DT_BIAS, std::slice::from_ref(&v_heads))?;
    }
    Ok(vec![v.clone(), ValueType { dtype: DType::F32, shape: state }])
}

fn infer_linear(attrs: &LinearAttrs, inputs: &Inputs<'_>) -> Result<ValueType> {
    use op::linear as slot;
    let x = inputs.float(slot::X)?;
    let k = last_dim(x)?.clone();
    if attrs.norm.is_some() {
        inputs.float_shaped(slot::NORM, std::slice::from_ref(&k))?;
    }
    let mut widths = Vec::new();
    for (index, layout) in attrs.weights.iter().enumerate() {
        let weight = inputs.float(slot::WEIGHTS + index)?;
        let [rows, columns] = dims(weight, "a weight")?;
        let (weight_k, n) = match layout {
            WeightLayout::KN => (rows, columns),
            WeightLayout::NK => (columns, rows),
        };
        if weight_k != k {
            fail!("weight {weight} does not fit {x}");
        }
        widths.push(n);
    }
    let n = match (&attrs.glu, widths.as_slice()) {
        (_, []) => fail!("no weight"),
        (None, widths) => widths.iter().fold(Dim::constant(0), |sum, n| sum + n.clone()),
        (Some(_), [gate, up]) if gate == up => gate.clone(),
        (Some(_), _) => fail!("a gated pair wants two weights of equal width"),
    };
    let mut shape = x.shape.clone();
    if let Some(last) = shape.last_mut() {
        *last = n;
    }
    let mut dtype = x.dtype;
    if let Some(epilogue) = &attrs.epilogue {
        let mut dtypes = vec![dtype];
        for index in 1..epilogue.arity().max(1) {
            let extra = inputs.need(slot::WEIGHTS + attrs.weights.len() + index - 1)?;
            if broadcast([shape.as_slice(), &extra.shape])? != shape {
                fail!("extra input {extra} does not broadcast to {}", show(&shape));
            }
            dtypes.push(extra.dtype);
        }
        dtype = epilogue.infer(&dtypes).map_err(InferError::new)?;
    }
    Ok(ValueType { dtype, shape })
}
