//! Attention for one query: the context is split over workgroups ([`partial`]), whose results [`combine`] joins.

use qwenc_ir::{Activation, Dim};

use crate::kernel::{CodegenError, Kernel, Symbols};
use crate::view::View;

/// Parameters of [`partial`] and [`combine`]. Query head h reads key head `h / (Hq / Hkv)`. The query sees all T keys.
#[derive(Clone, Debug, PartialEq)]
pub struct AttentionDecodeParams {
    /// `[1, Hq, D]` f32; D at most 256.
    pub query: View,
    /// `[Hkv, T, D]` f32.
    pub key: View,
    /// `[Hkv, T, Dv]` f32; Dv at most 256.
    pub value: View,
    /// `[Hq, 1, T]`, stride 0 where it broadcasts: f32 is added to the scaled scores, u32 masks where it is 0.
    pub mask: Option<View>,
    /// Factor on the scores.
    pub scale: f32,
    /// `[1, Hq, Dv]` f32, and the activation of it that multiplies the output.
    pub gate: Option<(View, Activation)>,
    /// Dense f32 of shape [`scratch_shape`]; it carries the splits' results from one kernel to the other.
    pub scratch: View,
    /// `[1, Hq, Dv]` f32.
    pub output: View,
}

/// Shape of the scratch, for `key` `[Hkv, T, D]`, `heads` query heads and values of width `value_width`: for every head
/// and split the unnormalised output, then the split's largest score and its sum of exponentials.
///
/// # Errors
/// When the context has no upper bound.
pub fn scratch_shape(
    _symbols: &Symbols,
    _key: &View,
    _heads: usize,
    _value_width: usize,
) -> Result<Vec<Dim>, CodegenError> {
    Err(CodegenError::Unsupported { family: "attention_decode", message: "not generated yet".into() })
}

/// Scores, softmax and weighted values of one split of the context a workgroup; writes the scratch.
pub fn partial(_symbols: &Symbols, _params: &AttentionDecodeParams) -> Result<Kernel, CodegenError> {
    Err(CodegenError::Unsupported { family: "attention_decode", message: "not generated yet".into() })
}

/// Joins the splits, applies the gate, and writes the output.
pub fn combine(_symbols: &Symbols, _params: &AttentionDecodeParams) -> Result<Kernel, CodegenError> {
    Err(CodegenError::Unsupported { family: "attention_decode", message: "not generated yet".into() })
}
