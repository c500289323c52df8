//! `schedule.json`: buffers, pipelines, and the commands of every entry point, as plain data.

use serde::{Deserialize, Serialize};

use super::Expr;
use crate::names::ByName;

/// The contents of `schedule.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// The format's version: 1.
    pub version: u32,
    /// Symbols in slot order: symbol `i` is word `i` of the step uniform. At most 16.
    pub symbols: Vec<Symbol>,
    /// Buffers; a [`BufferId`] is an index here.
    pub buffers: Vec<Buffer>,
    /// Compute pipelines; a [`PipelineId`] is an index here.
    pub pipelines: Vec<Pipeline>,
    /// Entry points by name.
    pub entries: ByName<Entry>,
}

/// A number that changes from step to step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Symbol {
    /// Its name: letters, digits and `_`.
    pub name: String,
    /// Smallest value.
    #[serde(default)]
    pub min: u32,
    /// Largest value.
    pub max: u32,
}

/// The index of a buffer in [`Schedule::buffers`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct BufferId(pub u32);

/// The index of a pipeline in [`Schedule::pipelines`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct PipelineId(pub u32);

/// One allocation of GPU memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Buffer {
    /// Its own index.
    pub id: BufferId,
    /// A name for people.
    pub name: String,
    /// What it is for.
    pub kind: BufferKind,
    /// Size in bytes: positive, a multiple of 4.
    pub bytes: u64,
    /// Of a weight: the tensors that fill it, in ascending order without gaps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<WeightPart>,
    /// Of a state: its content after loading and after a reset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<Init>,
}

/// What a buffer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum BufferKind {
    /// Constant; filled from shards at load, never written again.
    Weight,
    /// Temporaries; content does not outlive a replay, unless another entry point is documented to read it.
    Arena,
    /// Persists from replay to replay until a reset.
    State,
    /// Written by the host before a replay.
    Input,
    /// Read by the host after a replay.
    Output,
    /// The step uniform: 64 bytes, the values of all symbols. Exactly one buffer has this kind.
    Step,
}

/// The initial content of a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Init {
    /// All bytes zero.
    Zero,
}

/// A tensor of a shard, and where in the weight's buffer its bytes go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct WeightPart {
    /// Path of the shard in the bundle.
    pub shard: String,
    /// Name of the tensor in the shard.
    pub tensor: String,
    /// First byte in the buffer, a multiple of 4.
    pub at: u64,
    /// Bytes of the tensor, a multiple of 4.
    pub bytes: u64,
}

/// A compute pipeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Pipeline {
    /// Path of the WGSL module in the bundle.
    pub shader: String,
    /// Modules that can stand in its place, in the order of their invocations, most first. A GPU takes the first one if it
    /// has what that needs, a renderer on a CPU the last one of those; the others are for tuning.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub variants: Vec<Variant>,
    /// The entry point in the module.
    pub entry: String,
    /// Bindings of group 0 in order; the step uniform comes first.
    pub bindings: Vec<BindingKind>,
    /// Invocations of a workgroup.
    pub workgroup_size: [u32; 3],
}

impl Pipeline {
    /// The pipeline with a variant in its place.
    #[must_use]
    pub fn with(&self, variant: &Variant) -> Self {
        Self {
            shader: variant.shader.clone(),
            variants: Vec::new(),
            entry: self.entry.clone(),
            bindings: self.bindings.clone(),
            workgroup_size: variant.workgroup_size,
        }
    }
}

impl Schedule {
    /// Whether a variant of a pipeline needs this.
    #[must_use]
    pub fn uses(&self, feature: Feature) -> bool {
        self.pipelines.iter().flat_map(|it| &it.variants).any(|variant| variant.needs.contains(&feature))
    }
}

/// Another module for a pipeline: the same entry point, bindings and counts of workgroups, and the same results but for the
/// order of sums.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Variant {
    /// What it is called: one word, different from others of the pipeline, and not `baseline`.
    pub name: String,
    /// Path of the WGSL module in the bundle.
    pub shader: String,
    /// What it needs that not every device has.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<Feature>,
    /// Invocations of a workgroup.
    pub workgroup_size: [u32; 3],
}

/// What not every device has, or is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Feature {
    /// Subgroups of at least 4 invocations, which are neighbours.
    Subgroups,
    /// The device is a renderer on a CPU: to any other one, what needs this is slow.
    Software,
    /// Matrix cores: cooperative matrices of 16 x 16 for subgroups of exactly 32 invocations, products of 16-bit floats added in
    /// 32 bits, and 32 KiB of workgroup memory. Native only. What needs this rounds what it multiplies, so a bundle has it only if asked for.
    CooperativeMatrix,
}

/// How a shader declares a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum BindingKind {
    /// `var<uniform>`: the step.
    Uniform,
    /// `var<storage, read>`.
    Read,
    /// `var<storage, read_write>`.
    ReadWrite,
}

/// An entry point: a list of commands that is replayed in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Names of the symbols that a replay must give.
    pub symbols: Vec<String>,
    /// What must hold of the symbols together, for example `past + tokens <= max_context`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub constraints: Vec<Constraint>,
    /// What the host writes before a replay, by name.
    pub inputs: ByName<TensorSlot>,
    /// What the host can read after a replay, by name.
    pub outputs: ByName<TensorSlot>,
    /// The commands in order.
    pub commands: Vec<Command>,
}

/// An upper bound on an expression over symbols.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Constraint {
    /// The expression.
    pub expr: Expr,
    /// Its largest allowed value.
    pub max: u32,
}

/// A tensor at the start of a buffer, contiguous, row-major.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct TensorSlot {
    /// The buffer.
    pub buffer: BufferId,
    /// Element type.
    pub dtype: DType,
    /// Shape in elements.
    pub shape: Vec<Expr>,
}

/// An element type on the GPU. All take 4 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum DType {
    /// IEEE 754 binary32.
    F32,
    /// Signed 32-bit integer.
    I32,
    /// Unsigned 32-bit integer; truth values are 0 and 1.
    U32,
}

impl DType {
    /// Bytes of one element.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        match self {
            Self::F32 | Self::I32 | Self::U32 => 4,
        }
    }
}

/// One command of an entry point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Run a kernel.
    Dispatch(Dispatch),
    /// Copy bytes between buffers.
    Copy(CopyBytes),
    /// Set bytes to zero.
    Clear(ClearBytes),
}

/// Runs a pipeline over workgroups. A count of zero runs nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Dispatch {
    /// The pipeline.
    pub pipeline: PipelineId,
    /// What it computes, for people.
    pub label: String,
    /// What is bound, in the order of [`Pipeline::bindings`].
    pub bindings: Vec<Binding>,
    /// Workgroups along x, y and z, each at most 65535.
    pub workgroups: [Expr; 3],
}

/// A range of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Binding {
    /// The buffer.
    pub buffer: BufferId,
    /// First byte, a multiple of 256.
    pub offset: u64,
    /// Bytes, positive, a multiple of 4.
    pub bytes: u64,
}

/// Copies bytes from one buffer to another one; all numbers are multiples of 4.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct CopyBytes {
    /// Source.
    pub src: BufferId,
    /// First byte in the source.
    pub src_offset: Expr,
    /// Destination; not the source.
    pub dst: BufferId,
    /// First byte in the destination.
    pub dst_offset: Expr,
    /// Bytes to copy; zero copies nothing.
    pub bytes: Expr,
}

/// Sets bytes to zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ClearBytes {
    /// The buffer.
    pub buffer: BufferId,
    /// First byte, a multiple of 4.
    pub offset: u64,
    /// Bytes, a multiple of 4.
    pub bytes: u64,
}
