//! Vision encoders of several exporters as the entry point `vision`, against the features that Hugging Face transformers
//! computes (`models/scripts/vision_golden.py`): images of several sizes, and several images and frames in one replay.

use std::collections::BTreeMap;
use std::path::Path;

use crate::common::{bindings_fit, copy_tree, golden, model};
use prost::Message;
use qwenc::model::config::ModelConfig;
use qwenc::model::files::{ModelFiles, locate};
use qwenc::model::variant::Variants;
use qwenc::onnx::Model;
use qwenc::onnx::proto::{AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto};
use qwenc::pipeline::{CompileOptions, Compiled, Silent, analyze, compile_graph};
use qwenc::vision::{self, IMAGE_TOKENS, Vision};
use qwenc_codegen_wgsl::Symbols;
use qwenc_ir::interp::{HostTensor, inputs_by_name, run};
use qwenc_ir::{Bindings, Graph};
use qwenc_runtime::bundle::{Bundle, Memory};
use qwenc_runtime::engine::{Engine, LoadOptions};
use qwenc_runtime::format::{Command, Entry, Schedule, VisionFacts};
use qwenc_runtime::gpu::Gpu;
use qwenc_runtime::gpu::probe::test_gpus;
use qwenc_runtime::vision::{Grid, VisionTables, tables};
use safetensors::SafeTensors;

/// Values of a patch of the tiny model.
const PATCH: usize = 1536;
/// Features are at most 2.2; f32 itself is 2e-6 off.
const TOLERANCE: f32 = 2e-5;
/// With weights in 16 bits.
const TOLERANCE_F16: f32 = 3e-3;

/// Folders with a vision encoder, and how far its features may be off.
const ENCODERS: [(&str, f32); 4] = [
    ("genai015", TOLERANCE),
    ("mobius", TOLERANCE),
    ("mobius_standard", TOLERANCE),
    ("torch_q4", TOLERANCE_F16),
];

/// A case of the golden file.
struct Case {
    name: String,
    grids: Vec<Grid>,
    features: Vec<f32>,
}

fn cases() -> Vec<Case> {
    let content = std::fs::read(golden("vision")).unwrap();
    let tensors = SafeTensors::deserialize(&content).unwrap();
    let mut names: Vec<&str> =
        tensors.names().into_iter().filter_map(|name| name.strip_suffix(".features")).collect();
    names.sort_unstable();
    assert_eq!(names, ["several", "small", "square", "wide", "wider"]);
    let case = |name: &str| {
        let grids = tensors.tensor(&format!("{name}.grid_thw")).unwrap();
        let sizes: Vec<u32> = grids
            .data()
            .as_chunks::<8>()
            .0
            .iter()
            .map(|word| u32::try_from(i64::from_le_bytes(*word)).unwrap())
            .collect();
        let grids = sizes.chunks(3).map(|grid| Grid::new(grid[0], grid[1], grid[2]).unwrap()).collect();
        let features = tensors.tensor(&format!("{name}.features")).unwrap();
        let features =
            features.data().as_chunks::<4>().0.iter().map(|word| f32::from_le_bytes(*word)).collect();
        Case { name: name.to_string(), grids, features }
    };
    names.into_iter().map(case).collect()
}

impl Case {
    fn patches(&self) -> usize {
        usize::try_from(self.grids.iter().map(|grid| grid.patches()).sum::<u64>()).unwrap()
    }

    fn tokens(&self) -> u32 {
        u32::try_from(self.patches() / 4).unwrap()
    }

    /// The pixels, as the script makes them.
    #[expect(clippy::cast_precision_loss, reason = "24 bits")]
    fn pixels(&self) -> Vec<f32> {
        let patches = self.patches() as u64;
        let count = (self.patches() * PATCH) as u64;
        let value = |n: u64| {
            (((n * 2_654_435_761 + patches * 40_503) % (1 << 32)) >> 8) as f32 / 16_777_216.0 * 4.0 - 2.0
        };
        (0..count).map(value).collect()
    }

