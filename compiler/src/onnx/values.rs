//! The values of a graph under construction.
//!
//! A value is a constant, a known symbolic tensor, something computed in the graph, or several of these at once. It
//! enters the graph when an operator there needs it, so that what is only used for shapes never does.

use qwenc_ir::graph::ValueType;
use qwenc_ir::infer::{InferError, broadcast};
use qwenc_ir::{BinaryOp, DType, Dim, Expr, Graph, Op, Tensor, ValueId};

use super::known::{Bounds, Elem, Known, eval};

/// How much one import may make of all values, in parts of dimensions ([`Dim::size`]), known elements and lengths of
/// names: a file of small nodes must not fill the memory. A node of an ordinary model takes about ten.
const MAX_PARTS: usize = 1 << 21;
/// Bytes of a name that count as one part.
const NAME_PART: usize = 64;
/// Most bytes of constants that importers make up, in one import.
const MAX_GENERATED_BYTES: usize = 1 << 28;

/// Why a node cannot be imported.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Fault {
    /// An explanation for the user.
    Message(String),
    /// A symbol of the file must be this size; the import starts again with it.
    Bind {
        /// The symbol's name in the graph.
        symbol: String,
        /// What it must be.
        dim: Dim,
    },
}

pub(super) type Result<T> = std::result::Result<T, Fault>;

impl Fault {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self::Message(message.into())
    }
}

impl From<InferError> for Fault {
    fn from(error: InferError) -> Self {
        Self::Message(error.to_string())
    }
}

impl From<qwenc_ir::tensor::TensorError> for Fault {
    fn from(error: qwenc_ir::tensor::TensorError) -> Self {
        Self::Message(error.to_string())
    }
}

/// Returns with an explanation.
macro_rules! fault {
    ($($arg:tt)*) => { return Err($crate::onnx::values::Fault::new(format!($($arg)*))) };
}
pub(super) use fault;

/// A value under construction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct V(usize);

#[derive(Debug)]
struct Slot {
    name: String,
    ty: ValueType,
    known: Option<Known>,
    tensor: Option<Tensor>,
    id: Option<ValueId>,
}

/// A graph under construction.
#[derive(Debug)]
pub(super) struct Builder {
    pub(super) graph: Graph,
    pub(super) bounds: Bounds,
    slots: Vec<Slot>,
    /// Parts made so far, see [`MAX_PARTS`].
    parts: usize,
    label: String,
    /// Bytes of constants that importers made up.
    generated: usize,
}

impl Builder {
    pub(super) fn new(name: &str, bounds: Bounds) -> Self {
        Self {
            graph: Graph::new(name),
            bounds,
            slots: Vec::new(),
            parts: 0,
            label: String::new(),
            generated: 0,
        }
    }

    /// Goes on counting from where another builder of the same import is.
    pub(super) fn continue_count(&mut self, other: &Builder) {
        self.parts = self.parts.max(other.parts);
        self.generated = self.generated.max(other.generated);
    }

    /// Names the nodes that are made from here on.
    pub(super) fn set_label(&mut self, label: &str) {
        label.clone_into(&mut self.label);
    }

    // ---- making values --------------------------------------------------------------------------------------------

    fn push(&mut self, slot: Slot) -> Result<V> {
        let known = slot.known.as_ref().map_or(0, Known::size);
        let shape: usize = slot.ty.shape.iter().map(|dim| 1 + dim.size()).sum();
        self.parts = self.parts.saturating_add(1 + shape + known + slot.name.len() / NAME_PART);
        if self.parts > MAX_PARTS {
            fault!(
                "the shapes and sizes up to here have more than {MAX_PARTS} parts, far beyond any exporter's; \
                 simplify the model's shape computations"
            );
        }
        self.slots.push(slot);
        Ok(V(self.slots.len() - 1))
    }

    /// An input of the graph.
    pub(super) fn input(&mut self, name: &str, ty: ValueType) -> Result<V> {
        let id = self.graph.add_input(name, ty.clone());
        self.push(Slot { name: name.to_owned(), ty, known: None, tensor: None, id: Some(id) })
    }

