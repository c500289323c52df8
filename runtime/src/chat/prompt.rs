//! From messages and images to the tokens that a session is fed.

use sha2::{Digest, Sha256};

use super::ChatError;
use super::prefix::{Key, image_key, token_key};
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

    /// The prompt of these tokens, of which `stable` are those of [`Prompt::stable`], without a template's opening of reasoning.
    ///
    /// # Errors
    /// [`ChatError::EmptyPrompt`]; [`ChatError::NoVision`], [`ChatError::Images`] and [`ChatError::Vision`] for images that do not fit.
    pub fn new(
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
