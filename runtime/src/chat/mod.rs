//! Conversations: from messages to an answer.
//!
//! [`Message`]s have the shape of OpenAI's chat API. A [`ChatTemplate`] renders them as the model was trained to read
//! them, and [`ChatFiles`] makes a [`Prompt`] of that. A [`Generator`] feeds it to a session and streams [`Event`]s. It feeds
//! only what is new: see `docs/chat.md`. In a browser there are only prompts and tokens, and [`Turns`] of these: text is JavaScript's
//! (`runtime/web/src/chat`).

mod choose;
mod clock;
mod error;
mod pace;
mod prefix;
mod prompt;
mod turns;

#[cfg(not(target_arch = "wasm32"))]
mod files;
#[cfg(not(target_arch = "wasm32"))]
mod generate;
#[cfg(not(target_arch = "wasm32"))]
mod message;
#[cfg(feature = "native")]
mod native;
#[cfg(not(target_arch = "wasm32"))]
mod settings;
#[cfg(not(target_arch = "wasm32"))]
mod split;
#[cfg(not(target_arch = "wasm32"))]
mod stop;
#[cfg(not(target_arch = "wasm32"))]
mod template;

pub use crate::json::Json;
pub use clock::Clock;
pub use error::ChatError;
pub use prompt::{Prompt, PromptImage};
pub use turns::{FinishReason, GenerateOptions, Step, StopRules, Turn, Turns, Usage, Verdict};

#[cfg(not(target_arch = "wasm32"))]
pub use self::{
    files::ChatFiles,
    generate::{Event, Generation, Generator},
    message::{Content, FunctionCall, ImageUrl, Message, Part, ToolCall},
    settings::{GenerationConfig, TokenizerConfig},
    split::{Piece, PieceKind, Splitter},
    template::{ChatTemplate, RenderOptions, TemplateError},
};
