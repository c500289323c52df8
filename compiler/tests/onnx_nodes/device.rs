//! Compiling a case as a user would, and replaying it.

use std::collections::BTreeMap;
use std::path::Path;

use qwenc::pipeline::{CompileOptions, Silent, compile_to};
use qwenc_runtime::bundle::{Bundle, Memory};
use qwenc_runtime::engine::{Engine, LoadOptions};
use qwenc_runtime::format::DType;
use qwenc_runtime::gpu::Gpu;
use qwenc_runtime::gpu::probe::test_gpus;
use safetensors::tensor::Dtype;

use super::archive::{Case, Data, Numbers};
use super::common::dump_shaders;

/// Cases of which ONNX's numbers are rounded to four digits.
const ROUNDED: [&str; 1] = ["averagepool_2d_ceil_last_window_starts_on_pad"];

/// ONNX's own runner takes 1e-3 and 1e-7 for every type. f32 is held to more here.
fn tolerance(case: &str, dtype: Dtype) -> (f64, f64) {
    match dtype {
        Dtype::F32 if !ROUNDED.contains(&case) => (1e-4, 1e-7),
        // Two units in the last place, as in ONNX's runner.
        Dtype::BF16 => (1.0 / 64.0, 1e-7),
        _ => (1e-3, 1e-7),
    }
}

/// What became of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Passed,
    /// It does not compile; why.
    Refused(String),
    /// It compiles, and computes something else; where first.
    Differs(String),
}

/// Compiles a case with everything that `qwenc compile case.onnx` does, and replays it on both drivers.
pub fn run(case: &Case) -> Outcome {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("case.onnx");
    std::fs::write(&path, &case.model).unwrap();
    let files = match compile(&path) {
        Ok(files) => files,
        Err(message) => return Outcome::Refused(message),
    };
    dump_shaders(&files);
    let Some((inputs, outputs)) = &case.data else {
        return Outcome::Differs("it compiles now; convert.py must give it data".into());
    };
    let bundle = Bundle::open(Memory { files }).unwrap();
    let load = LoadOptions { poison: true, ..LoadOptions::default() };
    for gpu in test_gpus().unwrap() {
        let name = gpu.adapter().name.clone();
        let mut engine = Engine::load_with(&bundle, gpu, &load, &mut |_| ())
            .unwrap_or_else(|error| panic!("{}: {error}", case.name));
        if let Err(difference) = replay(&case.name, &mut engine, inputs, outputs) {
            return Outcome::Differs(format!("{name}: {difference}"));
        }
    }
    Outcome::Passed
}

fn compile(path: &Path) -> Result<BTreeMap<String, Vec<u8>>, String> {
    let mut files = BTreeMap::new();
    let options = CompileOptions { only: true, ..CompileOptions::default() };
    let compiled = compile_to(path, &mut files, &options, &mut Silent);
    compiled.map(|_| files).map_err(|error| error.to_string())
}

fn replay(
    case: &str,
    engine: &mut Engine<Gpu>,
    inputs: &BTreeMap<String, Data>,
    outputs: &BTreeMap<String, Data>,
) -> Result<(), String> {
    let entry = engine.entry("main").map_err(|error| error.to_string())?.clone();
    for (name, slot) in &entry.inputs {
        let data = inputs.get(name).ok_or_else(|| format!("`{name}` is no operand of the test"))?;
        let bytes = to_device(data, slot.dtype).ok_or_else(|| format!("`{name}` does not fit 32 bits"))?;
        if !bytes.is_empty() {
            engine.write_input("main", name, &bytes).map_err(|error| error.to_string())?;
        }
    }
    engine.replay("main", &[]).map_err(|error| error.to_string())?;
    if entry.outputs.len() != outputs.len() {
        return Err(format!("{} outputs instead of {}", entry.outputs.len(), outputs.len()));
    }
    for (name, want) in outputs {
        let shape = engine.output_shape("main", name).map_err(|error| error.to_string())?;
        let wanted: Vec<u64> = want.shape.iter().map(|size| u64::try_from(*size).unwrap()).collect();
        if shape != wanted {
            return Err(format!("`{name}` is {shape:?}, expected {wanted:?}"));
        }
        let got = engine.read_output("main", name).map_err(|error| error.to_string())?;
        compare(want, tolerance(case, want.dtype), entry.outputs[name].dtype, &got)
            .map_err(|difference| format!("`{name}`{difference}"))?;
    }
    Ok(())
}

/// A tensor as the device holds it; `None` when a number does not fit.
fn to_device(data: &Data, wanted: DType) -> Option<Vec<u8>> {
    #[expect(clippy::cast_possible_truncation, reason = "devices hold every float as f32")]
    let float = |value: f64| (value as f32).to_le_bytes();
    let words: Option<Vec<[u8; 4]>> = match (data.numbers(), wanted) {
        (Numbers::Floats(values), DType::F32) => Some(values.into_iter().map(float).collect()),
        (Numbers::Ints(values), DType::I32) => {
            values.into_iter().map(|value| Some(i32::try_from(value).ok()?.to_le_bytes())).collect()
        }
        (Numbers::Ints(values), DType::U32) => {
            values.into_iter().map(|value| Some(u32::try_from(value).ok()?.to_le_bytes())).collect()
        }
        _ => None,
    };
    words.map(|words| words.concat())
}

/// Where a result first differs from what it should be.
fn compare(want: &Data, tolerance: (f64, f64), have: DType, got: &[u8]) -> Result<(), String> {
    let words = got.as_chunks::<4>().0;
    match want.numbers() {
        Numbers::Floats(values) if have == DType::F32 => {
            let (relative, absolute) = tolerance;
            for (index, (want, word)) in values.iter().zip(words).enumerate() {
                let have = f64::from(f32::from_le_bytes(*word));
                let close = (want - have).abs() <= absolute + relative * want.abs();
                #[expect(clippy::float_cmp, reason = "infinities are equal or not")]
                let same = *want == have || (want.is_nan() && have.is_nan());
                if !close && !same {
                    return Err(format!("[{index}] is {have:e}, expected {want:e}"));
                }
            }
            Ok(())
        }
        Numbers::Ints(values) if have != DType::F32 => {
            for (index, (want, word)) in values.iter().zip(words).enumerate() {
                let have = match have {
                    DType::I32 => i128::from(i32::from_le_bytes(*word)),
                    _ => i128::from(u32::from_le_bytes(*word)),
                };
                if *want != have {
                    return Err(format!("[{index}] is {have}, expected {want}"));
                }
            }
            Ok(())
        }
        _ => Err(format!(" is {have:?} on the device, expected {:?}", want.dtype)),
    }
}
