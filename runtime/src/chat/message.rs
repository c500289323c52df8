//! Messages in the shape of OpenAI's chat API.

use serde::{Deserialize, Deserializer, Serialize};

use super::Json;
use crate::json::{FromJson, Object, Trouble};

/// One message of a conversation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user`, `assistant` or `tool`; the template decides which there are.
    pub role: String,
    /// What was said. Missing and `null` differ only for templates that ask.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub content: Option<Content>,
    /// What an assistant thought before it answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<String>,
    /// Tools that an assistant called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_calls: Option<Vec<ToolCall>>,
    /// The call that a tool's message answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
    /// A name: of the tool, or of one of several users.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// A field that is there is `Some`, also when it is `null`.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Content>, D::Error> {
    Content::deserialize(deserializer).map(Some)
}

/// The content of a message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Content {
    /// `null`, as beside tool calls.
    Null,
    /// Plain text.
    Text(String),
    /// Pieces of text and images.
    Parts(Vec<Part>),
}

/// A piece of a message.
///
/// An image part says where an image goes. The images themselves travel beside the messages, in the order of their
/// parts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Part {
    /// Text.
    Text {
        /// The text.
        text: String,
    },
    /// An image.
    Image,
    /// An image, as OpenAI's API names it.
    ImageUrl {
        /// Where it is.
        image_url: ImageUrl,
    },
    /// A part of a kind that is not known here; the template may refuse it.
    #[serde(untagged)]
    Other(Json),
}

/// The place of an image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImageUrl {
    /// A `data:` URL, or another that the caller can resolve.
    pub url: String,
}

/// A call of a tool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToolCall {
    /// The caller's name for this call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// `function`.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// What is called.
    pub function: FunctionCall,
}

/// A function and its arguments.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FunctionCall {
    /// The function's name.
    pub name: String,
    /// An object; or, as OpenAI's API has it, a string with the JSON text of one.
    pub arguments: Json,
}

impl FromJson for Message {
    fn read(json: &Json, trouble: &mut Trouble) -> Self {
        let mut object = Object::open(json, trouble);
        Self {
            role: object.field("role"),
            content: json.get("content").map(|_| object.field("content")),
            reasoning_content: object.field("reasoning_content"),
            tool_calls: object.field("tool_calls"),
            tool_call_id: object.field("tool_call_id"),
            name: object.field("name"),
        }
    }
}

impl FromJson for Content {
    fn read(json: &Json, trouble: &mut Trouble) -> Self {
        match json {
            Json::Null => Self::Null,
            Json::Text(text) => Self::Text(text.clone()),
            Json::List(_) => Self::Parts(Vec::read(json, trouble)),
            _ => {
                trouble.say("must be text, or a list of parts");
                Self::Null
            }
        }
    }
}

impl FromJson for Part {
    fn read(json: &Json, _: &mut Trouble) -> Self {
        let text = |object: Option<&Json>, name: &str| object?.get(name)?.as_str().map(str::to_owned);
        let known = match json.get("type").and_then(Json::as_str) {
            Some("text") => text(Some(json), "text").map(|text| Self::Text { text }),
            Some("image") => Some(Self::Image),
            Some("image_url") => {
                text(json.get("image_url"), "url").map(|url| Self::ImageUrl { image_url: ImageUrl { url } })
            }
            _ => None,
        };
        known.unwrap_or_else(|| Self::Other(json.clone()))
    }
}

impl FromJson for ToolCall {
    fn read(json: &Json, trouble: &mut Trouble) -> Self {
        let mut object = Object::open(json, trouble);
        Self { id: object.field("id"), kind: object.field("type"), function: object.field("function") }
    }
}

impl FromJson for FunctionCall {
    fn read(json: &Json, trouble: &mut Trouble) -> Self {
        let mut object = Object::open(json, trouble);
        Self { name: object.field("name"), arguments: object.field("arguments") }
    }
}

impl Message {
    /// A message of text.
    #[must_use]
    pub fn text(role: &str, text: impl Into<String>) -> Self {
        Self { role: role.to_owned(), content: Some(Content::Text(text.into())), ..Self::default() }
    }

    /// A user's message: images, then text.
    #[must_use]
    pub fn user(text: impl Into<String>, images: usize) -> Self {
        if images == 0 {
            return Self::text("user", text);
        }
        let mut parts = vec![Part::Image; images];
        parts.push(Part::Text { text: text.into() });
        Self { role: "user".to_owned(), content: Some(Content::Parts(parts)), ..Self::default() }
    }

    /// Image parts in this message.
    #[must_use]
    pub fn images(&self) -> usize {
        let Some(Content::Parts(parts)) = &self.content else { return 0 };
        parts.iter().filter(|part| matches!(part, Part::Image | Part::ImageUrl { .. })).count()
    }
}

