//! `qwenc run`: the raw replay of one entry point on tensors from a file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use miette::{IntoDiagnostic, WrapErr, miette};
use qwenc_runtime::format::{DType, Expr, Symbol};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use super::device::{DeviceArgs, open};
use super::out::say;

/// Largest input file, in bytes.
const MAX_INPUT: u64 = 4 << 30;

/// Arguments of `run`.
#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// Folder of the bundle
    bundle: PathBuf,
    /// Entry point to replay
    #[arg(long, default_value = "main")]
    entry: String,
    /// Input tensors by name (safetensors), converted to the device's f32, i32 or u32; their shapes give the symbols
    #[arg(long)]
    input: PathBuf,
    /// Where to write the output tensors (safetensors)
    #[arg(long)]
    output: PathBuf,
    /// Value of a symbol that no input's shape gives
    #[arg(long = "set", value_name = "SYMBOL=N", value_parser = super::parse_size)]
    symbols: Vec<(String, i64)>,
    #[command(flatten)]
    device: DeviceArgs,
}

/// Replays once and writes every output.
pub(super) fn execute(args: &RunArgs) -> miette::Result<ExitCode> {
    let content = read(&args.input)?;
    let tensors = SafeTensors::deserialize(&content)
        .into_diagnostic()
        .wrap_err_with(|| format!("{} is no safetensors file", args.input.display()))?;
    let mut engine = open(&args.bundle, &args.device, true)?;
    let entry = engine.entry(&args.entry).into_diagnostic()?.clone();

    let mut symbols: BTreeMap<String, i64> = args.symbols.iter().cloned().collect();
    let mut inputs = Vec::new();
    for (name, slot) in &entry.inputs {
        let tensor = tensors.tensor(name).map_err(|_| {
            let wanted: Vec<&String> = entry.inputs.keys().collect();
            miette!(
                "{} has no tensor `{name}`; entry `{}` wants {wanted:?}",
                args.input.display(),
                args.entry
            )
        })?;
        bind_shape(name, &slot.shape, tensor.shape(), &mut symbols)?;
        inputs.push((name, to_device(name, &tensor, slot.dtype)?));
    }
    let mut values = Vec::new();
    for symbol in engine.schedule().symbols.iter().filter(|symbol| entry.symbols.contains(&symbol.name)) {
        values.push((symbol.name.clone(), symbol_value(symbol, &symbols)?));
    }
    let values: Vec<(&str, u32)> = values.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    for (name, data) in inputs.iter().filter(|(_, data)| !data.is_empty()) {
        engine.write_input(&args.entry, name, data).into_diagnostic()?;
    }
    engine.replay(&args.entry, &values).into_diagnostic()?;

    let mut outputs = Vec::new();
    for (name, slot) in &entry.outputs {
        let bytes = engine.read_output(&args.entry, name).into_diagnostic()?;
        let shape = engine.output_shape(&args.entry, name).into_diagnostic()?;
        let shape: Vec<usize> = shape.into_iter().filter_map(|dim| usize::try_from(dim).ok()).collect();
        outputs.push((name.clone(), slot.dtype, shape, bytes));
    }
    write(&args.output, &outputs)?;
    for (name, dtype, shape, _) in &outputs {
        say!("{name}: {dtype:?}{shape:?}");
    }
    Ok(ExitCode::SUCCESS)
}

/// The value of a symbol, within the bounds that the bundle was compiled for.
fn symbol_value(symbol: &Symbol, values: &BTreeMap<String, i64>) -> miette::Result<u32> {
    let name = &symbol.name;
    let value = values.get(name).copied().ok_or_else(|| {
        miette!(help = format!("give it with --set {name}=N"), "symbol `{name}` has no value")
    })?;
    u32::try_from(value).ok().filter(|value| (symbol.min..=symbol.max).contains(value)).ok_or_else(|| {
        miette!(
            help = format!("compile with --max {name}={value} to allow it"),
            "`{name}` is {value}, but the bundle was compiled for {} to {}",
            symbol.min,
            symbol.max
        )
    })
}

fn read(path: &Path) -> miette::Result<Vec<u8>> {
    let describe = || format!("reading {}", path.display());
    let size = std::fs::metadata(path).into_diagnostic().wrap_err_with(describe)?.len();
    if size > MAX_INPUT {
        return Err(miette!("{} has {size} bytes; at most {MAX_INPUT} are read", path.display()));
    }
    std::fs::read(path).into_diagnostic().wrap_err_with(describe)
}

