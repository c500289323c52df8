//! The protocol buffer itself: depth, groups, lengths that lie, and messages that cost more than they weigh.
//! (RUSTSEC-2024-0437 and its relatives.)

use qwenc::onnx::Model;

fn varint(mut value: usize, into: &mut Vec<u8>) {
    while value > 0x7F {
        into.push(u8::try_from(value & 0x7F).unwrap() | 0x80);
        value >>= 7;
    }
    into.push(u8::try_from(value).unwrap());
}

/// A field of bytes.
fn field(number: usize, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    varint(number << 3 | 2, &mut out);
    varint(content.len(), &mut out);
    out.extend(content);
    out
}

#[track_caller]
fn refused(file: Vec<u8>, part: &str) {
    let error = Model::from_bytes("wire.onnx", file.into()).unwrap_err().to_string();
    assert!(error.contains("wire.onnx") && error.contains(part), "{error}");
}

/// A model with this graph.
fn model(graph: &[u8]) -> Vec<u8> {
    let mut file = vec![0x08, 0x0A];
    file.extend(field(8, &[0x10, 21]));
    file.extend(field(7, graph));
    file
}

#[test]
fn messages_in_messages_in_messages() {
    for depth in [60, 1_000, 100_000] {
        // Graph, node, attribute, graph.
        let mut graph = Vec::new();
        for _ in 0..depth / 3 {
            graph = field(1, &field(5, &field(6, &graph)));
            if graph.len() > 1 << 20 {
                break;
            }
        }
        // Types: a sequence of sequences.
        let mut ty = Vec::new();
        for _ in 0..(depth / 2).min(2_000) {
            ty = field(4, &field(1, &ty));
        }
        let typed = field(11, &field(2, &ty));
        if depth > 100 {
            refused(model(&graph), "deeper than 100");
            refused(model(&typed), "deeper than 100");
        } else {
            assert!(Model::from_bytes("wire.onnx", model(&graph).into()).is_ok());
        }
    }
}

#[test]
fn groups_are_not_skipped_by_recursion() {
    // 22 KB of opened groups, unknown to the schema, end a process that skips them recursively.
    refused(vec![0x0B; 22_000], "group");
    refused(model(&[0x3B; 22_000]), "group");
    // In a field that is skipped as a whole, they are bytes like others.
    let mut file = model(&[]);
    file.extend(field(999, &[0x0B; 22_000]));
    assert!(Model::from_bytes("wire.onnx", file.into()).is_ok());
}

#[test]
fn lengths_that_lie() {
    for length in [[0xFF; 9].as_slice(), &[0xFF, 0xFF, 0xFF, 0xFF, 0x7F], &[0x80; 20]] {
        let mut file = vec![0x08, 0x0A, 0x3A];
        file.extend(length);
        file.push(0x01);
        refused(file, "not an ONNX model");
    }
}

/// Two bytes an attribute, 1.7 KiB in memory: refused by the count, before anything is decoded.
#[test]
fn messages_that_cost_more_than_they_weigh() {
    let attributes = field(5, &[]).repeat(400_000);
    refused(model(&field(1, &attributes)), "times their own size");
    let nodes = field(1, &[]).repeat(1_000_000);
    refused(model(&nodes), "times their own size");
    let tensors = field(5, &[]).repeat(1_000_000);
    refused(model(&tensors), "times their own size");
    let functions = field(25, &[]).repeat(1_000_000);
    refused(functions, "times their own size");
}

/// A giant list of integers in an attribute is only as large as it is.
#[test]
fn giant_attribute_lists() {
    let mut attribute = field(1, b"axes");
    attribute.extend([0xA0, 0x01, 0x07]);
    attribute.extend(field(8, &vec![0x01; 4 << 20]));
    let mut node = field(1, b"x");
    node.extend(field(2, b"y"));
    node.extend(field(4, b"Transpose"));
    node.extend(field(5, &attribute));
    let mut graph = field(1, &node);
    let ty = field(2, &field(1, &[0x08, 0x01, 0x12, 0x04, 0x0A, 0x02, 0x08, 0x03]));
    graph.extend(field(11, &[field(1, b"x"), ty.clone()].concat()));
    graph.extend(field(12, &[field(1, b"y"), ty].concat()));
    let model = Model::from_bytes("wire.onnx", model(&graph).into()).unwrap();
    let error = qwenc::onnx::import(&model, &Default::default()).unwrap_err().to_string();
    assert!(error.contains("Transpose") || error.contains("node `y`"), "{error}");
    assert!(error.len() < 4000, "a message of {} bytes", error.len());
}
