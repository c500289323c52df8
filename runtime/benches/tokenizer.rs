//! `cargo bench -p qwenc-runtime --bench tokenizer`: loading and encoding, beside the `tokenizers` crate, with the
//! vocabulary of Qwen2 (151,643 tokens).
//!
//! The crate remembers the words that it has seen (its default), and is timed with a warm memory. Both run on one thread.
#![allow(missing_docs, clippy::unwrap_used, reason = "a measurement")]

use std::hint::black_box;
use std::io::Read;

use criterion::{Criterion, Throughput};
use qwenc_runtime::tokenizer::{Pattern, TableDraft, TokenDraft, Tokenizer};
use serde_json::{Value, json};

/// Prose, code and other scripts.
const TEXTS: [(&str, &str); 3] = [
    ("prose", include_str!("../../docs/architecture.md")),
    ("code", include_str!("../src/session/mod.rs")),
    ("scripts", SCRIPTS),
];

const SCRIPTS: &str = "人人生而自由，在尊严和权利上一律平等。すべての人間は、生れながらにして自由である。모든 인간은 태어날 때부터 자유롭다. \
    सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता है। يولد جميع الناس أحرارًا متساوين في الكرامة والحقوق. \
    Все люди рождаются свободными и равными. Όλοι οι άνθρωποι γεννιούνται ελεύθεροι. มนุษย์ทั้งหลายเกิดมามีอิสระ 👩‍👩‍👧‍👦 🇩🇪\n";

fn workspace(path: &str) -> String {
    format!("{}/../{path}", env!("CARGO_MANIFEST_DIR"))
}

/// The merges of Qwen2. The id of a token is 256 + the rank of its merge; ids below are bytes, in GPT-2's order.
fn merges() -> Vec<(String, String)> {
    let file = std::fs::File::open(workspace("models/vocab/qwen2/merges.txt.gz")).unwrap();
    let mut text = String::new();
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
    let pair = |line: &str| line.split_once(' ').map(|(left, right)| (left.to_owned(), right.to_owned()));
    text.lines().skip(1).filter_map(pair).collect()
}

fn alphabet() -> Vec<(char, u8)> {
    let printable = |byte: &u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let first = (0..=255).filter(printable).map(|byte| (char::from(byte), byte));
    let others = (0..=255).filter(|byte| !printable(byte)).zip(0x100..);
    first.chain(others.map(|(byte, code)| (char::from_u32(code).unwrap(), byte))).collect()
}

fn reference(merges: &[(String, String)]) -> tokenizers::Tokenizer {
    let tokens = alphabet().into_iter().map(|(c, _)| c.to_string());
    let tokens = tokens.chain(merges.iter().map(|(left, right)| format!("{left}{right}")));
    let vocab: serde_json::Map<String, Value> =
        tokens.enumerate().map(|(id, token)| (token, id.into())).collect();
    let json = json!({
        "normalizer": { "type": "NFC" },
        "pre_tokenizer": { "type": "Sequence", "pretokenizers": [
            { "type": "Split", "pattern": { "Regex": Pattern::Qwen2.expression() }, "behavior": "Isolated", "invert": false },
            { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false },
        ]},
        "decoder": { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false },
        "model": { "type": "BPE", "vocab": vocab, "merges": merges },
    });
    tokenizers::Tokenizer::from_bytes(json.to_string()).unwrap()
}

fn table(merges: &[(String, String)]) -> Vec<u8> {
    let alphabet = alphabet();
    let byte_of = |c: char| alphabet.iter().find(|(of, _)| *of == c).unwrap().1;
    let mut tokens: Vec<Vec<u8>> = alphabet.iter().map(|(_, byte)| vec![*byte]).collect();
    let mut ids: std::collections::HashMap<Vec<u8>, u32> = std::collections::HashMap::new();
    for (token, id) in tokens.iter().zip(0..) {
        ids.insert(token.clone(), id);
    }
    let mut triples = Vec::new();
    for (left, right) in merges {
        let [left, right] = [left, right].map(|part| part.chars().map(byte_of).collect::<Vec<u8>>());
        let whole = [left.as_slice(), &right].concat();
        let id = u32::try_from(tokens.len()).unwrap();
        triples.push([ids[&left], ids[&right], id]);
        ids.insert(whole.clone(), id);
        tokens.push(whole);
    }
    let mut byte_ids = [0; 256];
    for ((_, byte), id) in alphabet.iter().zip(0..) {
        byte_ids[usize::from(*byte)] = id;
    }
    let tokens =
        tokens.into_iter().map(|bytes| Some(TokenDraft { bytes, ..TokenDraft::default() })).collect();
    let draft = TableDraft {
        pattern: Pattern::Qwen2,
        nfc: true,
        tokens,
        byte_ids,
        merges: triples,
        added: Vec::new(),
    };
    draft.to_bytes().unwrap()
}

fn main() {
    let merges = merges();
    let reference = reference(&merges);
    let bytes = table(&merges);
    println!("tokenizer.bin: {} bytes", bytes.len());
    let compiled = Tokenizer::from_bytes(&bytes).unwrap();

    let mut criterion = Criterion::default().configure_from_args();
    criterion.bench_function("load/qwenc", |bench| {
        bench.iter(|| Tokenizer::from_bytes(black_box(&bytes)).unwrap());
    });
    let json = reference.to_string(false).unwrap();
    let mut group = criterion.benchmark_group("load");
    group.sample_size(10);
    group.bench_function("tokenizers", |bench| {
        bench.iter(|| tokenizers::Tokenizer::from_bytes(black_box(&json)).unwrap());
    });
    group.finish();
    for (name, text) in TEXTS {
        assert_eq!(compiled.encode(text), reference.encode(text, false).unwrap().get_ids(), "{name}");
        let mut group = criterion.benchmark_group(format!("encode/{name}"));
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function("qwenc", |bench| bench.iter(|| compiled.encode(black_box(text))));
        group.bench_function("tokenizers", |bench| {
            bench.iter(|| reference.encode_fast(black_box(text), false).unwrap());
        });
        group.finish();
    }
    criterion.final_summary();
}
