//! The files of a bundle that turn messages into tokens and back.

use super::prefix::common;
use super::{
    ChatError, ChatTemplate, GenerationConfig, Message, Prompt, PromptImage, RenderOptions, TokenizerConfig,
};
use crate::bundle::{Bundle, BundleError};
use crate::format::VisionFacts;
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

    /// The prompt of a conversation, opening the next answer. `images` are those of all messages, in the order of their
    /// parts. `vision` is what the bundle says of its encoder.
    ///
    /// # Errors
    /// [`ChatError::NoTemplate`], [`ChatError::Template`]; [`ChatError::NoVision`], [`ChatError::Images`] and
    /// [`ChatError::Vision`] for images that do not fit.
    pub fn prompt(
        &self,
        messages: &[Message],
        images: &[PromptImage],
        options: &RenderOptions,
        vision: Option<&VisionFacts>,
    ) -> Result<Prompt, ChatError> {
        let template = self.template.as_ref().ok_or(ChatError::NoTemplate)?;
        let mut options = options.clone();
        let named = self.tokenizer_config.special.iter();
        options.variables.extend(named.map(|(name, token)| (name.clone(), token.as_str().into())));
        options.add_generation_prompt = false;
        let closed = template.render(messages, &options)?;
        options.add_generation_prompt = true;
        let text = template.render(messages, &options)?;
        let ids = self.tokenizer.encode(&text);
        let mut stable = common(&ids, &self.tokenizer.encode(&closed));
        // Templates shorten what is history, such as the reasoning before an older question.
        let mut later = messages.to_vec();
        later.extend([Message::text("assistant", "a"), Message::text("user", "u")]);
        if let Ok(later) = template.render(&later, &options) {
            stable = stable.min(common(&ids, &self.tokenizer.encode(&later)));
        }
        let opening = text.strip_prefix(closed.as_str()).unwrap_or_default();
        let thinking = opening.rfind("<think>").is_some_and(|open| opening.rfind("</think>") < Some(open));
        Ok(Prompt { thinking, ..Prompt::new(&ids, stable, images, vision)? })
    }

    /// A prompt as it is, without a template. Special tokens in it are recognised.
    ///
    /// # Errors
    /// As [`ChatFiles::prompt`], but for those of the template.
    pub fn raw_prompt(
        &self,
        text: &str,
        images: &[PromptImage],
        vision: Option<&VisionFacts>,
    ) -> Result<Prompt, ChatError> {
        let ids = self.tokenizer.encode(text);
        Prompt::new(&ids, ids.len(), images, vision)
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
