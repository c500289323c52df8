//! Bundles made to do harm, as whole bundles: they are opened, loaded and replayed on a device that checks every command
//! (`checking`). Every single rule is in `validate.rs`, damage to files in `bundle.rs`; `docs/security.md` has the table.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod checking;
mod fixture;

use checking::{Checking, replay_corners};
use fixture::{EMBEDDING, RAW, Toy, X, Y};
use qwenc_runtime::bundle::{Bundle, BundleError, Folder};
use qwenc_runtime::engine::{Engine, EngineError, LoadOptions};
use qwenc_runtime::format::*;

/// The bundle after a change, sealed again: its hashes are right.
fn sealed(change: impl FnOnce(&mut Toy)) -> Result<Bundle, BundleError> {
    let mut toy = Toy::new();
    change(&mut toy);
    toy.seal();
    Bundle::open(toy.memory())
}

#[track_caller]
fn refused(change: impl FnOnce(&mut Toy), part: &str) {
    let error = sealed(change).unwrap_err().to_string();
    assert!(error.contains(part), "{error}");
    assert!(!error.chars().any(char::is_control) && error.len() < 4000, "{error:?}");
}

fn engine(bundle: &Bundle) -> Engine<Checking> {
    Engine::load(bundle, Checking::default()).unwrap()
}

#[test]
fn a_good_bundle_keeps_within_the_devices_rules() {
    let bundle = sealed(|_| ()).unwrap();
    replay_corners(&bundle);
    // Every entry point ran, not only loaded.
    let mut engine = engine(&bundle);
    engine.replay("main", &[("tokens", 5)]).unwrap();
    assert_eq!(engine.output_shape("main", "y").unwrap(), [5]);
}

// ---- memory and counts ---------------------------------------------------------------------------------------------

#[test]
fn memory_beyond_what_is_allowed() {
    let huge = |toy: &mut Toy| {
        for buffer in &mut toy.schedule.buffers[4..6] {
            buffer.bytes = 1 << 39;
        }
        toy.manifest.requirements.max_buffer_bytes = 1 << 39;
    };
    let bundle = sealed(huge).unwrap();
    let error = Engine::load(&bundle, Checking::default()).unwrap_err();
    assert!(matches!(error, EngineError::Memory { .. }), "{error}");
    // The manifest must say what the schedule takes.
    let mut toy = Toy::new();
    huge(&mut toy);
    toy.seal();
    toy.manifest.memory = memory(&Toy::new().schedule).unwrap();
    let error = Bundle::open(toy.memory()).unwrap_err().to_string();
    assert!(error.contains("memory"), "{error}");
    // More than the sum of all can be.
    refused(
        |toy| {
            toy.manifest.requirements.max_buffer_bytes = u64::MAX;
            toy.schedule.buffers[4].bytes = u64::MAX - 3;
        },
        "overflow",
    );
}

#[test]
fn workgroup_counts_past_limits() {
    let count = |expr: Expr| move |toy: &mut Toy| toy.dispatch("main", 2).workgroups[1] = expr;
    refused(count(Expr::Const(65_536)), "workgroup count");
    refused(count(Expr::Mul(vec!["tokens".into(), Expr::Const(20_000)])), "workgroup count");
    refused(count(Expr::Mul(vec!["tokens".into(), Expr::Const(i64::MAX)])), "overflow");
    refused(count(Expr::Add(vec!["tokens".into(), Expr::Const(i64::MAX)])), "overflow");
    refused(count(Expr::FloorDiv(Box::new([Expr::Const(1), Expr::Const(0)]))), "division");
    refused(
        count(Expr::Mod(Box::new([Expr::Const(1), Expr::Add(vec!["tokens".into(), Expr::Const(-1)])]))),
        "division",
    );
    refused(count(Expr::Add(vec![])), "no operands");
    let deep = (0..40).fold(Expr::Const(1), |inner, _| Expr::Add(vec![inner]));
    refused(count(deep), "deeper");
    // Zero and negative counts are no launch, and an error, when it comes to it.
    let bundle = sealed(count(Expr::Add(vec!["tokens".into(), Expr::Const(-3)]))).unwrap();
    let mut engine = engine(&bundle);
    engine.replay("main", &[("tokens", 3)]).unwrap();
    let error = engine.replay("main", &[("tokens", 1)]).unwrap_err().to_string();
    assert!(error.contains("-2"), "{error}");
    replay_corners(&bundle);
}

