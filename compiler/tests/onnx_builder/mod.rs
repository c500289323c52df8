//! Builds ONNX models in memory, and runs imported graphs in the interpreter.
#![allow(dead_code, unreachable_pub, reason = "shared by several test binaries, each of which uses a part")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

pub mod qwen;

use std::collections::BTreeMap;

use qwenc::onnx::proto::attribute_proto::AttributeType;
use qwenc::onnx::proto::tensor_proto::DataType;
use qwenc::onnx::proto::{
    AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    TensorShapeProto, TypeProto, ValueInfoProto, tensor_shape_proto, type_proto,
};
use qwenc::onnx::{ImportError, ImportOptions, Imported, Model, import};
use qwenc_ir::interp::{HostTensor, inputs_by_name, run};
use qwenc_ir::{Bindings, DType, Graph, Op, Tensor};

pub const FLOAT: DataType = DataType::Float;
pub const INT64: DataType = DataType::Int64;
pub const INT32: DataType = DataType::Int32;
pub const BOOL: DataType = DataType::Bool;

/// A model under construction. Standard operators by name, others as `domain::Name`.
pub struct Builder {
    pub proto: ModelProto,
}

pub fn value_info(name: &str, dtype: DataType, dims: Option<&[&str]>) -> ValueInfoProto {
    let dim = |text: &&str| tensor_shape_proto::Dimension {
        value: Some(match text.parse() {
            Ok(size) => tensor_shape_proto::dimension::Value::DimValue(size),
            Err(_) => tensor_shape_proto::dimension::Value::DimParam((*text).to_owned()),
        }),
        denotation: None,
    };
    let shape = dims.map(|dims| TensorShapeProto { dim: dims.iter().map(dim).collect() });
    let tensor = type_proto::Tensor { elem_type: Some(dtype.into()), shape };
    ValueInfoProto {
        name: Some(name.to_owned()),
        r#type: Some(TypeProto { denotation: None, value: Some(type_proto::Value::TensorType(tensor)) }),
        ..ValueInfoProto::default()
    }
}

pub fn tensor(name: &str, dtype: DataType, dims: &[i64]) -> TensorProto {
    TensorProto {
        name: Some(name.to_owned()),
        data_type: Some(dtype.into()),
        dims: dims.to_vec(),
        ..TensorProto::default()
    }
}

pub fn node(op: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
    let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect();
    let (domain, op) = op.split_once("::").unwrap_or(("", op));
    NodeProto {
        name: Some(format!("{op}_{}", outputs.first().unwrap_or(&""))),
        op_type: Some(op.to_owned()),
        domain: Some(domain.to_owned()),
        input: names(inputs),
        output: names(outputs),
        ..NodeProto::default()
    }
}

/// Attributes in the order of calls.
pub trait Attributes: Sized {
    fn push(self, attribute: AttributeProto) -> Self;

    fn int(self, name: &str, value: i64) -> Self {
        self.push(AttributeProto { i: Some(value), ..attribute(name, AttributeType::Int) })
    }

    fn ints(self, name: &str, values: &[i64]) -> Self {
        self.push(AttributeProto { ints: values.to_vec(), ..attribute(name, AttributeType::Ints) })
    }

    fn float(self, name: &str, value: f32) -> Self {
        self.push(AttributeProto { f: Some(value), ..attribute(name, AttributeType::Float) })
    }

    fn text(self, name: &str, value: &'static str) -> Self {
        self.push(AttributeProto {
            s: Some(value.as_bytes().into()),
            ..attribute(name, AttributeType::String)
        })
    }

    fn tensor(self, name: &str, value: TensorProto) -> Self {
        self.push(AttributeProto { t: Some(value), ..attribute(name, AttributeType::Tensor) })
    }

    fn graph(self, name: &str, value: GraphProto) -> Self {
        self.push(AttributeProto { g: Some(value), ..attribute(name, AttributeType::Graph) })
    }

    fn reference(self, name: &str, to: &str, ty: AttributeType) -> Self {
        self.push(AttributeProto { ref_attr_name: Some(to.to_owned()), ..attribute(name, ty) })
    }
}

