//! What a file costs to decode, counted on its bytes before it is decoded.
//!
//! Two bytes of a protocol buffer can be a message that takes hundreds in memory, and one byte of a packed field is an
//! integer of eight. A file of nothing but such bytes would decode to a thousand times its size. Exporters' files stay far
//! below the allowance here (they have names in their messages, and nearly all of their bytes are weights, which are not
//! copied), so what exceeds it is damaged or made to do harm.
//!
//! The count follows the schema, `proto/onnx.proto`; fields that it does not name are skipped by the decoder and cost
//! nothing.

use std::mem::size_of;

use super::proto;

/// Heap that decoding any file may take, in bytes, whatever the file's size.
const ALLOWANCE: usize = 256 << 20;
/// Heap that decoding may take beyond that, for each byte of the file outside of weights. The dearest ordinary message is
/// an attribute with one integer: about 15 bytes in the file, 1.7 KiB in memory, among others that are cheaper.
const PER_BYTE: usize = 128;
/// Messages nest at most this deep, as in the decoder.
const MAX_DEPTH: usize = 100;
/// A vector that grows step by step has room for up to twice what is in it, and for four from the start.
const GROWTH: usize = 4;
/// What an allocation costs besides its bytes, about.
const ALLOCATION: usize = 32;

/// Messages that can be repeated or nested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Attribute,
    DeviceConfiguration,
    Dimension,
    Function,
    Graph,
    IntIntList,
    Model,
    Node,
    NodeDevice,
    OperatorSet,
    Segment,
    Sharding,
    ShardedDim,
    SimpleShardedDim,
    Sparse,
    StringString,
    Tensor,
    TensorAnnotation,
    TensorShape,
    TensorType,
    ElementType,
    Training,
    Type,
    ValueInfo,
}

/// What a field of a message is.
enum Field {
    /// Another message.
    Message(Kind),
    /// Numbers of this width in memory.
    Numbers(usize),
    /// Text, which is copied.
    Text,
    /// Bytes that stay in the file, one number, or a field that the schema does not have.
    Free,
}

impl Kind {
    /// Bytes of the decoded message itself.
    fn bytes(self) -> usize {
        match self {
            Kind::Attribute => size_of::<proto::AttributeProto>(),
            Kind::DeviceConfiguration => size_of::<proto::DeviceConfigurationProto>(),
            Kind::Dimension => size_of::<proto::tensor_shape_proto::Dimension>(),
            Kind::Function => size_of::<proto::FunctionProto>(),
            Kind::Graph => size_of::<proto::GraphProto>(),
            Kind::IntIntList => size_of::<proto::IntIntListEntryProto>(),
            Kind::Model => size_of::<proto::ModelProto>(),
            Kind::Node => size_of::<proto::NodeProto>(),
            Kind::NodeDevice => size_of::<proto::NodeDeviceConfigurationProto>(),
            Kind::OperatorSet => size_of::<proto::OperatorSetIdProto>(),
            Kind::Segment => size_of::<proto::tensor_proto::Segment>(),
            Kind::Sharding => size_of::<proto::ShardingSpecProto>(),
            Kind::ShardedDim => size_of::<proto::ShardedDimProto>(),
            Kind::SimpleShardedDim => size_of::<proto::SimpleShardedDimProto>(),
            Kind::Sparse => size_of::<proto::SparseTensorProto>(),
            Kind::StringString => size_of::<proto::StringStringEntryProto>(),
            Kind::Tensor => size_of::<proto::TensorProto>(),
            Kind::TensorAnnotation => size_of::<proto::TensorAnnotation>(),
            Kind::TensorShape => size_of::<proto::TensorShapeProto>(),
            Kind::TensorType | Kind::ElementType => size_of::<proto::type_proto::Value>(),
            Kind::Training => size_of::<proto::TrainingInfoProto>(),
            Kind::Type => size_of::<proto::TypeProto>(),
            Kind::ValueInfo => size_of::<proto::ValueInfoProto>(),
        }
    }

