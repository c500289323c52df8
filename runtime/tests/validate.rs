//! Every problem that validation knows, each in a bundle that is right but for it.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod fixture;

use fixture::{EMBEDDING, HIDDEN_STATES, RAW, STATE, STEP, Toy, X};
use qwenc_runtime::format::*;

/// Spoils a bundle, and gives the problem that must be found. Facts of the manifest that follow from the schedule are
/// brought in line before.
fn problem_of(change: impl FnOnce(&mut Toy)) -> FormatError {
    let mut toy = Toy::new();
    change(&mut toy);
    toy.manifest.memory = memory(&toy.schedule).unwrap_or_default();
    toy.manifest.entries = toy.schedule.entries.keys().cloned().collect();
    validate(&toy.manifest, &toy.schedule).unwrap_err()
}

macro_rules! assert_problem {
    ($change:expr, $problem:pat $(if $guard:expr)?) => {
        let error = problem_of($change);
        assert!(matches!(&error.problem, $problem $(if $guard)?), "{error} ({:?})", error.problem);
    };
}

fn copy(toy: &mut Toy) -> &mut CopyBytes {
    match &mut toy.entry("main").commands[0] {
        Command::Copy(copy) => copy,
        other => panic!("{other:?}"),
    }
}

fn clear(toy: &mut Toy) -> &mut ClearBytes {
    match &mut toy.entry("main").commands[1] {
        Command::Clear(clear) => clear,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_fixture_is_valid() {
    let toy = Toy::new();
    validate(&toy.manifest, &toy.schedule).unwrap();
}

#[test]
fn versions_and_features() {
    assert_problem!(|t| t.manifest.format = 2, Problem::Version { found: 2, supported: 1 });
    assert_problem!(|t| t.schedule.version = 0, Problem::Version { found: 0, .. });
    assert_problem!(|t| t.manifest.features.push("telepathy".into()), Problem::UnknownFeature(f) if f == "telepathy");
}

#[test]
fn manifest_files() {
    assert_problem!(|t| t.manifest.files[0].path = "../x".into(), Problem::Path { .. });
    assert_problem!(|t| t.manifest.files[0].path = "/etc/passwd".into(), Problem::Path { .. });
    assert_problem!(|t| t.manifest.files.swap(0, 1), Problem::FileOrder { .. });
    assert_problem!(|t| t.manifest.files[1] = t.manifest.files[0].clone(), Problem::FileOrder { .. });
    assert_problem!(|t| t.manifest.files[0].path = MANIFEST_FILE.into(), Problem::FileOrder { .. });
    assert_problem!(|t| t.manifest.files[0].sha256.push('0'), Problem::Hash { .. });
    assert_problem!(|t| t.manifest.files[0].sha256.replace_range(..1, "G"), Problem::Hash { .. });
    assert_problem!(|t| t.manifest.files.retain(|f| f.path != SCHEDULE_FILE), Problem::UnlistedFile { .. });
}

#[test]
fn manifest_facts() {
    assert_problem!(|t| t.manifest.model.name = "\u{1b}[2J".into(), Problem::Name { .. });
    assert_problem!(|t| t.manifest.model.decoder.as_mut().unwrap().max_context = 0, Problem::Kind(_));
    assert_problem!(|t| t.manifest.states[0].buffer = RAW, Problem::Usage { .. });
    assert_problem!(|t| t.manifest.states[0].buffer = BufferId(99), Problem::NoSuchBuffer(BufferId(99)));
    assert_problem!(|t| t.manifest.states[0].shape = vec![5], Problem::OutOfRange { .. });
    assert_problem!(|t| t.manifest.states[0].shape = vec![u64::MAX, 2], Problem::OutOfRange { .. });

    let mut toy = Toy::new();
    toy.manifest.memory.peak_bytes -= 4;
    let error = validate(&toy.manifest, &toy.schedule).unwrap_err();
    assert!(matches!(error.problem, Problem::Disagree { what: "memory", .. }), "{error}");
    let mut toy = Toy::new();
    toy.manifest.entries.pop();
    let error = validate(&toy.manifest, &toy.schedule).unwrap_err();
    assert!(matches!(error.problem, Problem::Disagree { what: "entry points", .. }), "{error}");
}

#[test]
fn symbols() {
    assert_problem!(|t| t.schedule.symbols[0].name = "a b".into(), Problem::Name { .. });
    assert_problem!(|t| t.schedule.symbols[1].name = "tokens".into(), Problem::Duplicate { .. });
    assert_problem!(|t| t.schedule.symbols[0].min = 6, Problem::SymbolRange { min: 6, max: 5, .. });
    let many = |t: &mut Toy| {
        let symbol = |i: u32| Symbol { name: format!("s{i}"), min: 0, max: 1 };
        t.schedule.symbols.extend((0..14).map(symbol));
    };
    assert_problem!(many, Problem::TooMany { count: 17, max: 16, .. });
    assert_problem!(|t| t.entry("main").symbols.push("absent".into()), Problem::UndeclaredSymbol { .. });
    assert_problem!(|t| t.entry("main").symbols.push("tokens".into()), Problem::Duplicate { .. });
    assert_problem!(
        |t| t.entry("main").symbols.clear(),
        Problem::Expr { source: ExprError::UnknownSymbol(_), .. }
    );
}

#[test]
fn buffers() {
    assert_problem!(|t| t.schedule.buffers.swap(4, 5), Problem::BufferOrder { found: 5 });
    assert_problem!(|t| t.schedule.buffers[4].name = String::new(), Problem::Name { .. });
    assert_problem!(|t| t.schedule.buffers[4].bytes = 0, Problem::Alignment { rule: "positive", .. });
    assert_problem!(|t| t.schedule.buffers[4].bytes = 81, Problem::Alignment { .. });
    assert_problem!(|t| t.schedule.buffers[4].bytes = 1 << 40, Problem::Limit { .. });
    assert_problem!(|t| t.schedule.buffers[0].bytes = 128, Problem::Alignment { rule: "64", .. });
    assert_problem!(|t| t.schedule.buffers[0].kind = BufferKind::Input, Problem::Kind(_));
    assert_problem!(|t| t.schedule.buffers[6].init = None, Problem::Kind(_));
    assert_problem!(|t| t.schedule.buffers[5].init = Some(Init::Zero), Problem::Kind(_));
    let overflow = |t: &mut Toy| {
        t.manifest.requirements.max_buffer_bytes = u64::MAX;
        t.schedule.buffers[4].bytes = u64::MAX - 3;
        t.schedule.buffers[5].bytes = u64::MAX - 3;
    };
    assert_problem!(overflow, Problem::Kind("the sum of all buffers overflows"));
}

#[test]
fn weights() {
    assert_problem!(
        |t| t.schedule.buffers[1].parts.swap(0, 1),
        Problem::Coverage { covered: 0, next: 48, .. }
    );
    assert_problem!(
        |t| t.schedule.buffers[1].parts[1].at = 44,
        Problem::Coverage { covered: 48, next: 44, .. }
    );
    assert_problem!(
        |t| t.schedule.buffers[1].parts[1].at = 52,
        Problem::Coverage { covered: 48, next: 52, .. }
    );
    assert_problem!(
        |t| drop(t.schedule.buffers[1].parts.pop()),
        Problem::Coverage { covered: 48, next: 112, size: 112 }
    );
    assert_problem!(|t| t.schedule.buffers[1].parts[1].bytes = 68, Problem::OutOfRange { .. });
    assert_problem!(|t| t.schedule.buffers[1].parts[1].bytes = u64::MAX - 3, Problem::OutOfRange { .. });
    assert_problem!(|t| t.schedule.buffers[1].parts[1].bytes = 0, Problem::Alignment { .. });
    assert_problem!(|t| t.schedule.buffers[1].parts[1].tensor = String::new(), Problem::Name { .. });
    assert_problem!(
        |t| t.schedule.buffers[1].parts[0].shard = "weights/c".into(),
        Problem::UnlistedFile { .. }
    );
    let twice = |t: &mut Toy| {
        let parts = &mut t.schedule.buffers[1].parts;
        parts[1] = WeightPart { at: 48, ..parts[0].clone() };
    };
    assert_problem!(twice, Problem::Duplicate { .. });
    let elsewhere = |t: &mut Toy| t.schedule.buffers[4].parts = t.schedule.buffers[1].parts.clone();
    assert_problem!(elsewhere, Problem::Kind("only a weight has parts"));
}

#[test]
fn pipelines() {
    assert_problem!(|t| t.schedule.pipelines[0].shader = "shaders/x".into(), Problem::UnlistedFile { .. });
    assert_problem!(|t| t.schedule.pipelines[0].shader = "../x".into(), Problem::UnlistedFile { .. });
    assert_problem!(|t| t.schedule.pipelines[0].entry = "main()".into(), Problem::Name { .. });
    assert_problem!(|t| t.schedule.pipelines[0].bindings[0] = BindingKind::Read, Problem::Kind(_));
    assert_problem!(|t| t.schedule.pipelines[0].bindings[1] = BindingKind::Uniform, Problem::Kind(_));
    assert_problem!(|t| t.schedule.pipelines[0].bindings.clear(), Problem::Kind(_));
    assert_problem!(|t| t.manifest.requirements.max_storage_buffers_per_stage = 3, Problem::Limit { .. });
    assert_problem!(|t| t.schedule.pipelines[0].workgroup_size[1] = 0, Problem::Kind(_));
    assert_problem!(|t| t.schedule.pipelines[0].workgroup_size[1] = 3, Problem::Limit { value: 12, .. });
    assert_problem!(
        |t| t.schedule.pipelines[0].workgroup_size = [u32::MAX; 3],
        Problem::Kind(_) | Problem::Limit { .. }
    );
}

#[test]
fn entry_points() {
    let rename = |t: &mut Toy| {
        let entry = t.schedule.entries.remove("main").unwrap();
        t.schedule.entries.insert("a/b".into(), entry);
    };
    assert_problem!(rename, Problem::Name { .. });
    let slot = |t: &mut Toy, change: fn(&mut TensorSlot)| {
        change(t.entry("main").outputs.get_mut("y").unwrap());
    };
    assert_problem!(|t| slot(t, |s| s.buffer = BufferId(10)), Problem::NoSuchBuffer(_));
    assert_problem!(|t| slot(t, |s| s.shape.push(Expr::Const(2))), Problem::OutOfRange { .. });
    assert_problem!(|t| slot(t, |s| s.shape.push(Expr::Const(-2))), Problem::Kind(_));
    assert_problem!(|t| slot(t, |s| s.shape = vec![Expr::Const(1); 9]), Problem::TooMany { .. });
    assert_problem!(
        |t| slot(t, |s| s.shape = vec![Expr::Const(i64::MAX); 3]),
        Problem::Expr { source: ExprError::Overflow, .. }
    );
    assert_problem!(|t| slot(t, |s| s.shape = vec!["row".into()]), Problem::Expr { .. });
    let into_weight = |t: &mut Toy| t.entry("main").inputs.get_mut("x").unwrap().buffer = EMBEDDING;
    assert_problem!(into_weight, Problem::Usage { usage: "an input", .. });
    let constraint = |t: &mut Toy| t.entry("prefill").constraints[0].expr = "row".into();
    assert_problem!(constraint, Problem::Expr { .. });
}

#[test]
fn dispatches() {
    assert_problem!(|t| t.dispatch("main", 2).pipeline = PipelineId(4), Problem::NoSuchPipeline(_));
    assert_problem!(|t| t.dispatch("main", 2).label = "\n".into(), Problem::Name { .. });
    assert_problem!(
        |t| t.dispatch("main", 2).bindings.truncate(2),
        Problem::BindingCount { found: 2, declared: 3 }
    );
    assert_problem!(|t| t.dispatch("main", 2).bindings[1].buffer = BufferId(77), Problem::NoSuchBuffer(_));
    assert_problem!(
        |t| t.dispatch("main", 2).bindings[1].offset = 4,
        Problem::Alignment { rule: "a multiple of 256", .. }
    );
    assert_problem!(|t| t.dispatch("main", 2).bindings[1].offset = 256, Problem::OutOfRange { .. });
    assert_problem!(
        |t| t.dispatch("main", 2).bindings[1].offset = u64::MAX - 255,
        Problem::OutOfRange { .. }
    );
    assert_problem!(|t| t.dispatch("main", 2).bindings[1].bytes = 84, Problem::OutOfRange { .. });
    assert_problem!(|t| t.dispatch("main", 2).bindings[1].bytes = 0, Problem::Alignment { .. });
    assert_problem!(|t| t.dispatch("main", 2).bindings[1].bytes = 6, Problem::Alignment { .. });
    assert_problem!(|t| t.manifest.requirements.max_storage_binding_bytes = 16, Problem::Limit { .. });
}

#[test]
fn dispatches_use_buffers_as_their_kind_allows() {
    let bind = |t: &mut Toy, at: usize, buffer, bytes| {
        t.dispatch("main", 2).bindings[at] = Binding { buffer, offset: 0, bytes };
    };
    assert_problem!(|t| bind(t, 0, X, 20), Problem::Usage { usage: "bound as the step uniform", .. });
    assert_problem!(|t| bind(t, 0, STEP, 32), Problem::Usage { .. });
    assert_problem!(|t| bind(t, 1, STEP, 64), Problem::Usage { usage: "bound as storage", .. });
    assert_problem!(|t| bind(t, 2, EMBEDDING, 112), Problem::Usage { usage: "written", .. });
    assert_problem!(|t| bind(t, 2, RAW, 80), Problem::ReadWriteConflict(RAW));
    let overlap = |t: &mut Toy| {
        t.dispatch("prefill", 1).bindings[3] = Binding { buffer: HIDDEN_STATES, offset: 0, bytes: 16 };
    };
    assert_problem!(overlap, Problem::WriteOverlap(HIDDEN_STATES));
    let mut toy = Toy::new();
    toy.schedule.buffers[5].bytes = 512;
    toy.dispatch("prefill", 1).bindings[3] = Binding { buffer: HIDDEN_STATES, offset: 256, bytes: 16 };
    toy.manifest.memory = memory(&toy.schedule).unwrap();
    validate(&toy.manifest, &toy.schedule).unwrap();
}

#[test]
fn workgroup_counts() {
    let count = |t: &mut Toy, expr| t.dispatch("main", 2).workgroups[1] = expr;
    assert_problem!(|t| count(t, Expr::Const(65_536)), Problem::Limit { limit: 65_535, .. });
    assert_problem!(
        |t| count(t, Expr::Mul(vec![Expr::Const(13_108), "tokens".into()])),
        Problem::Limit { value: 65_540, .. }
    );
    assert_problem!(|t| count(t, "past".into()), Problem::Expr { .. });
    assert_problem!(
        |t| count(t, Expr::Mod(Box::new([Expr::Const(1), Expr::Const(0)]))),
        Problem::Expr { source: ExprError::Divisor, .. }
    );
    assert_problem!(
        |t| count(t, Expr::Add(vec![Expr::Const(1); 600])),
        Problem::Expr { source: ExprError::TooLarge, .. }
    );
}

#[test]
fn copies_and_clears() {
    assert_problem!(|t| copy(t).dst = X, Problem::CopyWithin(X));
    assert_problem!(|t| copy(t).dst = EMBEDDING, Problem::Usage { usage: "written", .. });
    assert_problem!(|t| copy(t).dst = STEP, Problem::Usage { .. });
    assert_problem!(|t| copy(t).src = STEP, Problem::Usage { usage: "copied", .. });
    assert_problem!(|t| copy(t).src = BufferId(1000), Problem::NoSuchBuffer(_));
    assert_problem!(|t| copy(t).bytes = Expr::Const(24), Problem::OutOfRange { .. });
    assert_problem!(|t| copy(t).bytes = Expr::Const(3), Problem::Alignment { .. });
    assert_problem!(|t| copy(t).bytes = Expr::Const(-4), Problem::Kind(_));
    assert_problem!(|t| copy(t).src_offset = Expr::Const(4), Problem::OutOfRange { buffer: X, .. });
    assert_problem!(|t| copy(t).dst_offset = Expr::Const(64), Problem::OutOfRange { buffer: RAW, .. });
    assert_problem!(|t| copy(t).dst_offset = "past".into(), Problem::Expr { .. });
    assert_problem!(|t| clear(t).buffer = EMBEDDING, Problem::Usage { .. });
    assert_problem!(|t| clear(t).offset = 80, Problem::OutOfRange { .. });
    assert_problem!(|t| clear(t).offset = 2, Problem::Alignment { .. });
    assert_problem!(|t| clear(t).bytes = 0, Problem::Alignment { .. });
    assert_problem!(|t| (clear(t).buffer, clear(t).bytes) = (STATE, 20), Problem::OutOfRange { .. });
}

#[test]
fn errors_name_the_place() {
    let error = problem_of(|t| t.dispatch("decode", 2).bindings[1].buffer = BufferId(77));
    assert_eq!(error.to_string(), "schedule.json, entry `decode`, command 2, `head`: there is no buffer 77");
    let error = problem_of(|t| t.schedule.buffers[2].bytes = 6);
    assert_eq!(error.place.item.as_deref(), Some("buffer 2 `input_ids`"));
}

#[test]
fn json_round_trips_and_is_deterministic() {
    let toy = Toy::new();
    let (schedule, manifest) = (toy.schedule.to_json().unwrap(), toy.manifest.to_json().unwrap());
    assert_eq!(Schedule::from_json(schedule.as_bytes()).unwrap(), toy.schedule);
    assert_eq!(Manifest::from_json(manifest.as_bytes()).unwrap(), toy.manifest);
    assert_eq!(schedule, toy.schedule.clone().to_json().unwrap());
    assert!(schedule.lines().count() < 100 && schedule.lines().all(|line| line.len() < 400), "{schedule}");
}

#[test]
fn malformed_json() {
    let error = |text: &str| Schedule::from_json(text.as_bytes()).unwrap_err().problem;
    for text in ["", "{", "[]", "\u{0}", r#"{"version":1}"#] {
        assert!(matches!(error(text), Problem::Json(_)), "{text}");
    }
    let good = Toy::new().schedule.to_json().unwrap();
    let unknown = good.replacen("\"symbols\"", "\"symbol\"", 1);
    assert!(matches!(error(&unknown), Problem::Json(_)));
    assert!(matches!(error(r#"{"version":2,"tokens":[]}"#), Problem::Version { found: 2, .. }));
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(matches!(error(&deep), Problem::Json(_)));
    let manifest = Manifest::from_json(br#"{"format":7}"#).unwrap_err();
    assert!(matches!(manifest.problem, Problem::Version { found: 7, supported: 1 }));
}
