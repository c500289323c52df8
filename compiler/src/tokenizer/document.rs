//! `tokenizer.json`: what of it the runtime's tokenizer does. The `tokenizers` crate parses the file too, but does not
//! show all of what it has read.

use std::collections::HashMap;

use qwenc_runtime::tokenizer::Pattern;
use serde::Deserialize;
use serde_json::Value;

use super::shown;

/// The file.
pub(super) const FILE: &str = "tokenizer.json";

/// A tokenizer that the runtime can be.
pub(super) struct Document {
    pub(super) pattern: Pattern,
    pub(super) nfc: bool,
    /// A word that is a token is that token, whatever the merges say.
    pub(super) ignore_merges: bool,
    pub(super) vocab: HashMap<String, u32>,
    /// Best rank first.
    pub(super) merges: Vec<(String, String)>,
}

/// What must be known before the rest is read: other models have vocabularies of other types.
#[derive(Deserialize)]
struct Outline {
    model: Kind,
}

#[derive(Deserialize)]
struct Kind {
    #[serde(rename = "type")]
    name: Option<String>,
}

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    normalizer: Value,
    #[serde(default)]
    pre_tokenizer: Value,
    #[serde(default)]
    post_processor: Value,
    #[serde(default)]
    decoder: Value,
    model: Model,
}

#[derive(Deserialize)]
struct Model {
    dropout: Option<f64>,
    continuing_subword_prefix: Option<String>,
    end_of_word_suffix: Option<String>,
    #[serde(default)]
    ignore_merges: bool,
    vocab: HashMap<String, u32>,
    merges: Merges,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Merges {
    Pairs(Vec<(String, String)>),
    Lines(Vec<String>),
}

impl Document {
    /// Reads the document; an error names the field.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let outline: Outline = read(bytes)?;
        match outline.model.name.as_deref() {
            None | Some("BPE") => {}
            Some(other) => {
                return Err(format!(
                    "`model.type` is {}; byte-level BPE is what can be compiled",
                    shown(other)
                ));
            }
        }
        let file: File = read(bytes)?;
        let model = &file.model;
        if model.dropout.is_some_and(|chance| chance != 0.0) {
            return Err("`model.dropout` makes results random; set it to null".into());
        }
        for (field, value) in [
            ("continuing_subword_prefix", &model.continuing_subword_prefix),
            ("end_of_word_suffix", &model.end_of_word_suffix),
        ] {
            if value.as_ref().is_some_and(|value| !value.is_empty()) {
                return Err(format!("`model.{field}` is not supported"));
            }
        }
        let nfc = normalizer(&file.normalizer)?;
        let pattern = pre_tokenizer(&file.pre_tokenizer)?;
        post_processor(&file.post_processor)?;
        decoder(&file.decoder)?;
        Ok(Self {
            pattern,
            nfc,
            ignore_merges: model.ignore_merges,
            vocab: file.model.vocab,
            merges: match file.model.merges {
                Merges::Pairs(pairs) => pairs,
                Merges::Lines(lines) => pairs(&lines)?,
            },
        })
    }
}

fn read<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, String> {
    serde_json::from_slice(bytes).map_err(|problem| shown(&problem.to_string()))
}

fn pairs(lines: &[String]) -> Result<Vec<(String, String)>, String> {
    // The first line of the file `merges.txt` may have come along.
    let lines = lines.iter().filter(|line| !line.starts_with("#version")).enumerate();
    lines
        .map(|(rank, line)| match line.split_once(' ') {
            Some((left, right)) if !right.contains(' ') => Ok((left.to_string(), right.to_string())),
            _ => Err(format!("`model.merges`: merge {rank} is not two tokens")),
        })
        .collect()
}

fn kind(value: &Value) -> &str {
    value.get("type").and_then(Value::as_str).unwrap_or_default()
}

