//! From a `TensorProto` to a tensor.

use bytes::Bytes;
use qwenc_ir::{DType, Tensor};

use super::error::{self, TensorError};
use super::external::ExternalFiles;
use super::proto::TensorProto;
use super::proto::tensor_proto::{DataLocation, DataType};

/// The IR's element type for an ONNX one; `Err` names a type that has none.
pub(super) fn dtype_of(data_type: i32) -> Result<DType, String> {
    let known = DataType::try_from(data_type).map_err(|_| format!("number {data_type}"))?;
    Ok(match known {
        DataType::Float => DType::F32,
        DataType::Float16 => DType::F16,
        DataType::Bfloat16 => DType::Bf16,
        DataType::Double => DType::F64,
        DataType::Int64 => DType::I64,
        DataType::Int32 => DType::I32,
        DataType::Int16 => DType::I16,
        DataType::Int8 => DType::I8,
        DataType::Uint64 => DType::U64,
        DataType::Uint32 => DType::U32,
        DataType::Uint16 => DType::U16,
        DataType::Uint8 => DType::U8,
        DataType::Int4 => DType::I4,
        DataType::Uint4 => DType::U4,
        DataType::Int2 => DType::I2,
        DataType::Uint2 => DType::U2,
        DataType::Bool => DType::Bool,
        other => return Err(other.as_str_name().to_owned()),
    })
}

/// Reads type, dimensions and values, and holds them against each other.
pub(super) fn decode(tensor: &TensorProto, external: &ExternalFiles) -> Result<Tensor, TensorError> {
    let dtype = dtype_of(tensor.data_type())
        .map_err(|dtype| TensorError::ElementType { tensor: error::name(tensor.name()), dtype })?;
    let (shape, wanted) = layout(tensor, dtype)?;
    let content = |reason: String| TensorError::Content {
        tensor: error::name(tensor.name()),
        reason: error::message(&reason),
    };
    if tensor.segment.is_some() {
        return Err(content("it is stored in segments, which is not supported".to_owned()));
    }
    let bytes = if tensor.data_location() == DataLocation::External {
        if tensor.raw_data.is_some() || typed_bytes(tensor, dtype).1 > 0 {
            return Err(content("it has both external and inline values".to_owned()));
        }
        external.bytes(tensor, wanted)?
    } else {
        inline(tensor, dtype).map_err(content)?
    };
    if bytes.len() != wanted {
        return Err(content(format!(
            "{dtype} and dimensions {shape:?} take {wanted} bytes, but {} are stored",
            bytes.len()
        )));
    }
    Tensor::new(dtype, shape, bytes).map_err(|error| content(error.to_string()))
}

/// Shape and number of bytes.
fn layout(tensor: &TensorProto, dtype: DType) -> Result<(Vec<usize>, usize), TensorError> {
    let refuse = |reason| TensorError::Dims {
        tensor: error::name(tensor.name()),
        dims: tensor.dims.iter().copied().take(16).collect(),
        reason,
    };
    if tensor.dims.len() > qwenc_ir::infer::MAX_RANK {
        return Err(refuse("more than 8 dimensions are not supported"));
    }
    let mut shape = Vec::with_capacity(tensor.dims.len());
    for dim in &tensor.dims {
        shape.push(usize::try_from(*dim).map_err(|_| refuse("a dimension is negative"))?);
    }
    // Zeros must not hide an overflow: the product of the others is what views of the tensor compute with.
    let mut count = 1usize;
    for dim in &shape {
        count = count.checked_mul((*dim).max(1)).ok_or_else(|| refuse("the number of elements overflows"))?;
    }
    if shape.contains(&0) {
        count = 0;
    }
    let wanted = dtype
        .bytes_for(count)
        .filter(|bytes| isize::try_from(*bytes).is_ok())
        .ok_or_else(|| refuse("the number of bytes overflows"))?;
    Ok((shape, wanted))
}

