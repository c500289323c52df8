//! The engine and the session on both software adapters, with a bundle written by hand.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod fixture;

use fixture::{CHUNK, CONTEXT, Toy, VOCAB, reference};
use qwenc_runtime::bundle::{Bundle, Progress};
use qwenc_runtime::engine::{Engine, EngineError, LoadOptions};
use qwenc_runtime::format::{Command, Expr};
use qwenc_runtime::gpu::Gpu;
use qwenc_runtime::gpu::probe::test_gpus;
use qwenc_runtime::session::{Positions, Session, SessionError};

fn load(toy: &Toy, gpu: &Gpu) -> Result<Engine<Gpu>, EngineError> {
    let bundle = Bundle::open(toy.memory()).unwrap();
    let options = LoadOptions { poison: true, ..LoadOptions::default() };
    Engine::load_with(&bundle, gpu.clone(), &options, &mut |_| ())
}

fn session(gpu: &Gpu) -> Session<Gpu> {
    Session::new(load(&Toy::new(), gpu).unwrap()).unwrap()
}

fn assert_close(got: &[f32], want: &[f32]) {
    assert_eq!(got.len(), want.len());
    for (got, want) in got.iter().zip(want) {
        assert!((got - want).abs() <= 1e-5, "{got} is not {want}");
    }
}

const IDS: [i32; 13] = [3, 0, 6, 6, 1, 2, 5, 4, 0, 3, 2, 1, 6];

#[test]
fn copy_clear_and_dispatch_follow_symbols() {
    for gpu in test_gpus().unwrap() {
        let mut engine = load(&Toy::new(), &gpu).unwrap();
        let x = [9.0_f32, 1.5, -2.0, 4.0, 0.25];
        engine.write_input("main", "x", bytemuck::cast_slice(&x)).unwrap();
        engine.replay("main", &[("tokens", 3)]).unwrap();
        assert_eq!(engine.read_f32("main", "y").unwrap(), [0.0, 3.0, -4.0]);
        engine.replay("main", &[("tokens", 5)]).unwrap();
        assert_eq!(engine.read_f32("main", "y").unwrap(), [0.0, 3.0, -4.0, 8.0, 0.5]);
        assert_eq!(engine.output_shape("main", "y").unwrap(), [5]);
    }
}

#[test]
fn prefill_chunks_and_decode_agree_with_the_reference() {
    for gpu in test_gpus().unwrap() {
        let want = reference(&IDS);
        let mut session = session(&gpu);
        let all: Vec<usize> = (0..IDS.len()).collect();
        let got = session.feed(&IDS, Positions::Text, &all).unwrap();
        got.iter().zip(&want).for_each(|(got, want)| assert_close(got, want));
        assert_eq!(session.past(), 13);
        assert_eq!(session.last_chunk(), 10..13);

        session.reset().unwrap();
        session.prefill(&IDS[..7], Positions::Text).unwrap();
        assert_close(&session.logits(1).unwrap(), &want[6]);
        assert_close(&session.logits(0).unwrap(), &want[5]);
        for (id, want) in IDS.iter().zip(&want).skip(7) {
            session.decode(*id).unwrap();
            assert_close(&session.logits(0).unwrap(), want);
        }
    }
}

#[test]
fn explicit_positions_are_cut_per_axis() {
    for gpu in test_gpus().unwrap() {
        let mut session = session(&gpu);
        // The toy reads axis 0 only: the other axes hold numbers that would show.
        let axis: Vec<i32> = (0..7).collect();
        let positions: Vec<i32> = axis.iter().copied().chain([99; 14]).collect();
        let got = session.feed(&IDS[..7], Positions::Explicit(&positions), &[6]).unwrap();
        assert_close(&got[0], &reference(&IDS)[6]);
        let error = session.feed(&IDS[..2], Positions::Explicit(&[1; 5]), &[]).unwrap_err();
        assert!(matches!(error, SessionError::Positions { given: 5, axes: 3, tokens: 2 }));
    }
}

