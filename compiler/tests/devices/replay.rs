//! Operators on devices: every graph in `replay/*.ir` is compiled to a bundle in memory, replayed on lavapipe and on
//! SwiftShader with temporaries and outputs poisoned, and compared with the reference interpreter.
//!
//! A file holds graphs in the text form of the IR. Comment lines in front of a graph say how to run it:
//!
//! ```text
//! // calls: tokens=17 past=0, tokens=1 past=17     consecutive calls; states carry over
//! // tolerance: 1e-5                               largest difference, relative to the largest value (default 2e-5)
//! // ints: 0..9                                    range of integer inputs (default 0..4)
//! ```

use std::collections::BTreeMap;
use std::path::Path;

use crate::common::dump_shaders;
use qwenc::model::transform::extract;
use qwenc::pipeline::compile_graph;
use qwenc_codegen_wgsl::{Elem, Symbols};
use qwenc_ir::interp::{HostTensor, Inputs, inputs_by_name, run};
use qwenc_ir::text::{ConstPool, parse};
use qwenc_ir::{Bindings, DType, Graph};
use qwenc_runtime::bundle::{Bundle, Memory};
use qwenc_runtime::engine::{Engine, LoadOptions};
use qwenc_runtime::gpu::Gpu;
use qwenc_runtime::gpu::probe::test_gpus;

/// One graph with its calls.
struct Case {
    name: String,
    text: String,
    calls: Vec<Bindings>,
    tolerance: f32,
    ints: (i64, i64),
}

fn cases(path: &Path) -> Vec<Case> {
    let text = std::fs::read_to_string(path).unwrap();
    let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
    let mut out: Vec<Case> = Vec::new();
    for (index, chunk) in text.split("\n}\n").map(str::trim).filter(|chunk| !chunk.is_empty()).enumerate() {
        let header = |key: &str| {
            chunk
                .lines()
                .find_map(|line| line.trim().strip_prefix("//")?.trim().strip_prefix(key)?.strip_prefix(':'))
        };
        let calls = header("calls").unwrap_or("").split(',').map(|call| {
            call.split_whitespace()
                .map(|pair| {
                    let (name, value) = pair.split_once('=').unwrap();
                    (name.to_string(), value.parse().unwrap())
                })
                .collect()
        });
        let range = |text: &str| {
            let (low, high) = text.trim().split_once("..").unwrap();
            (low.parse().unwrap(), high.parse().unwrap())
        };
        out.push(Case {
            name: format!("{stem}#{index}"),
            text: format!("{chunk}\n}}\n"),
            calls: calls.collect(),
            tolerance: header("tolerance").map_or(2e-5, |text| text.trim().parse().unwrap()),
            ints: header("ints").map_or((0, 4), range),
        });
    }
    out
}

/// SplitMix64: inputs are the same on every machine.
struct Rng(u64);

impl Rng {
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        f64::from(u32::try_from((z ^ (z >> 31)) >> 32).unwrap()) / f64::from(u32::MAX)
    }

    fn float(&mut self, low: f64, high: f64) -> f32 {
        #[expect(clippy::cast_possible_truncation, reason = "any nearby float will do")]
        let value = (low + self.unit() * (high - low)) as f32;
        value
    }

    fn int(&mut self, low: i64, high: i64) -> i64 {
        let span = u32::try_from(high - low).unwrap();
        #[expect(clippy::cast_possible_truncation, reason = "rounding down within a small range")]
        let step = (self.unit() * f64::from(span)) as i64;
        (low + step).min(high - 1)
    }
}

fn random_tensor(rng: &mut Rng, dtype: DType, shape: Vec<usize>, ints: (i64, i64)) -> HostTensor {
    let count: usize = shape.iter().product();
    match dtype {
        DType::F32 => {
            let values: Vec<f32> = (0..count).map(|_| rng.float(-1.5, 1.5)).collect();
            HostTensor::f32(shape, values).unwrap()
        }
        DType::Bool => {
            let values: Vec<bool> = (0..count).map(|_| rng.int(0, 2) != 0).collect();
            HostTensor::bool(shape, values).unwrap()
        }
        _ => {
            let values: Vec<i64> = (0..count).map(|_| rng.int(ints.0, ints.1)).collect();
            HostTensor::i64(shape, values).unwrap()
        }
    }
}