    /// A constant.
    pub(super) fn constant(&mut self, name: &str, tensor: Tensor) -> Result<V> {
        let ty = ValueType::new(tensor.dtype(), tensor.shape().iter().copied());
        let known = Known::from_tensor(&tensor);
        self.push(Slot { name: name.to_owned(), ty, known, tensor: Some(tensor), id: None })
    }

    /// A constant that is not in the file, such as a matrix to resample with. A small file must not ask for many of them.
    pub(super) fn generated(&mut self, name: &str, tensor: Tensor) -> Result<V> {
        self.generated = self.generated.saturating_add(tensor.bytes().len());
        if self.generated > MAX_GENERATED_BYTES {
            fault!("the tables that operators like this one need take more than {MAX_GENERATED_BYTES} bytes");
        }
        self.constant(name, tensor)
    }

    /// A tensor that is known symbolically.
    pub(super) fn known_value(&mut self, dtype: DType, known: Known) -> Result<V> {
        let ty = ValueType { dtype, shape: known.shape() };
        if ty.rank() > qwenc_ir::infer::MAX_RANK
            || ty.shape.iter().any(Dim::is_poison)
            || ty.elements().is_poison()
        {
            fault!("the dimensions of the result overflow, or are more than {}", qwenc_ir::infer::MAX_RANK);
        }
        if ty.shape.iter().any(|dim| self.bounds.negative(dim)) {
            fault!("the result {ty} has a negative dimension");
        }
        let name = self.label.clone();
        self.push(Slot { name, ty, known: Some(known), tensor: None, id: None })
    }

    /// A vector of dimensions as I64.
    pub(super) fn dims_value(&mut self, dims: &[Dim]) -> Result<V> {
        self.known_value(DType::I64, Known::vector(dims.iter().cloned().map(Elem::Int).collect()))
    }

    /// A value of another builder: a constant stays one, what is computed there becomes an input.
    pub(super) fn copy_of(&mut self, other: &Builder, v: V) -> Result<V> {
        let Slot { name, ty, known, tensor, .. } = &other.slots[v.0];
        match (tensor, known) {
            (Some(tensor), _) => self.constant(name, tensor.clone()),
            (None, Some(known)) => self.known_value(ty.dtype, known.clone()),
            (None, None) => self.input(name, ty.clone()),
        }
    }

    /// The graph's input that a value is.
    pub(super) fn input_id(&self, v: V) -> Option<ValueId> {
        self.slots[v.0].id.filter(|id| self.graph.inputs().contains(id))
    }

    fn computed(&mut self, id: ValueId) -> Result<V> {
        let value = self.graph.value(id);
        let (name, ty) = (value.name.clone(), value.ty.clone());
        self.push(Slot { name, ty, known: None, tensor: None, id: Some(id) })
    }

    // ---- reading --------------------------------------------------------------------------------------------------

    pub(super) fn ty(&self, v: V) -> &ValueType {
        &self.slots[v.0].ty
    }

    pub(super) fn shape(&self, v: V) -> &[Dim] {
        &self.ty(v).shape
    }

    pub(super) fn dtype(&self, v: V) -> DType {
        self.ty(v).dtype
    }

    pub(super) fn rank(&self, v: V) -> usize {
        self.ty(v).rank()
    }

    pub(super) fn known(&self, v: V) -> Option<&Known> {
        self.slots[v.0].known.as_ref()
    }

    pub(super) fn tensor(&self, v: V) -> Option<&Tensor> {
        self.slots[v.0].tensor.as_ref()
    }

    /// True when the whole tensor is provably zero.
    pub(super) fn is_zero(&self, v: V) -> bool {
        if let Some(item) = self.known(v).and_then(Known::uniform) {
            return item.is_zero();
        }
        // Small constants only, such as biases; -0 has a sign bit and counts as a value.
        const MAX_BYTES: usize = 1 << 20;
        self.tensor(v)
            .is_some_and(|t| t.bytes().len() <= MAX_BYTES && t.bytes().iter().all(|byte| *byte == 0))
    }

