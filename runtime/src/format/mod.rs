//! Bundle format v1: the types of `manifest.json` and `schedule.json`, and the checks they must pass.
//!
//! The compiler builds these types and writes them with [`Manifest::to_json`] and [`Schedule::to_json`]; the runtime
//! reads them with [`Manifest::from_json`] and [`Schedule::from_json`] and believes nothing until [`validate`] agrees.
//! Everything here is a pure function of its input: no file, no GPU. `docs/bundle.md` is the prose beside it.

mod error;
mod expr;
mod json;
mod manifest;
mod path;
mod read;
mod schedule;
#[cfg(feature = "schema")]
mod schema;
mod validate;

pub use error::{FormatError, Place, Problem};
pub use expr::{Bounds, Expr, ExprError};
pub use manifest::{
    DecoderFacts, FileFacts, Manifest, MemoryFacts, ModelFacts, QuantizationFacts, Requirements, StateFacts,
    StateKind, VisionFacts, WeightFacts,
};
pub use path::check_plain_path;
pub use schedule::{
    Binding, BindingKind, Buffer, BufferId, BufferKind, ClearBytes, Command, Constraint, CopyBytes, DType,
    Dispatch, Entry, Feature, Init, Pipeline, PipelineId, Schedule, Symbol, TensorSlot, Variant, WeightPart,
};
#[cfg(feature = "schema")]
pub use schema::json_schema;
pub use validate::{bounds, memory, validate};

/// The version of the format that this crate reads and writes.
pub const FORMAT_VERSION: u32 = 1;
/// The manifest's path in a bundle.
pub const MANIFEST_FILE: &str = "manifest.json";
/// The schedule's path in a bundle.
pub const SCHEDULE_FILE: &str = "schedule.json";
/// The name of a pipeline's own module beside those of its variants.
pub const BASELINE: &str = "baseline";
/// The kernels as WebAssembly, for browsers without WebGPU; not every bundle has it.
pub const CPU_KERNELS_FILE: &str = "cpu/kernels.wasm";
/// Most symbols a bundle can have: what the step uniform holds.
pub const MAX_SYMBOLS: usize = 16;
/// Bytes of the step uniform: `array<vec4<u32>, 4>`.
pub const STEP_BYTES: u64 = 64;
/// Offsets of storage bindings are multiples of this (WebGPU's default limit).
pub const BINDING_ALIGNMENT: u64 = 256;
/// Workgroups that one dimension of a dispatch can have (WebGPU's default limit).
pub const MAX_WORKGROUPS: i64 = 65_535;
