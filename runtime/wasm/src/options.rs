//! The options of an answer, as JSON.

use crate::error::Failure;
use qwenc_runtime::chat::{ChatFiles, GenerateOptions, Json, Message, RenderOptions, StopRules};
use qwenc_runtime::json::{FromJson, Object, Trouble};
use qwenc_runtime::sampling::SamplingChoice;

/// Most tokens of a batch: text comes in spurts, and an abort takes effect between batches.
const MAX_BATCH: usize = 16;

/// `GenerateOptions` of `wasm.d.ts`.
#[derive(Debug)]
pub(crate) struct Options {
    max_new_tokens: Option<usize>,
    temperature: Option<f32>,
    top_k: Option<u32>,
    top_p: Option<f32>,
    min_p: Option<f32>,
    repetition_penalty: Option<f32>,
    presence_penalty: Option<f32>,
    seed: Option<u64>,
    stop: Vec<String>,
    ignore_eos: bool,
    thinking: bool,
    tools: Option<Vec<Json>>,
    template_variables: Option<Json>,
    pub(crate) raw: Option<String>,
    min_batch: Option<usize>,
    max_batch: Option<usize>,
}

/// All options.
const FIELDS: [&str; 16] = [
    "maxNewTokens",
    "temperature",
    "topK",
    "topP",
    "minP",
    "repetitionPenalty",
    "presencePenalty",
    "seed",
    "stop",
    "ignoreEos",
    "thinking",
    "tools",
    "templateVariables",
    "raw",
    "minBatch",
    "maxBatch",
];

impl FromJson for Options {
    fn read(json: &Json, trouble: &mut Trouble) -> Self {
        let mut object = Object::only(json, &FIELDS, trouble);
        Self {
            max_new_tokens: object.field("maxNewTokens"),
            temperature: object.field("temperature"),
            top_k: object.field("topK"),
            top_p: object.field("topP"),
            min_p: object.field("minP"),
            repetition_penalty: object.field("repetitionPenalty"),
            presence_penalty: object.field("presencePenalty"),
            seed: object.field("seed"),
            stop: object.or_default("stop"),
            ignore_eos: object.or_default("ignoreEos"),
            thinking: object.or_default("thinking"),
            tools: object.field("tools"),
            template_variables: object.field("templateVariables"),
            raw: object.field("raw"),
            min_batch: object.field("minBatch"),
            max_batch: object.field("maxBatch"),
        }
    }
}

/// JSON from JavaScript; `what` it is, for people.
fn read<T: FromJson>(what: &str, json: &str) -> Result<T, Failure> {
    let value = Json::parse(json).and_then(|json| T::from_json(&json));
    value.map_err(|error| Failure::invalid(format!("the {what}: {error}")))
}

impl Options {
    pub(crate) fn read(json: &str) -> Result<Self, Failure> {
        read("options", json)
    }

    /// What the template is given besides the messages.
    pub(crate) fn render(&self) -> RenderOptions {
        let variables = match &self.template_variables {
            Some(Json::Map(variables)) => variables.clone(),
            _ => Vec::new(),
        };
        RenderOptions {
            enable_thinking: Some(self.thinking),
            tools: self.tools.clone().filter(|tools| !tools.is_empty()),
            variables,
            ..RenderOptions::default()
        }
    }

    /// These options over the model's own.
    pub(crate) fn generate(&self, files: &ChatFiles) -> Result<GenerateOptions, Failure> {
        let choice = SamplingChoice {
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            repetition_penalty: self.repetition_penalty,
            presence_penalty: self.presence_penalty,
            seed: self.seed,
        };
        let sampling =
            choice.over(&files.sampling, some_seed).map_err(|error| Failure::invalid(error.to_string()))?;
        let tokens = if self.ignore_eos { Default::default() } else { files.stop_tokens() };
        Ok(GenerateOptions {
            max_new_tokens: self.max_new_tokens.or(files.generation.max_new_tokens),
            stop: StopRules { tokens, strings: self.stop.clone() },
            sampling,
            min_batch: self.min_batch.unwrap_or(1).min(MAX_BATCH),
            max_batch: self.max_batch.unwrap_or(MAX_BATCH).min(MAX_BATCH),
        })
    }
}

/// A seed that is another one every time, and exact in JavaScript.
fn some_seed() -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is below 2^52")]
    let seed = (js_sys::Math::random() * 4_503_599_627_370_496.0) as u64;
    seed
}

pub(crate) fn messages(json: &str) -> Result<Vec<Message>, Failure> {
    read("messages", json)
}
