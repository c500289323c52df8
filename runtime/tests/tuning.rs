//! Variants of pipelines: which one a device takes, by itself, by a tuning, and after it has tried them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod fixture;

use fixture::Toy;
use qwenc_runtime::bundle::Bundle;
use qwenc_runtime::engine::{Engine, LoadOptions};
use qwenc_runtime::format::{BASELINE, Variant};
use qwenc_runtime::gpu::Gpu;
use qwenc_runtime::gpu::probe::test_gpus;
use qwenc_runtime::tuning::Tuning;

const HEAD: &str = "shaders/head.wgsl";

/// The toy with variants of the pipeline `head`: `twice` gives twice the logits, which shows who ran, `slow` gives the right
/// ones after much idle work.
fn toy(names: &[&str]) -> Toy {
    let mut toy = Toy::new();
    let head = String::from_utf8(toy.files[HEAD].clone()).unwrap();
    for name in names {
        let text = match *name {
            "twice" => head.replace("= sum;", "= 2.0 * sum;"),
            // The loop's end is not known before the step is: it cannot be left out.
            "slow" => head.replace(
                "var sum = 0.0;",
                "var sum = 0.0; for (var i = 0u; i < 3000000u + step.s[0].z; i++) { sum = sin(sum + 1.0); }\nsum = select(0.0, sum, sum > 2.0);",
            ),
            _ => head.clone(),
        };
        let path = format!("shaders/head_{name}.wgsl");
        toy.files.insert(path.clone(), text.into_bytes());
        toy.schedule.pipelines[2].variants.push(Variant {
            name: (*name).into(),
            shader: path,
            needs: Vec::new(),
            workgroup_size: [8, 1, 1],
        });
    }
    toy.seal();
    toy
}

fn open(toy: &Toy) -> Bundle {
    Bundle::open(toy.memory()).unwrap()
}

fn load(bundle: &Bundle, gpu: &Gpu, tuning: Tuning) -> Engine<Gpu> {
    let options = LoadOptions { tuning, ..LoadOptions::default() };
    Engine::load_with(bundle, gpu.clone(), &options, &mut |_| ()).unwrap()
}

fn choice(variant: &str) -> Tuning {
    let mut tuning = Tuning::default();
    tuning.choose(HEAD, variant);
    tuning
}

/// Logits of the first token of a conversation.
fn logits(engine: &mut Engine<Gpu>) -> Vec<f32> {
    engine.write_input("decode", "input_ids", &3_i32.to_le_bytes()).unwrap();
    engine.write_input("decode", "position_ids", &[0; 12]).unwrap();
    engine.replay("decode", &[("past", 0), ("tokens", 1)]).unwrap();
    let bytes = engine.read_output("decode", "logits").unwrap();
    bytes.chunks_exact(4).map(|word| f32::from_le_bytes(word.try_into().unwrap())).collect()
}

fn times(factor: f32) -> Vec<f32> {
    fixture::reference(&[3])[0].iter().map(|value| factor * value).collect()
}

#[test]
fn a_cpu_takes_the_last_variant_and_a_tuning_overrules_it() {
    for gpu in test_gpus().unwrap() {
        assert!(gpu.adapter().software);
        let bundle = open(&toy(&["same", "twice"]));
        assert_eq!(logits(&mut load(&bundle, &gpu, Tuning::default())), times(2.0));
        assert_eq!(logits(&mut load(&bundle, &gpu, choice("same"))), times(1.0));
        assert_eq!(logits(&mut load(&bundle, &gpu, choice(BASELINE))), times(1.0));
        // What is not there is not missed.
        assert_eq!(logits(&mut load(&bundle, &gpu, choice("gone"))), times(2.0));
        let bundle = open(&toy(&["twice", "same"]));
        assert_eq!(logits(&mut load(&bundle, &gpu, Tuning::default())), times(1.0));
        assert_eq!(logits(&mut load(&bundle, &gpu, choice("twice"))), times(2.0));
    }
}

#[test]
fn tuning_finds_the_fastest_and_goes_on_with_it() {
    for gpu in test_gpus().unwrap() {
        let bundle = open(&toy(&["twice", "slow"]));
        let mut engine = load(&bundle, &gpu, Tuning::default());
        assert_eq!(engine.tunable(), ["shaders/head_slow.wgsl", HEAD, "shaders/head_twice.wgsl"]);
        // The state that the conversation has left must not be what the next one starts with.
        logits(&mut engine);
        let (tuning, trials) = engine.tune(&|path| bundle.shader(path).ok(), 1e9).unwrap();
        let names: Vec<_> = trials.iter().map(|trial| trial.variant.as_str()).collect();
        assert_eq!(names, ["slow", BASELINE, "twice"]);
        let chosen = trials.iter().find(|trial| trial.chosen).unwrap();
        assert_ne!(chosen.variant, "slow", "{trials:?}");
        assert!(trials[0].seconds > 2.0 * chosen.seconds, "{trials:?}");
        assert_eq!(tuning, choice(&chosen.variant));
        assert!(tuning.fits(bundle.schedule()));
        let factor = if chosen.variant == "twice" { 2.0 } else { 1.0 };
        assert_eq!(logits(&mut engine), times(factor));
        assert_eq!(logits(&mut load(&bundle, &gpu, tuning)), times(factor));
    }
}

#[test]
fn no_time_means_no_trials() {
    let gpu = test_gpus().unwrap().swap_remove(0);
    let bundle = open(&toy(&["slow"]));
    let (tuning, trials) = load(&bundle, &gpu, Tuning::default()).tune(&|_| None, 0.0).unwrap();
    assert_eq!((tuning, trials), (Tuning::default(), Vec::new()));
}

#[test]
fn a_tuning_fits_the_bundle_that_it_was_made_for() {
    let toy = toy(&["same"]);
    assert!(Tuning::default().fits(&toy.schedule));
    assert!(choice("same").fits(&toy.schedule) && choice(BASELINE).fits(&toy.schedule));
    assert!(!choice("gone").fits(&toy.schedule));
    let mut other = Tuning::default();
    other.choose("shaders/gone.wgsl", BASELINE);
    assert!(!other.fits(&toy.schedule));
}

#[test]
fn variants_are_checked_like_pipelines() {
    type Break = fn(&mut Variant);
    let breaks: [(&str, Break); 5] = [
        ("baseline", |it| it.name = BASELINE.into()),
        ("name", |it| it.name = "two words".into()),
        ("gone.wgsl", |it| it.shader = "shaders/gone.wgsl".into()),
        ("no invocations", |it| it.workgroup_size = [0, 1, 1]),
        ("workgroup size", |it| it.workgroup_size = [9, 1, 1]),
    ];
    for (expected, change) in breaks {
        let mut toy = toy(&["same"]);
        change(&mut toy.schedule.pipelines[2].variants[0]);
        toy.seal();
        let error = Bundle::open(toy.memory()).unwrap_err().to_string();
        assert!(error.contains(expected), "{expected}: {error}");
    }
    let mut twins = toy(&["same", "twice"]);
    twins.schedule.pipelines[2].variants[1].name = "same".into();
    twins.seal();
    assert!(Bundle::open(twins.memory()).is_err());
}
