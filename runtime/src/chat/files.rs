//! The files of a bundle that turn messages into tokens and back.

use super::{ChatError, ChatTemplate, GenerationConfig, TokenizerConfig};
use crate::bundle::{Bundle, BundleError};
use crate::sampling::SamplingParams;
use crate::tokenizer::{MAX_TABLE_BYTES, TOKENIZER_FILE, Tokenizer};

const TEMPLATE: &str = "model/chat_template.jinja";
const GENERATION: &str = "model/generation_config.json";
const TOKENIZER_CONFIG: &str = "model/tokenizer_config.json";

/// Largest settings file and template, in bytes.
const MAX_BYTES: u64 = 4 << 20;

/// Tokenizer, template and settings of a model.
#[derive(Debug)]
pub struct ChatFiles {
    /// The tokenizer.
    pub tokenizer: Tokenizer,
    /// The chat template, where there is one.
    pub template: Option<ChatTemplate>,
    /// Where answers end.
    pub generation: GenerationConfig,
    /// How the model says to choose tokens; without `generation_config.json` the likeliest.
    pub sampling: SamplingParams,
    /// What templates may name.
    pub tokenizer_config: TokenizerConfig,
}

impl ChatFiles {
    /// Reads them from a bundle. A template may be missing, settings too.
    ///
    /// # Errors
    /// [`ChatError::NoTokenizer`]; [`ChatError::Tokenizer`], [`ChatError::Template`] and [`ChatError::File`] for files that
    /// cannot be understood.
    pub fn load(bundle: &Bundle) -> Result<Self, ChatError> {
        let table = read(bundle, TOKENIZER_FILE, MAX_TABLE_BYTES)?.ok_or(ChatError::NoTokenizer)?;
        let tokenizer = Tokenizer::from_bytes(&table)?;
        let settings = text(bundle, TOKENIZER_CONFIG)?;
        let tokenizer_config = settings
            .map(|text| TokenizerConfig::from_json(&text).map_err(|error| bad(TOKENIZER_CONFIG, &error)))
            .transpose()?
            .unwrap_or_default();
        let (mut generation, mut sampling) = (GenerationConfig::default(), SamplingParams::greedy());
        if let Some(text) = text(bundle, GENERATION)? {
            generation = GenerationConfig::from_json(&text).map_err(|error| bad(GENERATION, &error))?;
            sampling = SamplingParams::from_generation_config(text.as_bytes())?;
        }
        let template = match (text(bundle, TEMPLATE)?, &tokenizer_config.chat_template) {
            (Some(source), _) => Some(ChatTemplate::new(TEMPLATE, &source)?),
            (None, Some(source)) => Some(ChatTemplate::new(TOKENIZER_CONFIG, source)?),
            (None, None) => None,
        };
        Ok(Self { tokenizer, template, generation, sampling, tokenizer_config })
    }

    /// Tokens that end an answer: those of `generation_config.json`, and the tokenizer's own.
    #[must_use]
    pub fn stop_tokens(&self) -> Vec<u32> {
        let own =
            self.tokenizer_config.eos_token.as_deref().and_then(|text| self.tokenizer.token_to_id(text));
        self.generation.eos_token_ids.iter().copied().chain(own).collect()
    }
}

fn bad(file: &str, error: &dyn std::fmt::Display) -> ChatError {
    ChatError::File { file: file.to_owned(), message: error.to_string() }
}

fn read(bundle: &Bundle, path: &str, max: u64) -> Result<Option<Vec<u8>>, BundleError> {
    match bundle.manifest().files.iter().any(|file| file.path == path) {
        true => bundle.file(path, max).map(Some),
        false => Ok(None),
    }
}

fn text(bundle: &Bundle, path: &str) -> Result<Option<String>, ChatError> {
    let Some(bytes) = read(bundle, path, MAX_BYTES)? else { return Ok(None) };
    String::from_utf8(bytes).map(Some).map_err(|error| bad(path, &error))
}
