//! Decoders of any size, as onnxruntime-genai 0.18 writes them, without their weights: those are stated in a file that does not exist.

use std::path::Path;

use prost::Message;
use qwenc::onnx::proto::tensor_proto::{DataLocation, DataType};
use qwenc::onnx::proto::{StringStringEntryProto, TensorProto};

use super::{Attributes, Builder, FLOAT, INT32, INT64, node, tensor};

const F16: DataType = DataType::Float16;
const DATA: &str = "decoder_model_merged.onnx_data";

/// The sizes of a model.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    pub hidden: i64,
    pub inner: i64,
    pub layers: i64,
    /// Attention: query heads, key and value heads, width.
    pub heads: i64,
    pub kv_heads: i64,
    pub head_dim: i64,
    /// Delta rule: key heads, value heads, width of both.
    pub key_heads: i64,
    pub value_heads: i64,
    pub delta_dim: i64,
    pub vocabulary: i64,
    pub positions: i64,
}

/// A small decoder, for measuring what grows.
pub const SMALL: Sizes = Sizes {
    hidden: 128,
    inner: 256,
    layers: 4,
    heads: 4,
    kv_heads: 2,
    head_dim: 64,
    key_heads: 4,
    value_heads: 4,
    delta_dim: 32,
    vocabulary: 1024,
    positions: 4096,
};

/// A graph under construction, and how far the file of its weights would reach.
struct Decoder {
    sizes: Sizes,
    builder: Builder,
    at: i64,
    names: usize,
}

/// Writes the decoder into a hub folder. Returns how many bytes the file of its weights would have.
pub fn write_decoder(folder: &Path, sizes: Sizes) -> i64 {
    let folder = folder.join("onnx");
    std::fs::create_dir_all(&folder).unwrap();
    let mut decoder = Decoder { sizes, builder: Builder::with_opset(22), at: 0, names: 0 };
    decoder.build();
    let model = decoder.builder.proto.encode_to_vec();
    std::fs::write(folder.join("decoder_model_merged.onnx"), model).unwrap();
    decoder.at
}

/// Writes the embedding of a model into a hub folder.
pub fn write_embedding(folder: &Path, sizes: Sizes) {
    let folder = folder.join("onnx");
    std::fs::create_dir_all(&folder).unwrap();
    let mut table = tensor("table", F16, &[sizes.vocabulary, sizes.hidden]);
    external(&mut table, "embed_tokens.onnx_data", 0);
    let embedding = Builder::with_opset(22)
        .initializer(table)
        .input("input_ids", INT64, &["batch_size", "sequence_length"])
        .node(node("Gather", &["table", "input_ids"], &["inputs_embeds"]).int("axis", 0))
        .output("inputs_embeds", F16);
    std::fs::write(folder.join("embed_tokens.onnx"), embedding.proto.encode_to_vec()).unwrap();
}

fn external(tensor: &mut TensorProto, location: &str, offset: i64) {
    let entry =
        |key: &str, value: String| StringStringEntryProto { key: Some(key.into()), value: Some(value) };
    tensor.data_location = Some(DataLocation::External.into());
    tensor.external_data = vec![entry("location", location.into()), entry("offset", offset.to_string())];
}

impl Decoder {
    /// A weight.
    fn weight(&mut self, dtype: DataType, dims: &[i64]) -> String {
        let name = self.name("w");
        let mut weight = tensor(&name, dtype, dims);
        external(&mut weight, DATA, self.at);
        self.at += dims.iter().product::<i64>() * if dtype == F16 { 2 } else { 4 };
        self.builder.graph().initializer.push(weight);
        name
    }

    fn ints(&mut self, values: &[i64]) -> String {
        let name = self.name("c");
        let weight = TensorProto {
            int64_data: values.to_vec(),
            ..tensor(&name, INT64, &[i64::try_from(values.len()).unwrap()])
        };
        self.builder.graph().initializer.push(weight);
        name
    }

    fn name(&mut self, what: &str) -> String {
        self.names += 1;
        format!("{what}{}", self.names)
    }

    /// Adds a node with `count` outputs; `attributes` may add to it.
    fn nodes<const N: usize>(
        &mut self,
        op: &str,
        inputs: &[&str],
        attributes: impl FnOnce(qwenc::onnx::proto::NodeProto) -> qwenc::onnx::proto::NodeProto,
    ) -> [String; N] {
        let outputs: [String; N] = std::array::from_fn(|_| self.name("v"));
        let names: Vec<&str> = outputs.iter().map(String::as_str).collect();
        self.builder.graph().node.push(attributes(node(op, inputs, &names)));
        outputs
    }

    fn op(&mut self, op: &str, inputs: &[&str]) -> String {
        let [out] = self.nodes(op, inputs, |node| node);
        out
    }

    fn matmul(&mut self, x: &str, k: i64, n: i64) -> String {
        let weight = self.weight(F16, &[k, n]);
        self.op("MatMul", &[x, &weight])
    }