    /// Not `>`: a NaN must fail.
    fn check(&self, what: &str, have: &[f32], tolerance: f32) {
        assert_eq!(have.len(), self.features.len(), "{what}, {}", self.name);
        let largest = self.features.iter().zip(have).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
        assert!(
            self.features.iter().zip(have).all(|(a, b)| (a - b).abs() <= tolerance),
            "{what}, {}: {largest} off",
            self.name
        );
    }
}

/// A tiny export with the configuration that all of them have.
fn folder(dialect: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    copy_tree(&model(dialect), dir.path());
    if dialect == "mobius_standard" {
        std::fs::copy(model("genai015").join("config.json"), dir.path().join("config.json")).unwrap();
    }
    dir
}

/// The vision encoder of a folder.
fn encoder(root: &Path) -> Result<Vision, vision::VisionError> {
    let Ok(ModelFiles::Decoder { root, vision: Some(path), .. }) = locate(root, &Variants::default(), false)
    else {
        panic!("no vision encoder in {}", root.display())
    };
    let config = ModelConfig::read(&root).unwrap().vision.unwrap();
    vision::load(&Model::open_inside(&root, &path)?, &config, 4096)
}

fn facts(vision: &Vision) -> VisionFacts {
    VisionFacts {
        max_patches: 4096,
        patch_values: vision.patch_values,
        feature_size: vision.feature_size,
        merge_size: 2,
        position_side: vision.position_side,
        max_side: vision.max_side,
        image_token: 508,
        vision_start: 505,
        vision_end: 506,
    }
}

fn host(values: &[i32], shape: [usize; 2]) -> HostTensor {
    HostTensor::i64(shape.to_vec(), values.iter().map(|value| i64::from(*value)).collect::<Vec<_>>()).unwrap()
}

/// The features by the reference interpreter.
fn interpreted(graph: &Graph, case: &Case, tables: &VisionTables) -> Vec<f32> {
    let patches = case.patches();
    let given = [
        (vision::PIXELS, HostTensor::f32(vec![patches, PATCH], case.pixels()).unwrap()),
        (vision::POSITION_INDEX, host(&tables.position_index, [patches, 4])),
        (vision::POSITION_WEIGHT, HostTensor::f32(vec![patches, 4], tables.position_weight.clone()).unwrap()),
        (vision::PATCH_POSITIONS, host(&tables.patch_positions, [2, patches])),
        (vision::SEGMENTS, host(&tables.segments, [patches, 2])),
    ];
    let bindings = Bindings::from([(IMAGE_TOKENS.to_owned(), i64::from(case.tokens()))]);
    let inputs = inputs_by_name(graph, given).unwrap();
    run(graph, &bindings, &inputs).unwrap().output(vision::FEATURES).unwrap().as_f32().unwrap().to_vec()
}

/// Before any pass, after raising and after fusing: the graph computes the features of every case.
#[test]
fn the_graph_over_tables_computes_the_features() {
    for (dialect, tolerance) in ENCODERS {
        let dir = folder(dialect);
        let vision = encoder(dir.path()).unwrap();
        assert_eq!(
            (vision.position_side, vision.patch_values, vision.feature_size),
            (8, 1536, 64),
            "{dialect}"
        );
        assert!(vision.notes.iter().any(|note| note.contains("position_weight")), "{:?}", vision.notes);
        let facts = facts(&vision);
        let mut graph = vision.graph;
        let check = |graph: &Graph, step: &str, several: bool| {
            for case in cases().iter().filter(|case| several || case.grids.len() == 1) {
                let tables = tables(&case.grids, &facts).unwrap();
                case.check(&format!("{dialect}, {step}"), &interpreted(graph, case, &tables), tolerance);
            }
        };
        // Frames are kept apart from raising on.
        check(&graph, "imported", false);
        qwenc::passes::run_passes(&qwenc::passes::raising_stateless(), &mut graph, &mut |_, _| ()).unwrap();
        assert_eq!(vision::limit_to_segments(&mut graph).unwrap(), 2, "{dialect}");
        check(&graph, "raised", true);
        qwenc::passes::run_passes(qwenc::passes::fusing(), &mut graph, &mut |_, _| ()).unwrap();
        check(&graph, "fused", true);
    }
}

