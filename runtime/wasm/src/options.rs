//! What JavaScript asks for: `Request` of `core.d.ts`.

use qwenc_runtime::chat::{GenerateOptions, StopRules};
use qwenc_runtime::sampling::SamplingParams;
use wasm_bindgen::JsValue;

use crate::object::{get, number};

/// Most tokens of a batch: text comes in spurts, and an abort takes effect between batches.
const MAX_BATCH: usize = 16;

/// Reads a request. What is no number is NaN, which no parameter of sampling may be, and 0 where it is a count.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "casts from floats saturate, and parameters are of single precision"
)]
pub(crate) fn read(request: &JsValue) -> GenerateOptions {
    let float = |name: &str| number(request, name) as f32;
    let count = |name: &str| number(request, name) as usize;
    let tokens = js_sys::Uint32Array::new(&get(request, "stopTokens")).to_vec();
    GenerateOptions {
        max_new_tokens: Some(count("maxNewTokens")),
        stop: StopRules { tokens, strings: Vec::new() },
        sampling: SamplingParams {
            temperature: float("temperature"),
            top_k: number(request, "topK") as u32,
            top_p: float("topP"),
            min_p: float("minP"),
            repetition_penalty: float("repetitionPenalty"),
            presence_penalty: float("presencePenalty"),
            seed: number(request, "seed") as u64,
        },
        min_batch: count("minBatch").min(MAX_BATCH),
        max_batch: count("maxBatch").min(MAX_BATCH),
    }
}
