//! What happens to q, k and v between projection and attention, in one dispatch: RMS norm per head, rotation, and the
//! append to the caches.

use qwenc_ir::Dim;

use crate::kernel::{CodegenError, Kernel, Symbols};
use crate::rope::Rotation;
use crate::view::View;

/// RMS norm over a head: `x / sqrt(mean(x^2) + eps) * weight`.
#[derive(Clone, Debug, PartialEq)]
pub struct HeadNorm {
    /// `[D]` f32.
    pub weight: View,
    /// Added to the mean square.
    pub eps: f32,
}

/// One tensor of heads on its way: `output = rotate(norm(input))`.
#[derive(Clone, Debug, PartialEq)]
pub struct PrepPart {
    /// `[S, H, D]` f32 in any layout; H and D are constants.
    pub input: View,
    /// Norm in front of the rotation.
    pub norm: Option<HeadNorm>,
    /// Whether [`AttentionPrepParams::rotation`] applies.
    pub rotate: bool,
    /// `[S, H, D]`: a dense tensor for q, [`cache_rows`] of a cache for k and v. May be the input itself.
    pub output: View,
}

/// Parameters of [`kernel`]: usually three parts, q, k and v. All have the same S.
///
/// q, k and v normally lie in one allocation; with norms and a rope table the kernel then binds 1 + 2 + 2 + 3 = 8
/// storage buffers, which is the limit. If they do not, give the parts to several kernels.
#[derive(Clone, Debug, PartialEq)]
pub struct AttentionPrepParams {
    /// The tensors, in the order in which workgroups are laid out.
    pub parts: Vec<PrepPart>,
    /// Rotation of the parts that ask for it.
    pub rotation: Option<Rotation>,
}

/// The rows of a cache `[H, T, D]` that this call appends, the last `tokens` of them, as `[tokens, H, D]`: what a
/// part writes to. `None` when the cache is not of rank 3.
pub fn cache_rows(cache: &View, tokens: &Dim) -> Option<View> {
    let [heads, total, width] = cache.shape.as_slice() else { return None };
    let [head_stride, row_stride, element_stride] = cache.strides.as_slice() else { return None };
    let past = total.clone() - tokens.clone();
    Some(View {
        buffer: cache.buffer,
        elem: cache.elem,
        offset: cache.offset.clone() + past * row_stride.clone(),
        shape: vec![tokens.clone(), heads.clone(), width.clone()],
        strides: vec![row_stride.clone(), head_stride.clone(), element_stride.clone()],
    })
}

/// Norms, rotates and stores every part.
pub fn kernel(_symbols: &Symbols, _params: &AttentionPrepParams) -> Result<Kernel, CodegenError> {
    Err(CodegenError::Unsupported { family: "attention_prep", message: "not generated yet".into() })
}
