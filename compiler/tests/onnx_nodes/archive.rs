//! Reading the cases that `golden/onnx_nodes/convert.py` packed.

use std::collections::BTreeMap;
use std::path::PathBuf;

use qwenc::onnx::Model;
use qwenc::onnx::proto::ModelProto;
use safetensors::tensor::{Dtype, SafeTensors};

use super::common::root;

/// A tensor of a case.
#[derive(Clone, Debug)]
pub struct Data {
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
}

/// One of ONNX's node tests.
#[derive(Clone, Debug)]
pub struct Case {
    pub name: String,
    /// The operator that it is about; others may be in the model, too.
    pub op: String,
    pub domain: String,
    pub opset: i64,
    /// The model file's content.
    pub model: Vec<u8>,
    /// Operands and results by name; without them the case must be refused.
    pub data: Option<(BTreeMap<String, Data>, BTreeMap<String, Data>)>,
}

#[derive(serde::Deserialize)]
struct Record {
    name: String,
    op: String,
    domain: String,
    opset: i64,
    model: String,
    inputs: Option<BTreeMap<String, String>>,
    outputs: Option<BTreeMap<String, String>>,
}

pub fn folder() -> PathBuf {
    root().join("golden/onnx_nodes")
}

/// The cases of one file.
pub fn read(family: &str) -> Vec<Case> {
    let content = std::fs::read(folder().join(format!("{family}.safetensors"))).unwrap();
    let (_, header) = SafeTensors::read_metadata(&content).unwrap();
    let records = &header.metadata().as_ref().unwrap()["cases"];
    let records: Vec<Record> = serde_json::from_str(records).unwrap();
    let tensors = SafeTensors::deserialize(&content).unwrap();
    let data = |names: BTreeMap<String, String>| -> BTreeMap<String, Data> {
        let read = |number: String| {
            let tensor = tensors.tensor(&number).unwrap();
            Data { dtype: tensor.dtype(), shape: tensor.shape().to_vec(), bytes: tensor.data().to_vec() }
        };
        names.into_iter().map(|(name, number)| (name, read(number))).collect()
    };
    let case = |record: Record| Case {
        name: record.name,
        op: record.op,
        domain: record.domain,
        opset: record.opset,
        model: tensors.tensor(&record.model).unwrap().data().to_vec(),
        data: record.inputs.map(data).zip(record.outputs.map(data)),
    };
    records.into_iter().map(case).collect()
}

impl Case {
    /// The operators of the model.
    pub fn operators(&self) -> Vec<String> {
        let model: ModelProto = prost::Message::decode(self.model.as_slice()).unwrap();
        let model = Model::from_proto(&self.name, model);
        model.iter().flat_map(|model| &model.graph().node).map(|node| node.op_type().to_owned()).collect()
    }
}

/// The numbers of a tensor, as f64 where they are floats, else exactly.
pub enum Numbers {
    Floats(Vec<f64>),
    Ints(Vec<i128>),
}

fn words<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; N]> {
    bytes.as_chunks::<N>().0.iter().copied()
}

impl Data {
    pub fn numbers(&self) -> Numbers {
        let bytes = self.bytes.as_slice();
        let float = |values: Vec<f64>| Numbers::Floats(values);
        match self.dtype {
            Dtype::F64 => float(words(bytes).map(f64::from_le_bytes).collect()),
            Dtype::F32 => float(words(bytes).map(|w| f32::from_le_bytes(w).into()).collect()),
            Dtype::F16 => float(words(bytes).map(|w| half::f16::from_le_bytes(w).into()).collect()),
            Dtype::BF16 => float(words(bytes).map(|w| half::bf16::from_le_bytes(w).into()).collect()),
            Dtype::I64 => Numbers::Ints(words(bytes).map(|w| i64::from_le_bytes(w).into()).collect()),
            Dtype::I32 => Numbers::Ints(words(bytes).map(|w| i32::from_le_bytes(w).into()).collect()),
            Dtype::I16 => Numbers::Ints(words(bytes).map(|w| i16::from_le_bytes(w).into()).collect()),
            Dtype::I8 => Numbers::Ints(words(bytes).map(|w| i8::from_le_bytes(w).into()).collect()),
            Dtype::U64 => Numbers::Ints(words(bytes).map(|w| u64::from_le_bytes(w).into()).collect()),
            Dtype::U32 => Numbers::Ints(words(bytes).map(|w| u32::from_le_bytes(w).into()).collect()),
            Dtype::U16 => Numbers::Ints(words(bytes).map(|w| u16::from_le_bytes(w).into()).collect()),
            Dtype::U8 | Dtype::BOOL => Numbers::Ints(bytes.iter().map(|byte| (*byte).into()).collect()),
            other => panic!("archives hold no {other:?}"),
        }
    }
}
