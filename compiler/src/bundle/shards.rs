//! Packing weights into content-hashed shards, one weight in memory at a time.

use std::collections::BTreeMap;

use qwenc_codegen_wgsl::Elem;
use qwenc_runtime::format::WeightPart;
use safetensors::tensor::TensorView;
use sha2::{Digest, Sha256};

use super::BundleError;
use crate::lower::{WeightSpec, pack};
use crate::schedule::WeightBuffer;

/// Most bytes of one shard's file: small enough to be fetched, hashed and uploaded in one piece.
pub const SHARD_BYTES: usize = 64 << 20;
/// Room for a shard's header.
const HEADER_BYTES: usize = 256 << 10;
/// Tensors of one shard, so that its header stays within the room.
const SHARD_TENSORS: usize = 1024;

/// A finished shard.
pub struct Shard {
    /// Path in the bundle.
    pub path: String,
    /// The file.
    pub bytes: Vec<u8>,
}

struct Pending {
    name: String,
    elem: Elem,
    shape: Vec<usize>,
    bytes: Vec<u8>,
    /// Where the part belongs.
    identity: String,
    at: u64,
}

/// Collects weights into shards.
#[derive(Default)]
pub struct ShardWriter {
    pending: Vec<Pending>,
    pending_bytes: usize,
    weights: BTreeMap<String, WeightBuffer>,
    by_hash: BTreeMap<String, String>,
    /// Weights whose content another one has already: their parts are filled in at the end.
    copies: Vec<(String, String)>,
}

impl ShardWriter {
    /// Nothing written yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Packs a weight and adds it. Full shards go to `emit`.
    pub fn add<E: From<BundleError>>(
        &mut self,
        spec: &WeightSpec,
        emit: &mut dyn FnMut(Shard) -> Result<(), E>,
    ) -> Result<(), E> {
        let identity = spec.identity();
        let bytes = pack(spec);
        let hash = crate::schedule::hex(&Sha256::digest(&bytes));
        if let Some(first) = self.by_hash.get(&hash) {
            self.copies.push((identity, first.clone()));
            return Ok(());
        }
        self.by_hash.insert(hash.clone(), identity.clone());
        let name = crate::schedule::short(&hash).to_string();
        let weight = WeightBuffer { hash, bytes: bytes.len() as u64, parts: Vec::new() };
        self.weights.insert(identity.clone(), weight);

        let shape: Vec<usize> = spec.shape().iter().filter_map(qwenc_ir::Dim::as_usize).collect();
        let room = SHARD_BYTES - HEADER_BYTES;
        if bytes.len() <= room {
            return self.push(Pending { name, elem: spec.elem(), shape, bytes, identity, at: 0 }, emit);
        }
        for (index, piece) in bytes.chunks(room).enumerate() {
            let pending = Pending {
                name: format!("{name}.{index}"),
                elem: spec.elem(),
                shape: vec![piece.len() / 4],
                bytes: piece.to_vec(),
                identity: identity.clone(),
                at: (index * room) as u64,
            };
            self.push(pending, emit)?;
        }
        Ok(())
    }

    fn push<E: From<BundleError>>(
        &mut self,
        pending: Pending,
        emit: &mut dyn FnMut(Shard) -> Result<(), E>,
    ) -> Result<(), E> {
        let full = self.pending_bytes + pending.bytes.len() > SHARD_BYTES - HEADER_BYTES;
        if full || self.pending.len() == SHARD_TENSORS {
            self.flush(emit)?;
        }
        self.pending_bytes += pending.bytes.len();
        self.pending.push(pending);
        Ok(())
    }

    fn flush<E: From<BundleError>>(&mut self, emit: &mut dyn FnMut(Shard) -> Result<(), E>) -> Result<(), E> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let mut views = Vec::new();
        for pending in &self.pending {
            let dtype = match pending.elem {
                Elem::F32 => safetensors::Dtype::F32,
                Elem::I32 => safetensors::Dtype::I32,
                Elem::U32 => safetensors::Dtype::U32,
            };
            let view = TensorView::new(dtype, pending.shape.clone(), &pending.bytes)
                .map_err(|error| BundleError::Internal(format!("shard tensor: {error}")))?;
            views.push((pending.name.clone(), view));
        }
        let bytes = safetensors::serialize(views, None)
            .map_err(|error| BundleError::Internal(format!("shard: {error}")))?;
        let hash = crate::schedule::hex(&Sha256::digest(&bytes));
        let path = format!("weights/{}.safetensors", crate::schedule::short(&hash));
        for pending in self.pending.drain(..) {
            if let Some(weight) = self.weights.get_mut(&pending.identity) {
                weight.parts.push(WeightPart {
                    shard: path.clone(),
                    tensor: pending.name,
                    at: pending.at,
                    bytes: pending.bytes.len() as u64,
                });
            }
        }
        self.pending_bytes = 0;
        emit(Shard { path, bytes })
    }

    /// Writes what is left. Gives every weight by [`WeightSpec::identity`].
    pub fn finish<E: From<BundleError>>(
        mut self,
        emit: &mut dyn FnMut(Shard) -> Result<(), E>,
    ) -> Result<BTreeMap<String, WeightBuffer>, E> {
        self.flush(emit)?;
        for (identity, first) in &self.copies {
            if let Some(weight) = self.weights.get(first).cloned() {
                self.weights.insert(identity.clone(), weight);
            }
        }
        Ok(self.weights)
    }
}
