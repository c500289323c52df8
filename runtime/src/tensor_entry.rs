//! A tensor in the table of a safetensors file: of a shard, or of a golden file.

use crate::json::{FromJson, Json, Object, Trouble};

/// What the table says of a tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorEntry {
    /// Element type under the format's name, such as `F32`.
    pub dtype: String,
    /// Sides, in elements.
    pub shape: Vec<u64>,
    /// First byte behind the table, and the one after the last.
    pub data_offsets: [u64; 2],
}

impl FromJson for TensorEntry {
    fn read(json: &Json, trouble: &mut Trouble) -> Self {
        let mut object = Object::open(json, trouble);
        Self {
            dtype: object.field("dtype"),
            shape: object.field("shape"),
            data_offsets: object.field("data_offsets"),
        }
    }
}

impl TensorEntry {
    /// Whether the range is as long as shape and element type say.
    #[must_use]
    pub fn is_consistent(&self) -> bool {
        let element = match self.dtype.as_str() {
            "F64" | "I64" | "U64" => 8,
            "F32" | "I32" | "U32" => 4,
            "F16" | "BF16" | "I16" | "U16" => 2,
            "I8" | "U8" | "BOOL" => 1,
            _ => return false,
        };
        let bytes = self.shape.iter().try_fold(element, |bytes: u64, side| bytes.checked_mul(*side));
        let [start, end] = self.data_offsets;
        bytes.is_some() && bytes == end.checked_sub(start)
    }
}
