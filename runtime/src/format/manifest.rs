//! `manifest.json`: what a bundle is, what it needs, and the size and hash of every other file.

use serde::{Deserialize, Serialize};

use super::{BufferId, DType};

/// The contents of `manifest.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The format's version: 1.
    pub format: u32,
    /// The program that wrote the bundle, with its version.
    pub generator: String,
    /// What the model is.
    pub model: ModelFacts,
    /// The model's licence text or identifier, when the source names one.
    pub licence: Option<String>,
    /// Names of the schedule's entry points, sorted.
    pub entries: Vec<String>,
    /// Persistent states that [`Schedule`](super::Schedule) updates in place, by buffer.
    pub states: Vec<StateFacts>,
    /// Device limits that the schedule needs.
    pub requirements: Requirements,
    /// Optional GPU features that the schedule needs: none in the baseline variant.
    pub features: Vec<String>,
    /// All bytes of GPU memory that the buffers take, by purpose.
    pub memory: MemoryFacts,
    /// How weights are stored.
    pub quantization: QuantizationFacts,
    /// Shader variants in this bundle.
    pub variants: Vec<String>,
    /// The bundle is a plan: it has no weights, and cannot be loaded.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub weights_omitted: bool,
    /// Every other file of the bundle, sorted by path.
    pub files: Vec<FileFacts>,
}

/// What the model is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ModelFacts {
    /// A name for people.
    pub name: String,
    /// Set when the entry points are those of a text decoder: `prefill`, `head` and `decode`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decoder: Option<DecoderFacts>,
    /// Set when the model takes pictures: entry point `vision` encodes them, and `prefill` puts them among the tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vision: Option<VisionFacts>,
}

/// What a session must know of a decoder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct DecoderFacts {
    /// Token ids are below this; logits have this many values.
    pub vocab_size: u32,
    /// Layers of the decoder.
    pub layers: u32,
    /// Width of the hidden states.
    pub hidden_size: u32,
    /// Most positions that the states hold.
    pub max_context: u32,
    /// Most tokens in one replay of `prefill`.
    pub prefill_chunk: u32,
}

/// What a session must know of a vision encoder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct VisionFacts {
    /// Most patches in one replay of `vision`, a multiple of `merge_size` squared.
    pub max_patches: u32,
    /// Values of one patch: channels x frames x height x width.
    pub patch_values: u32,
    /// Width of a feature row, which is that of the decoder's hidden states.
    pub feature_size: u32,
    /// A feature row comes from `merge_size` x `merge_size` patches.
    pub merge_size: u32,
    /// The learned position table is `position_side` x `position_side`.
    pub position_side: u32,
    /// Rows of the rotary table: the most patches on a side of a picture.
    pub max_side: u32,
    /// The token that feature rows replace.
    pub image_token: u32,
    /// The token before a picture's.
    pub vision_start: u32,
    /// The token after a picture's.
    pub vision_end: u32,
}

/// A persistent state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct StateFacts {
    /// The state's name in the model.
    pub name: String,
    /// The buffer that holds it.
    pub buffer: BufferId,
    /// What it is to a sequence.
    pub kind: StateKind,
    /// Element type.
    pub dtype: DType,
    /// Allocated shape, in elements.
    pub shape: Vec<u64>,
}

/// What a state is to a sequence, and so what going back to an earlier position takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum StateKind {
    /// A row for every position. Rows from `past` on are not read: nothing needs to be undone.
    KvCache,
    /// The last few inputs of a convolution. Every step overwrites it.
    Window,
    /// The matrices of a recurrence. Every step overwrites them.
    Matrix,
}

/// Device limits that a schedule needs, under WebGPU's names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Requirements {
    /// Storage buffers bound in one dispatch.
    pub max_storage_buffers_per_stage: u32,
    /// Bytes of the largest storage binding.
    pub max_storage_binding_bytes: u64,
    /// Bytes of the largest buffer.
    pub max_buffer_bytes: u64,
    /// Bytes of workgroup memory of the hungriest kernel.
    pub max_workgroup_bytes: u32,
    /// Invocations of the largest workgroup.
    pub max_invocations: u32,
}

/// Bytes of GPU memory by purpose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct MemoryFacts {
    /// Weights and other constants.
    pub weight_bytes: u64,
    /// Temporaries, shared by all entry points.
    pub arena_bytes: u64,
    /// Persistent states.
    pub state_bytes: u64,
    /// Inputs, outputs and the step uniform.
    pub io_bytes: u64,
    /// The sum of the above: the most GPU memory that buffers take at any time.
    pub peak_bytes: u64,
}

/// How weights are stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct QuantizationFacts {
    /// What the compiler was told: `keep` for what the model has, or a format and exceptions, such as `q4 f16:lm_head`.
    pub recipe: String,
    /// Every matrix that layers and lookups read packed, in the order of their first use.
    pub weights: Vec<WeightFacts>,
}

/// How one matrix is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct WeightFacts {
    /// Its name in the model.
    pub name: String,
    /// Rows and columns.
    pub shape: [u64; 2],
    /// `f32`, `f16`, `bf16`, or the size of codes and their block, such as `q4 block 32`.
    pub format: String,
    /// The compiler changed the format; what the file had was another.
    pub converted: bool,
}

/// A file of the bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct FileFacts {
    /// Plain relative path, `/` between parts.
    pub path: String,
    /// Size in bytes.
    pub bytes: u64,
    /// SHA-256 of the content, 64 lower-case hexadecimal digits.
    pub sha256: String,
}