fn words(values: &[i32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// The features of a case, replayed.
fn replayed(engine: &mut Engine<Gpu>, case: &Case, facts: &VisionFacts) -> Vec<f32> {
    let tables = tables(&case.grids, facts).unwrap();
    let write = |name: &str, bytes: &[u8]| engine.write_input("main", name, bytes).unwrap();
    write(vision::PIXELS, &floats(&case.pixels()));
    write(vision::POSITION_INDEX, &words(&tables.position_index));
    write(vision::POSITION_WEIGHT, &floats(&tables.position_weight));
    write(vision::PATCH_POSITIONS, &words(&tables.patch_positions));
    write(vision::SEGMENTS, &words(&tables.segments));
    engine.replay("main", &[(IMAGE_TOKENS, case.tokens())]).unwrap();
    engine.read_f32("main", vision::FEATURES).unwrap()
}

/// The encoder as the passes leave it, with what a session must know about it.
fn fused(dialect: &str) -> (Graph, VisionFacts) {
    let dir = folder(dialect);
    let mut vision = encoder(dir.path()).unwrap();
    let facts = facts(&vision);
    let graph = &mut vision.graph;
    qwenc::passes::run_passes(&qwenc::passes::raising_stateless(), graph, &mut |_, _| ()).unwrap();
    vision::limit_to_segments(graph).unwrap();
    qwenc::passes::run_passes(qwenc::passes::fusing(), graph, &mut |_, _| ()).unwrap();
    (vision.graph, facts)
}

/// On both drivers, without the decoder around it, which would take longer to load than all of this.
#[test]
fn replays_meet_the_golden() {
    let gpus = test_gpus().unwrap();
    let mut replayed_before = Vec::new();
    for (dialect, tolerance) in ENCODERS {
        let (graph, facts) = fused(dialect);
        let mut files = BTreeMap::new();
        let symbols = Symbols::new([(IMAGE_TOKENS.to_string(), (1, 64))]);
        let compiled = compile_graph(&graph, symbols, &mut files).unwrap();
        let program = program(&compiled, &files);
        if replayed_before.contains(&program) {
            // The same kernels over the same bytes: the device cannot tell it from another exporter's.
            continue;
        }
        replayed_before.push(program);
        let bundle = Bundle::open(Memory { files }).unwrap();
        for gpu in &gpus {
            let name = &gpu.adapter().name;
            let load = LoadOptions { poison: true, ..LoadOptions::default() };
            let mut engine = Engine::load_with(&bundle, gpu.clone(), &load, &mut |_| ()).unwrap();
            for case in cases() {
                let have = replayed(&mut engine, &case, &facts);
                case.check(&format!("{dialect} on {name}"), &have, tolerance);
            }
        }
    }
    assert!(replayed_before.len() >= 2, "f32 and f16 are different programs");
}

/// What a device gets: commands without their labels, and the contents of all weights and shaders.
fn program(compiled: &Compiled, files: &BTreeMap<String, Vec<u8>>) -> (Schedule, Vec<Vec<u8>>) {
    let mut schedule = compiled.assembled.schedule.clone();
    for command in schedule.entries.values_mut().flat_map(|entry| &mut entry.commands) {
        if let Command::Dispatch(dispatch) = command {
            dispatch.label.clear();
        }
    }
    let contents =
        files.iter().filter(|(path, _)| path.starts_with("shaders/") || path.starts_with("weights/"));
    (schedule, contents.map(|(_, bytes)| bytes.clone()).collect())
}

fn families(entry: &Entry) -> Vec<String> {
    let family = |command: &Command| match command {
        Command::Dispatch(dispatch) => dispatch.label.split(' ').next().map(str::to_string),
        _ => None,
    };
    entry.commands.iter().filter_map(family).collect()
}

/// Whole models have the entry point beside the decoder's, with the same few dispatches whatever exporter wrote them.
#[test]
fn bundles_have_the_entry_point() {
    let mut seen = Vec::new();
    for (dialect, _) in ENCODERS {
        let dir = folder(dialect);
        let options = CompileOptions { max_image_patches: 255, ..CompileOptions::default() };
        let compiled = analyze(dir.path(), &options, &mut Silent).unwrap();
        let vision = compiled.manifest.model.vision.unwrap();
        let wanted = VisionFacts {
            max_patches: 252,
            patch_values: 1536,
            feature_size: 64,
            merge_size: 2,
            position_side: 8,
            max_side: 127,
            image_token: 508,
            vision_start: 505,
            vision_end: 506,
        };
        assert_eq!(vision, wanted, "{dialect}");
        assert!(compiled.notes.iter().any(|note| note.contains("position_weight")), "{:?}", compiled.notes);
        let schedule = &compiled.assembled.schedule;
        let symbol = schedule.symbols.iter().find(|symbol| symbol.name == IMAGE_TOKENS).unwrap();
        assert_eq!((symbol.min, symbol.max), (1, 63));
        seen.push(families(&schedule.entries["vision"]));
    }
    // Nodes that do not depend on each other may come in another order.
    seen.iter_mut().for_each(|families| families.sort());
    assert!(seen.windows(2).all(|pair| pair[0] == pair[1]), "{seen:#?}");
    // Two blocks of eight, one for the patches, six for positions, the last norm and two for the merger.
    assert!(seen[0].len() <= 2 * 8 + 10, "{:?}", seen[0]);
}

#[test]
fn without_configuration_or_on_request_a_model_is_text_only() {
    let none = CompileOptions { max_image_patches: 0, ..CompileOptions::default() };
    let compiled = analyze(&model("genai015"), &none, &mut Silent).unwrap();
    assert!(
        compiled.manifest.model.vision.is_none()
            && !compiled.manifest.entries.contains(&"vision".to_string())
    );
    let compiled = analyze(&model("mobius_standard"), &CompileOptions::default(), &mut Silent).unwrap();
    assert!(compiled.manifest.model.vision.is_none());
    assert!(compiled.notes.iter().any(|note| note.contains("left out")), "{:?}", compiled.notes);
}

/// The file of a vision encoder with its graph changed.
fn changed(dialect: &str, file: &str, change: impl FnOnce(&mut GraphProto)) -> String {
    let dir = folder(dialect);
    let path = dir.path().join(file);
    let mut proto = ModelProto::decode(std::fs::read(&path).unwrap().as_slice()).unwrap();
    change(proto.graph.as_mut().unwrap());
    std::fs::write(&path, proto.encode_to_vec()).unwrap();
    encoder(dir.path()).unwrap_err().to_string()
}

/// A float in a graph that is one of these, by the name of the constant.
fn set_float(graph: &mut GraphProto, name: &str, value: f32) {
    let tensor = graph.initializer.iter_mut().find(|tensor| tensor.name() == name).unwrap();
    *tensor = TensorProto {
        name: Some(name.to_string()),
        data_type: Some(1),
        dims: tensor.dims.clone(),
        raw_data: Some(value.to_le_bytes().to_vec().into()),
        ..TensorProto::default()
    };
}

/// What a graph computes from the grid must be the runtime's tables, and an error says what it is instead.
#[test]
fn other_tables_are_refused() {
    let torch = "onnx/vision_encoder.onnx";
    // Interpolation over 6 instead of 7 intervals of a table of 8 rows.
    let error = changed("genai015", torch, |graph| set_float(graph, "scalar_tensor_default", 6.0));
    assert!(error.contains("node_sum_1") && error.contains("v.pos_embed.weight"), "{error}");
    // Angles that turn twice as fast: a product where the frequencies are read.
    let error = changed("genai015", torch, |graph| {
        let cos = graph.node.iter_mut().find(|node| node.op_type() == "Cos").unwrap();
        cos.op_type = Some("Tanh".to_string());
    });
    assert!(error.contains("node_unsqueeze_2") && error.contains("inv_freq"), "{error}");
    // Another block order: rows and columns change places.
    let error = changed("genai015", torch, |graph| {
        let stack = graph.node.iter_mut().find(|node| node.output[0] == "stack_1").unwrap();
        stack.input.swap(0, 3);
    });
    assert!(error.contains("node_sum_1") && error.contains("away"), "{error}");
    // Pixels that depend on the grid in another way than by their number.
    let error = changed("genai015", torch, |graph| {
        let last = graph.node.iter_mut().rev().find(|node| node.op_type() == "Gelu").unwrap();
        let (before, after) = (last.input[0].clone(), "scaled".to_string());
        last.input[0].clone_from(&after);
        let height = NodeProto {
            op_type: Some("Cast".into()),
            input: vec!["select_1".into()],
            output: vec!["height".into()],
            attribute: vec![AttributeProto {
                name: Some("to".into()),
                r#type: Some(2),
                i: Some(1),
                ..AttributeProto::default()
            }],
            ..NodeProto::default()
        };
        let product = NodeProto {
            op_type: Some("Mul".into()),
            input: vec![before, "height".into()],
            output: vec![after],
            ..NodeProto::default()
        };
        graph.node.extend([height, product]);
    });
    assert!(error.contains("node `scaled`") && error.contains("another number"), "{error}");
}

/// One block of Qwen3.5-0.8B's encoder, as the import leaves it: hidden 768, 12 heads of 64, an inner size of 3,072, features
/// of 1,024.
fn real_shape() -> Graph {
    use qwenc_ir::op::{RopeAttrs, RopeSource, attention};
    use qwenc_ir::{BinaryOp, DType, Dim, Expr, Op, Tensor, UnaryOp, ValueId, ValueType};

    const HIDDEN: usize = 768;
    let patches = Dim::sym(IMAGE_TOKENS) * Dim::constant(4);
    let mut graph = Graph::new("vision");
    let mut input =
        |name: &str, dtype: DType, shape: [Dim; 2]| graph.add_input(name, ValueType::new(dtype, shape));
    let pixels = input(vision::PIXELS, DType::F32, [patches.clone(), Dim::constant(1536)]);
    let index = input(vision::POSITION_INDEX, DType::I64, [patches.clone(), Dim::constant(4)]);
    let weight = input(vision::POSITION_WEIGHT, DType::F32, [patches.clone(), Dim::constant(4)]);
    let positions = input(vision::PATCH_POSITIONS, DType::I64, [Dim::constant(2), patches.clone()]);
    let segments = input(vision::SEGMENTS, DType::I64, [patches.clone(), Dim::constant(2)]);
    let constant = |graph: &mut Graph, shape: &[usize]| {
        let bytes = vec![0u8; shape.iter().product::<usize>() * 4];
        graph.add_const("weight", Tensor::new(DType::F32, shape.to_vec(), bytes.into()).unwrap())
    };
    let two = |op: BinaryOp| Op::Elementwise(Expr::Arg(0).binary(op, Expr::Arg(1)));
    let apply = |graph: &mut Graph, op: Op, inputs: &[ValueId]| graph.apply("node", op, inputs).unwrap();
    let reshape = |graph: &mut Graph, x: ValueId, shape: Vec<Dim>| {
        graph.apply("node", Op::Reshape { shape }, &[x]).unwrap()
    };
    let linear = |graph: &mut Graph, x: ValueId, k: usize, n: usize| {
        let (matrix, bias) = (constant(graph, &[n, k]), constant(graph, &[n]));
        let y = apply(graph, Op::MatMul { transpose_a: false, transpose_b: true }, &[x, matrix]);
        apply(graph, two(BinaryOp::Add), &[y, bias])
    };
    let norm = |graph: &mut Graph, x: ValueId| {
        let (scale, bias) = (constant(graph, &[HIDDEN]), constant(graph, &[HIDDEN]));
        apply(graph, Op::LayerNorm { eps: qwenc_ir::Real(1e-6) }, &[x, scale, bias])
    };
    let gelu = Op::Elementwise(
        Expr::Arg(0)
            .binary(BinaryOp::Mul, Expr::f32(1.0).binary(BinaryOp::Add, Expr::Arg(0).unary(UnaryOp::Erf))),
    );

    let mut x = linear(&mut graph, pixels, 1536, HIDDEN);
    let table = constant(&mut graph, &[2304, HIDDEN]);
    for tap in 0..4 {
        let column = Op::Slice { axis: 1, start: Dim::constant(tap), len: Dim::constant(1), step: 1 };
        let rows = apply(&mut graph, column.clone(), &[index]);
        let rows = reshape(&mut graph, rows, vec![patches.clone()]);
        let rows = apply(&mut graph, Op::Gather { axis: 0 }, &[table, rows]);
        let weight = apply(&mut graph, column, &[weight]);
        let part = apply(&mut graph, two(BinaryOp::Mul), &[rows, weight]);
        x = apply(&mut graph, two(BinaryOp::Add), &[x, part]);
    }
    let y = norm(&mut graph, x);
    let qkv = linear(&mut graph, y, HIDDEN, 3 * HIDDEN);
    let positions = reshape(&mut graph, positions, vec![Dim::constant(2), Dim::constant(1), patches.clone()]);
    let (cos, sin) = (constant(&mut graph, &[8192, 32]), constant(&mut graph, &[8192, 32]));
    let mut inputs = vec![None; attention::COUNT];
    for (at, slot) in [attention::Q, attention::K, attention::V].into_iter().enumerate() {
        let slice = Op::Slice { axis: 1, start: Dim::from(at * HIDDEN), len: Dim::from(HIDDEN), step: 1 };
        let part = apply(&mut graph, slice, &[qkv]);
        let heads = vec![Dim::constant(1), patches.clone(), Dim::constant(12), Dim::constant(64)];
        let mut part = reshape(&mut graph, part, heads);
        if slot != attention::V {
            let axes = (0..32u8).map(|slot| slot / 16).collect();
            let rope = RopeAttrs { rotary_dim: 64, interleaved: false, source: RopeSource::Table { axes } };
            part = apply(&mut graph, Op::Rope(rope), &[part, positions, cos, sin]);
        }
        inputs[slot] = Some(part);
    }
    inputs[attention::SEGMENTS] = Some(segments);
    let attrs = qwenc_ir::op::AttentionAttrs {
        scale: qwenc_ir::Real(0.125),
        causal: false,
        present: false,
        qk_norm: None,
        rope: None,
        gate: None,
    };
    let y = graph.add_node("attention", Op::Attention(Box::new(attrs)), &inputs).unwrap()[0];
    let y = reshape(&mut graph, y, vec![patches, Dim::from(HIDDEN)]);
    let y = linear(&mut graph, y, HIDDEN, HIDDEN);
    x = apply(&mut graph, two(BinaryOp::Add), &[x, y]);
    let y = norm(&mut graph, x);
    let y = linear(&mut graph, y, HIDDEN, 3072);
    let y = apply(&mut graph, gelu.clone(), &[y]);
    let y = linear(&mut graph, y, 3072, HIDDEN);
    x = apply(&mut graph, two(BinaryOp::Add), &[x, y]);
    let y = norm(&mut graph, x);
    let y = reshape(&mut graph, y, vec![Dim::sym(IMAGE_TOKENS), Dim::constant(3072)]);
    let y = linear(&mut graph, y, 3072, 3072);
    let y = apply(&mut graph, gelu, &[y]);
    let y = linear(&mut graph, y, 3072, 1024);
    graph.add_output(vision::FEATURES, y);
    qwenc::passes::run_passes(&qwenc::passes::raising_stateless(), &mut graph, &mut |_, _| ()).unwrap();
    qwenc::passes::run_passes(qwenc::passes::fusing(), &mut graph, &mut |_, _| ()).unwrap();
    graph
}

/// The default of 4,096 patches, and as many as the inner size of 3,072 floats lets a binding hold.
#[test]
fn the_real_shape_fits_every_device() {
    let graph = real_shape();
    for (tokens, arena) in [(1024, 128 << 20), (2730, 340 << 20)] {
        let symbols = Symbols::new([(IMAGE_TOKENS.to_string(), (1, tokens))]);
        let compiled = compile_graph(&graph, symbols, &mut BTreeMap::new()).unwrap();
        let schedule = &compiled.assembled.schedule;
        let entry = &schedule.entries["main"];
        bindings_fit(entry);
        let memory = compiled.manifest.memory;
        assert!(memory.arena_bytes <= arena, "{} bytes for {tokens} image tokens", memory.arena_bytes);
        let families = families(entry);
        assert!(families.len() <= 8 + 11, "{families:?}");
    }
    // Beyond that the bundle says what it asks of a device.
    let symbols = Symbols::new([(IMAGE_TOKENS.to_string(), (1, 4096))]);
    let compiled = compile_graph(&graph, symbols, &mut BTreeMap::new()).unwrap();
    assert_eq!(compiled.manifest.requirements.max_storage_binding_bytes, 16_384 * 3072 * 4);
}