    /// The dimensions in a known integer tensor, row-major.
    pub(super) fn known_dims(&self, v: V) -> Option<Vec<Dim>> {
        if self.dtype(v).is_float() { None } else { self.known(v)?.dims() }
    }

    // ---- entering the graph ---------------------------------------------------------------------------------------

    /// The value in the graph, which it enters if it is not there yet.
    pub(super) fn value(&mut self, v: V) -> Result<ValueId> {
        if let Some(id) = self.slots[v.0].id {
            return Ok(id);
        }
        let Slot { name, ty, known, tensor, .. } = &self.slots[v.0];
        let (name, ty, tensor, known) = (name.clone(), ty.clone(), tensor.clone(), known.clone());
        let id = match (tensor, known) {
            (Some(tensor), _) => self.graph.add_const(name, tensor),
            (None, Some(known)) => self.materialise(&name, &ty, &known)?,
            (None, None) => fault!("value `{name}` is nowhere"),
        };
        self.slots[v.0].id = Some(id);
        Ok(id)
    }

    fn materialise(&mut self, name: &str, ty: &ValueType, known: &Known) -> Result<ValueId> {
        let constant = match known {
            Known::Elements { items, .. } => constant_tensor(ty.dtype, items),
            _ => None,
        };
        if let (Some(tensor), Known::Elements { shape, .. }) = (constant, known) {
            return Ok(self.graph.add_const(name, tensor.reshaped(shape.clone())?));
        }
        let (raw, kind) = match known {
            Known::Splat { shape, item } => {
                if let Some(value) = item.scalar(ty.dtype) {
                    let fill = Op::Fill { dtype: ty.dtype, value, shape: shape.clone() };
                    return Ok(self.graph.apply(name, fill, &[])?);
                }
                let Some(dim) = item.dim() else {
                    fault!("value `{name}` is out of range");
                };
                let one = self.graph.apply(name, Op::Dims { values: vec![dim.clone()] }, &[])?;
                (self.graph.apply(name, Op::Expand { shape: shape.clone() }, &[one])?, DType::I64)
            }
            Known::Ramp { shape, start, step } => {
                let len = qwenc_ir::dim::product(shape);
                (
                    self.graph.apply(name, Op::Range { start: start.clone(), step: *step, len }, &[])?,
                    DType::I64,
                )
            }
            Known::Elements { items, .. } => {
                let values = items.iter().map(|item| item.dim().cloned()).collect::<Option<Vec<_>>>();
                let Some(values) = values else {
                    fault!("value `{name}` mixes sizes with numbers that are none");
                };
                (self.graph.apply(name, Op::Dims { values }, &[])?, DType::I64)
            }
        };
        let mut id = raw;
        if self.graph.value(id).ty.shape != ty.shape {
            id = self.graph.apply(name, Op::Reshape { shape: ty.shape.clone() }, &[id])?;
        }
        if kind != ty.dtype {
            id = self.graph.apply(name, Op::Elementwise(Expr::Arg(0).cast(ty.dtype)), &[id])?;
        }
        Ok(id)
    }

    // ---- applying operators ---------------------------------------------------------------------------------------

    /// Adds a node for an operator whose inputs are all present, giving its first output.
    pub(super) fn apply(&mut self, op: Op, inputs: &[V]) -> Result<V> {
        let ids = inputs.iter().map(|v| self.value(*v)).collect::<Result<Vec<_>>>()?;
        let id = self.graph.apply(self.label.clone(), op, &ids)?;
        self.computed(id)
    }

