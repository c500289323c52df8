//! From lowered entry points to the bundle's schedule: memory plan, buffers, pipelines, commands.

mod assemble;
mod plan;

pub use assemble::{Assembled, EntryPlan, Shader, WeightBuffer, assemble, expr, weight_specs};
pub(crate) use assemble::{hex, short};
pub use plan::{ALIGNMENT, MemoryPlan, Placement, buffer_bytes, plan};