fn inline(tensor: &TensorProto, dtype: DType) -> Result<Bytes, String> {
    let (typed, entries) = typed_bytes(tensor, dtype);
    let all_entries = tensor.float_data.len()
        + tensor.int32_data.len()
        + tensor.int64_data.len()
        + tensor.double_data.len()
        + tensor.uint64_data.len()
        + tensor.string_data.len();
    if all_entries != entries {
        return Err(format!("it has values in a field that {dtype} does not use"));
    }
    match &tensor.raw_data {
        Some(_) if entries > 0 => Err("it has both raw and typed values".to_owned()),
        Some(raw) => Ok(raw.clone()),
        None => Ok(typed),
    }
}

/// The little-endian bytes of the values in the typed field that belongs to `dtype`, and how many entries it has.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "narrow types are stored in the low bits of wide fields, by the format's definition"
)]
fn typed_bytes(tensor: &TensorProto, dtype: DType) -> (Bytes, usize) {
    let words = &tensor.int32_data;
    let bytes: Vec<u8> = match dtype {
        DType::F32 => tensor.float_data.iter().flat_map(|v| v.to_le_bytes()).collect(),
        DType::F64 => tensor.double_data.iter().flat_map(|v| v.to_le_bytes()).collect(),
        DType::I64 => tensor.int64_data.iter().flat_map(|v| v.to_le_bytes()).collect(),
        DType::U64 => tensor.uint64_data.iter().flat_map(|v| v.to_le_bytes()).collect(),
        DType::U32 => tensor.uint64_data.iter().flat_map(|v| (*v as u32).to_le_bytes()).collect(),
        DType::I32 => words.iter().flat_map(|v| v.to_le_bytes()).collect(),
        DType::F16 | DType::Bf16 | DType::I16 | DType::U16 => {
            words.iter().flat_map(|v| (*v as u16).to_le_bytes()).collect()
        }
        DType::I8 | DType::U8 | DType::Bool | DType::I4 | DType::U4 | DType::I2 | DType::U2 => {
            words.iter().map(|v| *v as u8).collect()
        }
    };
    let entries = match dtype {
        DType::F32 => tensor.float_data.len(),
        DType::F64 => tensor.double_data.len(),
        DType::I64 => tensor.int64_data.len(),
        DType::U64 | DType::U32 => tensor.uint64_data.len(),
        _ => words.len(),
    };
    (bytes.into(), entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proto(data_type: DataType, dims: &[i64]) -> TensorProto {
        TensorProto {
            name: Some("t".to_owned()),
            data_type: Some(data_type.into()),
            dims: dims.to_vec(),
            ..TensorProto::default()
        }
    }

    fn read(tensor: &TensorProto) -> Result<Tensor, TensorError> {
        decode(tensor, &ExternalFiles::none())
    }

    #[test]
    fn every_typed_field() {
        let floats = TensorProto { float_data: vec![1.5, -2.0], ..proto(DataType::Float, &[2]) };
        assert_eq!(read(&floats).unwrap().to_f32().unwrap(), [1.5, -2.0]);
        let doubles = TensorProto { double_data: vec![0.25], ..proto(DataType::Double, &[]) };
        assert_eq!(read(&doubles).unwrap().to_f32().unwrap(), [0.25]);
        let longs = TensorProto { int64_data: vec![-1], ..proto(DataType::Int64, &[1]) };
        assert_eq!(read(&longs).unwrap().to_i64().unwrap(), [-1]);
        let unsigned = TensorProto { uint64_data: vec![4_000_000_000], ..proto(DataType::Uint32, &[1]) };
        assert_eq!(read(&unsigned).unwrap().to_i64().unwrap(), [4_000_000_000]);
        let wide = TensorProto { uint64_data: vec![7], ..proto(DataType::Uint64, &[1]) };
        assert_eq!(read(&wide).unwrap().to_i64().unwrap(), [7]);
        for (data_type, word, value) in [
            (DataType::Float16, 0x3C00, 1.0),
            (DataType::Bfloat16, 0x3F80, 1.0),
            (DataType::Int8, -3, -3.0),
            (DataType::Uint8, 200, 200.0),
            (DataType::Int16, -300, -300.0),
            (DataType::Uint16, 40_000, 40_000.0),
            (DataType::Int32, -7, -7.0),
            (DataType::Bool, 1, 1.0),
        ] {
            let tensor = TensorProto { int32_data: vec![word], ..proto(data_type, &[1]) };
            assert_eq!(read(&tensor).unwrap().to_f32().unwrap(), [value], "{data_type:?}");
        }
        let nibbles = TensorProto { int32_data: vec![0xF8, 0x07], ..proto(DataType::Int4, &[3]) };
        assert_eq!(read(&nibbles).unwrap().to_i64().unwrap(), [-8, -1, 7]);
        let nibbles = TensorProto { int32_data: vec![0xF8, 0x07], ..proto(DataType::Uint4, &[3]) };
        assert_eq!(read(&nibbles).unwrap().to_i64().unwrap(), [8, 15, 7]);
        let pairs = TensorProto { int32_data: vec![0b11_10_01_00, 0b10], ..proto(DataType::Int2, &[5]) };
        assert_eq!(read(&pairs).unwrap().to_i64().unwrap(), [0, 1, -2, -1, -2]);
        let pairs = TensorProto { int32_data: vec![0b11_10_01_00, 0b10], ..proto(DataType::Uint2, &[5]) };
        assert_eq!(read(&pairs).unwrap().to_i64().unwrap(), [0, 1, 2, 3, 2]);
    }

    #[test]
    fn raw_data_shares_the_buffer() {
        let raw = Bytes::from(vec![0u8, 0, 128, 63]);
        let tensor = TensorProto { raw_data: Some(raw.clone()), ..proto(DataType::Float, &[1]) };
        let read = read(&tensor).unwrap();
        assert_eq!(read.to_f32().unwrap(), [1.0]);
        assert_eq!(read.bytes().as_ptr(), raw.as_ptr());
    }

    #[test]
    fn wrong_content_is_refused() {
        let refused = |tensor: TensorProto, message: &str| {
            let error = read(&tensor).unwrap_err().to_string();
            assert!(error.contains("`t`") && error.contains(message), "{error}");
        };
        refused(TensorProto { float_data: vec![1.0], ..proto(DataType::Float, &[2]) }, "take 8 bytes, but 4");
        refused(proto(DataType::Float, &[2]), "take 8 bytes, but 0");
        refused(TensorProto { int64_data: vec![1], ..proto(DataType::Float, &[1]) }, "does not use");
        refused(
            TensorProto {
                float_data: vec![1.0],
                raw_data: Some(Bytes::from_static(&[0; 4])),
                ..proto(DataType::Float, &[1])
            },
            "both raw and typed",
        );
        refused(proto(DataType::Float, &[-1]), "negative");
        refused(proto(DataType::Float, &[1; 9]), "more than 8");
        refused(proto(DataType::Float, &[i64::MAX, 4]), "overflows");
        refused(proto(DataType::Float, &[i64::MAX, 4, 0]), "overflows");
        refused(proto(DataType::Double, &[i64::MAX / 4]), "overflows");
        refused(proto(DataType::String, &[1]), "STRING");
        refused(proto(DataType::Float8e4m3fn, &[1]), "FLOAT8E4M3FN");
        let tensor = TensorProto { data_type: Some(99), ..proto(DataType::Float, &[1]) };
        refused(tensor, "number 99");
        refused(
            TensorProto {
                data_location: Some(DataLocation::External.into()),
                ..proto(DataType::Float, &[1])
            },
            "no location",
        );
    }

    #[test]
    fn empty_tensors_are_fine() {
        assert!(read(&proto(DataType::Float, &[0, 4])).unwrap().is_empty());
    }
}
