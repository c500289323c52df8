//! What the files beside a model say: `config.json` or `genai_config.json`.

use std::io::Read;
use std::path::Path;

use serde_json::Value;

use crate::contain::{self, Refusal};
use qwenc_runtime::printable::printable;

/// Largest configuration file that is read, in bytes.
const MAX_BYTES: u64 = 4 << 20;
/// Largest tokenizer that is read for the numbers of its tokens, in bytes.
const MAX_TOKENIZER_BYTES: u64 = 64 << 20;

/// Facts that a graph alone does not state. All are optional: a graph without configuration still compiles.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModelConfig {
    /// The family, for example `qwen3_5`.
    pub model_type: Option<String>,
    /// Decoder layers.
    pub layers: Option<u32>,
    /// Width of a head.
    pub head_dim: Option<i64>,
    /// Positions that the model was made for.
    pub max_positions: Option<usize>,
    /// Licence identifier.
    pub licence: Option<String>,
    /// Rotation angles, where they are the plain ones.
    pub rope: Option<RopeConfig>,
    /// What the model says about images, when it takes any.
    pub vision: Option<VisionConfig>,
}

/// How images enter the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VisionConfig {
    /// Patches of a row, and of a column, that make one image token.
    pub merge_size: u32,
    /// The token that stands for one feature of an image.
    pub image_token: u32,
    /// The token in front of an image.
    pub vision_start: u32,
    /// The token behind an image.
    pub vision_end: u32,
}

/// What files say about images, piece by piece.
#[derive(Default)]
struct VisionPieces {
    merge_size: Option<u32>,
    image_token: Option<u32>,
    vision_start: Option<u32>,
    vision_end: Option<u32>,
}

impl VisionPieces {
    fn add_hub(&mut self, config: &Value) {
        let Some(vision) = config.get("vision_config") else { return };
        self.merge_size = small(vision, "spatial_merge_size");
        self.image_token = small(config, "image_token_id");
        self.vision_start = small(config, "vision_start_token_id");
        self.vision_end = small(config, "vision_end_token_id");
    }

    fn add_genai(&mut self, config: &Value) {
        let Some(model) = config.get("model") else { return };
        let Some(vision) = model.get("vision") else { return };
        self.merge_size = self.merge_size.or_else(|| small(vision, "spatial_merge_size"));
        self.image_token = self.image_token.or_else(|| small(model, "image_token_id"));
        self.vision_start = self.vision_start.or_else(|| small(model, "vision_start_token_id"));
        self.vision_end = self.vision_end.or_else(|| small(model, "vision_end_token_id"));
    }

    /// Names of tokens, where no file states their numbers.
    fn add_tokenizer(&mut self, tokenizer: &Value) {
        let Some(tokens) = tokenizer.get("added_tokens").and_then(Value::as_array) else { return };
        let number = |name: &str| {
            let token = tokens.iter().find(|token| token.get("content").is_some_and(|text| text == name))?;
            small(token, "id")
        };
        self.image_token = self.image_token.or_else(|| number("<|image_pad|>"));
        self.vision_start = self.vision_start.or_else(|| number("<|vision_start|>"));
        self.vision_end = self.vision_end.or_else(|| number("<|vision_end|>"));
    }

    fn whole(&self) -> Option<VisionConfig> {
        Some(VisionConfig {
            merge_size: self.merge_size.filter(|size| (1..=8).contains(size))?,
            image_token: self.image_token?,
            vision_start: self.vision_start?,
            vision_end: self.vision_end?,
        })
    }
}

/// Angles of rotary embedding: position p rotates pair i by `p * theta^(-2i/rotary_dim)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RopeConfig {
    /// The base.
    pub theta: f64,
    /// Elements of a head that are rotated.
    pub rotary_dim: usize,
}

/// A configuration file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{file}`: {message}")]
pub struct ConfigError {
    /// The file.
    pub file: String,
    /// What is wrong.
    pub message: String,
}

impl ModelConfig {
    /// Reads the configuration in a model's folder. Missing files leave facts unknown.
    pub fn read(root: &Path) -> Result<Self, ConfigError> {
        let mut out = Self::default();
        let mut vision = VisionPieces::default();
        if let Some(config) = read_json(root, "config.json", MAX_BYTES)? {
            out.add_hub(&config);
            vision.add_hub(&config);
        }
        if let Some(config) = read_json(root, "genai_config.json", MAX_BYTES)? {
            out.add_genai(&config);
            vision.add_genai(&config);
        }
        if vision.merge_size.is_some()
            && vision.whole().is_none()
            && let Some(tokenizer) = read_json(root, "tokenizer.json", MAX_TOKENIZER_BYTES)?
        {
            vision.add_tokenizer(&tokenizer);
        }
        out.vision = vision.whole();
        Ok(out)
    }

