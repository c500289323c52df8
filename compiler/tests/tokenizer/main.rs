//! The compiled tokenizer against the `tokenizers` crate: the same ids, the same text, on more than 100,000 strings.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod cases;
mod corpus;
mod vocabulary;

use corpus::{Corpus, Rng};
use qwenc::tokenizer::{Outcome, compile, compile_json};
use qwenc_runtime::tokenizer::{Detokenizer, Pattern, Tokenizer};
use serde_json::{Value, json};
use vocabulary::{qwen2, qwen2_merges, workspace};

/// A compiled tokenizer and the reference.
struct Pair {
    name: &'static str,
    compiled: Tokenizer,
    reference: tokenizers::Tokenizer,
}

impl Pair {
    fn new(name: &'static str, json: &[u8]) -> Self {
        let compiled = Tokenizer::from_bytes(&compile_json(json).unwrap()).unwrap();
        Self { name, compiled, reference: tokenizers::Tokenizer::from_bytes(json).unwrap() }
    }

    fn tiny(name: &'static str) -> Self {
        Self::new(name, &std::fs::read(workspace(&format!("models/tiny/{name}/tokenizer.json"))).unwrap())
    }

    /// Compares everything that the two make of a text.
    fn compare(&self, text: &str, rng: &mut Rng) {
        let encoding = self.reference.encode(text, true).unwrap();
        let expected = encoding.get_ids();
        let found = self.compiled.encode(text);
        assert_eq!(found, expected, "{}: {text:?}", self.name);
        let skip = rng.below(2) == 0;
        // Also what no text has as its ids: parts of it, and ids that follow from nothing.
        let mut ids = found;
        match rng.below(3) {
            0 => {}
            1 => drop(ids.drain(..rng.below(ids.len() + 1))),
            _ => {
                for _ in 0..1 + rng.below(4) {
                    let id = u32::try_from(rng.below(self.compiled.id_bound() as usize + 8)).unwrap();
                    // Single bytes are the lowest ids.
                    ids.insert(rng.below(ids.len() + 1), if rng.below(2) == 0 { id % 256 } else { id });
                }
            }
        }
        let expected = self.reference.decode(&ids, skip).unwrap();
        assert_eq!(self.compiled.decode(&ids, skip), expected, "{}: {ids:?}", self.name);
        let mut detokenizer = Detokenizer::new(skip);
        let mut streamed: String = ids.iter().map(|id| detokenizer.push(&self.compiled, *id)).collect();
        streamed += &detokenizer.finish();
        assert_eq!(streamed, expected, "{}: streamed {ids:?}", self.name);
    }
}

#[test]
fn the_same_ids_and_the_same_text_as_the_tokenizers_crate() {
    const TEXTS: u64 = 100_000;
    let merges = qwen2_merges();
    let json = |pattern: Pattern| qwen2(&merges, pattern.expression()).to_string().into_bytes();
    let big = std::thread::scope(|scope| {
        let other = scope.spawn(|| Pair::new("qwen2", &json(Pattern::Qwen2)));
        [Pair::new("qwen3.5 over qwen2", &json(Pattern::Qwen35)), other.join().unwrap()]
    });
    let tiny = [Pair::tiny("genai"), Pair::tiny("torch"), Pair::tiny("odd_genai"), Pair::tiny("odd_mobius")];
    let corpus = Corpus::new();
    let texts = |half: u64| {
        for number in (0..TEXTS).filter(|number| number % 24 / 12 == half) {
            let text = corpus.text(number);
            let rng = &mut Rng::new(number ^ 0x5EED);
            for pair in &big {
                pair.compare(&text, rng);
            }
            rng.pick(&tiny).compare(&text, rng);
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| texts(0));
        texts(1);
    });
}

/// Ideographs and syllables, thousands of which are alike, are left out: the classes of all characters, and how each is
/// normalized, are tested in the runtime's crate.
#[test]
fn every_character_by_itself_and_between_letters() {
    let pairs = [Pair::tiny("genai"), Pair::tiny("torch")];
    let ranges =
        ['\0'..='\u{33FF}', '\u{A480}'..='\u{ABFF}', '\u{F900}'..='\u{16FFF}', '\u{1B000}'..='\u{1FFFF}'];
    let all: Vec<char> = ranges.into_iter().flatten().collect();
    for chunk in all.chunks(512) {
        // One long text: the reference takes long for each call.
        let text: String =
            chunk.iter().flat_map(|c| ['a', *c, ' ', *c, *c, '\'', *c, '1', *c, '\n']).collect();
        for pair in &pairs {
            let encoding = pair.reference.encode(text.as_str(), true).unwrap();
            assert_eq!(pair.compiled.encode(&text), encoding.get_ids(), "{}: {:?}", pair.name, chunk[0]);
        }
    }
}