/// A tensor as the device holds it.
fn device_bytes(tensor: &HostTensor) -> Vec<u8> {
    if let Some(values) = tensor.as_f32() {
        values.iter().flat_map(|v| v.to_le_bytes()).collect()
    } else if let Some(values) = tensor.as_bool() {
        values.iter().flat_map(|v| u32::from(*v).to_le_bytes()).collect()
    } else {
        let values = tensor.as_int().unwrap();
        values.iter().flat_map(|v| i32::try_from(*v).unwrap().to_le_bytes()).collect()
    }
}

fn assert_equal(what: &str, expected: &HostTensor, got: &[u8], tolerance: f32) {
    let words: Vec<[u8; 4]> = got.chunks_exact(4).map(|word| word.try_into().unwrap()).collect();
    assert_eq!(words.len(), expected.len(), "{what}: number of elements");
    let Some(values) = expected.as_f32() else {
        assert_eq!(device_bytes(expected), got, "{what}");
        return;
    };
    let scale = values.iter().filter(|v| v.is_finite()).fold(1.0f32, |max, v| max.max(v.abs()));
    for (index, (want, word)) in values.iter().zip(words).enumerate() {
        let have = f32::from_le_bytes(word);
        let same = want.to_bits() == have.to_bits() || (want.is_nan() && have.is_nan()) || want == &have;
        let close = (want - have).abs() <= tolerance * scale;
        assert!(same || close, "{what}[{index}]: expected {want}, got {have} (scale {scale})");
    }
}

/// Symbols of all calls; the upper bounds are above every value used, so that sizes at run time are not the maxima.
fn symbols(calls: &[Bindings]) -> Symbols {
    let mut high: BTreeMap<String, i64> = BTreeMap::new();
    for (name, value) in calls.iter().flatten() {
        let bound = high.entry(name.clone()).or_insert(0);
        *bound = (*bound).max(value + 7);
    }
    Symbols::new(high.into_iter().map(|(name, high)| (name, (0, high))))
}

fn check(
    name: &str,
    graph: &Graph,
    calls: &[Bindings],
    tolerance: f32,
    inputs: &mut dyn FnMut(&Bindings) -> Inputs,
) {
    let mut files = BTreeMap::new();
    compile_graph(graph, symbols(calls), &mut files).unwrap_or_else(|error| panic!("{name}: {error}"));
    dump_shaders(&files);
    let bundle = Bundle::open(Memory { files }).unwrap_or_else(|error| panic!("{name}: {error}"));
    let load = LoadOptions { poison: true, ..LoadOptions::default() };
    let mut engines: Vec<Engine<Gpu>> = test_gpus()
        .unwrap()
        .into_iter()
        .map(|gpu| {
            Engine::load_with(&bundle, gpu, &load, &mut |_| ())
                .unwrap_or_else(|error| panic!("{name}: {error}"))
        })
        .collect();

    let mut states: Inputs = BTreeMap::new();
    for (call, bindings) in calls.iter().enumerate() {
        let mut given = inputs(bindings);
        for state in graph.states() {
            // States start as zeros, of length 0 where they grow.
            given.entry(state.past).or_insert_with(|| {
                let ty = &graph.value(state.past).ty;
                let shape: Vec<usize> = ty
                    .shape
                    .iter()
                    .map(|dim| usize::try_from(dim.eval(bindings).unwrap()).unwrap())
                    .collect();
                HostTensor::zeros(ty.dtype, shape).unwrap()
            });
        }
        given.extend(std::mem::take(&mut states));
        let expected = run(graph, bindings, &given).unwrap_or_else(|error| panic!("{name}: {error}"));
        for state in graph.states() {
            states.insert(state.past, expected.get(state.present).unwrap().clone());
        }
        for engine in &mut engines {
            let adapter = engine.backend().adapter().name.clone();
            let entry = engine.entry("main").unwrap().clone();
            for input in
                graph.inputs().iter().filter(|input| !graph.states().iter().any(|s| s.past == **input))
            {
                let data = device_bytes(&given[input]);
                if !data.is_empty() {
                    engine.write_input("main", &graph.value(*input).name, &data).unwrap();
                }
            }
            let values: Vec<(&str, u32)> = entry
                .symbols
                .iter()
                .map(|symbol| (symbol.as_str(), u32::try_from(bindings[symbol]).unwrap()))
                .collect();
            engine.replay("main", &values).unwrap_or_else(|error| panic!("{name} on {adapter}: {error}"));
            for (output, _) in graph.outputs() {
                let got = engine.read_output("main", output).unwrap();
                let what = format!("{name} on {adapter}, call {call}, `{output}`");
                assert_equal(&what, expected.output(output).unwrap(), &got, tolerance);
            }
        }
    }
}

