//! The tokenizer of a text model: byte-level BPE over a table that the compiler made (`native/table.rs` has its format).
//!
//! There are two readers of the same table, held against the same cases: `native`, and for browsers one in JavaScript
//! (`runtime/web/src/tokenizer`), which has regular expressions and normalization at hand. `docs/tokenizer.md` has the format, the
//! method and the limits.

#[cfg(not(target_arch = "wasm32"))]
mod native;

#[cfg(not(target_arch = "wasm32"))]
pub use native::*;

/// Where a bundle keeps its tokenizer's table.
pub const TOKENIZER_FILE: &str = "model/tokenizer.bin";
/// The version that is read and written.
pub const TABLE_VERSION: u32 = 1;
/// Most bytes of a table that are read: what the limits of its sections add up to.
pub const MAX_TABLE_BYTES: u64 = 96 << 20;
