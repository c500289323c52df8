//! Mutations of ONNX models that stay protocol buffers: raw bytes rarely get past the first message.

use prost::Message;
use qwenc::onnx::proto::attribute_proto::AttributeType;
use qwenc::onnx::proto::tensor_proto::DataType;
use qwenc::onnx::proto::tensor_shape_proto::{Dimension, dimension};
use qwenc::onnx::proto::{
    AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    TensorShapeProto, TypeProto, ValueInfoProto, type_proto,
};
use qwenc::onnx::registry;

use crate::rng::Rng;

/// Attributes that importers ask for.
const ATTRIBUTES: [&str; 40] = [
    "axis",
    "axes",
    "perm",
    "keepdims",
    "to",
    "epsilon",
    "value",
    "value_int",
    "value_ints",
    "value_float",
    "alpha",
    "beta",
    "transA",
    "transB",
    "start",
    "end",
    "allowzero",
    "mode",
    "num_outputs",
    "split",
    "exclusive",
    "reverse",
    "num_heads",
    "kv_num_heads",
    "q_num_heads",
    "scale",
    "rotary_embedding_dim",
    "interleaved",
    "group",
    "pads",
    "strides",
    "kernel_shape",
    "dilations",
    "auto_pad",
    "direction",
    "then_branch",
    "else_branch",
    "body",
    "K",
    "N",
];
/// Longest vector that a mutation writes.
const MAX_ITEMS: usize = 24;

/// Changes the model in `data[..size]` and gives its new size. What is no model, or grows too large, is left to the
/// fuzzer's own mutations.
pub fn mutate_bytes(data: &mut [u8], size: usize, max_size: usize, seed: u32) -> usize {
    let mut rng = Rng::new(seed);
    let model = data.get(..size).and_then(|bytes| ModelProto::decode(bytes).ok());
    if let Some(mut model) = model.filter(|_| !rng.one_in(10)) {
        for _ in 0..=rng.below(4) {
            mutate(&mut model, &mut rng);
        }
        let bytes = model.encode_to_vec();
        if let Some(room) = data.get_mut(..bytes.len()).filter(|_| bytes.len() <= max_size) {
            room.copy_from_slice(&bytes);
            return bytes.len();
        }
    }
    libfuzzer_sys::fuzzer_mutate(data, size, max_size)
}

/// Changes one thing.
pub fn mutate(model: &mut ModelProto, rng: &mut Rng) {
    match rng.below(20) {
        0 => {
            let versions = [17, 18, 19, 20, 21, 22, 23, 24, 25, 28];
            let version = rng.pick(&versions).copied();
            model.opset_import = vec![
                OperatorSetIdProto { domain: None, version },
                OperatorSetIdProto { domain: Some("com.microsoft".into()), version: Some(1) },
            ];
        }
        1 => outline(model, rng),
        _ => {}
    }
    let graph = model.graph.get_or_insert_with(GraphProto::default);
    let names = names(graph);
    match rng.below(12) {
        0..=2 => add_node(graph, &names, rng),
        3 => {
            let at = rng.below(graph.node.len());
            if at < graph.node.len() {
                graph.node.remove(at);
            }
        }
        4 => {
            let (a, b) = (rng.below(graph.node.len()), rng.below(graph.node.len()));
            if a.max(b) < graph.node.len() {
                graph.node.swap(a, b);
            }
        }
        5 | 6 => initializer(graph, rng),
        7 => port(graph, rng),
        8 => wrap_in_branch(graph, rng),
        _ => {
            let at = rng.below(graph.node.len());
            if let Some(node) = graph.node.get_mut(at) {
                change_node(node, &names, rng);
            }
        }
    }
}

fn names(graph: &GraphProto) -> Vec<String> {
    let inputs = graph.input.iter().map(|input| input.name().to_owned());
    let constants = graph.initializer.iter().map(|tensor| tensor.name().to_owned());
    let computed = graph.node.iter().flat_map(|node| node.output.iter().cloned());
    inputs.chain(constants).chain(computed).collect()
}

fn some_name(names: &[String], rng: &mut Rng) -> String {
    if rng.one_in(16) { String::new() } else { rng.pick(names).cloned().unwrap_or_default() }
}

fn some_op(rng: &mut Rng) -> (String, String) {
    let ops: Vec<_> = registry().collect();
    match rng.pick(&ops) {
        Some(op) if !rng.one_in(40) => (op.domain.to_owned(), op.name.to_owned()),
        _ => (String::new(), rng.pick(&["If", "Loop", "Scan", "F"]).copied().unwrap_or("If").to_owned()),
    }
}