/// A tokenizer with every flag of added tokens that is supported.
fn with_flags() -> Value {
    let bytes = std::fs::read(workspace("models/tiny/genai/tokenizer.json")).unwrap();
    let mut json: Value = serde_json::from_slice(&bytes).unwrap();
    let tokens = json["added_tokens"].as_array_mut().unwrap();
    let mut next = tokens.len() + 375;
    for (content, [lstrip, rstrip, normalized, special]) in [
        ("<l>", [true, false, false, true]),
        ("<r>", [false, true, false, false]),
        ("<lr>", [true, true, false, true]),
        ("<", [false, false, false, false]),
        (" <r> ", [true, true, false, false]),
        ("cafe\u{301}", [false, false, true, false]),
        ("Å", [true, false, true, true]),
        ("mag", [false, false, true, false]),
        ("über alles", [false, true, false, true]),
        ("é", [false, false, false, false]),
    ] {
        let mut token = vocabulary::added(next, content, special);
        (token["lstrip"], token["rstrip"]) = (lstrip.into(), rstrip.into());
        token["normalized"] = normalized.into();
        if content == "mag" {
            token["id"] = json["model"]["vocab"]["mag"].clone();
        } else {
            next += 1;
        }
        json["added_tokens"].as_array_mut().unwrap().push(token);
    }
    json
}

#[test]
fn added_tokens_with_flags() {
    let json = with_flags();
    let pair = Pair::new("flags", json.to_string().as_bytes());
    let parts = [
        "<l>",
        "<r>",
        "<lr>",
        "<",
        "<l",
        " <r> ",
        "  ",
        " ",
        "\n",
        "\u{3000}",
        "cafe",
        "\u{301}",
        "café",
        "Å",
        "A\u{30A}",
        "\u{212B}",
        "mag",
        "magma",
        "über alles",
        "u\u{308}ber",
        "é",
        "e",
        "x",
        "1",
        "<|im_end|>",
    ];
    let mut rng = Rng::new(11);
    for _ in 0..5000 {
        let text: String = (0..1 + rng.below(9)).map(|_| *rng.pick(&parts)).collect();
        pair.compare(&text, &mut rng);
    }
}

/// What the runtime does not do is refused, with the field that asks for it.
#[test]
fn what_is_not_supported_is_refused_by_name() {
    let bytes = std::fs::read(workspace("models/tiny/genai/tokenizer.json")).unwrap();
    let good: Value = serde_json::from_slice(&bytes).unwrap();
    compile_json(good.to_string().as_bytes()).unwrap();
    let cases: [(&str, Value, &str); 18] = [
        ("/model/type", json!("Unigram"), "`model.type` is Unigram"),
        ("/model/dropout", json!(0.1), "`model.dropout`"),
        ("/model/end_of_word_suffix", json!("</w>"), "`model.end_of_word_suffix`"),
        ("/model/continuing_subword_prefix", json!("##"), "`model.continuing_subword_prefix`"),
        ("/model/vocab/!", json!(1), "id 1 is that of two tokens"),
        ("/model/vocab/!", json!(4_000_000), "id 4000000 is too large"),
        ("/model/merges/0", json!(["Ġ", "☃"]), "the tokenizers library refuses it"),
        ("/model/merges", json!("none"), "data did not match"),
        ("/normalizer", json!({ "type": "NFKC" }), "`normalizer` has NFKC"),
        (
            "/normalizer",
            json!({ "type": "Sequence", "normalizers": [{ "type": "Lowercase" }] }),
            "has Lowercase",
        ),
        ("/pre_tokenizer", json!({ "type": "Whitespace" }), "`pre_tokenizer` has Whitespace"),
        ("/pre_tokenizer/pretokenizers/0/pattern/Regex", json!("\\w+"), "no expression of a known model"),
        ("/pre_tokenizer/pretokenizers/0/behavior", json!("MergedWithNext"), "behavior MergedWithNext"),
        ("/pre_tokenizer/pretokenizers/1/add_prefix_space", json!(true), "`add_prefix_space`"),
        ("/pre_tokenizer/pretokenizers/1/use_regex", json!(true), "`use_regex`"),
        (
            "/post_processor/single",
            json!([{ "SpecialToken": { "id": "<s>", "type_id": 0 } }]),
            "`post_processor`",
        ),
        ("/decoder", json!(null), "`decoder`"),
        ("/added_tokens/0/single_word", json!(true), "`single_word`"),
    ];
    for (place, value, part) in cases {
        let mut document = good.clone();
        *document.pointer_mut(place).unwrap() = value;
        let error = compile_json(document.to_string().as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with("`tokenizer.json`: ") && error.contains(part), "{place}: {error}");
    }
    let mut document = good.clone();
    let vocab = document["model"]["vocab"].as_object_mut().unwrap();
    let id = vocab.remove("Ā").unwrap();
    vocab.insert("another".into(), id);
    let error = compile_json(document.to_string().as_bytes()).unwrap_err().to_string();
    assert!(error.contains("no token for the byte"), "{error}");
    for text in ["", "{}", "[]", "{\"model\":", &"[".repeat(100_000), "{\"model\":{\"vocab\":[]}}"] {
        let error = compile_json(text.as_bytes()).unwrap_err().to_string();
        assert!(error.len() < 200, "{error}");
    }
}