    fn reshape(&mut self, x: &str, shape: &[i64]) -> String {
        let shape = self.ints(shape);
        self.op("Reshape", &[x, &shape])
    }

    fn split<const N: usize>(&mut self, x: &str, sizes: [i64; N]) -> [String; N] {
        let sizes = self.ints(&sizes);
        self.nodes("Split", &[x, &sizes], |node| node.int("axis", -1))
    }

    fn input(&mut self, name: &str, dtype: DataType, dims: &[&str]) {
        self.builder.graph().input.push(super::value_info(name, dtype, Some(dims)));
    }

    fn state(&mut self, past: &str, present: &str, dims: &[&str]) {
        self.input(past, F16, dims);
        self.builder.graph().output.push(super::value_info(present, F16, None));
    }

    fn rename(&mut self, output: &str, to: &str) {
        for node in &mut self.builder.graph().node {
            node.output.iter_mut().filter(|name| *name == output).for_each(|name| *name = to.to_owned());
            node.input.iter_mut().filter(|name| *name == output).for_each(|name| *name = to.to_owned());
        }
    }

    fn build(&mut self) {
        let sizes = self.sizes;
        let hidden = sizes.hidden.to_string();
        self.input("inputs_embeds", F16, &["batch_size", "sequence_length", &hidden]);
        self.input("attention_mask", INT64, &["batch_size", "total_sequence_length"]);
        self.input("position_ids", INT64, &["3", "batch_size", "sequence_length"]);
        self.builder.graph().output.push(super::value_info("logits", F16, None));
        let one = self.ints(&[1]);
        let [sum] = self.nodes("ReduceSum", &["attention_mask", &one], |node| node.int("keepdims", 0));
        let last = self.op("Sub", &[&sum, &one]);
        let cast = |node: qwenc::onnx::proto::NodeProto| node.int("to", INT32 as i64);
        let [seqlens] = self.nodes("Cast", &[&last], cast);
        let shape = self.op("Shape", &["attention_mask"]);
        let scalar = TensorProto { int64_data: vec![1], ..tensor("one", INT64, &[]) };
        self.builder.graph().initializer.push(scalar);
        let total = self.op("Gather", &[&shape, "one"]);
        let [total] = self.nodes("Cast", &[&total], cast);
        let rotary = sizes.head_dim / 4;
        let tables = [(); 2].map(|()| self.weight(FLOAT, &[sizes.positions, rotary / 2]));

        let norm = self.weight(F16, &[sizes.hidden]);
        let eps = |node: qwenc::onnx::proto::NodeProto| node.float("epsilon", 1e-6);
        let [mut x] = self.nodes("SimplifiedLayerNormalization", &["inputs_embeds", &norm], eps);
        let mut residual = "inputs_embeds".to_owned();
        for layer in 0..sizes.layers {
            let mixed = if layer % 4 == 3 {
                self.attention_layer(layer, &x, [&seqlens, &total], &tables)
            } else {
                self.delta_layer(layer, &x)
            };
            (x, residual) = self.add_and_norm(&residual, &mixed);
            let gate = self.matmul(&x, sizes.hidden, sizes.inner);
            let up = self.matmul(&x, sizes.hidden, sizes.inner);
            let sigmoid = self.op("Sigmoid", &[&gate]);
            let silu = self.op("Mul", &[&gate, &sigmoid]);
            let product = self.op("Mul", &[&silu, &up]);
            let down = self.matmul(&product, sizes.inner, sizes.hidden);
            (x, residual) = self.add_and_norm(&residual, &down);
        }
        let logits = self.matmul(&x, sizes.hidden, sizes.vocabulary);
        self.rename(&logits, "logits");
    }

    /// The norm of the sum, and the sum.
    fn add_and_norm(&mut self, residual: &str, x: &str) -> (String, String) {
        let weight = self.weight(F16, &[self.sizes.hidden]);
        let name = "com.microsoft::SkipSimplifiedLayerNormalization";
        let eps = |node: qwenc::onnx::proto::NodeProto| node.float("epsilon", 1e-6);
        let [normed, _, _, sum] = self.nodes(name, &[residual, x, &weight], eps);
        (normed, sum)
    }

