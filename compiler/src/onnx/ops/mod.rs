//! Importers, one module for every family of operators.

mod activation;
mod attention;
mod attention_plain;
pub(super) mod call;
mod channel_norm;
mod constant;
mod conv;
mod einsum;
mod elementwise;
mod gather;
mod heads;
mod image_conv;
mod linear_attention;
mod matmul;
mod norm;
mod pool;
mod quantized;
mod recurrent;
mod reduce;
pub(super) mod registry;
mod resize;
mod rope;
mod scatter;
mod select;
mod shape;
mod slice;
mod spatial;
mod tile;
mod window;

use super::values::{Result, V};

/// The only output of an operator.
fn one(v: V) -> Result<Vec<Option<V>>> {
    Ok(vec![Some(v)])
}