#[test]
fn calls_that_do_not_fit_are_refused_before_anything_is_fed() {
    for gpu in test_gpus().unwrap() {
        let mut session = session(&gpu);
        let many = vec![1; CONTEXT as usize + 1];
        let error = session.prefill(&many, Positions::Text).unwrap_err();
        assert!(matches!(error, SessionError::ContextOverflow { past: 0, tokens: 24, max_context: 23 }));
        let outside = session.prefill(&[1, 7], Positions::Text).unwrap_err();
        assert!(matches!(outside, SessionError::TokenOutOfRange { at: 1, id: 7, .. }));
        assert!(matches!(session.decode(-1).unwrap_err(), SessionError::TokenOutOfRange { .. }));
        assert!(matches!(session.prefill(&[], Positions::Text).unwrap_err(), SessionError::NoTokens));
        assert!(matches!(session.logits(0).unwrap_err(), SessionError::NoSuchRow { row: 0, rows: 0 }));
        assert_eq!(session.past(), 0);

        session.prefill(&many[1..], Positions::Text).unwrap();
        assert!(matches!(session.decode(1).unwrap_err(), SessionError::ContextOverflow { past: 23, .. }));
        assert!(matches!(session.logits(CHUNK).unwrap_err(), SessionError::NoSuchRow { .. }));
        session.reset().unwrap();
        let error = session.feed(&[1, 2], Positions::Text, &[1, 1]).unwrap_err();
        assert!(matches!(error, SessionError::NoSuchRow { .. }));
    }
}

#[test]
fn replays_check_symbols_and_constraints() {
    for gpu in test_gpus().unwrap() {
        let mut engine = load(&Toy::new(), &gpu).unwrap();
        let is = |result: Result<(), EngineError>, check: fn(&EngineError) -> bool| {
            let error = result.unwrap_err();
            assert!(check(&error), "{error}");
        };
        is(engine.replay("absent", &[]), |e| matches!(e, EngineError::NoSuchEntry { .. }));
        is(engine.replay("main", &[]), |e| matches!(e, EngineError::Symbols { .. }));
        is(engine.replay("main", &[("tokens", 1), ("past", 0)]), |e| {
            matches!(e, EngineError::Symbols { .. })
        });
        is(engine.replay("main", &[("tokens", 0)]), |e| matches!(e, EngineError::SymbolValue { .. }));
        is(engine.replay("main", &[("tokens", 6)]), |e| matches!(e, EngineError::SymbolValue { .. }));
        is(engine.replay("prefill", &[("tokens", 1), ("past", 23)]), |e| {
            matches!(e, EngineError::SymbolValue { value: 24, max: 23, .. })
        });
        is(engine.write_input("main", "x", &[0; 24]), |e| matches!(e, EngineError::InputSize { .. }));
        is(engine.write_input("main", "x", &[0; 3]), |e| matches!(e, EngineError::InputSize { .. }));
        is(engine.write_input("main", "z", &[0; 4]), |e| matches!(e, EngineError::NoSuchTensor { .. }));
        is(engine.read_output("main", "y").map(drop), |e| matches!(e, EngineError::NotReplayed { .. }));
    }
}

#[test]
fn values_that_only_the_replay_can_see_are_refused_there() {
    for gpu in test_gpus().unwrap() {
        // tokens - 3 is in range for most values of tokens, and negative for some.
        let difference = Expr::Add(vec!["tokens".into(), Expr::Const(-3)]);
        let mut toy = Toy::new();
        toy.dispatch("main", 2).workgroups[0] = difference;
        toy.seal();
        let mut engine = load(&toy, &gpu).unwrap();
        assert!(matches!(
            engine.replay("main", &[("tokens", 2)]),
            Err(EngineError::Command { command: 2, .. })
        ));
        assert!(engine.replay("main", &[("tokens", 4)]).is_ok());
        assert!(engine.replay("main", &[("tokens", 3)]).is_ok(), "a count of zero runs nothing");

        let mut toy = Toy::new();
        if let Command::Copy(copy) = &mut toy.entry("main").commands[0] {
            copy.bytes = "tokens".into();
        }
        toy.seal();
        let mut engine = load(&toy, &gpu).unwrap();
        assert!(matches!(
            engine.replay("main", &[("tokens", 2)]),
            Err(EngineError::Command { command: 0, .. })
        ));
        assert!(engine.replay("main", &[("tokens", 4)]).is_ok());
    }
}

#[test]
fn a_bundle_beyond_the_device_or_the_allowance_is_refused() {
    for gpu in test_gpus().unwrap() {
        let mut toy = Toy::new();
        toy.manifest.requirements.max_storage_buffers_per_stage = 9;
        assert!(matches!(load(&toy, &gpu).unwrap_err(), EngineError::Limit { needed: 9, available: 8, .. }));
        let mut toy = Toy::new();
        toy.manifest.requirements.max_invocations = 1024;
        toy.schedule.pipelines[0].workgroup_size = [1, 1, 65];
        toy.seal();
        assert!(matches!(load(&toy, &gpu).unwrap_err(), EngineError::Limit { .. }));
        let bundle = Bundle::open(Toy::new().memory()).unwrap();
        let options = LoadOptions { max_gpu_bytes: 499, ..LoadOptions::default() };
        let error = Engine::load_with(&bundle, gpu.clone(), &options, &mut |_| ()).unwrap_err();
        assert!(matches!(error, EngineError::Memory { needed: 500, allowed: 499 }), "{error}");
    }
}

