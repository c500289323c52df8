//! Attention over many queries: tiles of keys with a streaming softmax, so that no S x T matrix exists.

use qwenc_ir::{Activation, Dim};

use crate::kernel::{CodegenError, Kernel, Symbols};
use crate::view::View;

/// Parameters of [`kernel`]. Query head h reads key head `h / (Hq / Hkv)`.
#[derive(Clone, Debug, PartialEq)]
pub struct AttentionPrefillParams {
    /// `[S, Hq, D]` f32; D at most 256.
    pub query: View,
    /// `[Hkv, T, D]` f32; a cache, of which only the T rows of the view are read.
    pub key: View,
    /// `[Hkv, T, Dv]` f32; Dv at most 256.
    pub value: View,
    /// `[Hq, S, T]`, stride 0 where it broadcasts: f32 is added to the scaled scores, u32 masks where it is 0.
    pub mask: Option<View>,
    /// Query i sees key j only when `j <= i + offset`; normally the number of past positions. Without it all keys.
    pub causal: Option<Dim>,
    /// Factor on the scores.
    pub scale: f32,
    /// `[S, Hq, Dv]` f32, and the activation of it that multiplies the output.
    pub gate: Option<(View, Activation)>,
    /// `[S, Hq, Dv]` f32.
    pub output: View,
}

/// Attention for any number of queries. A row whose keys are all masked (a score of at most -1e38 counts as masked)
/// gives zeros.
pub fn kernel(_symbols: &Symbols, _params: &AttentionPrefillParams) -> Result<Kernel, CodegenError> {
    Err(CodegenError::Unsupported { family: "attention_prefill", message: "not generated yet".into() })
}