/// `vocab.json` and `merges.txt` with the tokenizer's class make the same table as the `tokenizer.json`.
#[test]
fn vocabulary_and_merges_without_a_tokenizer_json() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, content: String| std::fs::write(folder.path().join(name), content).unwrap();
    let bytes = std::fs::read(workspace("models/tiny/genai/tokenizer.json")).unwrap();
    let json: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(compile(folder.path()).unwrap(), Outcome::None);
    write("vocab.json", json["model"]["vocab"].to_string());
    let pair = |merge: &Value| format!("{} {}\r\n", merge[0].as_str().unwrap(), merge[1].as_str().unwrap());
    let merges: String = json["model"]["merges"].as_array().unwrap().iter().map(pair).collect();
    write("merges.txt", format!("#version: 0.2\r\n{merges}"));
    let refusal = |part: &str| match compile(folder.path()).unwrap() {
        Outcome::Unsupported(error) => assert!(error.to_string().contains(part), "{error}"),
        other => panic!("{other:?}"),
    };
    refusal("`tokenizer_class`");
    let tokens: serde_json::Map<String, Value> = json["added_tokens"]
        .as_array()
        .unwrap()
        .iter()
        .map(|token| (token["id"].to_string(), token.clone()))
        .collect();
    let config =
        |class: &str| json!({ "tokenizer_class": class, "added_tokens_decoder": tokens }).to_string();
    write("tokenizer_config.json", config("LlamaTokenizer"));
    refusal("LlamaTokenizer");
    let table = || match compile(folder.path()).unwrap() {
        Outcome::Table(asset) => asset.bytes,
        other => panic!("{other:?}"),
    };
    write("tokenizer_config.json", config("Qwen3_5Tokenizer"));
    assert_eq!(table(), compile_json(&bytes).unwrap());
    write("tokenizer_config.json", config("Qwen2TokenizerFast"));
    let tokenizer = Tokenizer::from_bytes(&table()).unwrap();
    assert_eq!(tokenizer.facts().pattern, Pattern::Qwen2);
    // Added tokens in files of their own, and the family in the model's configuration.
    std::fs::remove_file(folder.path().join("tokenizer_config.json")).unwrap();
    let listed: serde_json::Map<String, Value> = tokens
        .values()
        .map(|token| (token["content"].as_str().unwrap().to_string(), token["id"].clone()))
        .collect();
    let names: Vec<&String> = listed.keys().collect();
    write("special_tokens_map.json", json!({ "additional_special_tokens": names }).to_string());
    write("added_tokens.json", Value::Object(listed).to_string());
    write("config.json", json!({ "model_type": "qwen3_5" }).to_string());
    assert_eq!(table(), compile_json(&bytes).unwrap());
    // A tokenizer.json goes first.
    write("tokenizer.json", "{}".into());
    refusal("tokenizer.json");
}