fn run_file(stem: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/replay/{stem}.ir"));
    let cases = cases(&path);
    assert!(!cases.is_empty(), "{stem} holds no graph");
    for case in cases {
        let graph = parse(&case.text, &ConstPool::new())
            .unwrap_or_else(|error| panic!("{}: {error}\n{}", case.name, case.text));
        qwenc_ir::verify(&graph).unwrap_or_else(|errors| panic!("{}: {errors:?}", case.name));
        let mut rng = Rng(11);
        let mut inputs = |bindings: &Bindings| -> Inputs {
            let states: Vec<_> = graph.states().iter().map(|state| state.past).collect();
            let free = graph.inputs().iter().filter(|input| !states.contains(input));
            free.map(|input| {
                let ty = &graph.value(*input).ty;
                let shape = ty
                    .shape
                    .iter()
                    .map(|dim| usize::try_from(dim.eval(bindings).unwrap()).unwrap())
                    .collect();
                (*input, random_tensor(&mut rng, ty.dtype, shape, case.ints))
            })
            .collect()
        };
        check(&case.name, &graph, &case.calls, case.tolerance, &mut inputs);
    }
}

macro_rules! files {
    ($($stem:ident),* $(,)?) => {
        $(#[test] fn $stem() { run_file(stringify!($stem)); })*

        /// A file that no test runs would be a check that skips itself.
        #[test]
        fn every_file_is_run() {
            let known = [$(stringify!($stem)),*];
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/replay");
            for entry in std::fs::read_dir(folder).unwrap() {
                let stem = entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned();
                assert!(known.contains(&stem.as_str()), "tests/replay/{stem}.ir is run by no test");
            }
        }
    };
}

files!(attention, conv, delta, linear, norm, pointwise, quantized, rearrange, reduce, rope);

/// Random graphs: whatever the generator puts together must give the interpreter's results on devices. Every computed
/// value is an output, so that a failure names the first node that is wrong; states become plain inputs and outputs,
/// because theirs start with content.
#[test]
fn random_graphs() {
    for seed in 0..10 {
        let random = qwenc_ir::random::random_graph(seed, 14);
        let graph = &random.graph;
        let mut outputs = Vec::new();
        for node in graph.topo_order().unwrap() {
            for value in graph.node_outputs(node) {
                if Elem::of(graph.value(value).ty.dtype).is_some() {
                    outputs.push((format!("{}/{}", value.index(), graph.node(node).op.name()), value));
                }
            }
        }
        let plain = extract(graph, "plain", &outputs, &[], false, &BTreeMap::new()).unwrap();
        let named = random.inputs.iter().map(|(id, tensor)| (&graph.value(*id).name, tensor.clone()));
        let read: Vec<_> =
            named.filter(|(name, _)| plain.inputs().iter().any(|i| plain.value(*i).name == **name)).collect();
        let given = inputs_by_name(&plain, read).unwrap();
        check(&format!("random {seed}"), &plain, std::slice::from_ref(&random.bindings), 1e-4, &mut |_| {
            given.clone()
        });
    }
}