    /// The field of this number.
    fn field(self, number: u64) -> Field {
        use Field::{Free, Message, Numbers, Text};
        match (self, number) {
            (Kind::Model, 2 | 3 | 4 | 6) => Text,
            (Kind::Model, 7) => Message(Kind::Graph),
            (Kind::Model, 8) => Message(Kind::OperatorSet),
            (Kind::Model, 14) => Message(Kind::StringString),
            (Kind::Model, 20) => Message(Kind::Training),
            (Kind::Model, 25) => Message(Kind::Function),
            (Kind::Model, 26) => Message(Kind::DeviceConfiguration),
            (Kind::Graph, 1) => Message(Kind::Node),
            (Kind::Graph, 5) => Message(Kind::Tensor),
            (Kind::Graph, 11..=13) => Message(Kind::ValueInfo),
            (Kind::Graph, 14) => Message(Kind::TensorAnnotation),
            (Kind::Graph, 15) => Message(Kind::Sparse),
            (Kind::Graph, 16) => Message(Kind::StringString),
            (Kind::Graph, 2 | 10) => Text,
            (Kind::Node, 5) => Message(Kind::Attribute),
            (Kind::Node, 9) => Message(Kind::StringString),
            (Kind::Node, 10) => Message(Kind::NodeDevice),
            (Kind::Node, 1..=4 | 6..=8) => Text,
            (Kind::Attribute, 5 | 10) => Message(Kind::Tensor),
            (Kind::Attribute, 6 | 11) => Message(Kind::Graph),
            (Kind::Attribute, 14 | 15) => Message(Kind::Type),
            (Kind::Attribute, 22 | 23) => Message(Kind::Sparse),
            (Kind::Attribute, 7) => Numbers(4),
            (Kind::Attribute, 8) => Numbers(8),
            // Strings are slices of the file here, each with a handle of its own.
            (Kind::Attribute, 1 | 9 | 13 | 21) => Text,
            (Kind::Tensor, 1 | 7 | 11) => Numbers(8),
            (Kind::Tensor, 10) => Numbers(8),
            (Kind::Tensor, 4 | 5) => Numbers(4),
            (Kind::Tensor, 3) => Message(Kind::Segment),
            (Kind::Tensor, 13 | 16) => Message(Kind::StringString),
            (Kind::Tensor, 6 | 8 | 12) => Text,
            (Kind::Sparse, 1 | 2) => Message(Kind::Tensor),
            (Kind::Sparse, 3) => Numbers(8),
            (Kind::Function, 7) => Message(Kind::Node),
            (Kind::Function, 9) => Message(Kind::OperatorSet),
            (Kind::Function, 11) => Message(Kind::Attribute),
            (Kind::Function, 12) => Message(Kind::ValueInfo),
            (Kind::Function, 14) => Message(Kind::StringString),
            (Kind::Function, 1 | 4 | 5 | 6 | 8 | 10 | 13) => Text,
            (Kind::Training, 1 | 2) => Message(Kind::Graph),
            (Kind::Training, 3 | 4) => Message(Kind::StringString),
            (Kind::ValueInfo, 2) => Message(Kind::Type),
            (Kind::ValueInfo, 4) => Message(Kind::StringString),
            (Kind::ValueInfo, 1 | 3) => Text,
            (Kind::TensorAnnotation, 2) => Message(Kind::StringString),
            (Kind::TensorAnnotation, 1) => Text,
            (Kind::Type, 1 | 8) => Message(Kind::TensorType),
            (Kind::Type, 4 | 5 | 9) => Message(Kind::ElementType),
            (Kind::Type, 6 | 7) => Text,
            (Kind::TensorType, 2) => Message(Kind::TensorShape),
            (Kind::ElementType, 1 | 2) => Message(Kind::Type),
            (Kind::TensorShape, 1) => Message(Kind::Dimension),
            (Kind::Dimension, 2 | 3) => Text,
            (Kind::NodeDevice, 2) => Message(Kind::Sharding),
            (Kind::NodeDevice, 1) => Text,
            (Kind::Sharding, 3) => Message(Kind::IntIntList),
            (Kind::Sharding, 4) => Message(Kind::ShardedDim),
            (Kind::Sharding, 2) => Numbers(8),
            (Kind::Sharding, 1) => Text,
            (Kind::ShardedDim, 2) => Message(Kind::SimpleShardedDim),
            (Kind::SimpleShardedDim, 2) => Text,
            (Kind::IntIntList, 2) => Numbers(8),
            (Kind::DeviceConfiguration, 1 | 3) => Text,
            (Kind::StringString | Kind::OperatorSet, _) => Text,
            _ => Free,
        }
    }
}

