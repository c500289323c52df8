//! One operator at a time: dims are evaluated, shapes inferred and checked, then the operator's family computes.

use super::host::{Data, HostError, HostTensor};
use super::{
    attention, causal_conv, dequantize, elementwise, gated_delta, generate, matmul, norm, reduce, rope, shape,
};
use crate::dim::{Bindings, Dim, EvalError};
use crate::dtype::DType;
use crate::graph::ValueType;
use crate::infer::{InferError, infer};
use crate::op::Op;

/// Bounds on what the interpreter computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest number of elements of one result.
    pub max_elements: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_elements: 1 << 28 }
    }
}

/// Why an operator has no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpError {
    /// The inputs do not fit the operator.
    #[error(transparent)]
    Infer(#[from] InferError),
    /// A dim has no value.
    #[error(transparent)]
    Dim(#[from] EvalError),
    /// A result is larger than the limit.
    #[error("the result {shape} has more than {limit} elements; raise the limit or use smaller inputs")]
    TooLarge {
        /// Type and shape of the result.
        shape: String,
        /// Largest number of elements allowed.
        limit: usize,
    },
    /// An input slot is empty.
    #[error("input {0} is missing")]
    Missing(usize),
    /// An input has another element type than the operator computes with.
    #[error("input {slot} must hold {wanted}, not {actual}")]
    WrongType {
        /// Which input.
        slot: usize,
        /// What is wanted, in words.
        wanted: &'static str,
        /// What is there.
        actual: DType,
    },
    /// The operator is not defined for the element type.
    #[error("{what} is not defined for {dtype}")]
    Undefined {
        /// The operation.
        what: String,
        /// The element type.
        dtype: DType,
    },
    /// An integer division or remainder by zero.
    #[error("integer division by zero")]
    DivisionByZero,
    /// An index or position outside its table.
    #[error("index {index} is outside of {size} entries")]
    OutOfRange {
        /// The index.
        index: i64,
        /// Number of entries.
        size: usize,
    },
    /// The extreme element of no elements.
    #[error("no element to choose along axis {0}")]
    EmptyAxis(usize),
    /// A tensor cannot be made.
    #[error(transparent)]
    Host(#[from] HostError),
}

pub(super) type Result<T> = std::result::Result<T, OpError>;

/// Inputs by slot, with errors that name the slot.
#[derive(Clone, Copy, Debug)]
pub(super) struct Args<'a>(pub(super) &'a [Option<&'a HostTensor>]);

impl<'a> Args<'a> {
    pub(super) fn get(self, slot: usize) -> Option<&'a HostTensor> {
        self.0.get(slot).copied().flatten()
    }

    pub(super) fn need(self, slot: usize) -> Result<&'a HostTensor> {
        self.get(slot).ok_or(OpError::Missing(slot))
    }

    pub(super) fn floats(self, slot: usize) -> Result<&'a [f32]> {
        let tensor = self.need(slot)?;
        tensor.as_f32().ok_or(OpError::WrongType { slot, wanted: "floats", actual: tensor.dtype() })
    }

    pub(super) fn optional_floats(self, slot: usize) -> Result<Option<&'a [f32]>> {
        self.get(slot).map(|_| self.floats(slot)).transpose()
    }

    pub(super) fn ints(self, slot: usize) -> Result<&'a [i64]> {
        let tensor = self.need(slot)?;
        tensor.as_int().ok_or(OpError::WrongType { slot, wanted: "integers", actual: tensor.dtype() })
    }
}

/// The results of one operator under [`Limits::default`]. See [`eval_op_within`].
pub fn eval_op(op: &Op, inputs: &[Option<&HostTensor>], bindings: &Bindings) -> Result<Vec<HostTensor>> {
    eval_op_within(op, inputs, bindings, Limits::default())
}

