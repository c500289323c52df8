//! Conversations: from messages to the text of a prompt, and from tokens back to an answer.
//!
//! [`Message`]s have the shape of OpenAI's chat API. A [`ChatTemplate`] renders them as the model was trained to read
//! them.

mod json;
mod message;
mod python;
mod template;

pub use json::Json;
pub use message::{Content, FunctionCall, ImageUrl, Message, Part, ToolCall};
pub use template::{ChatTemplate, RenderOptions, TemplateError};
