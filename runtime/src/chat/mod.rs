//! Conversations: from messages to an answer.
//!
//! [`Message`]s have the shape of OpenAI's chat API. A [`ChatTemplate`] renders them as the model was trained to read
//! them, and [`ChatFiles`] makes a [`Prompt`] of that. A [`Generator`] feeds it to a session and streams [`Event`]s. It feeds
//! only what is new: see `docs/chat.md`.

mod choose;
mod clock;
mod error;
mod files;
mod generate;
mod message;
#[cfg(feature = "native")]
mod native;
mod pace;
mod prefix;
mod prompt;
mod settings;
mod split;
mod stop;
mod template;

pub use crate::json::Json;
pub use clock::Clock;
pub use error::ChatError;
pub use files::ChatFiles;
pub use generate::{Event, FinishReason, GenerateOptions, Generation, Generator, Usage};
pub use message::{Content, FunctionCall, ImageUrl, Message, Part, ToolCall};
pub use prompt::{Prompt, PromptImage};
pub use settings::{GenerationConfig, TokenizerConfig};
pub use split::{Piece, PieceKind, Splitter};
pub use stop::StopRules;
pub use template::{ChatTemplate, RenderOptions, TemplateError};