/// The results of one operator, one per output; dims in its attributes are evaluated under `bindings`.
///
/// Fails when inputs do not fit, a symbol is unbound, a result is too large, or a value has no result (an integer
/// division by zero, an index outside its table).
pub fn eval_op_within(
    op: &Op,
    inputs: &[Option<&HostTensor>],
    bindings: &Bindings,
    limits: Limits,
) -> Result<Vec<HostTensor>> {
    let op = floats_as_f32(op.try_map_dims(|dim| dim.eval(bindings).map(Dim::constant))?);
    let types: Vec<Option<ValueType>> = inputs.iter().map(|input| input.map(concrete_type)).collect();
    let types: Vec<Option<&ValueType>> = types.iter().map(Option::as_ref).collect();
    let shapes =
        infer(&op, &types)?.iter().map(|ty| checked_shape(ty, limits)).collect::<Result<Vec<_>>>()?;
    let results = compute(&op, Args(inputs), &shapes)?;
    shapes.into_iter().zip(results).map(|(shape, data)| Ok(HostTensor::new(shape, data)?)).collect()
}

/// Tensors here have no other float type.
fn floats_as_f32(op: Op) -> Op {
    match op {
        Op::Elementwise(expr) => Op::Elementwise(expr.floats_as_f32()),
        Op::Linear(mut attrs) => {
            attrs.epilogue = attrs.epilogue.map(|expr| expr.floats_as_f32());
            Op::Linear(attrs)
        }
        other => other,
    }
}

fn concrete_type(tensor: &HostTensor) -> ValueType {
    ValueType::new(tensor.dtype(), tensor.shape().iter().copied())
}

fn checked_shape(ty: &ValueType, limits: Limits) -> Result<Vec<usize>> {
    let too_large = || OpError::TooLarge { shape: ty.to_string(), limit: limits.max_elements };
    let count = ty.elements().as_usize().ok_or_else(too_large)?;
    if count > limits.max_elements {
        return Err(too_large());
    }
    ty.shape.iter().map(|dim| dim.as_usize().ok_or_else(too_large)).collect()
}

/// `shapes` are those of the outputs; inputs fit the operator as far as [`infer`] checks.
fn compute(op: &Op, args: Args<'_>, shapes: &[Vec<usize>]) -> Result<Vec<Data>> {
    let shape = shapes.first().map_or(&[][..], Vec::as_slice);
    let one = |data: Result<Data>| Ok(vec![data?]);
    match op {
        Op::Elementwise(expr) => one(elementwise::elementwise(expr, args, shape)),
        Op::MatMul { transpose_a, transpose_b } => {
            one(matmul::matmul(args, *transpose_a, *transpose_b, shape))
        }
        Op::Reduce { kind, axes, .. } => one(reduce::reduce(*kind, axes, args)),
        Op::Dequantize { axis, block, zero } => one(dequantize::dequantize(*axis, *block, *zero, args)),
        Op::ArgReduce { min, axis, last, .. } => one(reduce::arg_reduce(*min, *axis, *last, args)),
        Op::CumSum { axis, exclusive, reverse } => one(reduce::cumsum(*axis, *exclusive, *reverse, args)),
        Op::Softmax { axis, log } => one(reduce::softmax(*axis, *log, args)),
        Op::LayerNorm { eps } => one(norm::layer_norm(eps.0, args)),
        Op::RmsNorm { eps, gate } => one(norm::rms_norm(eps.0, *gate, args)),
        Op::L2Norm { eps } => one(norm::l2_norm(eps.0, args)),
        Op::Gather { axis } => one(shape::gather(*axis, args)),
        Op::Reshape { .. } => one(args.need(0).map(|x| x.data().clone())),
        Op::Transpose { perm } => one(shape::transpose(perm, args, shape)),
        Op::Slice { axis, start, len, step } => one(shape::slice(*axis, start, len, *step, args)),
        Op::Concat { axis } => one(shape::concat(*axis, args, shape)),
        Op::Expand { .. } => one(shape::expand(args, shape)),
        Op::Pad { before, value, .. } => one(shape::pad(before, *value, args, shape)),
        Op::Range { start, step, len } => one(generate::range(start, *step, len)),
        Op::Fill { dtype, value, .. } => Ok(vec![Data::filled(*dtype, *value, shape.iter().product())]),
        Op::Dims { values } => one(generate::dims(values)),
        Op::Rope(attrs) => one(rope::rope(attrs, args)),
        Op::Attention(attrs) => attention::attention(attrs, args),
        Op::CausalConv { activation } => causal_conv::causal_conv(*activation, args),
        Op::GatedDelta(attrs) => gated_delta::gated_delta(attrs, args),
        Op::Linear(attrs) => one(matmul::linear(attrs, args, shape)),
    }
}
