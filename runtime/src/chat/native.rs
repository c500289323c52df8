//! Generating, waiting on this thread.

use std::ops::ControlFlow;

use super::{ChatError, Event, GenerateOptions, Generation, Generator, Prompt};
use crate::engine::Backend;

impl<B: Backend> Generator<B> {
    /// [`Generator::generate_async`], waiting on this thread.
    ///
    /// # Errors
    /// As there.
    pub fn generate(
        &mut self,
        prompt: &Prompt,
        options: &GenerateOptions,
        on_event: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<Generation, ChatError> {
        pollster::block_on(self.generate_async(prompt, options, on_event))
    }
}