/// Refuses a file that takes more memory to decode than its size can explain. What is no protocol buffer at all is
/// left to the decoder, which says so better.
pub(super) fn check(file: &[u8]) -> Result<(), String> {
    // Bytes that stay in the file are known only at the end, so this limit is the loosest one.
    let mut count = Count { heap: 0, shared: 0, limit: limit(file.len()) };
    count.message(file, Kind::Model, 0)?;
    if count.heap > limit(file.len().saturating_sub(count.shared)) {
        return Err(too_much());
    }
    Ok(())
}

fn limit(bytes: usize) -> usize {
    bytes.saturating_mul(PER_BYTE).saturating_add(ALLOWANCE)
}

fn too_much() -> String {
    format!(
        "its messages would take more than {} MiB and {PER_BYTE} times their own size in memory; no exporter writes such \
         files",
        ALLOWANCE >> 20
    )
}

struct Count {
    /// Heap that decoding takes, so far.
    heap: usize,
    /// Bytes of the file that decoding does not copy.
    shared: usize,
    limit: usize,
}

impl Count {
    fn add(&mut self, bytes: usize) -> Result<(), String> {
        self.heap = self.heap.saturating_add(bytes);
        if self.heap > self.limit { Err(too_much()) } else { Ok(()) }
    }

    fn message(&mut self, mut rest: &[u8], kind: Kind, depth: usize) -> Result<(), String> {
        if depth > MAX_DEPTH {
            return Err(format!("its messages nest deeper than {MAX_DEPTH}"));
        }
        // Vectors of large messages start with room for one.
        self.add(kind.bytes() * if kind.bytes() > 1024 { 2 } else { GROWTH })?;
        while let Some(key) = varint(&mut rest) {
            let field = kind.field(key >> 3);
            match key & 7 {
                0 => {
                    if varint(&mut rest).is_none() {
                        return Ok(());
                    }
                    self.numbers(&field, 1)?;
                }
                1 => {
                    rest = rest.get(8..).unwrap_or_default();
                    self.numbers(&field, 1)?;
                }
                5 => {
                    rest = rest.get(4..).unwrap_or_default();
                    self.numbers(&field, 1)?;
                }
                2 => {
                    let length = varint(&mut rest).and_then(|length| usize::try_from(length).ok());
                    let Some((content, after)) = length.and_then(|length| rest.split_at_checked(length))
                    else {
                        return Ok(());
                    };
                    rest = after;
                    match field {
                        Field::Message(kind) => self.message(content, kind, depth + 1)?,
                        Field::Text => self.add(content.len() + ALLOCATION * GROWTH)?,
                        Field::Numbers(8) if fixed_width(kind, key >> 3) => {
                            self.numbers(&field, content.len() / 8)?
                        }
                        Field::Numbers(4) if fixed_width(kind, key >> 3) => {
                            self.numbers(&field, content.len() / 4)?
                        }
                        Field::Numbers(_) => self.numbers(&field, content.len())?,
                        Field::Free => self.shared = self.shared.saturating_add(content.len()),
                    }
                }
                3 | 4 => return Err("it has a group, a kind of field that ONNX does not use".to_owned()),
                _ => return Ok(()),
            }
        }
        Ok(())
    }