#[test]
fn bad_shaders_are_errors_that_name_the_shader() {
    for gpu in test_gpus().unwrap() {
        for source in ["", "fn main(", "@compute @workgroup_size(1) fn other() {}"] {
            let mut toy = Toy::new();
            toy.files.insert("shaders/head.wgsl".into(), source.as_bytes().to_vec());
            toy.seal();
            let error = load(&toy, &gpu).unwrap_err();
            assert!(error.to_string().contains("shaders/head.wgsl"), "{error}");
        }
        // Another binding layout than declared.
        let mut toy = Toy::new();
        toy.files.insert("shaders/head.wgsl".into(), toy.files["shaders/embed.wgsl"].clone());
        toy.seal();
        assert!(load(&toy, &gpu).is_err());
    }
}

#[test]
fn memory_and_progress_are_accounted() {
    for gpu in test_gpus().unwrap() {
        let bundle = Bundle::open(Toy::new().memory()).unwrap();
        let mut seen = Vec::new();
        let engine = Engine::load_with(&bundle, gpu, &LoadOptions::default(), &mut |p| seen.push(p)).unwrap();
        assert_eq!(seen, [Progress { done: 48, total: 112 }, Progress { done: 112, total: 112 }]);
        let memory = engine.memory();
        assert_eq!((memory.weight_bytes, memory.arena_bytes, memory.state_bytes), (112, 160, 16));
        // The bundle, the staging buffer, and the ring of batches.
        assert_eq!(memory.peak_bytes, 500 + VOCAB as u64 * 4 + (1 << 16));
    }
}

#[test]
fn a_bundle_without_a_decoder_gives_no_session() {
    let gpu = test_gpus().unwrap().remove(0);
    let changes: [fn(&mut Toy); 8] = [
        |toy| toy.manifest.model.decoder = None,
        |toy| drop(toy.schedule.entries.remove("head")),
        |toy| drop(toy.entry("decode").outputs.remove("logits")),
        |toy| drop(toy.entry("prefill").inputs.remove("input_ids")),
        |toy| toy.entry("prefill").symbols.push("row".into()),
        |toy| {
            let ids = toy.entry("prefill").inputs["input_ids"].clone();
            toy.entry("prefill").inputs.insert("pixels".into(), ids);
        },
        |toy| drop(toy.entry("decode").inputs.remove("position_ids")),
        |toy| toy.manifest.model.decoder.as_mut().unwrap().vocab_size = 8,
    ];
    for (index, change) in changes.into_iter().enumerate() {
        let mut toy = Toy::new();
        change(&mut toy);
        toy.seal();
        assert!(Session::new(load(&toy, &gpu).unwrap()).is_err(), "change {index}");
    }
}

/// The toy's state is a sum of all it has seen: any step that is not undone shows.
#[test]
fn a_session_goes_back_to_its_snapshot() {
    for gpu in test_gpus().unwrap() {
        let want = reference(&IDS);
        let mut session = session(&gpu);
        assert!(matches!(session.restore(), Err(SessionError::NoSnapshot)));
        let before = session.engine().memory();
        session.prefill(&IDS[..6], Positions::Text).unwrap();
        session.snapshot().unwrap();
        let after = session.engine().memory();
        assert_eq!(after.state_bytes - before.state_bytes, 16);
        assert_eq!(after.peak_bytes - before.peak_bytes, 16);
        for other in [[5, 5, 5, 5, 5, 5, 5], [1, 2, 3, 4, 5, 6, 0]] {
            session.prefill(&other, Positions::Text).unwrap();
            session.decode(2).unwrap();
            session.restore().unwrap();
            assert_eq!((session.past(), session.snapshot_past()), (6, Some(6)));
            assert!(matches!(session.logits(0), Err(SessionError::NoSuchRow { .. })));
            let got = session.feed(&IDS[6..], Positions::Text, &[0, 6]).unwrap();
            assert_close(&got[0], &want[6]);
            assert_close(&got[1], &want[12]);
        }
        assert_eq!(session.engine().memory(), after);
        session.reset().unwrap();
        assert!(matches!(session.restore(), Err(SessionError::NoSnapshot)));
    }
}
