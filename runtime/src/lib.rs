//! The runtime of qwenc: reads a bundle, checks it, and replays its schedule on a GPU.
//!
//! With the default feature `native` the GPU is `wgpu` on Vulkan. Without it the crate knows the format, its
//! validation and the logic of sessions, and depends on no GPU library.

pub mod format;
#[cfg(feature = "native")]
pub mod gpu;
