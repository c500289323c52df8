//! Operators without inputs. Their dims are constants by the time they come here.

use super::eval::{OpError, Result};
use super::host::Data;
use super::scalar::wrap;
use crate::dim::{Dim, EvalError};
use crate::dtype::DType;

/// The value of a dim that has been evaluated.
pub(super) fn known(dim: &Dim) -> Result<i64> {
    dim.as_const().ok_or(OpError::Dim(EvalError::Overflow))
}

pub(super) fn range(start: &Dim, step: i64, len: &Dim) -> Result<Data> {
    let (start, len) = (i128::from(known(start)?), i128::from(known(len)?));
    let values = (0..len).map(|i| wrap(DType::I64, start + i * i128::from(step)));
    Ok(Data::Int(DType::I64, values.collect()))
}

pub(super) fn dims(values: &[Dim]) -> Result<Data> {
    Ok(Data::Int(DType::I64, values.iter().map(known).collect::<Result<_>>()?))
}
