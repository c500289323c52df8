//! The runtime as a WebAssembly module. `runtime/web/src/wasm.d.ts` is its face towards JavaScript; everything below that is
//! the engine of `qwenc-runtime` over `device::Device`.
//!
//! It runs in one thread, usually a worker's. Images are decoded, and files fetched, by JavaScript.
#![cfg(target_arch = "wasm32")]

mod cpu;
mod device;
mod error;
mod loader;
mod memory;
mod model;
mod object;
mod options;
mod profile;
mod report;
mod webgpu;

pub use loader::Loader;
pub use model::Model;