fn attribute(name: &str, ty: AttributeType) -> AttributeProto {
    AttributeProto { name: Some(name.to_owned()), r#type: Some(ty.into()), ..AttributeProto::default() }
}

impl Attributes for NodeProto {
    fn push(mut self, attribute: AttributeProto) -> Self {
        self.attribute.push(attribute);
        self
    }
}

pub fn opset(domain: &str, version: i64) -> OperatorSetIdProto {
    OperatorSetIdProto { domain: Some(domain.to_owned()), version: Some(version) }
}

impl Builder {
    pub fn new() -> Self {
        Self::with_opset(21)
    }

    pub fn with_opset(version: i64) -> Self {
        let proto = ModelProto {
            ir_version: Some(10),
            opset_import: vec![opset("", version), opset("com.microsoft", 1)],
            graph: Some(GraphProto { name: Some("test".to_owned()), ..GraphProto::default() }),
            ..ModelProto::default()
        };
        Self { proto }
    }

    pub fn graph(&mut self) -> &mut GraphProto {
        self.proto.graph.as_mut().unwrap()
    }

    pub fn input(mut self, name: &str, dtype: DataType, dims: &[&str]) -> Self {
        self.graph().input.push(value_info(name, dtype, Some(dims)));
        self
    }

    pub fn output(mut self, name: &str, dtype: DataType) -> Self {
        self.graph().output.push(value_info(name, dtype, None));
        self
    }

    pub fn floats(self, name: &str, dims: &[i64], values: &[f32]) -> Self {
        self.initializer(TensorProto { float_data: values.to_vec(), ..tensor(name, FLOAT, dims) })
    }

    /// A vector of I64; one value makes a vector of one.
    pub fn ints(self, name: &str, values: &[i64]) -> Self {
        let dims = [i64::try_from(values.len()).unwrap()];
        self.initializer(TensorProto { int64_data: values.to_vec(), ..tensor(name, INT64, &dims) })
    }

    pub fn scalar(self, name: &str, value: i64) -> Self {
        self.initializer(TensorProto { int64_data: vec![value], ..tensor(name, INT64, &[]) })
    }

    pub fn initializer(mut self, tensor: TensorProto) -> Self {
        self.graph().initializer.push(tensor);
        self
    }

    pub fn node(mut self, node: NodeProto) -> Self {
        self.graph().node.push(node);
        self
    }

    pub fn op(self, op: &str, inputs: &[&str], outputs: &[&str]) -> Self {
        self.node(node(op, inputs, outputs))
    }

    pub fn function(mut self, function: FunctionProto) -> Self {
        self.proto.functions.push(function);
        self
    }

    pub fn model(self) -> Model {
        Model::from_proto("test.onnx", self.proto).unwrap()
    }

    pub fn import_with(self, options: &ImportOptions) -> Result<Imported, ImportError> {
        import(&self.model(), options)
    }

    pub fn import(self) -> Graph {
        self.import_with(&ImportOptions::default()).unwrap().graph
    }

    /// The message of the error that the import ends in.
    pub fn refused(self) -> String {
        self.import_with(&ImportOptions::default()).unwrap_err().to_string()
    }

    /// Imports, runs, and gives the output `y`.
    pub fn run(self, inputs: &[(&str, HostTensor)], symbols: &[(&str, i64)]) -> HostTensor {
        run_graph(&self.import(), inputs, symbols).remove("y").unwrap()
    }
}

/// Names of the operators in a graph, in order.
pub fn ops(graph: &Graph) -> Vec<&'static str> {
    graph.topo_order().unwrap().into_iter().map(|node| graph.node(node).op.name()).collect()
}

/// The only node with an operator of this name.
pub fn the_op<'a>(graph: &'a Graph, name: &str) -> &'a Op {
    let mut found = graph.nodes().map(|node| &graph.node(node).op).filter(|op| op.name() == name);
    let op = found.next().unwrap_or_else(|| panic!("no {name} in the graph"));
    assert!(found.next().is_none(), "several {name} in the graph");
    op
}

pub fn run_graph(
    graph: &Graph,
    inputs: &[(&str, HostTensor)],
    symbols: &[(&str, i64)],
) -> BTreeMap<String, HostTensor> {
    let bindings: Bindings = symbols.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
    let given = inputs.iter().map(|(name, value)| (*name, value.clone()));
    let values = run(graph, &bindings, &inputs_by_name(graph, given).unwrap()).unwrap();
    let names = graph.outputs().iter().map(|(name, _)| name.clone());
    names.map(|name| (name.clone(), values.output(&name).unwrap().clone())).collect()
}

pub fn f32s(dims: &[usize], values: &[f32]) -> HostTensor {
    HostTensor::f32(dims.to_vec(), values.to_vec()).unwrap()
}

pub fn i64s(dims: &[usize], values: &[i64]) -> HostTensor {
    HostTensor::i64(dims.to_vec(), values.to_vec()).unwrap()
}

/// Deterministic values in -1..1 that repeat nothing.
pub fn noise(dims: &[usize], seed: u32) -> HostTensor {
    let count: usize = dims.iter().product();
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(12345);
    let values: Vec<f32> = (0..count)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f32::from(u16::try_from(state >> 16).unwrap()) / 32768.0 - 1.0
        })
        .collect();
    f32s(dims, &values)
}

/// A tensor of a stored case: `DTYPE DIM,DIM,... HEX`, little-endian.
pub fn stored_tensor(text: &str) -> HostTensor {
    let parts: Vec<&str> = text.split(' ').collect();
    let [dtype, dims, hex] = parts[..] else { panic!("three parts") };
    let dims: Vec<usize> =
        dims.split(',').filter(|dim| !dim.is_empty()).map(|dim| dim.parse().unwrap()).collect();
    let bytes: Vec<u8> =
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
    let dtype = match dtype {
        "float32" => DType::F32,
        "float16" => DType::F16,
        "int64" => DType::I64,
        other => panic!("dtype {other}"),
    };
    HostTensor::from_tensor(&Tensor::new(dtype, dims, bytes.into()).unwrap()).unwrap()
}

#[track_caller]
pub fn close(got: &HostTensor, want: &HostTensor, tolerance: f32) {
    assert_eq!(got.shape(), want.shape());
    let difference = got.max_abs_diff(want).unwrap();
    assert!(difference <= tolerance, "differs by {difference}: {:?} {:?}", got.data(), want.data());
}
