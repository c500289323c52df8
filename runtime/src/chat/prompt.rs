//! From messages and images to the tokens that a session is fed.

use sha2::{Digest, Sha256};

use super::prefix::{Key, common, image_key, token_key};
use super::{ChatError, ChatFiles, Message, RenderOptions};
use crate::format::VisionFacts;
use crate::vision::Grid;

/// An image, ready for the vision encoder.
#[derive(Clone, Debug, PartialEq)]
pub struct PromptImage {
    pub(super) grid: Grid,
    pub(super) values: Vec<f32>,
    content: Key,
}

impl PromptImage {
    /// An image of `grid` patches: f32 [patches, patch values], as the preprocessor makes them.
    #[must_use]
    pub fn new(grid: Grid, values: Vec<f32>) -> Self {
        let mut hash = Sha256::new();
        for side in [grid.t(), grid.h(), grid.w()] {
            hash.update(side.to_le_bytes());
        }
        hash.update(bytemuck::cast_slice::<f32, u8>(&values));
        let content = hash.finalize().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        Self { grid, values, content }
    }
}

/// A prompt in tokens.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Prompt {
    /// One id for every position; an image has one for every row of its features.
    pub(super) ids: Vec<i32>,
    /// What each position is, for comparing with what was fed before.
    pub(super) keys: Vec<Key>,
    /// The images, and where the positions of each begin.
    pub(super) images: Vec<(usize, PromptImage)>,
    /// Positions that the next turn's prompt will begin with as well.
    pub(super) stable: usize,
    /// The answer begins inside of reasoning.
    pub(super) thinking: bool,
}

impl Prompt {
    /// Positions of the prompt.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// There are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// The tokens.
    #[must_use]
    pub fn ids(&self) -> &[i32] {
        &self.ids
    }

    /// Positions at the beginning that the prompt of the next turn will have too: up to the end of the last message. What
    /// follows opens the answer, and a template writes that differently once it is history.
    #[must_use]
    pub fn stable(&self) -> usize {
        self.stable
    }

    /// Whether the template has opened reasoning that the answer goes on with.
    #[must_use]
    pub fn thinking(&self) -> bool {
        self.thinking
    }

    fn new(
        ids: &[u32],
        stable: usize,
        images: &[PromptImage],
        vision: Option<&VisionFacts>,
    ) -> Result<Self, ChatError> {
        let image_token = vision.map(|facts| facts.image_token);
        let places = ids.iter().filter(|id| Some(**id) == image_token).count();
        if image_token.is_none() && !images.is_empty() {
            return Err(ChatError::NoVision);
        }
        if places != images.len() {
            return Err(ChatError::Images { places, images: images.len() });
        }
        let mut prompt = Self { stable: usize::MAX, ..Self::default() };
        let mut rest = images.iter();
        for (at, id) in ids.iter().enumerate() {
            if at == stable {
                prompt.stable = prompt.ids.len();
            }
            let id_or_none = i32::try_from(*id).unwrap_or(i32::MAX);
            match vision.filter(|facts| facts.image_token == *id).zip(rest.as_slice().first()) {
                Some((facts, image)) => {
                    let rows = usize::try_from(image.grid.tokens(facts.merge_size)).unwrap_or(usize::MAX);
                    image.grid.check(facts)?;
                    prompt.images.push((prompt.ids.len(), image.clone()));
                    prompt.ids.extend(std::iter::repeat_n(id_or_none, rows));
                    prompt.keys.extend(std::iter::repeat_n(image_key(image.content), rows));
                    rest.next();
                }
                None => {
                    prompt.ids.push(id_or_none);
                    prompt.keys.push(token_key(id_or_none));
                }
            }
        }
        prompt.stable = prompt.stable.min(prompt.ids.len());
        if prompt.is_empty() {
            return Err(ChatError::EmptyPrompt);
        }
        Ok(prompt)
    }
}

impl ChatFiles {
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
