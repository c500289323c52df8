//! `runtime/tests/tokenizer/cases.json`: tables, texts and ids, to which the tokenizer in JavaScript is held. What it says is held
//! against the `tokenizers` crate here; `QWENC_UPDATE_TOKENIZER=1 cargo test -p qwenc --test tokenizer cases` writes it anew.

use std::fmt::Write;

use qwenc::tokenizer::compile_json;
use qwenc_runtime::tokenizer::{Pattern, Tokenizer};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::Pair;
use crate::corpus::{Corpus, Rng};
use crate::vocabulary::{qwen2, qwen2_merges, workspace};

const FILE: &str = "runtime/tests/tokenizer/cases.json";
/// Characters that are compared together.
const BLOCK: u32 = 0x1000;

/// The `tokenizer.json` of each table.
fn sources() -> Vec<(&'static str, Value)> {
    let tiny = |name: &str| -> Value {
        let path = workspace(&format!("models/tiny/{name}/tokenizer.json"));
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    };
    let cut_by = |pattern: Pattern| {
        let mut json = tiny("genai");
        json["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = pattern.expression().into();
        json
    };
    let mut gpt2 = tiny("genai");
    gpt2["pre_tokenizer"] =
        json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": true });
    gpt2["normalizer"] = Value::Null;
    let mut ignoring = tiny("genai");
    ignoring["model"]["ignore_merges"] = true.into();
    ignoring["model"]["merges"].as_array_mut().unwrap().truncate(40);
    vec![
        ("gpt2", gpt2),
        ("qwen2", cut_by(Pattern::Qwen2)),
        ("qwen3.5", cut_by(Pattern::Qwen35)),
        ("odd", tiny("odd_mobius")),
        ("ignore merges", ignoring),
        ("flags", crate::with_flags()),
    ]
}

/// Everything between 0 and 10FFFF, in blocks: what a table makes of each, as the first digits of a hash of the ids.
fn characters(tokenizer: &Tokenizer) -> String {
    let mut out = String::new();
    for block in 0..0x11_0000 / BLOCK {
        let mut text = String::new();
        for c in (block * BLOCK..(block + 1) * BLOCK).filter_map(char::from_u32) {
            write!(text, "a{c} {c}{c}'{c}1{c}\ne\u{345}{c}\u{334}\u{301}{c}A\u{30A}").unwrap();
        }
        let ids: Vec<u8> = tokenizer.encode(&text).iter().flat_map(|id| id.to_le_bytes()).collect();
        write!(out, "{:02x}{:02x}", Sha256::digest(&ids)[0], Sha256::digest(&ids)[1]).unwrap();
    }
    out
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Texts of a table, and ids that follow from nothing.
fn cases(pair: &Pair, texts: &[String]) -> Value {
    let mut rng = Rng::new(5);
    let decoded = |ids: &[u32]| [true, false].map(|skip| pair.reference.decode(ids, skip).unwrap());
    let encoded = |text: &String| {
        let ids = pair.reference.encode(text.as_str(), true).unwrap().get_ids().to_vec();
        assert_eq!(pair.compiled.encode(text), ids, "{}: {text:?}", pair.name);
        json!([text, ids])
    };
    let mut wild = || {
        let bound = pair.compiled.id_bound() as usize + 8;
        let mut id =
            || u32::try_from(if rng.below(3) > 0 { rng.below(256) } else { rng.below(bound) }).unwrap();
        let ids: Vec<u32> = (0..12).map(|_| id()).collect();
        let [skipped, shown] = decoded(&ids);
        json!([ids, skipped, shown])
    };
    json!({ "texts": texts.iter().map(encoded).collect::<Vec<_>>(), "ids": (0..12).map(|_| wild()).collect::<Vec<_>>() })
}

#[test]
fn cases_for_the_tokenizer_in_javascript() {
    let path = workspace(FILE);
    let updates = std::env::var_os("QWENC_UPDATE_TOKENIZER").is_some();
    let old: Value = std::fs::read(&path).ok().map_or(Value::Null, |it| serde_json::from_slice(&it).unwrap());
    let corpus = Corpus::new();
    // Texts stay as they are once written: the corpus has files that change.
    let texts = |name: &str, count: u64| -> Vec<String> {
        let kept = |case: &Value| case[0].as_str().unwrap().to_owned();
        let known = old[name]["texts"].as_array().map(|cases| cases.iter().map(kept).collect());
        let fresh = || (0..).map(|number| corpus.text(number)).filter(|it| it.len() < 300);
        known.unwrap_or_else(|| {
            assert!(updates, "{FILE} is missing");
            let mut texts: Vec<_> = fresh().take(usize::try_from(count).unwrap()).collect();
            texts.extend(
                [
                    "",
                    "<|im_start|>user\nЯ ſ'ſ I'LL  \u{FEFF}x\u{85} 12<|im_end|>",
                    "<l> <r>\u{3000}<lr> mag <",
                ]
                .map(str::to_owned),
            );
            texts
        })
    };
    let mut file = json!({});
    for (name, source) in sources() {
        let bytes = source.to_string().into_bytes();
        let pair = Pair::new("cases", &bytes);
        let mut of = cases(&pair, &texts(name, 24));
        of["table"] = hex(&compile_json(&bytes).unwrap()).into();
        if ["gpt2", "qwen2", "qwen3.5"].contains(&name) {
            of["characters"] = characters(&pair.compiled).into();
        }
        file[name] = of;
    }
    // The vocabulary of Qwen2, whose table is made again in JavaScript.
    let merges = qwen2_merges();
    let bytes = qwen2(&merges, Pattern::Qwen35.expression()).to_string().into_bytes();
    let mut of = cases(&Pair::new("large", &bytes), &texts("large", 120));
    let table = compile_json(&bytes).unwrap();
    of["sha256"] = hex(&Sha256::digest(&table)).into();
    let tokens = 256 + merges.len() + 9;
    let kinds = &table[36 + tokens * 2..36 + tokens * 3];
    of["notWhole"] = (0..tokens).filter(|id| kinds[*id] & 2 == 0).collect::<Vec<_>>().into();
    file["large"] = of;
    if updates {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, format!("{file}\n")).unwrap();
    } else {
        assert!(file == old, "{FILE} is not what the reference says");
    }
}