    /// Adds a node, giving all of its outputs.
    pub(super) fn apply_all(&mut self, op: Op, inputs: &[Option<V>]) -> Result<Vec<V>> {
        let mut ids = Vec::with_capacity(inputs.len());
        for input in inputs {
            ids.push(input.map(|v| self.value(v)).transpose()?);
        }
        let outputs = self.graph.add_node(self.label.clone(), op, &ids)?;
        outputs.into_iter().map(|id| self.computed(id)).collect()
    }

    /// A pointwise expression: evaluated when its arguments are known, otherwise a node, with known uniform
    /// arguments written into the expression.
    pub(super) fn pointwise(&mut self, expr: &Expr, args: &[V]) -> Result<V> {
        let dtypes: Vec<DType> = args.iter().map(|v| self.dtype(*v)).collect();
        let dtype = expr.infer(&dtypes).map_err(Fault::Message)?;
        let shape = broadcast(args.iter().map(|v| self.shape(*v)))?;
        if let Some(known) = self.evaluate(expr, args, &dtypes) {
            return self.known_value(dtype, known);
        }
        let scalars: Vec<Option<Expr>> = args
            .iter()
            .map(|v| {
                let item = self.known(*v)?.uniform()?;
                item.scalar(self.dtype(*v)).map(Expr::Const)
            })
            .collect();
        let kept: Vec<V> = args.iter().zip(&scalars).filter(|(_, s)| s.is_none()).map(|(v, _)| *v).collect();
        let mut position = 0;
        let renumbered: Vec<Expr> = scalars
            .into_iter()
            .map(|scalar| {
                scalar.unwrap_or_else(|| {
                    position += 1;
                    Expr::Arg(position - 1)
                })
            })
            .collect();
        let embedded = expr.map_args(&mut |index| renumbered.get(index).cloned().unwrap_or(Expr::Arg(index)));
        let kept_types: Vec<DType> = kept.iter().map(|v| self.dtype(*v)).collect();
        // Constants must not have carried the result's shape or type.
        let equivalent = embedded.infer(&kept_types) == Ok(dtype)
            && embedded.arity() == kept.len()
            && broadcast(kept.iter().map(|v| self.shape(*v)))? == shape;
        if equivalent && !kept.is_empty() {
            return self.apply(Op::Elementwise(embedded), &kept);
        }
        self.apply(Op::Elementwise(expr.clone()), args)
    }

    fn evaluate(&self, expr: &Expr, args: &[V], dtypes: &[DType]) -> Option<Known> {
        let parts: Vec<&Known> = args.iter().map(|v| self.known(*v)).collect::<Option<_>>()?;
        let (shape, parts) = Known::broadcast(&parts)?;
        if let Some(items) = parts.iter().map(|part| part.uniform().cloned()).collect::<Option<Vec<_>>>() {
            let item = eval(expr, &items, dtypes, &self.bounds)?;
            return Some(Known::Splat { shape, item });
        }
        if let [ramp @ Known::Ramp { .. }] = parts.as_slice()
            && matches!(expr, Expr::Cast(to, a) if **a == Expr::Arg(0) && to.bits() >= 32)
        {
            return Some(ramp.clone());
        }
        if let Some(ramp) = shifted_ramp(expr, &parts, dtypes) {
            return Some(ramp);
        }
        let columns: Vec<(Vec<usize>, Vec<Elem>)> =
            parts.iter().map(Known::elements).collect::<Option<_>>()?;
        let shape = columns.first()?.0.clone();
        let count = columns.first()?.1.len();
        let mut items = Vec::with_capacity(count);
        for index in 0..count {
            let row: Vec<Elem> =
                columns.iter().map(|(_, items)| items.get(index).cloned()).collect::<Option<_>>()?;
            items.push(eval(expr, &row, dtypes, &self.bounds)?);
        }
        Some(Known::Elements { shape, items })
    }

    // ---- rearranging ----------------------------------------------------------------------------------------------