    fn add_hub(&mut self, config: &Value) {
        let text = config.get("text_config").unwrap_or(config);
        self.model_type = string(config, "model_type");
        self.layers = unsigned(text, "num_hidden_layers").and_then(|n| u32::try_from(n).ok());
        self.head_dim = unsigned(text, "head_dim").and_then(|n| i64::try_from(n).ok());
        self.max_positions = unsigned(text, "max_position_embeddings").and_then(|n| usize::try_from(n).ok());
        self.licence = string(config, "license");
        self.rope = rope(text);
    }

    fn add_genai(&mut self, config: &Value) {
        let Some(model) = config.get("model") else { return };
        let decoder = model.get("decoder").unwrap_or(&Value::Null);
        self.model_type = self.model_type.take().or_else(|| string(model, "type"));
        self.layers = self
            .layers
            .or_else(|| unsigned(decoder, "num_hidden_layers").and_then(|n| u32::try_from(n).ok()));
        self.head_dim =
            self.head_dim.or_else(|| unsigned(decoder, "head_size").and_then(|n| i64::try_from(n).ok()));
        self.max_positions = self
            .max_positions
            .or_else(|| unsigned(model, "context_length").and_then(|n| usize::try_from(n).ok()));
    }
}

/// Plain rope of a text model's configuration, in the newer spelling (`rope_parameters`) or the older one.
fn rope(text: &Value) -> Option<RopeConfig> {
    let parameters = text.get("rope_parameters").unwrap_or(text);
    if parameters.get("rope_type").is_some_and(|kind| kind != "default")
        || text.get("rope_scaling").is_some_and(|s| !s.is_null())
    {
        return None;
    }
    let theta = parameters.get("rope_theta")?.as_f64().filter(|theta| theta.is_finite() && *theta > 1.0)?;
    let factor = parameters.get("partial_rotary_factor").or_else(|| text.get("partial_rotary_factor"));
    let factor = factor.map_or(Some(1.0), Value::as_f64).filter(|factor| (0.0..=1.0).contains(factor))?;
    let head = unsigned(text, "head_dim").filter(|width| *width <= 1 << 16)?;
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a part of a small width"
    )]
    let rotary_dim = (head as f64 * factor) as usize;
    Some(RopeConfig { theta, rotary_dim })
}

fn string(value: &Value, key: &str) -> Option<String> {
    value.get(key)?.as_str().map(|text| printable(text, 100))
}

fn small(value: &Value, key: &str) -> Option<u32> {
    u32::try_from(unsigned(value, key)?).ok()
}

fn unsigned(value: &Value, key: &str) -> Option<u64> {
    value.get(key)?.as_u64()
}

fn read_json(root: &Path, name: &str, most: u64) -> Result<Option<Value>, ConfigError> {
    let error = |message: String| ConfigError { file: root.join(name).display().to_string(), message };
    let file = match contain::open(root, name) {
        Ok(file) => file,
        Err(Refusal::Missing(_)) => return Ok(None),
        Err(refusal) => return Err(error(refusal.to_string())),
    };
    let mut text = Vec::new();
    file.take(most + 1).read_to_end(&mut text).map_err(|problem| error(problem.to_string()))?;
    if u64::try_from(text.len()).is_ok_and(|size| size > most) {
        return Err(error(format!("it has more than {most} bytes, too many for a configuration")));
    }
    serde_json::from_slice(&text).map(Some).map_err(|problem| error(format!("not valid JSON: {problem}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_are_read_and_the_hub_wins() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(ModelConfig::read(dir.path()).unwrap(), ModelConfig::default());
        std::fs::write(
            dir.path().join("genai_config.json"),
            r#"{"model":{"type":"t","context_length":9,"decoder":{"head_size":32,"num_hidden_layers":4}}}"#,
        )
        .unwrap();
        let config = ModelConfig::read(dir.path()).unwrap();
        assert_eq!((config.head_dim, config.layers, config.max_positions), (Some(32), Some(4), Some(9)));
        std::fs::write(dir.path().join("config.json"), r#"{"text_config":{"head_dim":64}}"#).unwrap();
        assert_eq!(ModelConfig::read(dir.path()).unwrap().head_dim, Some(64));
    }

    #[test]
    fn rope_is_read_where_it_is_plain() {
        let of = |text: &str| rope(&serde_json::from_str(text).unwrap());
        let plain = Some(RopeConfig { theta: 1e7, rotary_dim: 64 });
        let newer = r#"{"head_dim":256,"rope_parameters":{"rope_theta":1e7,"partial_rotary_factor":0.25,"rope_type":"default"}}"#;
        assert_eq!(of(newer), plain);
        assert_eq!(of(r#"{"head_dim":256,"rope_theta":1e7,"partial_rotary_factor":0.25}"#), plain);
        assert_eq!(of(&newer.replace("default", "yarn")), None);
        assert_eq!(of(r#"{"head_dim":256}"#), None);
        assert_eq!(of(r#"{"head_dim":256,"rope_theta":1e7,"rope_scaling":{"type":"linear"}}"#), None);
    }

    #[test]
    fn broken_json_names_the_file() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("config.json"), "{").unwrap();
        assert!(ModelConfig::read(dir.path()).unwrap_err().to_string().contains("config.json"));
    }
}
