//! WGSL generation: one file and one template a kernel family, every shader validated by naga.
//!
//! A family takes typed parameters, mostly [`View`]s, and gives a [`Kernel`]. Kernels keep to WebGPU's default limits.

pub mod kernel;
pub mod validate;
pub mod view;

pub use kernel::{CodegenError, Kernel, Symbols};
pub use view::{BufferKey, Elem, View};