/// A node that reads what is there, and whose result is sometimes an output of the graph.
fn add_node(graph: &mut GraphProto, names: &[String], rng: &mut Rng) {
    let (domain, op) = some_op(rng);
    let output = format!("m{}", rng.below(10_000));
    let mut node = NodeProto {
        op_type: Some(op),
        domain: Some(domain),
        input: (0..=rng.below(4)).map(|_| some_name(names, rng)).collect(),
        output: vec![output.clone()],
        ..NodeProto::default()
    };
    if rng.one_in(3) {
        node.output.push(format!("{output}b"));
    }
    for _ in 0..rng.below(3) {
        node.attribute.push(attribute(rng));
    }
    graph.node.push(node);
    if rng.one_in(2) {
        let dtype = rng.pick(&[1, 7, 9, 6, 10]).copied();
        graph.output.push(value_info(&output, dtype.unwrap_or(1), None));
    }
}

fn change_node(node: &mut NodeProto, names: &[String], rng: &mut Rng) {
    match rng.below(8) {
        0 => {
            (node.domain, node.op_type) = {
                let (domain, op) = some_op(rng);
                (Some(domain), Some(op))
            }
        }
        1 => node.input.push(some_name(names, rng)),
        2 => drop(node.input.pop()),
        3 => node.attribute.push(attribute(rng)),
        4 => drop(node.attribute.pop()),
        5 => {
            let at = rng.below(node.attribute.len());
            if let Some(attribute) = node.attribute.get_mut(at) {
                change_attribute(attribute, rng);
            }
        }
        6 => node.output.push(some_name(names, rng)),
        _ => {
            let at = rng.below(node.input.len());
            if let Some(input) = node.input.get_mut(at) {
                *input = some_name(names, rng);
            }
        }
    }
}

fn ints(rng: &mut Rng) -> Vec<i64> {
    (0..rng.below(MAX_ITEMS) / (1 + rng.below(8))).map(|_| rng.int()).collect()
}

fn float(rng: &mut Rng) -> f32 {
    match rng.below(6) {
        0 => f32::NAN,
        1 => f32::INFINITY,
        2 => -0.0,
        3 => f32::from_bits(u32::try_from(rng.bits() >> 32).unwrap_or(0)),
        _ => rng.below(100) as f32 / 16.0,
    }
}

fn attribute(rng: &mut Rng) -> AttributeProto {
    let name = rng.pick(&ATTRIBUTES).map(|name| (*name).to_owned());
    let mut attribute = AttributeProto { name, ..AttributeProto::default() };
    let ty = match rng.below(8) {
        0 => AttributeType::Float,
        1 | 2 => AttributeType::Ints,
        3 => AttributeType::Tensor,
        4 => AttributeType::String,
        _ => AttributeType::Int,
    };
    attribute.r#type = Some(ty.into());
    change_attribute(&mut attribute, rng);
    attribute
}

fn change_attribute(attribute: &mut AttributeProto, rng: &mut Rng) {
    match attribute.r#type() {
        AttributeType::Float => attribute.f = Some(float(rng)),
        AttributeType::Int => attribute.i = Some(rng.int()),
        AttributeType::Ints => attribute.ints = ints(rng),
        AttributeType::Floats => attribute.floats = (0..rng.below(6)).map(|_| float(rng)).collect(),
        AttributeType::Tensor => change_tensor(attribute.t.get_or_insert_with(TensorProto::default), rng),
        AttributeType::String => {
            const TEXTS: [&str; 9] =
                ["", "SAME_UPPER", "VALID", "reflect", "constant", "none", "tanh", "linear", "\u{202E}"];
            attribute.s = rng.pick(&TEXTS).map(|text| text.as_bytes().to_vec().into());
        }
        AttributeType::Graph => {
            let graph = attribute.g.get_or_insert_with(GraphProto::default);
            let names = names(graph);
            add_node(graph, &names, rng);
        }
        _ => attribute.i = Some(rng.int()),
    }
    if rng.one_in(12) {
        attribute.name = rng.pick(&ATTRIBUTES).map(|name| (*name).to_owned());
    }
}

fn change_tensor(tensor: &mut TensorProto, rng: &mut Rng) {
    if rng.one_in(2) {
        // Consistent, so that it is read.
        let values: Vec<i64> = ints(rng);
        *tensor = TensorProto {
            name: tensor.name.clone(),
            dims: if values.len() == 1 && rng.one_in(2) { vec![] } else { vec![values.len() as i64] },
            data_type: Some(DataType::Int64.into()),
            int64_data: values,
            ..TensorProto::default()
        };
        return;
    }
    match rng.below(6) {
        0 => tensor.data_type = Some(i32::try_from(rng.below(28)).unwrap_or(1)),
        1 => tensor.dims = ints(rng),
        2 => tensor.dims.push(rng.int()),
        3 => tensor.raw_data = None,
        4 => tensor.float_data.push(float(rng)),
        _ => {
            let at = rng.below(tensor.int64_data.len());
            if let Some(value) = tensor.int64_data.get_mut(at) {
                *value = rng.int();
            }
        }
    }
}

