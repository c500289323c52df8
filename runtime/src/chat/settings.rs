//! What a model's files say about generating: `generation_config.json`, `tokenizer_config.json`.

use super::Json;
use crate::json::JsonError;

/// What `generation_config.json` says of where an answer ends; all of it is optional.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GenerationConfig {
    /// Tokens that end an answer.
    pub eos_token_ids: Vec<u32>,
    /// Most tokens of an answer.
    pub max_new_tokens: Option<usize>,
}

impl GenerationConfig {
    /// Reads the file. What it does not say, or says in another type, is left out.
    ///
    /// # Errors
    /// [`JsonError`] when it is no JSON.
    pub fn from_json(text: &str) -> Result<Self, JsonError> {
        let file = Json::parse(text)?;
        let whole = |name: &str| match file.get(name)? {
            Json::Int(value) => u32::try_from(*value).ok(),
            _ => None,
        };
        let id = |value: &Json| match value {
            Json::Int(id) => u32::try_from(*id).ok(),
            _ => None,
        };
        let eos_token_ids = match file.get("eos_token_id") {
            Some(Json::List(ids)) => ids.iter().filter_map(id).collect(),
            other => other.and_then(id).into_iter().collect(),
        };
        Ok(Self {
            eos_token_ids,
            max_new_tokens: whole("max_new_tokens").and_then(|tokens| usize::try_from(tokens).ok()),
        })
    }
}

/// What `tokenizer_config.json` says to generation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenizerConfig {
    /// The token that ends a text.
    pub eos_token: Option<String>,
    /// Special tokens that templates may name, as `bos_token`.
    pub special: Vec<(String, String)>,
    /// The chat template, in files older than `chat_template.jinja`.
    pub chat_template: Option<String>,
}

impl TokenizerConfig {
    /// Reads the file. What it does not say, or says in another type, is left out.
    ///
    /// # Errors
    /// [`JsonError`] when it is no JSON.
    pub fn from_json(text: &str) -> Result<Self, JsonError> {
        let file = Json::parse(text)?;
        // A token is a string, or an object with its content.
        let token = |name: &str| {
            let value = file.get(name)?;
            value.as_str().or_else(|| value.get("content")?.as_str()).map(str::to_owned)
        };
        let names =
            ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];
        let special = names.iter().filter_map(|name| Some(((*name).to_owned(), token(name)?))).collect();
        let chat_template = file.get("chat_template").and_then(Json::as_str).map(str::to_owned);
        Ok(Self { eos_token: token("eos_token"), special, chat_template })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_in_all_their_spellings() {
        let text = r#"{"eos_token_id": [5, 7], "max_new_tokens": 9, "temperature": 1}"#;
        let config = GenerationConfig::from_json(text).unwrap();
        assert_eq!((config.eos_token_ids.as_slice(), config.max_new_tokens), ([5, 7].as_slice(), Some(9)));
        let config = GenerationConfig::from_json(r#"{"eos_token_id": 500, "max_new_tokens": "x"}"#).unwrap();
        assert_eq!((config.eos_token_ids.as_slice(), config.max_new_tokens), ([500].as_slice(), None));
        assert!(GenerationConfig::from_json("{").is_err());
        let config =
            TokenizerConfig::from_json(r#"{"eos_token": {"content": "</s>"}, "bos_token": null}"#).unwrap();
        assert_eq!(config.eos_token.as_deref(), Some("</s>"));
        assert_eq!(config.special, [("eos_token".to_owned(), "</s>".to_owned())]);
    }
}
