//! Vocabularies to test with: the one of Qwen2, from `models/vocab/qwen2`, and the tiny models'.

use std::io::Read;
use std::path::PathBuf;

use serde_json::{Value, json};

/// A file of the workspace.
pub(crate) fn workspace(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// The characters by which vocabularies write the 256 bytes, in the order of their ids.
fn bytes_by_id() -> impl Iterator<Item = char> {
    let printable = ('!'..='~').chain('¡'..='¬').chain('®'..='ÿ');
    let others = (0..256 - 188).filter_map(|index| char::from_u32(0x100 + index));
    printable.chain(others)
}

/// The lines of `merges.txt` without its first.
pub(crate) fn qwen2_merges() -> Vec<String> {
    let file = std::fs::File::open(workspace("models/vocab/qwen2/merges.txt.gz")).unwrap();
    let mut text = String::new();
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
    text.lines().skip(1).map(str::to_string).collect()
}

/// Qwen2's `vocab.json`: id = 256 + rank of the merge, in this vocabulary.
pub(crate) fn qwen2_vocab(merges: &[String]) -> Value {
    let merged = merges.iter().map(|merge| merge.replacen(' ', "", 1));
    let tokens = bytes_by_id().map(String::from).chain(merged).enumerate();
    Value::Object(tokens.map(|(id, token)| (token, id.into())).collect())
}

/// An added token of a `tokenizer.json`.
pub(crate) fn added(id: usize, content: &str, special: bool) -> Value {
    json!({ "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": special })
}

/// The `tokenizer.json` of Qwen2's vocabulary, cut by `expression`.
pub(crate) fn qwen2(merges: &[String], expression: &str) -> Value {
    let base = 256 + merges.len();
    let special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|image_pad|>"];
    let plain = ["<tool_call>", "</tool_call>", "<think>", "</think>"];
    let special = special.iter().enumerate().map(|(index, content)| added(base + index, content, true));
    let plain = plain.iter().enumerate().map(|(index, content)| added(base + 5 + index, content, false));
    json!({
        "version": "1.0",
        "added_tokens": special.chain(plain).collect::<Vec<_>>(),
        "normalizer": { "type": "NFC" },
        "pre_tokenizer": { "type": "Sequence", "pretokenizers": [
            { "type": "Split", "pattern": { "Regex": expression }, "behavior": "Isolated", "invert": false },
            { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false },
        ]},
        "post_processor": { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false },
        "decoder": { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false },
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": "",
            "end_of_word_suffix": "", "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": qwen2_vocab(merges), "merges": merges,
        },
    })
}