#[test]
fn expressions_of_bytes_at_every_value() {
    let copy = |change: fn(&mut CopyBytes)| {
        move |toy: &mut Toy| match &mut toy.entry("main").commands[0] {
            Command::Copy(copy) => change(copy),
            other => panic!("{other:?}"),
        }
    };
    // 20 bytes are there; `tokens` ends at 5.
    refused(copy(|c| c.bytes = Expr::Mul(vec![Expr::Const(8), "tokens".into()])), "buffer");
    refused(copy(|c| c.src_offset = Expr::Mul(vec![Expr::Const(4), "tokens".into()])), "buffer");
    refused(copy(|c| c.bytes = Expr::Mul(vec![Expr::Const(-4), "tokens".into()])), "negative");
    // Not a multiple of 4 for some values only: the replay says so, and submits nothing.
    let bundle = sealed(copy(|c| c.bytes = "tokens".into())).unwrap();
    let mut engine = engine(&bundle);
    engine.replay("main", &[("tokens", 4)]).unwrap();
    let error = engine.replay("main", &[("tokens", 3)]).unwrap_err().to_string();
    assert!(error.contains("multiple of 4"), "{error}");
    replay_corners(&bundle);
}

#[test]
fn symbols_at_replay() {
    let bundle = sealed(|_| ()).unwrap();
    let mut engine = engine(&bundle);
    for value in [0, 6, u32::MAX] {
        let error = engine.replay("main", &[("tokens", value)]).unwrap_err();
        assert!(matches!(error, EngineError::SymbolValue { .. }), "{error}");
    }
    for symbols in [&[][..], &[("past", 1)], &[("tokens", 1), ("tokens", 1)], &[("tokens", 1), ("past", 0)]] {
        let error = engine.replay("main", symbols).unwrap_err();
        assert!(matches!(error, EngineError::Symbols { .. }), "{error}");
    }
    // Each is within its bounds, together they are not.
    let error = engine.replay("prefill", &[("tokens", 5), ("past", 23)]).unwrap_err();
    assert!(matches!(error, EngineError::SymbolValue { .. }), "{error}");
    // The largest that a bundle can declare.
    let extreme = sealed(|toy| {
        toy.schedule.symbols[1].max = u32::MAX;
        for name in ["prefill", "decode"] {
            toy.entry(name).constraints[0].max = u32::MAX;
        }
    });
    replay_corners(&extreme.unwrap());
}

// ---- ranges and aliases --------------------------------------------------------------------------------------------

#[test]
fn ranges_that_overlap_or_lie_outside() {
    refused(|toy| toy.dispatch("main", 2).bindings[2].buffer = RAW, "reading and for writing");
    refused(|toy| toy.dispatch("main", 2).bindings[2].buffer = EMBEDDING, "written");
    refused(|toy| toy.dispatch("main", 2).bindings[1].bytes = 1 << 20, "buffer");
    refused(|toy| toy.dispatch("main", 2).bindings[1].offset = u64::MAX - 255, "buffer");
    // Parts of a weight that lie over each other, or leave room between them.
    refused(|toy| toy.schedule.buffers[1].parts[1].at = 44, "");
    refused(|toy| toy.schedule.buffers[1].parts[1].at = 52, "");
    refused(
        |toy| {
            let part = toy.schedule.buffers[1].parts[0].clone();
            toy.schedule.buffers[1].parts.push(part);
        },
        "",
    );
    // Two names of one buffer, one of which is written, are one buffer.
    let input = |buffer| {
        move |toy: &mut Toy| {
            let binding = &mut toy.dispatch("main", 2).bindings[1];
            (binding.buffer, binding.bytes) = (buffer, 20);
        }
    };
    replay_corners(&sealed(input(X)).unwrap());
    refused(input(Y), "reading and for writing");
}

