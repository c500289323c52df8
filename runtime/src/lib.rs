//! The runtime of qwenc: reads a bundle, checks it, and replays its schedule on a GPU.
//!
//! With the default feature `native` the GPU is `wgpu` on Vulkan. Without it the crate knows the format, its
//! validation, and the logic of engines and sessions over any [`engine::Backend`], and depends on no GPU library.

pub mod bundle;
#[cfg(feature = "chat")]
pub mod chat;
pub mod engine;
pub mod format;
#[cfg(feature = "native")]
pub mod gpu;
mod host;
pub mod image;
pub mod json;
pub mod names;
pub mod order;
pub mod printable;
pub mod sampling;
pub mod session;
pub mod tensor_entry;
pub mod tokenizer;
pub mod tuning;
pub mod vision;