    fn delta_layer(&mut self, layer: i64, x: &str) -> String {
        let Sizes { hidden, key_heads, value_heads, delta_dim: width, .. } = self.sizes;
        let (keys, values) = (key_heads * width, value_heads * width);
        let channels = 2 * keys + values;
        let qkv = self.matmul(x, hidden, channels);
        let z = self.matmul(x, hidden, values);
        let b = self.matmul(x, hidden, value_heads);
        let a = self.matmul(x, hidden, value_heads);
        let (past, present) = (format!("past.{layer}.conv"), format!("present.{layer}.conv"));
        self.state(&past, &present, &["batch_size", &channels.to_string(), "3"]);
        let turn = |node: qwenc::onnx::proto::NodeProto| node.ints("perm", &[0, 2, 1]);
        let [turned] = self.nodes("Transpose", &[&qkv], turn);
        let taps = self.weight(F16, &[channels, 1, 4]);
        let conv = |node: qwenc::onnx::proto::NodeProto| node.text("activation", "silu");
        let name = "com.microsoft::CausalConvWithState";
        let [convolved, window] = self.nodes(name, &[&turned, &taps, "", &past], conv);
        self.rename(&window, &present);
        let [convolved] = self.nodes("Transpose", &[&convolved], turn);
        let [q, k, v] = self.split(&convolved, [keys, keys, values]);
        let normed = [q, k].map(|x| {
            let heads = self.reshape(&x, &[0, 0, key_heads, width]);
            let [normed] = self.nodes("LpNormalization", &[&heads], |node| node.int("axis", -1).int("p", 2));
            self.reshape(&normed, &[0, 0, keys])
        });
        let (bias, scale) = (self.weight(FLOAT, &[value_heads]), self.weight(FLOAT, &[value_heads]));
        let name = "com.microsoft::LinearAttentionGate";
        let [decay, beta] = self.nodes(name, &[&a, &bias, &scale, &b], |node| node);
        let (past, present) = (format!("past.{layer}.recurrent"), format!("present.{layer}.recurrent"));
        let sizes = [value_heads, width, width].map(|size| size.to_string());
        self.state(&past, &present, &["batch_size", &sizes[0], &sizes[1], &sizes[2]]);
        let inputs = [normed[0].as_str(), &normed[1], &v, &past, &decay, &beta];
        let [mixed, matrix] = self.nodes("com.microsoft::LinearAttention", &inputs, |node| {
            node.int("q_num_heads", key_heads).int("kv_num_heads", value_heads)
        });
        self.rename(&matrix, &present);
        let norm = self.weight(F16, &[width]);
        let gated = self.op("com.microsoft::GatedRMSNorm", &[&mixed, &norm, &z]);
        self.matmul(&gated, values, hidden)
    }

    fn attention_layer(&mut self, layer: i64, x: &str, lengths: [&str; 2], tables: &[String; 2]) -> String {
        let Sizes { hidden, heads, kv_heads, head_dim, .. } = self.sizes;
        let (queries, keys) = (heads * head_dim, kv_heads * head_dim);
        let qkv = self.matmul(x, hidden, 2 * queries + 2 * keys);
        let [q, k, v] = self.split(&qkv, [2 * queries, keys, keys]);
        let q = self.reshape(&q, &[0, 0, heads, 2 * head_dim]);
        let [q, gate] = self.split(&q, [head_dim, head_dim]);
        let gate = self.reshape(&gate, &[0, 0, queries]);
        let rotary = head_dim / 4;
        let sections = [rotary / 6, rotary / 6, rotary / 2 - 2 * (rotary / 6)];
        let [q, k] = [(q, heads), (k, kv_heads)].map(|(x, count)| {
            let rows = self.reshape(&x, &[0, -1, head_dim]);
            let norm = self.weight(F16, &[head_dim]);
            let eps = |node: qwenc::onnx::proto::NodeProto| node.float("epsilon", 1e-6);
            let [normed] = self.nodes("SimplifiedLayerNormalization", &[&rows, &norm], eps);
            let packed = self.reshape(&normed, &[0, -1, count * head_dim]);
            let inputs = [packed.as_str(), "position_ids", &tables[0], &tables[1]];
            let [rotated] = self.nodes("com.microsoft::MRotaryEmbedding", &inputs, |node| {
                let sections = [sections[2], sections[0], sections[1]];
                let node = node.int("num_heads", count).int("rotary_embedding_dim", rotary);
                node.ints("mrope_section", &sections).int("mrope_layout", 1)
            });
            rotated
        });
        let (pasts, presents) = (
            ["key", "value"].map(|what| format!("past_key_values.{layer}.{what}")),
            ["key", "value"].map(|what| format!("present.{layer}.{what}")),
        );
        for (past, present) in pasts.iter().zip(&presents) {
            let (count, width) = (kv_heads.to_string(), head_dim.to_string());
            self.state(past, present, &["batch_size", &count, "past_sequence_length", &width]);
        }
        let inputs = [q.as_str(), &k, &v, &pasts[0], &pasts[1], lengths[0], lengths[1]];
        let [mixed, key, value] = self.nodes("com.microsoft::GroupQueryAttention", &inputs, |node| {
            node.int("num_heads", heads).int("kv_num_heads", kv_heads)
        });
        self.rename(&key, &presents[0]);
        self.rename(&value, &presents[1]);
        let sigmoid = self.op("Sigmoid", &[&gate]);
        let gated = self.op("Mul", &[&mixed, &sigmoid]);
        self.matmul(&gated, queries, hidden)
    }
}