#[test]
fn shards_that_lie_about_their_ranges() {
    let header = |text: &str, data: usize| {
        let mut file = (text.len() as u64).to_le_bytes().to_vec();
        file.extend(text.as_bytes());
        file.resize(file.len() + data, 0);
        file
    };
    let f32s = |name: &str, shape: &str, from: u64, to: u64| {
        format!(r#""{name}":{{"dtype":"F32","shape":{shape},"data_offsets":[{from},{to}]}}"#)
    };
    let shards = [
        header(&format!("{{{}}}", f32s("low", "[12]", 0, 1 << 40)), 48),
        header(&format!("{{{}}}", f32s("low", "[12]", 48, 0)), 48),
        header(&format!("{{{}}}", f32s("low", "[13]", 0, 48)), 48),
        header(&format!("{{{}}}", f32s("low", "[4611686018427387904,4]", 0, 48)), 48),
        header(&format!("{{{},{}}}", f32s("low", "[12]", 0, 48), f32s("other", "[12]", 0, 48)), 48),
        header(&format!("{{{}}}", f32s("low", "[12]", 0, 48)), 96),
        header(&format!("{{{}}}", "[".repeat(100_000)), 48),
        (1u64 << 60).to_le_bytes().to_vec(),
        vec![0xFF; 7],
    ];
    for shard in shards {
        let error = sealed(|toy| drop(toy.files.insert("weights/a.safetensors".into(), shard))).unwrap_err();
        assert!(error.to_string().contains("weights/a.safetensors"), "{error}");
    }
}

// ---- files ---------------------------------------------------------------------------------------------------------

#[test]
fn shaders_that_are_swapped() {
    // Under the old manifest, the content does not fit the hash.
    let mut memory = Toy::new().memory();
    let (double, head) = ("shaders/double.wgsl".to_owned(), "shaders/head.wgsl".to_owned());
    let content = memory.files[&double].clone();
    memory.files.insert(head, content);
    let error = Bundle::open(memory).unwrap_err().to_string();
    assert!(error.contains("shaders/head.wgsl"), "{error}");
    // With a new manifest they are another bundle, whose shader no GPU accepts for these bindings: the native device's
    // tests show that (`engine.rs`). What is no text is refused here.
    let bundle = sealed(|toy| drop(toy.files.insert(double, vec![0xC0, 0x80]))).unwrap();
    let error = Engine::load(&bundle, Checking::default()).unwrap_err().to_string();
    assert!(error.contains("not UTF-8"), "{error}");
}

/// Sizes in a manifest are claims: nothing is allocated for them.
#[test]
fn sizes_like_those_of_a_zip_bomb() {
    for bytes in [u64::MAX, 1 << 60, 1 << 40, 0] {
        let mut toy = Toy::new();
        for file in &mut toy.manifest.files {
            file.bytes = bytes;
        }
        let error = Bundle::open(toy.memory()).unwrap_err();
        assert!(matches!(error, BundleError::Size { .. }), "{error}");
    }
}

#[test]
fn json_that_means_two_things() {
    let manifest = |change: fn(String) -> String| {
        let mut memory = Toy::new().memory();
        let text = String::from_utf8(memory.files[MANIFEST_FILE].clone()).unwrap();
        memory.files.insert(MANIFEST_FILE.into(), change(text).into_bytes());
        Bundle::open(memory).unwrap_err().to_string()
    };
    let cases: [fn(String) -> String; 7] = [
        |text| text.replacen("\"files\":", "\"files\": [], \"files\":", 1),
        |text| text.replacen("\"format\": 1", "\"format\": 1.0", 1),
        |text| text.replacen("\"format\": 1", "\"format\": \"1\"", 1),
        |text| text.replacen("\"format\": 1", "\"format\": 4294967297", 1),
        |text| text.replacen('{', "{\"__proto__\": {},", 1),
        |text| text + "{}",
        |text| format!("{}{text}", "[".repeat(100_000)),
    ];
    for (index, change) in cases.into_iter().enumerate() {
        let error = manifest(change);
        assert!(error.contains("manifest.json"), "{index}: {error}");
    }
}

#[test]
fn paths_with_commands_in_them_are_shown_harmlessly() {
    for path in [
        "\u{1b}[2J",
        "a\nb",
        "a\0b",
        "..",
        "a//b",
        "a/./b",
        "C:\\x",
        "a\\b",
        "\u{202E}x",
        "con ",
        &"x/".repeat(5000),
    ] {
        let mut toy = Toy::new();
        toy.manifest.files[0].path = path.into();
        let error = Bundle::open(toy.memory()).unwrap_err().to_string();
        assert!(!error.chars().any(|c| c.is_control() || c == '\u{202E}'), "{error:?}");
        assert!(error.len() < 2000);
    }
}

#[cfg(unix)]
#[test]
fn links_and_pipes_in_the_place_of_files() {
    let outside = tempfile::tempdir().unwrap();
    for name in [MANIFEST_FILE, SCHEDULE_FILE, "shaders/head.wgsl", "weights/a.safetensors", "notes.txt"] {
        let folder = tempfile::tempdir().unwrap();
        for (path, content) in &Toy::new().memory().files {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        // The right content, but elsewhere.
        let target = outside.path().join(name.replace('/', "_"));
        std::fs::rename(folder.path().join(name), &target).unwrap();
        std::os::unix::fs::symlink(&target, folder.path().join(name)).unwrap();
        let error = Bundle::open(Folder::new(folder.path()).unwrap()).unwrap_err();
        assert!(matches!(&error, BundleError::Outside { file } if file == name), "{error}");
    }
}

#[test]
fn the_checking_device_checks() {
    let bundle = sealed(|_| ()).unwrap();
    let allowed = LoadOptions { max_gpu_bytes: 4, ..LoadOptions::default() };
    let error = Engine::load_with(&bundle, Checking::default(), &allowed, &mut |_| ()).unwrap_err();
    assert!(matches!(error, EngineError::Memory { .. }), "{error}");
    let caught = std::panic::catch_unwind(|| {
        use qwenc_runtime::engine::{Backend, BufferRole};
        let device = Checking::default();
        let buffer = device.create_buffer("b", 8, BufferRole::Storage).unwrap();
        let _ = device.write(&buffer, 4, &[0; 8]);
    });
    assert!(caught.is_err());
}
