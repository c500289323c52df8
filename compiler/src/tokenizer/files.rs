//! `vocab.json` and `merges.txt`, as models had them before `tokenizer.json`: made into such a document.
//!
//! These files have the model alone. How text is normalized and cut, transformers knows from the tokenizer's class;
//! added tokens stand in `tokenizer_config.json`, or in `added_tokens.json`.

use std::path::Path;

use qwenc_runtime::tokenizer::Pattern;
use serde_json::{Map, Value, json};

use super::{TokenizerError, error, shown};
use crate::model::assets::{AssetError, read_beside};

const VOCAB: &str = "vocab.json";
const MERGES: &str = "merges.txt";
const CONFIG: &str = "tokenizer_config.json";

/// A file's name and its content.
type Found = Result<Option<(&'static str, Vec<u8>)>, TokenizerError>;

/// The `tokenizer.json` that these files amount to; `None` when they are not there.
pub(super) fn document(root: &Path) -> Result<Found, AssetError> {
    let (Some(vocab), Some(merges)) = (read_beside(root, VOCAB)?, read_beside(root, MERGES)?) else {
        return Ok(Ok(None));
    };
    let mut settings = Map::new();
    for name in [CONFIG, "config.json", "added_tokens.json", "special_tokens_map.json"] {
        // What is no JSON here is as good as missing: what it would have said is then missed, and named.
        let value = read_beside(root, name)?.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        settings.insert(name.to_string(), value.unwrap_or_default());
    }
    Ok(assemble(&vocab, &merges, &Value::Object(settings)).map(|bytes| Some((VOCAB, bytes))))
}

fn assemble(vocab: &[u8], merges: &[u8], settings: &Value) -> Result<Vec<u8>, TokenizerError> {
    let vocab: Value =
        serde_json::from_slice(vocab).map_err(|problem| error(VOCAB, shown(&problem.to_string())))?;
    let merges = std::str::from_utf8(merges).map_err(|_| error(MERGES, "is not UTF-8".into()))?;
    let merges: Vec<&str> =
        merges.lines().filter(|line| !line.is_empty() && !line.starts_with("#version")).collect();
    let pattern = pattern(settings)?;
    let document = json!({
        "version": "1.0",
        "added_tokens": added(settings),
        "normalizer": { "type": "NFC" },
        "pre_tokenizer": { "type": "Sequence", "pretokenizers": [
            { "type": "Split", "pattern": { "Regex": pattern.expression() }, "behavior": "Isolated", "invert": false },
            { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false },
        ]},
        "decoder": { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false },
        "model": { "type": "BPE", "vocab": vocab, "merges": merges },
    });
    Ok(document.to_string().into_bytes())
}

/// The expression of the tokenizer's class, else of the model's family.
fn pattern(settings: &Value) -> Result<Pattern, TokenizerError> {
    let text = |file: &str, field: &str| settings.get(file)?.get(field)?.as_str();
    let class = text(CONFIG, "tokenizer_class").map(|class| class.trim_end_matches("Fast"));
    let family = text("config.json", "model_type").unwrap_or_default();
    match class {
        Some("Qwen3_5Tokenizer") => Ok(Pattern::Qwen35),
        // The class of older models, which newer ones go on naming.
        None | Some("Qwen2Tokenizer") if family.starts_with("qwen3_5") => Ok(Pattern::Qwen35),
        Some("Qwen2Tokenizer") => Ok(Pattern::Qwen2),
        None if family.starts_with("qwen2") || family.starts_with("qwen3") => Ok(Pattern::Qwen2),
        other => Err(error(
            VOCAB,
            format!(
                "how text is cut into words is not known for `tokenizer_class` {}; save the tokenizer as tokenizer.json",
                shown(other.unwrap_or("that is not given"))
            ),
        )),
    }
}

/// Added tokens in the order of their ids, as `tokenizer.json` has them.
fn added(settings: &Value) -> Vec<Value> {
    let mut tokens: Vec<(u64, Value)> = Vec::new();
    let config = settings.get(CONFIG).unwrap_or(&Value::Null);
    if let Some(listed) = config.get("added_tokens_decoder").and_then(Value::as_object) {
        for (id, token) in listed {
            let (Ok(id), Some(fields)) = (id.parse(), token.as_object()) else { continue };
            let special = fields.get("special").and_then(Value::as_bool).unwrap_or(false);
            let flag = |name: &str, default| fields.get(name).and_then(Value::as_bool).unwrap_or(default);
            tokens.push((
                id,
                json!({
                    "id": id, "content": fields.get("content"), "special": special,
                    "single_word": flag("single_word", false), "lstrip": flag("lstrip", false),
                    "rstrip": flag("rstrip", false), "normalized": flag("normalized", !special),
                }),
            ));
        }
    } else if let Some(listed) = settings.get("added_tokens.json").and_then(Value::as_object) {
        let named = settings.get("special_tokens_map.json").unwrap_or(&Value::Null).to_string();
        for (content, id) in listed {
            let Some(id) = id.as_u64() else { continue };
            // A token is special when the map names it, as a text or as a token's `content`.
            let special = named.contains(&Value::from(content.as_str()).to_string());
            tokens.push((
                id,
                json!({
                    "id": id, "content": content, "special": special, "single_word": false, "lstrip": false,
                    "rstrip": false, "normalized": !special,
                }),
            ));
        }
    }
    tokens.sort_by_key(|(id, _)| *id);
    tokens.into_iter().map(|(_, token)| token).collect()
}
