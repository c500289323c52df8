//! Makes golden files for tests.
#![allow(dead_code, reason = "every test binary uses its own part")]

use std::collections::{BTreeMap, HashMap};

use safetensors::Dtype;
use safetensors::tensor::TensorView;

pub(crate) struct Maker {
    tensors: BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>,
    metadata: HashMap<String, String>,
}

impl Maker {
    pub(crate) fn new() -> Self {
        Self { tensors: BTreeMap::new(), metadata: HashMap::new() }
    }

    /// Three tokens in two calls, two of three positions checked, out of order.
    pub(crate) fn good() -> Self {
        let mut maker = Self::new();
        maker.i64("input_ids", &[3], &[4, 2, 0]);
        maker.i64("splits", &[2], &[2, 1]);
        maker.i64("logit_positions", &[2], &[2, 0]);
        maker.f32("logits", &[2, 2], &[0.5, 1.0, 2.0, -3.0]);
        maker
    }

    pub(crate) fn i64(&mut self, name: &str, shape: &[usize], values: &[i64]) {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.tensors.insert(name.into(), (Dtype::I64, shape.to_vec(), bytes));
    }

    pub(crate) fn f32(&mut self, name: &str, shape: &[usize], values: &[f32]) {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.tensors.insert(name.into(), (Dtype::F32, shape.to_vec(), bytes));
    }

    pub(crate) fn u8(&mut self, name: &str, shape: &[usize], values: &[u8]) {
        self.tensors.insert(name.into(), (Dtype::U8, shape.to_vec(), values.to_vec()));
    }

    pub(crate) fn remove(&mut self, name: &str) {
        self.tensors.remove(name);
    }

    pub(crate) fn metadata(&mut self, key: &str, value: &str) -> &mut Self {
        self.metadata.insert(key.into(), value.into());
        self
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let tensors: Vec<(&String, TensorView<'_>)> = self
            .tensors
            .iter()
            .map(|(name, (dtype, shape, bytes))| {
                (name, TensorView::new(*dtype, shape.clone(), bytes).unwrap())
            })
            .collect();
        safetensors::serialize(tensors, Some(self.metadata.clone())).unwrap()
    }
}