fn initializer(graph: &mut GraphProto, rng: &mut Rng) {
    if graph.initializer.is_empty() || rng.one_in(3) {
        let name = format!("c{}", rng.below(10_000));
        let mut tensor = TensorProto { name: Some(name), ..TensorProto::default() };
        if rng.one_in(3) {
            let dims: Vec<i64> = (0..rng.below(4)).map(|_| 1 + rng.below(5) as i64).collect();
            let count = usize::try_from(dims.iter().product::<i64>()).unwrap_or(0);
            tensor.float_data = (0..count).map(|_| float(rng)).collect();
            tensor.data_type = Some(DataType::Float.into());
            tensor.dims = dims;
        } else {
            change_tensor(&mut tensor, rng);
        }
        graph.initializer.push(tensor);
        return;
    }
    let at = rng.below(graph.initializer.len());
    if let Some(tensor) = graph.initializer.get_mut(at) {
        change_tensor(tensor, rng);
    }
}

fn value_info(name: &str, dtype: i32, shape: Option<TensorShapeProto>) -> ValueInfoProto {
    let tensor = type_proto::Tensor { elem_type: Some(dtype), shape };
    ValueInfoProto {
        name: Some(name.to_owned()),
        r#type: Some(TypeProto { denotation: None, value: Some(type_proto::Value::TensorType(tensor)) }),
        ..ValueInfoProto::default()
    }
}

fn dimension(rng: &mut Rng) -> Dimension {
    let value = match rng.below(4) {
        0 => dimension::Value::DimParam(
            rng.pick(&["n", "tokens", "a b", "n/2"]).copied().unwrap_or("n").to_owned(),
        ),
        1 => dimension::Value::DimValue(rng.int()),
        _ => dimension::Value::DimValue(1 + rng.below(9) as i64),
    };
    Dimension { denotation: None, value: Some(value) }
}

/// An input is added or changed.
fn port(graph: &mut GraphProto, rng: &mut Rng) {
    let dims = (0..rng.below(5)).map(|_| dimension(rng)).collect();
    let dtype = rng.pick(&[1, 7, 9, 6, 10, 11, 16, 2, 3]).copied().unwrap_or(1);
    let at = rng.below(graph.input.len());
    let new = rng.one_in(3) || graph.input.is_empty();
    let name = match graph.input.get(at).filter(|_| !new) {
        Some(input) => input.name().to_owned(),
        None => format!("x{}", rng.below(100)),
    };
    let info = value_info(&name, dtype, Some(TensorShapeProto { dim: dims }));
    match graph.input.get_mut(at).filter(|_| !new) {
        Some(input) => *input = info,
        None => graph.input.push(info),
    }
}

/// The last nodes become the branch of an `If` with a constant condition.
fn wrap_in_branch(graph: &mut GraphProto, rng: &mut Rng) {
    let at = rng.below(graph.node.len() + 1);
    let nodes = graph.node.split_off(at);
    let Some(last) = nodes.last().and_then(|node| node.output.first()).cloned() else { return };
    let branch =
        GraphProto { output: vec![value_info(&last, 1, None)], node: nodes, ..GraphProto::default() };
    let condition = format!("if{}", rng.below(10_000));
    graph.initializer.push(TensorProto {
        name: Some(condition.clone()),
        data_type: Some(DataType::Bool.into()),
        int32_data: vec![i32::from(rng.one_in(2))],
        ..TensorProto::default()
    });
    let branch_of = |name: &str| AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(AttributeType::Graph.into()),
        g: Some(branch.clone()),
        ..AttributeProto::default()
    };
    graph.node.push(NodeProto {
        op_type: Some("If".into()),
        input: vec![condition],
        output: vec![last],
        attribute: vec![branch_of("then_branch"), branch_of("else_branch")],
        ..NodeProto::default()
    });
}

/// A node becomes the body of a function that is called in its place.
fn outline(model: &mut ModelProto, rng: &mut Rng) {
    let name = format!("F{}", rng.below(4));
    let Some(graph) = model.graph.as_mut() else { return };
    let at = rng.below(graph.node.len());
    let Some(node) = graph.node.get_mut(at) else { return };
    let call = NodeProto {
        op_type: Some(name.clone()),
        domain: Some("local".into()),
        input: node.input.clone(),
        output: node.output.clone(),
        ..NodeProto::default()
    };
    let body = std::mem::replace(node, call);
    model.functions.push(FunctionProto {
        name: Some(name),
        domain: Some("local".into()),
        input: body.input.clone(),
        output: body.output.clone(),
        node: vec![body],
        opset_import: model.opset_import.clone(),
        ..FunctionProto::default()
    });
}
