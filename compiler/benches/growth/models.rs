//! Models of any size, made for a measurement.

use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use qwenc::pipeline::{CompileOptions, WeightBytes, compile};
use qwenc::quantize::{StoreAs, WeightRecipe};
use qwenc_runtime::tokenizer::Pattern;
use serde_json::{Value, json};

use super::onnx_builder::qwen::{Sizes, write_decoder, write_embedding};

/// A model's folder, which is gone with the value.
pub(crate) struct Model {
    folder: tempfile::TempDir,
}

impl Model {
    /// Graphs without weights.
    pub(crate) fn new(sizes: Sizes) -> Self {
        let folder = tempfile::tempdir().unwrap();
        write_decoder(folder.path(), sizes);
        write_embedding(folder.path(), sizes);
        Self { folder }
    }

    /// Graphs with weights in 16 bits.
    pub(crate) fn with_weights(sizes: Sizes) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let bytes = write_decoder(folder.path(), sizes);
        write_embedding(folder.path(), sizes);
        let onnx = folder.path().join("onnx");
        write_weights(&onnx.join("decoder_model_merged.onnx_data"), bytes);
        write_weights(&onnx.join("embed_tokens.onnx_data"), sizes.vocabulary * sizes.hidden * 2);
        Self { folder }
    }

    /// Graphs without weights, and a tokenizer with the first tokens of Qwen2's.
    pub(crate) fn with_tokenizer(sizes: Sizes) -> Self {
        let model = Self::new(sizes);
        let json = tokenizer(usize::try_from(sizes.vocabulary).unwrap()).to_string();
        std::fs::write(model.folder.path().join("tokenizer.json"), json).unwrap();
        model
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Bytes of all its files.
    pub(crate) fn bytes(&self) -> u64 {
        let files = std::fs::read_dir(self.folder.path().join("onnx")).unwrap();
        files.map(|file| file.unwrap().metadata().unwrap().len()).sum()
    }

    /// Compiles it with made-up weights, in floats, to a folder in its own.
    pub(crate) fn bundle(&self, max_context: usize) -> PathBuf {
        let out = self.folder.path().join("out");
        let mut options = options(StoreAs::Keep, WeightBytes::MadeUp);
        options.sizes.max_context = max_context;
        compile(self.path(), &out, &options, &mut qwenc::pipeline::Silent).unwrap();
        out
    }
}

/// Options for compiling a decoder.
pub(crate) fn options(store: StoreAs, weight_bytes: WeightBytes) -> CompileOptions {
    CompileOptions {
        weights: WeightRecipe { default: store, ..WeightRecipe::default() },
        weight_bytes,
        ..CompileOptions::default()
    }
}

/// Halves between 2^-6 and 2^-4, of both signs; as singles, numbers that are nearly zero.
fn write_weights(path: &Path, bytes: i64) {
    let start = Instant::now();
    let mut file = BufWriter::new(File::create(path).unwrap());
    let mut state = 1_u64;
    let mut left = usize::try_from(bytes).unwrap();
    while left > 0 {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let word = state & 0x87ff_87ff_87ff_87ff | 0x2400_2400_2400_2400;
        let word = word.to_le_bytes();
        let take = left.min(word.len());
        file.write_all(&word[..take]).unwrap();
        left -= take;
    }
    file.flush().unwrap();
    eprintln!("  {bytes} bytes of weights made in {:.1} s", start.elapsed().as_secs_f64());
}

/// The first `tokens` tokens of Qwen2: bytes, then what pairs of them become, in the order of the merges.
fn tokenizer(tokens: usize) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/vocab/qwen2/merges.txt.gz");
    let mut text = String::new();
    flate2::read::GzDecoder::new(File::open(path).unwrap()).read_to_string(&mut text).unwrap();
    let pair = |line: &str| line.split_once(' ').map(|(left, right)| (left.to_owned(), right.to_owned()));
    let merges: Vec<_> = text.lines().skip(1).filter_map(pair).take(tokens - 256).collect();
    assert_eq!(merges.len() + 256, tokens, "there are not that many merges");
    let printable = |byte: &u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let first = (0..=255).filter(printable).map(char::from);
    let others = (0x100..).take(256 - (0..=255).filter(printable).count());
    let alphabet = first.chain(others.map(|code| char::from_u32(code).unwrap()));
    let words = merges.iter().map(|(left, right)| format!("{left}{right}"));
    let names = alphabet.map(String::from).chain(words);
    let vocab: serde_json::Map<String, Value> =
        names.enumerate().map(|(id, name)| (name, id.into())).collect();
    json!({
        "normalizer": { "type": "NFC" },
        "pre_tokenizer": { "type": "Sequence", "pretokenizers": [
            { "type": "Split", "pattern": { "Regex": Pattern::Qwen2.expression() }, "behavior": "Isolated", "invert": false },
            { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false },
        ]},
        "decoder": { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false },
        "model": { "type": "BPE", "vocab": vocab, "merges": merges },
    })
}
