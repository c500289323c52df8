//! Facts as JavaScript objects.

use js_sys::Object;
use qwenc_runtime::chat::{Step, Turn};
use qwenc_runtime::format::{Manifest, MemoryFacts};
use wasm_bindgen::JsValue;

use crate::object::{array, object, size};

/// Features that shaders use when the device has them.
const OPTIONAL_FEATURES: [&str; 2] = ["subgroups", "timestamp-query"];

pub(crate) fn facts(manifest: &Manifest, memory: &MemoryFacts) -> Object {
    let decoder = manifest.model.decoder.as_ref();
    let small = |value: Option<u32>| JsValue::from(value.unwrap_or(0));
    object([
        ("name", manifest.model.name.as_str().into()),
        ("licence", manifest.licence.as_deref().map_or(JsValue::NULL, JsValue::from)),
        ("generator", manifest.generator.as_str().into()),
        ("vocabSize", small(decoder.map(|facts| facts.vocab_size))),
        ("maxContext", small(decoder.map(|facts| facts.max_context))),
        ("hasVision", manifest.model.vision.is_some().into()),
        ("layers", small(decoder.map(|facts| facts.layers))),
        ("hiddenSize", small(decoder.map(|facts| facts.hidden_size))),
        ("quantization", manifest.quantization.recipe.as_str().into()),
        ("entries", array(manifest.entries.iter().map(String::as_str)).into()),
        ("variants", array(manifest.variants.iter().map(String::as_str)).into()),
        ("memory", memory_facts(memory).into()),
    ])
}

fn memory_facts(memory: &MemoryFacts) -> Object {
    object([
        ("weightBytes", size(memory.weight_bytes).into()),
        ("arenaBytes", size(memory.arena_bytes).into()),
        ("stateBytes", size(memory.state_bytes).into()),
        ("ioBytes", size(memory.io_bytes).into()),
        ("peakBytes", size(memory.peak_bytes).into()),
    ])
}

pub(crate) fn requirements(manifest: &Manifest) -> Object {
    let needs = &manifest.requirements;
    let limits = object([
        ("maxStorageBuffersPerShaderStage", needs.max_storage_buffers_per_stage.into()),
        ("maxStorageBufferBindingSize", size(needs.max_storage_binding_bytes).into()),
        ("maxBufferSize", size(needs.max_buffer_bytes).into()),
        ("maxComputeWorkgroupStorageSize", needs.max_workgroup_bytes.into()),
        ("maxComputeInvocationsPerWorkgroup", needs.max_invocations.into()),
        ("maxComputeWorkgroupSizeX", needs.max_invocations.into()),
    ]);
    let features = manifest.features.iter().map(|name| name.replace('_', "-"));
    object([
        ("limits", limits.into()),
        ("features", array(features).into()),
        ("optionalFeatures", array(OPTIONAL_FEATURES).into()),
        ("gpuBytes", size(manifest.memory.peak_bytes).into()),
    ])
}

pub(crate) fn step(step: Step) -> Object {
    match step {
        Step::Prompt { tokens, reused } => {
            object([("type", "prompt".into()), ("tokens", tokens.into()), ("reused", reused.into())])
        }
        Step::Token(id) => object([("type", "token".into()), ("id", id.into())]),
    }
}

pub(crate) fn turn(turn: &Turn) -> Object {
    let usage = &turn.usage;
    let usage = object([
        ("promptTokens", usage.prompt_tokens.into()),
        ("reusedTokens", usage.reused_tokens.into()),
        ("generatedTokens", usage.generated_tokens.into()),
        ("firstTokenSeconds", usage.first_token_seconds.into()),
        ("seconds", usage.seconds.into()),
        ("batches", usage.batches.into()),
        ("tokensPerSecond", usage.tokens_per_second().into()),
    ]);
    object([
        ("tokens", array(turn.tokens.iter().copied()).into()),
        ("finishReason", turn.finish_reason.name().into()),
        ("usage", usage.into()),
    ])
}