    /// Another shape for the same elements. Constants keep their bytes.
    pub(super) fn reshape(&mut self, v: V, shape: &[Dim]) -> Result<V> {
        if self.shape(v) == shape {
            return Ok(v);
        }
        let ty = self.ty(v);
        if qwenc_ir::dim::product(shape) != ty.elements() {
            fault!(
                "{ty} cannot take the shape {}: the number of elements is not provably the same",
                show(shape)
            );
        }
        if let Some(tensor) = self.tensor(v)
            && let Some(sizes) = super::known::constant_shape(shape)
        {
            let (tensor, name) = (tensor.reshaped(sizes)?, self.slots[v.0].name.clone());
            return self.constant(&name, tensor);
        }
        let dtype = self.dtype(v);
        if let Some(known) = self.known(v).and_then(|known| known.reshaped(shape)) {
            return self.known_value(dtype, known);
        }
        self.apply(Op::Reshape { shape: shape.to_vec() }, &[v])
    }

    /// Axes permuted.
    pub(super) fn transpose(&mut self, v: V, perm: &[usize]) -> Result<V> {
        let mut sorted = perm.to_vec();
        sorted.sort_unstable();
        if sorted != (0..self.rank(v)).collect::<Vec<_>>() {
            fault!("{perm:?} is no permutation of the axes of {}", self.ty(v));
        }
        if perm == sorted {
            return Ok(v);
        }
        let dtype = self.dtype(v);
        if let Some(known) = self.known(v).and_then(|known| known.transposed(perm)) {
            return self.known_value(dtype, known);
        }
        self.apply(Op::Transpose { perm: perm.to_vec() }, &[v])
    }

    /// `len` elements along `axis` from `start`, `step` apart; the caller has clamped the range.
    pub(super) fn slice(&mut self, v: V, axis: usize, start: &Dim, len: &Dim, step: i64) -> Result<V> {
        let Some(size) = self.shape(v).get(axis) else {
            fault!("axis {axis} does not exist in {}", self.ty(v));
        };
        if start.is_poison() || len.is_poison() || step == 0 {
            fault!("the range of a slice overflows");
        }
        if start.is(0) && step == 1 && len == size {
            return Ok(v);
        }
        let dtype = self.dtype(v);
        if let Some(known) = self.known(v).and_then(|known| known.sliced(axis, start, len, step)) {
            return self.known_value(dtype, known);
        }
        self.apply(Op::Slice { axis, start: start.clone(), len: len.clone(), step }, &[v])
    }

    /// Tensors joined along an axis. Those that have no elements there are left out.
    pub(super) fn concat(&mut self, parts: &[V], axis: usize) -> Result<V> {
        let Some(first) = parts.first().copied() else {
            fault!("nothing to join");
        };
        let kept: Vec<V> = parts
            .iter()
            .copied()
            .filter(|v| !self.shape(*v).get(axis).is_some_and(|dim| dim.is(0)))
            .collect();
        for v in parts {
            let fits = self.rank(*v) == self.rank(first)
                && axis < self.rank(first)
                && self.dtype(*v) == self.dtype(first)
                && (0..self.rank(first)).all(|at| at == axis || self.shape(*v)[at] == self.shape(first)[at]);
            if !fits {
                fault!("{} and {} do not join along axis {axis}", self.ty(first), self.ty(*v));
            }
        }
        if let [only] = kept.as_slice() {
            return Ok(*only);
        }
        if kept.is_empty() {
            return Ok(first);
        }
        let dtype = self.dtype(first);
        let known: Option<Vec<Known>> = kept.iter().map(|v| self.known(*v).cloned()).collect();
        if let Some(known) = known.and_then(|parts| Known::joined(&parts, axis)) {
            return self.known_value(dtype, known);
        }
        self.apply(Op::Concat { axis }, &kept)
    }

    /// Broadcast to a shape.
    pub(super) fn expand(&mut self, v: V, shape: &[Dim]) -> Result<V> {
        if self.shape(v) == shape {
            return Ok(v);
        }
        if broadcast([self.shape(v), shape])? != shape {
            fault!("{} does not broadcast to {}", self.ty(v), show(shape));
        }
        let dtype = self.dtype(v);
        if let Some(known) = self.known(v).and_then(|known| known.expanded(shape)) {
            return self.known_value(dtype, known);
        }
        self.apply(Op::Expand { shape: shape.to_vec() }, &[v])
    }

