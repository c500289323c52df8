//! Importers, one module for every family of operators.

mod activation;
mod attention;
pub(super) mod call;
mod channel_norm;
mod constant;
mod conv;
mod elementwise;
mod gather;
mod heads;
mod linear_attention;
mod matmul;
mod norm;
mod quantized;
mod recurrent;
mod reduce;
pub(super) mod registry;
mod rope;
mod scatter;
mod select;
mod shape;
mod slice;
mod tile;

use super::values::{Result, V};

/// The only output of an operator.
fn one(v: V) -> Result<Vec<Option<V>>> {
    Ok(vec![Some(v)])
}
