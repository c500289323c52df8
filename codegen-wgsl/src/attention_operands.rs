//! Operands that all kernels of attention over many queries take, and what holds between their shapes.

use qwenc_ir::{Activation, Dim};

use crate::checks::Checks;
use crate::kernel::CodegenError;
use crate::view::{Elem, View};

const MAX_HEADS: u32 = 65535;
/// Columns of a query, key or value row.
const MAX_WIDTH: u32 = 256;

/// Query `[S, Hq, D]`, key `[Hkv, T, D]`, value `[Hkv, T, Dv]`, gate and output `[S, Hq, Dv]`, all f32.
pub(crate) struct Operands<'a> {
    pub(crate) query: &'a View,
    pub(crate) key: &'a View,
    pub(crate) value: &'a View,
    pub(crate) gate: Option<&'a (View, Activation)>,
    pub(crate) output: &'a View,
}

/// The sizes behind checked operands.
pub(crate) struct Sizes {
    /// S.
    pub(crate) queries: Dim,
    /// T.
    pub(crate) keys: Dim,
    /// Hq, as it is in shapes.
    pub(crate) head_dim: Dim,
    /// Hq.
    pub(crate) heads: u32,
    /// Hkv.
    pub(crate) key_heads: u32,
    /// Query heads that share a key head.
    pub(crate) group: u32,
    /// D.
    pub(crate) key_width: u32,
    /// Dv.
    pub(crate) value_width: u32,
}

impl Operands<'_> {
    /// Holds the operands to each other.
    pub(crate) fn sizes(&self, checks: Checks) -> Result<Sizes, CodegenError> {
        let [queries, head_dim, key_width] = checks.shape("the query", self.query, Elem::F32)?;
        let [key_heads, keys, _] = checks.shape("the key", self.key, Elem::F32)?;
        checks.expect("the key", self.key, Elem::F32, &[&key_heads, &keys, &key_width])?;
        let [_, _, value_width] = checks.shape("the value", self.value, Elem::F32)?;
        checks.expect("the value", self.value, Elem::F32, &[&key_heads, &keys, &value_width])?;
        let result = [&queries, &head_dim, &value_width];
        checks.expect("the output", self.output, Elem::F32, &result)?;
        if let Some((gate, _)) = self.gate {
            checks.expect("the gate", gate, Elem::F32, &result)?;
        }
        let heads = checks.constant("the number of query heads", &head_dim, MAX_HEADS)?;
        let key_heads = checks.constant("the number of key heads", &key_heads, MAX_HEADS)?;
        Ok(Sizes {
            heads,
            key_heads,
            group: checks.group(heads, key_heads)?,
            key_width: checks.constant("the key width", &key_width, MAX_WIDTH)?,
            value_width: checks.constant("the value width", &value_width, MAX_WIDTH)?,
            queries,
            keys,
            head_dim,
        })
    }
}
