//! A sentence encoder as torch exports it (BERT, mean over the tokens of the mask, length 1), against ONNX Runtime.
//!
//! `models/scripts/minilm.py --tiny` wrote model and numbers. The batch is padded, so that the mask matters; the second
//! sentence is shorter, and the third has one token.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use qwenc::pipeline::{CompileOptions, Silent, compile_to};
use qwenc_runtime::bundle::{Bundle, Memory};
use qwenc_runtime::engine::{Engine, LoadOptions};
use qwenc_runtime::gpu::Gpu;
use qwenc_runtime::gpu::probe::test_gpus;
use safetensors::SafeTensors;

/// The largest difference that is allowed; elements of the embeddings are at most 1.
const TOLERANCE: f32 = 2e-6;

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/encoder_model").join(name)
}

/// The bundle for a batch, or with the batch as a symbol.
fn bundle(batch: Option<i64>) -> Bundle {
    let mut options = CompileOptions { only: true, ..CompileOptions::default() };
    options.given.bounds = vec![("sequence".into(), 40)];
    match batch {
        Some(batch) => options.given.fixed = vec![("batch".into(), batch)],
        None => options.given.bounds.push(("batch".into(), 5)),
    }
    let mut files = BTreeMap::new();
    compile_to(&file("tiny.onnx"), &mut files, &options, &mut Silent).unwrap();
    Bundle::open(Memory { files }).unwrap()
}

fn words(bytes: &[u8]) -> Vec<u8> {
    let wide = bytes.as_chunks::<8>().0.iter();
    wide.flat_map(|word| i32::try_from(i64::from_le_bytes(*word)).unwrap().to_le_bytes()).collect()
}

/// Rows of the input from `first`, cut to `tokens`.
fn part(bytes: &[u8], width: usize, first: usize, rows: usize, tokens: usize) -> Vec<u8> {
    let all = words(bytes);
    (first..first + rows).flat_map(|row| all[row * width * 4..(row * width + tokens) * 4].to_vec()).collect()
}

fn embed(engine: &mut Engine<Gpu>, ids: &[u8], mask: &[u8], symbols: &[(&str, u32)]) -> Vec<f32> {
    engine.write_input("main", "input_ids", ids).unwrap();
    engine.write_input("main", "attention_mask", mask).unwrap();
    engine.replay("main", symbols).unwrap();
    engine.read_f32("main", "sentence").unwrap()
}

#[test]
fn sentences_of_a_padded_batch() {
    let content = std::fs::read(file("tiny.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&content).unwrap();
    let (ids, mask) = (tensors.tensor("input_ids").unwrap(), tensors.tensor("attention_mask").unwrap());
    let want = tensors.tensor("sentence").unwrap();
    let want: Vec<f32> = want.data().as_chunks::<4>().0.iter().map(|w| f32::from_le_bytes(*w)).collect();
    let (rows, width) = (ids.shape()[0], ids.shape()[1]);
    assert!(rows == 3 && mask.data().contains(&0) && want.len() == rows * 32);
    let close = |what: &str, have: &[f32], want: &[f32]| {
        assert_eq!(have.len(), want.len());
        for (have, want) in have.iter().zip(want) {
            // Not `>`: a NaN must fail.
            assert!((have - want).abs() <= TOLERANCE, "{what}: {have} instead of {want}");
        }
    };
    let (whole, open) = (bundle(Some(3)), bundle(None));
    for gpu in test_gpus().unwrap() {
        let name = gpu.adapter().name.clone();
        let load = LoadOptions { poison: true, ..LoadOptions::default() };
        let load = |bundle: &Bundle| Engine::load_with(bundle, gpu.clone(), &load, &mut |_| ()).unwrap();
        let sequence = u32::try_from(width).unwrap();
        let (ids, mask) = (ids.data(), mask.data());

        let have = embed(&mut load(&whole), &words(ids), &words(mask), &[("sequence", sequence)]);
        close(&format!("{name}, batch of 3"), &have, &want);
        // Padding changes nothing: the second sentence alone, without its padding.
        let mut open = load(&open);
        let one = |bytes| part(bytes, width, 1, 1, 5);
        let have = embed(&mut open, &one(ids), &one(mask), &[("batch", 1), ("sequence", 5)]);
        close(&format!("{name}, alone"), &have, &want[32..64]);
        let two = |bytes| part(bytes, width, 1, 2, 6);
        let symbols = [("batch", 2), ("sequence", 6)];
        let have = embed(&mut open, &two(ids), &two(mask), &symbols);
        close(&format!("{name}, dynamic batch"), &have, &want[32..]);
    }
}