/// The parts of a sequence, or the one thing itself.
fn parts<'a>(value: &'a Value, list: &str) -> &'a [Value] {
    match value {
        Value::Null => &[],
        _ if kind(value) == "Sequence" => {
            value.get(list).and_then(Value::as_array).map_or(&[], Vec::as_slice)
        }
        other => std::slice::from_ref(other),
    }
}

fn unsupported(field: &str, value: &Value, can: &str) -> String {
    let name = match kind(value) {
        "" => value.to_string(),
        name => name.to_string(),
    };
    format!("`{field}` has {}; {can} can be compiled", shown(&name))
}

/// Whether text is normalized to NFC.
fn normalizer(value: &Value) -> Result<bool, String> {
    let parts = parts(value, "normalizers");
    match parts.iter().find(|part| kind(part) != "NFC") {
        Some(other) => Err(unsupported("normalizer", other, "NFC, or none,")),
        None => Ok(!parts.is_empty()),
    }
}

fn pre_tokenizer(value: &Value) -> Result<Pattern, String> {
    let refuse = |part: &Value| {
        Err(unsupported(
            "pre_tokenizer",
            part,
            "ByteLevel, or Split by an expression of Qwen and then ByteLevel,",
        ))
    };
    let parts = parts(value, "pretokenizers");
    if let Some(other) = parts.iter().find(|part| !matches!(kind(part), "ByteLevel" | "Split")) {
        return refuse(other);
    }
    let flag = |part: &Value, name: &str, default| part.get(name).and_then(Value::as_bool).unwrap_or(default);
    let (split, bytes) = match parts {
        [bytes] if kind(bytes) == "ByteLevel" => (None, bytes),
        [split, bytes] if kind(split) == "Split" && kind(bytes) == "ByteLevel" => (Some(split), bytes),
        _ => return refuse(value),
    };
    if flag(bytes, "add_prefix_space", true) {
        return Err("`pre_tokenizer`: `add_prefix_space` is not supported".into());
    }
    let own = flag(bytes, "use_regex", true);
    let Some(split) = split else {
        return if own {
            Ok(Pattern::Gpt2)
        } else {
            Err("`pre_tokenizer` does not cut text into words".into())
        };
    };
    if own {
        return Err("`pre_tokenizer`: ByteLevel has `use_regex` on behind a Split".into());
    }
    // The expressions match everywhere: taking the matches apart, and dropping what is between them, are the same.
    let behavior = split.get("behavior").and_then(Value::as_str).unwrap_or_default();
    if !matches!((behavior, flag(split, "invert", false)), ("Isolated", false) | ("Removed", true)) {
        return Err(format!(
            "`pre_tokenizer`: Split has behavior {}; Isolated is supported",
            shown(behavior)
        ));
    }
    let expression = split.get("pattern").and_then(|pattern| pattern.get("Regex")).and_then(Value::as_str);
    let expression = expression.unwrap_or_default();
    Pattern::ALL
        .into_iter()
        .find(|pattern| pattern.expression() == expression)
        .ok_or_else(|| format!("`pre_tokenizer`: no expression of a known model: {}", shown(expression)))
}

fn post_processor(value: &Value) -> Result<(), String> {
    for part in parts(value, "processors") {
        let adds_nothing = match kind(part) {
            // Changes offsets alone.
            "ByteLevel" => true,
            "TemplateProcessing" => {
                let single = part.get("single").and_then(Value::as_array);
                single.is_some_and(|pieces| pieces.iter().all(|piece| piece.get("Sequence").is_some()))
                    && single.is_some_and(|pieces| pieces.len() == 1)
            }
            _ => false,
        };
        if !adds_nothing {
            return Err(unsupported("post_processor", part, "one that adds no tokens"));
        }
    }
    Ok(())
}

fn decoder(value: &Value) -> Result<(), String> {
    match parts(value, "decoders") {
        [one] if kind(one) == "ByteLevel" => Ok(()),
        _ => Err(unsupported("decoder", value, "ByteLevel")),
    }
}
