//! Verification of the hand-written decoder of the runtime's tests, on both software adapters.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../../runtime/tests/fixture/mod.rs"]
mod fixture;
mod maker;

use fixture::{Toy, VOCAB, reference};
use maker::Maker;
use qwenc_golden::{GoldenError, GoldenFile, Report, VerifyOptions, verify};
use qwenc_runtime::bundle::Bundle;
use qwenc_runtime::engine::Engine;
use qwenc_runtime::gpu::Gpu;
use qwenc_runtime::gpu::probe::test_gpus;
use qwenc_runtime::session::Session;

const IDS: [i64; 12] = [3, 0, 6, 6, 1, 2, 5, 4, 0, 3, 2, 1];

fn session(toy: &Toy, gpu: &Gpu) -> Session<Gpu> {
    let bundle = Bundle::open(toy.memory()).unwrap();
    Session::new(Engine::load(&bundle, gpu.clone()).unwrap()).unwrap()
}

/// A golden run over calls of 7, 1, 1 and 3 tokens that checks every position but one, newest first, one twice.
fn golden(change: impl FnOnce(&mut Maker, &mut Vec<f32>)) -> GoldenFile {
    let rows = reference(&IDS.map(|id| i32::try_from(id).unwrap()));
    let positions: Vec<i64> = (0..12).rev().filter(|p| *p != 4).chain([9]).collect();
    let mut logits: Vec<f32> =
        positions.iter().flat_map(|p| rows[usize::try_from(*p).unwrap()].clone()).collect();
    let mut maker = Maker::new();
    maker.i64("input_ids", &[12], &IDS);
    maker.i64("splits", &[4], &[7, 1, 1, 3]);
    maker.i64("logit_positions", &[positions.len()], &positions);
    change(&mut maker, &mut logits);
    maker.f32("logits", &[positions.len(), VOCAB], &logits);
    GoldenFile::parse("toy.safetensors", &maker.bytes()).unwrap()
}

fn check(toy: &Toy, gpu: &Gpu, golden: &GoldenFile, max_abs: Option<f64>) -> Report {
    let options = VerifyOptions { max_abs, ..VerifyOptions::default() };
    verify(&mut session(toy, gpu), golden, &options).unwrap()
}

#[test]
fn a_faithful_bundle_passes() {
    for gpu in test_gpus().unwrap() {
        let golden = golden(|_, _| ());
        let mut session = session(&Toy::new(), &gpu);
        let options = VerifyOptions { max_abs: Some(1e-5), ..VerifyOptions::default() };
        let report = verify(&mut session, &golden, &options).unwrap();
        assert!(report.passed, "{report}");
        let order: Vec<usize> = report.positions.iter().map(|p| p.position).collect();
        assert_eq!(order, [11, 10, 9, 8, 7, 6, 5, 3, 2, 1, 0, 9]);
        assert_eq!(verify(&mut session, &golden, &options).unwrap(), report, "a session can be used again");
    }
}

#[test]
fn one_changed_logit_fails() {
    for gpu in test_gpus().unwrap() {
        let golden = golden(|_, logits| logits[3 * VOCAB + 2] += 1e-3);
        let report = check(&Toy::new(), &gpu, &golden, Some(1e-4));
        assert!(!report.passed && report.failures == 1 && !report.positions[3].passed, "{report}");
        assert!(check(&Toy::new(), &gpu, &golden, Some(1e-2)).passed, "the threshold is what fails it");
        assert!(report.to_string().contains("FAIL"));
    }
}

#[test]
fn one_changed_weight_fails() {
    for gpu in test_gpus().unwrap() {
        let mut toy = Toy::new();
        let mut bytes: Vec<u8> = fixture::embedding().iter().flat_map(|v| v.to_le_bytes()).skip(48).collect();
        bytes[0..4].copy_from_slice(&0.51_f32.to_le_bytes());
        toy.files.insert("weights/b.safetensors".into(), fixture::shard("high", &bytes));
        toy.seal();
        let report = check(&toy, &gpu, &golden(|_, _| ()), Some(1e-4));
        assert!(!report.passed, "{report}");
    }
}

