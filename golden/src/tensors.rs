//! A safetensors file in memory: a table in JSON, then the bytes of all tensors.

use qwenc_runtime::json::{FromJson, Json};
use qwenc_runtime::order::sorted;
use qwenc_runtime::tensor_entry::TensorEntry;

/// Longest table, in bytes.
const MAX_TABLE_BYTES: usize = 100 << 20;

/// The tensors of a file, checked: their bytes lie side by side, and are as many as types and shapes say.
#[derive(Debug)]
pub(crate) struct Tensors<'a> {
    tensors: Vec<(String, Tensor<'a>)>,
    metadata: Vec<(String, String)>,
}

/// A tensor.
#[derive(Clone, Debug)]
pub(crate) struct Tensor<'a> {
    pub(crate) dtype: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) data: &'a [u8],
}

impl<'a> Tensors<'a> {
    /// Reads the table. The message of a failure does not name the file.
    pub(crate) fn new(content: &'a [u8]) -> Result<Self, String> {
        let (length, rest) = content.split_first_chunk().ok_or("it ends before its table")?;
        let length = usize::try_from(u64::from_le_bytes(*length)).ok().filter(|it| *it <= MAX_TABLE_BYTES);
        let length = length.ok_or("its table is too long")?;
        let (table, data) = rest.split_at_checked(length).ok_or("it ends before its table does")?;
        let table = Json::from_bytes(table).map_err(|error| format!("its table: {error}"))?;
        let mut metadata = Vec::new();
        let mut tensors = Vec::new();
        let mut covered = Vec::new();
        for (name, item) in table.pairs().ok_or("its table is no object")? {
            if name == "__metadata__" {
                for (key, value) in item.pairs().ok_or("its metadata is no object")? {
                    let value = value.as_str().ok_or_else(|| format!("its metadata `{key}` is no text"))?;
                    metadata.push((key.clone(), value.to_owned()));
                }
                continue;
            }
            let entry = TensorEntry::from_json(item).map_err(|error| format!("tensor `{name}`: {error}"))?;
            let size =
                |value: u64| usize::try_from(value).map_err(|_| format!("tensor `{name}` is too large"));
            let [start, end] = [size(entry.data_offsets[0])?, size(entry.data_offsets[1])?];
            if !entry.is_consistent() {
                return Err(format!("type, shape and range of tensor `{name}` disagree"));
            }
            let bytes = data.get(start..end).ok_or_else(|| format!("it ends before tensor `{name}` does"))?;
            let shape = entry.shape.iter().map(|side| size(*side)).collect::<Result<_, _>>()?;
            covered.push([start, end]);
            tensors.push((name.clone(), Tensor { dtype: entry.dtype, shape, data: bytes }));
        }
        let covered = sorted(&covered, |a, b| a < b);
        let end = covered.iter().try_fold(0, |at, [start, end]| (*start == at).then_some(*end));
        if end != Some(data.len()) {
            return Err("its tensors do not lie side by side up to its end".to_owned());
        }
        Ok(Self { tensors, metadata })
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Tensor<'a>> {
        self.tensors.iter().find(|(known, _)| known == name).map(|(_, tensor)| tensor)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Tensor<'a>)> {
        self.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    pub(crate) fn metadata(&self, key: &str) -> Option<&str> {
        self.metadata.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }
}