impl FunctionCall {
    /// The arguments as an object, where their text is one.
    pub(super) fn parsed_arguments(&self) -> Json {
        let parsed = self.arguments.as_str().and_then(|text| Json::parse(text).ok());
        parsed.filter(|value| matches!(value, Json::Map(_))).unwrap_or_else(|| self.arguments.clone())
    }
}

/// Messages as the template sees them.
pub(super) fn to_json(messages: &[Message]) -> Json {
    let text = |text: &str| Json::Text(text.to_owned());
    let optional = |pairs: &mut Vec<(String, Json)>, name: &str, value: &Option<String>| {
        if let Some(value) = value {
            pairs.push((name.to_owned(), text(value)));
        }
    };
    let part = |part: &Part| match part {
        Part::Text { text: words } => {
            Json::Map(vec![("type".to_owned(), text("text")), ("text".to_owned(), text(words))])
        }
        Part::Image => Json::Map(vec![("type".to_owned(), text("image"))]),
        Part::ImageUrl { image_url } => Json::Map(vec![
            ("type".to_owned(), text("image_url")),
            ("image_url".to_owned(), Json::Map(vec![("url".to_owned(), text(&image_url.url))])),
        ]),
        Part::Other(value) => value.clone(),
    };
    let call = |call: &ToolCall| {
        let mut pairs = Vec::new();
        optional(&mut pairs, "id", &call.id);
        optional(&mut pairs, "type", &call.kind);
        let function = vec![
            ("name".to_owned(), text(&call.function.name)),
            ("arguments".to_owned(), call.function.parsed_arguments()),
        ];
        pairs.push(("function".to_owned(), Json::Map(function)));
        Json::Map(pairs)
    };
    let message = |message: &Message| {
        let mut pairs = vec![("role".to_owned(), text(&message.role))];
        match &message.content {
            None => {}
            Some(Content::Null) => pairs.push(("content".to_owned(), Json::Null)),
            Some(Content::Text(words)) => pairs.push(("content".to_owned(), text(words))),
            Some(Content::Parts(parts)) => {
                pairs.push(("content".to_owned(), Json::List(parts.iter().map(part).collect())));
            }
        }
        optional(&mut pairs, "reasoning_content", &message.reasoning_content);
        if let Some(calls) = &message.tool_calls {
            pairs.push(("tool_calls".to_owned(), Json::List(calls.iter().map(call).collect())));
        }
        optional(&mut pairs, "tool_call_id", &message.tool_call_id);
        optional(&mut pairs, "name", &message.name);
        Json::Map(pairs)
    };
    Json::List(messages.iter().map(message).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_and_written_in_openais_shape() {
        let text = r#"[{"role":"user","content":[{"type":"text","text":"a"},{"type":"image"},{"type":"image_url","image_url":{"url":"data:,"}},{"type":"audio","x":1}]},{"role":"assistant","content":null,"tool_calls":[{"id":"1","type":"function","function":{"name":"f","arguments":"{\"b\":1,\"a\":2}"}}]},{"role":"tool"}]"#;
        let messages: Vec<Message> = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&messages).unwrap(), text);
        assert_eq!(Vec::<Message>::from_json(&Json::parse(text).unwrap()).unwrap(), messages);
        assert_eq!(messages[0].images(), 2);
        assert_eq!((&messages[1].content, &messages[2].content), (&Some(Content::Null), &None));
        let arguments = messages[1].tool_calls.as_ref().unwrap()[0].function.parsed_arguments();
        assert_eq!(serde_json::to_string(&arguments).unwrap(), r#"{"b":1,"a":2}"#);
    }

    #[test]
    fn messages_are_read_as_serde_reads_them() {
        for text in [
            r#"{}"#,
            r#"[]"#,
            r#"{"role":1}"#,
            r#"{"role":"a","content":1}"#,
            r#"{"role":"a","content":{}}"#,
            r#"{"role":"a","content":[],"name":null,"more":1}"#,
            r#"{"role":"a","reasoning_content":"x","name":"y","tool_call_id":"z"}"#,
            r#"{"role":"a","name":1}"#,
            r#"{"role":"a","content":["x",1,null,{"type":"text"},{"type":"text","text":1},{"type":"image","x":1}]}"#,
            r#"{"role":"a","content":[{"type":"image_url"},{"type":"image_url","image_url":"x"},{"text":"no type"}]}"#,
            r#"{"role":"a","content":[{"type":"image_url","image_url":{"url":"x","detail":"low"}}]}"#,
            r#"{"role":"a","tool_calls":[]}"#,
            r#"{"role":"a","tool_calls":[{"function":{"name":"f","arguments":null}}]}"#,
            r#"{"role":"a","tool_calls":[{"function":{"name":"f"}}]}"#,
            r#"{"role":"a","tool_calls":[{"id":"x"}]}"#,
            r#"{"role":"a","tool_calls":{}}"#,
        ] {
            let theirs = serde_json::from_str::<Message>(text).ok();
            assert_eq!(Message::from_json(&Json::parse(text).unwrap()).ok(), theirs, "{text}");
        }
    }
}