#[test]
fn one_changed_shader_constant_fails() {
    for gpu in test_gpus().unwrap() {
        let mut toy = Toy::new();
        let source = String::from_utf8(toy.files["shaders/embed.wgsl"].clone()).unwrap();
        toy.files.insert("shaders/embed.wgsl".into(), source.replace("/ 8.0", "/ 8.01").into_bytes());
        toy.seal();
        assert!(!check(&toy, &gpu, &golden(|_, _| ()), Some(1e-4)).passed);
    }
}

#[test]
fn not_a_number_fails() {
    for gpu in test_gpus().unwrap() {
        let mut toy = Toy::new();
        let source = String::from_utf8(toy.files["shaders/head.wgsl"].clone()).unwrap();
        let nan = source.replace("var sum = 0.0", "var sum = bitcast<f32>(0x7fc00000u + step.s[3].w)");
        toy.files.insert("shaders/head.wgsl".into(), nan.into_bytes());
        toy.seal();
        let report = check(&toy, &gpu, &golden(|_, _| ()), None);
        assert!(!report.passed && report.failures == 12, "{report}");
        assert!(report.worst_cosine.is_nan() && report.worst_max_abs.is_nan());
        let options = VerifyOptions {
            ignore_argmax: true,
            min_cosine: Some(0.0),
            max_abs: Some(f64::MAX),
            ..VerifyOptions::default()
        };
        assert!(!verify(&mut session(&toy, &gpu), &golden(|_, _| ()), &options).unwrap().passed);
    }
}

#[test]
fn the_files_threshold_holds_unless_overridden() {
    let gpu = test_gpus().unwrap().remove(0);
    let strict = golden(|maker, logits| {
        maker.metadata("max_abs", "1e-4");
        logits[0] += 1e-3;
    });
    assert!(!check(&Toy::new(), &gpu, &strict, None).passed);
    assert!(check(&Toy::new(), &gpu, &strict, Some(1e-2)).passed);
}

#[test]
fn runs_that_cannot_be_fed() {
    let gpu = test_gpus().unwrap().remove(0);
    let run = |golden: &GoldenFile| {
        verify(&mut session(&Toy::new(), &gpu), golden, &VerifyOptions::default()).unwrap_err()
    };
    let image = golden(|maker, _| maker.u8("image_0", &[1, 1, 3], &[0; 3]));
    assert!(matches!(run(&image), GoldenError::NoVision { .. }));
    let other_model = GoldenFile::parse("g", &Maker::good().bytes()).unwrap();
    assert!(matches!(run(&other_model), GoldenError::Vocabulary { golden: 2, bundle: 7, .. }));

    let mut long = Maker::new();
    long.i64("input_ids", &[24], &[1; 24]);
    long.i64("splits", &[2], &[23, 1]);
    long.i64("logit_positions", &[1], &[23]);
    long.f32("logits", &[1, VOCAB], &[0.5; VOCAB]);
    let long = GoldenFile::parse("g", &long.bytes()).unwrap();
    assert!(matches!(run(&long), GoldenError::Session { call: 1, .. }));
}

#[test]
fn the_report_reads_well_and_serialises() {
    let gpu = test_gpus().unwrap().remove(0);
    let report = check(&Toy::new(), &gpu, &golden(|_, _| ()), Some(1e-5));
    let text = report.to_string();
    assert!(text.contains("verdict        PASS: 12 positions"), "{text}");
    let rows: Vec<&str> = text.lines().skip_while(|line| !line.starts_with("position")).take(13).collect();
    assert!(rows.iter().all(|row| row.len() >= rows[0].len() - 6), "columns are aligned:\n{text}");
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["passed"], true);
    assert_eq!(json["positions"][0]["position"], 11);
}