/// Compares a tensor's shape with the entry point's, learning the values of symbols.
fn bind_shape(
    name: &str,
    wanted: &[Expr],
    given: &[usize],
    symbols: &mut BTreeMap<String, i64>,
) -> miette::Result<()> {
    if wanted.len() != given.len() {
        return Err(miette!(
            "`{name}` has rank {}, the entry point wants rank {}",
            given.len(),
            wanted.len()
        ));
    }
    for (axis, (expr, size)) in wanted.iter().zip(given).enumerate() {
        let size = i64::try_from(*size).into_diagnostic()?;
        if let Expr::Symbol(symbol) = expr {
            symbols.entry(symbol.clone()).or_insert(size);
        }
        let value = expr.eval(&|symbol| symbols.get(symbol).copied()).into_diagnostic()?;
        if value != size {
            return Err(miette!(
                "axis {axis} of `{name}` has {size} elements, the entry point wants {value}"
            ));
        }
    }
    Ok(())
}

/// The tensor's bytes as the device holds them.
fn to_device(name: &str, tensor: &TensorView<'_>, wanted: DType) -> miette::Result<Vec<u8>> {
    let data = tensor.data();
    let wide = |word: &[u8]| word.try_into().map(i64::from_le_bytes).ok();
    let halves = |of: fn([u8; 2]) -> f32| -> Vec<u8> {
        data.as_chunks::<2>().0.iter().flat_map(|word| of(*word).to_le_bytes()).collect()
    };
    let converted: Option<Vec<u8>> = match (tensor.dtype(), wanted) {
        (Dtype::F32, DType::F32) | (Dtype::I32, DType::I32) | (Dtype::U32, DType::U32) => Some(data.to_vec()),
        (Dtype::I64, DType::I32) => data
            .chunks_exact(8)
            .map(|word| wide(word).and_then(|v| i32::try_from(v).ok()).map(i32::to_le_bytes))
            .collect::<Option<Vec<_>>>()
            .map(|words| words.concat()),
        (Dtype::F16, DType::F32) => Some(halves(|word| half::f16::from_le_bytes(word).into())),
        (Dtype::BF16, DType::F32) => Some(halves(|word| half::bf16::from_le_bytes(word).into())),
        #[expect(clippy::cast_possible_truncation, reason = "devices compute in f32")]
        (Dtype::F64, DType::F32) => {
            let words = data.as_chunks::<8>().0.iter();
            Some(words.flat_map(|word| (f64::from_le_bytes(*word) as f32).to_le_bytes()).collect())
        }
        (Dtype::I8, DType::I32) => {
            Some(data.iter().flat_map(|v| i32::from(v.cast_signed()).to_le_bytes()).collect())
        }
        (Dtype::I16, DType::I32) => {
            let words = data.as_chunks::<2>().0.iter();
            Some(words.flat_map(|word| i32::from(i16::from_le_bytes(*word)).to_le_bytes()).collect())
        }
        (Dtype::U16, DType::U32) => {
            let words = data.as_chunks::<2>().0.iter();
            Some(words.flat_map(|word| u32::from(u16::from_le_bytes(*word)).to_le_bytes()).collect())
        }
        (Dtype::BOOL | Dtype::U8, DType::U32) => {
            Some(data.iter().flat_map(|v| u32::from(*v).to_le_bytes()).collect())
        }
        _ => None,
    };
    converted.ok_or_else(|| {
        miette!(
            "`{name}` is {:?}, or has values, that do not convert to the device's {wanted:?}",
            tensor.dtype()
        )
    })
}

fn write(path: &Path, outputs: &[(String, DType, Vec<usize>, Vec<u8>)]) -> miette::Result<()> {
    let mut views = Vec::new();
    for (name, dtype, shape, bytes) in outputs {
        let dtype = match dtype {
            DType::F32 => Dtype::F32,
            DType::I32 => Dtype::I32,
            DType::U32 => Dtype::U32,
        };
        views.push((name.clone(), TensorView::new(dtype, shape.clone(), bytes).into_diagnostic()?));
    }
    let bytes = safetensors::serialize(views, None).into_diagnostic()?;
    std::fs::write(path, bytes).into_diagnostic().wrap_err_with(|| format!("writing {}", path.display()))
}
