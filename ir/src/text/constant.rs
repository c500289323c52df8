//! Constants in text: `dense(...)`, `seeded(...)` and `extern "..."`.

use bytes::Bytes;

use crate::dtype::DType;
use crate::interp::{Data, HostTensor};
use crate::quote::quoted;
use crate::rng::Rng;
use crate::tensor::Tensor;

/// Constants up to this size are written inline.
const MAX_DENSE: usize = 16;

/// The constant behind the equals sign: inline when it is small and reads back bit by bit. Without `hashed`, others
/// are not read.
pub(super) fn show(tensor: &Tensor, hashed: bool) -> String {
    match dense(tensor) {
        Some(values) => format!("dense({})", values.join(", ")),
        None if hashed => format!("extern {}", quoted(&tensor.content_hash())),
        None => "extern \"...\"".into(),
    }
}

fn dense(tensor: &Tensor) -> Option<Vec<String>> {
    if tensor.len() > MAX_DENSE {
        return None;
    }
    let values: Vec<String> = match tensor.dtype() {
        DType::F64 => {
            let words = tensor.bytes().chunks_exact(8).map(|word| word.try_into().unwrap_or_default());
            words.map(|word| short(format!("{:?}", f64::from_le_bytes(word)))).collect()
        }
        DType::U64 => tensor.to_i64().ok()?.iter().map(|value| value.cast_unsigned().to_string()).collect(),
        DType::Bool => tensor.to_i64().ok()?.iter().map(|value| (*value != 0).to_string()).collect(),
        dtype if dtype.is_float() => {
            tensor.to_f32().ok()?.iter().map(|value| short(format!("{value:?}"))).collect()
        }
        _ => tensor.to_i64().ok()?.iter().map(ToString::to_string).collect(),
    };
    // Odd bytes (a NaN with a payload, a bool of 2, a used half of the last byte) do not read back: not inline then.
    let words: Vec<&str> = values.iter().map(String::as_str).collect();
    let same = from_dense(tensor.dtype(), tensor.shape().to_vec(), &words).is_ok_and(|back| back == *tensor);
    same.then_some(values)
}

fn short(mut float: String) -> String {
    if float.ends_with(".0") {
        float.truncate(float.len() - 2);
    }
    match float.as_str() {
        "NaN" => "nan".into(),
        _ => float,
    }
}

/// The tensor of inline values, each a word such as `-1.5`, `nan` or `true`.
pub(super) fn from_dense(dtype: DType, shape: Vec<usize>, words: &[&str]) -> Result<Tensor, String> {
    let refuse = |word: &str| format!("`{word}` is no {dtype}");
    let host = |data| {
        let tensor = HostTensor::new(shape.clone(), data).map_err(|error| error.to_string())?;
        tensor.to_tensor(dtype).map_err(|error| error.to_string())
    };
    match dtype {
        DType::F64 => {
            let values = words.iter().map(|word| word.parse::<f64>().map_err(|_| refuse(word)));
            let bytes: Vec<[u8; 8]> =
                values.map(|value| value.map(f64::to_le_bytes)).collect::<Result<_, _>>()?;
            Tensor::new(dtype, shape, Bytes::from(bytes.concat())).map_err(|error| error.to_string())
        }
        DType::Bool => {
            let values = words.iter().map(|word| word.parse::<bool>().map_err(|_| refuse(word)));
            host(Data::Bool(values.collect::<Result<_, _>>()?))
        }
        _ if dtype.is_float() => {
            let values = words.iter().map(|word| word.parse::<f32>().map_err(|_| refuse(word)));
            host(Data::F32(values.collect::<Result<_, _>>()?))
        }
        _ => {
            let parse = |word: &&str| match dtype {
                DType::U64 => word.parse::<u64>().map(u64::cast_signed).map_err(|_| refuse(word)),
                _ => word.parse::<i64>().map_err(|_| refuse(word)),
            };
            let values: Vec<i64> = words.iter().map(parse).collect::<Result<_, _>>()?;
            let tensor = host(Data::Int(dtype, values.clone()))?;
            match tensor.to_i64() {
                Ok(stored) if stored == values => Ok(tensor),
                _ => Err(format!("a value is outside of {dtype}")),
            }
        }
    }
}

/// Pseudo-random values, the same on every machine: floats in `low..high`, integers in `low..=high`, fair booleans.
pub(super) fn seeded(
    dtype: DType,
    shape: Vec<usize>,
    seed: u64,
    range: Option<(f64, f64)>,
) -> Result<Tensor, String> {
    let count = crate::tensor::element_count(&shape).ok_or("too many elements")?;
    let mut rng = Rng::new(seed);
    let data = match dtype {
        DType::Bool => Data::Bool((0..count).map(|_| rng.one_in(2)).collect()),
        _ if dtype.is_float() => {
            let (low, high) = range.unwrap_or((-1.0, 1.0));
            Data::F32((0..count).map(|_| rng.float(low, high)).collect())
        }
        _ => {
            let (low, high) = range.unwrap_or((0.0, 7.0));
            Data::Int(dtype, (0..count).map(|_| rng.int(low, high)).collect())
        }
    };
    let host = HostTensor::new(shape, data).map_err(|error| error.to_string())?;
    host.to_tensor(dtype).map_err(|error| error.to_string())
}