    /// Converted to another element type.
    pub(super) fn cast(&mut self, v: V, dtype: DType) -> Result<V> {
        if self.dtype(v) == dtype {
            return Ok(v);
        }
        self.pointwise(&Expr::Arg(0).cast(dtype), &[v])
    }
}

/// The sum of a ramp and a uniform integer is a ramp again. Positions are computed like that.
fn shifted_ramp(expr: &Expr, parts: &[Known], dtypes: &[DType]) -> Option<Known> {
    let Expr::Binary(op @ (BinaryOp::Add | BinaryOp::Sub), a, b) = expr else {
        return None;
    };
    let ([left, right], Expr::Arg(0), Expr::Arg(1)) = (parts, &**a, &**b) else {
        return None;
    };
    let (ramp, shift) = match (op, left, right) {
        (_, Known::Ramp { .. }, _) => (left, right.uniform()?.dim()?.clone()),
        (BinaryOp::Add, _, Known::Ramp { .. }) => (right, left.uniform()?.dim()?.clone()),
        _ => return None,
    };
    let shift = if *op == BinaryOp::Sub { Dim::constant(0) - shift } else { shift };
    let Known::Ramp { shape, start, step } = ramp else {
        return None;
    };
    let start = start.clone() + shift;
    (!start.is_poison() && dtypes.iter().all(|dtype| dtype.bits() >= 32)).then(|| Known::Ramp {
        shape: shape.clone(),
        start,
        step: *step,
    })
}

/// A shape for messages.
pub(super) fn show(shape: &[Dim]) -> String {
    let dims: Vec<String> = shape.iter().map(ToString::to_string).collect();
    format!("[{}]", dims.join(", "))
}

/// A vector with constant items. Types narrower than a byte stay symbolic; models have them as constants only.
fn constant_tensor(dtype: DType, items: &[Elem]) -> Option<Tensor> {
    let shape = vec![items.len()];
    let integers = || items.iter().map(Elem::constant).collect::<Option<Vec<i64>>>();
    let tensor = match dtype {
        DType::F32 => {
            let floats: Option<Vec<f32>> =
                items.iter().map(|item| item.scalar(dtype).map(qwenc_ir::Scalar::as_f32)).collect();
            Tensor::from_f32(shape, &floats?)
        }
        DType::F16 => {
            let bytes = items
                .iter()
                .map(|item| Some(half::f16::from_f32(item.scalar(dtype)?.as_f32()).to_le_bytes()));
            let bytes: Option<Vec<[u8; 2]>> = bytes.collect();
            Tensor::new(dtype, shape, bytes?.concat().into())
        }
        DType::Bf16 => {
            let bytes = items
                .iter()
                .map(|item| Some(half::bf16::from_f32(item.scalar(dtype)?.as_f32()).to_le_bytes()));
            let bytes: Option<Vec<[u8; 2]>> = bytes.collect();
            Tensor::new(dtype, shape, bytes?.concat().into())
        }
        DType::F64 => {
            let bytes = items.iter().map(|item| Some(f64::from(item.scalar(dtype)?.as_f32()).to_le_bytes()));
            let bytes: Option<Vec<[u8; 8]>> = bytes.collect();
            Tensor::new(dtype, shape, bytes?.concat().into())
        }
        DType::Bool => Tensor::from_bool(shape, &integers()?.iter().map(|v| *v != 0).collect::<Vec<_>>()),
        DType::I4 | DType::U4 | DType::I2 | DType::U2 => return None,
        _ => {
            let width = dtype.bits() / 8;
            let bytes: Vec<u8> =
                integers()?.iter().flat_map(|v| v.to_le_bytes().into_iter().take(width)).collect();
            Tensor::new(dtype, shape, bytes.into())
        }
    };
    tensor.ok()
}