    fn numbers(&mut self, field: &Field, count: usize) -> Result<(), String> {
        match field {
            Field::Numbers(width) => self.add(count.saturating_mul(width * GROWTH)),
            _ => Ok(()),
        }
    }
}

/// True for floats, which take the same width in the file as in memory.
fn fixed_width(kind: Kind, field: u64) -> bool {
    matches!((kind, field), (Kind::Attribute, 7) | (Kind::Tensor, 4 | 10))
}

/// A number of up to ten bytes; `None` at the end or for a longer one.
fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for (index, byte) in rest.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7F).checked_shl(u32::try_from(7 * index).ok()?)?;
        if byte & 0x80 == 0 {
            *rest = rest.get(index + 1..)?;
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message;

    #[test]
    fn ordinary_messages_are_far_below() {
        let attribute = proto::AttributeProto { name: Some("axis".into()), i: Some(1), ..Default::default() };
        let node = proto::NodeProto {
            name: Some("/model/layers.0/mlp/Gather_17".into()),
            op_type: Some("Gather".into()),
            input: vec!["/model/layers.0/mlp/Shape_output_0".into(); 2],
            output: vec!["/model/layers.0/mlp/Gather_output_0".into()],
            attribute: vec![attribute; 3],
            ..Default::default()
        };
        let mut count = Count { heap: 0, shared: 0, limit: usize::MAX };
        let bytes = node.encode_to_vec();
        count.message(&bytes, Kind::Node, 0).unwrap();
        assert!(count.heap < PER_BYTE * bytes.len(), "{} for {}", count.heap, bytes.len());
    }

    #[test]
    fn small_messages_without_end_are_refused() {
        // A graph of nodes that have an attribute each and nothing else: 4 bytes in the file, 3 KiB in memory.
        let nodes = [0x0A, 2, 0x2A, 0].repeat(1 << 20);
        let mut file = vec![0x3A];
        prost::encoding::encode_varint(nodes.len() as u64, &mut file);
        file.extend(&nodes);
        assert!(check(&file).unwrap_err().contains("times their own size"));
        assert_eq!(check(&file[..20]), Ok(()));
    }

    #[test]
    fn weights_buy_no_messages() {
        let nodes = [0x0A, 2, 0x2A, 0].repeat(1 << 20);
        // A tensor with raw data as large as the nodes' count in memory.
        let mut tensor = vec![0x4A];
        let raw = 64 << 20;
        prost::encoding::encode_varint(raw as u64, &mut tensor);
        tensor.resize(tensor.len() + raw, 0);
        let mut graph = nodes;
        graph.push(0x2A);
        prost::encoding::encode_varint(tensor.len() as u64, &mut graph);
        graph.extend(&tensor);
        let mut file = vec![0x3A];
        prost::encoding::encode_varint(graph.len() as u64, &mut file);
        file.extend(&graph);
        assert!(check(&file).is_err());
    }

    #[test]
    fn groups_and_depth() {
        assert!(check(&[0x0B, 0x0C]).unwrap_err().contains("group"));
        // A sequence of sequences of ...
        let mut ty = Vec::new();
        for _ in 0..200 {
            for key in [0x22, 0x0A] {
                let mut outer = vec![if key == 0x22 { 0x0A } else { 0x22 }];
                prost::encoding::encode_varint(ty.len() as u64, &mut outer);
                outer.extend(&ty);
                ty = outer;
            }
        }
        let mut count = Count { heap: 0, shared: 0, limit: usize::MAX };
        assert!(count.message(&ty, Kind::Type, 0).unwrap_err().contains("deeper than 100"));
    }
}
