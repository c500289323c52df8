//! Tensors of a shard.

use safetensors::SafeTensors;

use super::BundleError;
use crate::format::{BufferId, WeightPart};

/// The table of a shard in memory.
pub(super) struct Shard<'a> {
    file: &'a str,
    tensors: SafeTensors<'a>,
}

impl<'a> Shard<'a> {
    pub(super) fn parse(file: &'a str, content: &'a [u8]) -> Result<Self, BundleError> {
        let tensors = SafeTensors::deserialize(content)
            .map_err(|e| BundleError::Shard { file: file.to_owned(), message: e.to_string() })?;
        Ok(Self { file, tensors })
    }

    /// The bytes of a part of a weight. Element types are of no interest: kernels know how to read them.
    pub(super) fn part(&self, buffer: BufferId, part: &WeightPart) -> Result<&'a [u8], BundleError> {
        let (file, tensor) = (self.file.to_owned(), part.tensor.clone());
        let Ok(view) = self.tensors.tensor(&part.tensor) else {
            return Err(BundleError::NoTensor { file, tensor, buffer });
        };
        let found = u64::try_from(view.data().len()).unwrap_or(u64::MAX);
        if found != part.bytes {
            return Err(BundleError::TensorSize { file, tensor, expected: part.bytes, found });
        }
        Ok(view.data())
    }
}
