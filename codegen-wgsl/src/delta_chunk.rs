//! The gated delta rule for many positions, in chunks of [`CHUNK`]: [`prepare`] computes what is local to a chunk, for
//! all chunks at once; [`scan`] then walks the chunks with the state.

use qwenc_ir::Dim;

use crate::delta::DeltaParams;
use crate::kernel::{CodegenError, Kernel, Symbols};
use crate::view::View;

/// Positions in a chunk.
pub const CHUNK: usize = 64;

/// Shape of the scratch that carries chunk-local quantities from [`prepare`] to [`scan`]: `[chunks, Hv, elements]`.
///
/// # Errors
/// When widths are not constants.
pub fn scratch_shape(_params: &DeltaParams) -> Result<Vec<Dim>, CodegenError> {
    Err(CodegenError::Unsupported { family: "delta_chunk", message: "not generated yet".into() })
}

/// The chunk-local part. `scratch` is dense f32 of shape [`scratch_shape`].
pub fn prepare(_symbols: &Symbols, _params: &DeltaParams, _scratch: &View) -> Result<Kernel, CodegenError> {
    Err(CodegenError::Unsupported { family: "delta_prepare", message: "not generated yet".into() })
}

/// The walk over chunks: writes output and state. Must be dispatched behind [`prepare`].
pub fn scan(_symbols: &Symbols, _params: &DeltaParams, _scratch: &View) -> Result<Kernel, CodegenError> {
    Err(CodegenError::Unsupported { family: "delta_scan", message: "not generated yet".into() })
}
