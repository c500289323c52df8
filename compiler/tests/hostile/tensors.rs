//! Sizes and contents of tensors that contradict each other. (CVE-2024-27319 and its relatives.)

use qwenc::onnx::proto::TensorProto;
use qwenc::onnx::proto::tensor_proto::{DataType, Segment};

use crate::onnx_builder::{Builder, FLOAT, INT64, tensor};
use crate::scene::{Scene, refused, sum};

fn raw(dims: &[i64], bytes: usize) -> TensorProto {
    TensorProto { raw_data: Some(vec![0; bytes].into()), ..tensor("w", FLOAT, dims) }
}

#[test]
fn dimensions_that_overflow_or_are_none() {
    const MAX: i64 = i64::MAX;
    let cases: [(&[i64], &str); 12] = [
        (&[MAX], "overflows"),
        (&[MAX, MAX], "overflows"),
        (&[1 << 32, 1 << 32], "overflows"),
        (&[1 << 32, 1 << 32, 0], "overflows"),
        (&[0, MAX, MAX], "overflows"),
        (&[1 << 62, 4], "overflows"),
        (&[1 << 61], "overflows"),
        (&[-1], "negative"),
        (&[i64::MIN], "negative"),
        (&[-2, -2], "negative"),
        (&[1, 1, 1, 1, 1, 1, 1, 1, 4], "more than 8"),
        (&[1; 100_000], "more than 8"),
    ];
    for (dims, part) in cases {
        refused(sum(raw(dims, 16)), &["tensor `w`", part]);
    }
}

#[test]
fn as_many_bytes_as_the_shape_says() {
    for bytes in [0, 1, 15, 17, 32] {
        refused(sum(raw(&[4], bytes)), &["tensor `w`", "take 16 bytes"]);
    }
    // A shape of petabytes over four bytes reads nothing beyond them.
    refused(sum(raw(&[1 << 50], 4)), &["tensor `w`", "but 4 are stored"]);
    // Packed half bytes round up.
    for (dims, bytes) in [(3, 1), (3, 3), (1, 0)] {
        let weight = TensorProto { data_type: Some(DataType::Int4.into()), ..raw(&[dims], bytes) };
        refused(sum(weight), &["tensor `w`"]);
    }
}

#[test]
fn one_place_for_the_values() {
    let typed = TensorProto { float_data: vec![0.0; 4], ..tensor("w", FLOAT, &[4]) };
    refused(
        sum(TensorProto { raw_data: Some(vec![0; 16].into()), ..typed.clone() }),
        &["both raw and typed"],
    );
    for count in [0, 3, 5] {
        refused(
            sum(TensorProto { float_data: vec![0.0; count], ..typed.clone() }),
            &["tensor `w`", "take 16 bytes"],
        );
    }
    for other in [
        TensorProto { int32_data: vec![1; 4], ..tensor("w", FLOAT, &[4]) },
        TensorProto { int64_data: vec![1; 4], ..tensor("w", FLOAT, &[4]) },
        TensorProto { double_data: vec![1.0; 2], ..tensor("w", FLOAT, &[4]) },
        TensorProto { uint64_data: vec![1; 2], ..tensor("w", FLOAT, &[4]) },
        TensorProto { string_data: vec![b"abcd".as_slice().into(); 4], ..tensor("w", FLOAT, &[4]) },
        TensorProto { float_data: vec![1.0; 8], ..tensor("w", INT64, &[4]) },
    ] {
        refused(sum(other), &["tensor `w`", "does not use"]);
    }
    let segment = Segment { begin: Some(0), end: Some(i64::MAX) };
    refused(sum(TensorProto { segment: Some(segment), ..raw(&[4], 16) }), &["tensor `w`", "segments"]);
}

#[test]
fn element_types_that_are_none() {
    for data_type in [0, 8, 14, 15, 17, 99, -1, i32::MAX, i32::MIN] {
        let weight = TensorProto { data_type: Some(data_type), ..raw(&[4], 16) };
        refused(sum(weight), &["tensor `w`", "not supported"]);
    }
    refused(sum(TensorProto { data_type: None, ..raw(&[4], 16) }), &["tensor `w`", "not supported"]);
}

#[test]
fn inputs_with_sizes_that_are_none() {
    for (dims, part) in [
        (vec!["-1"], "negative"),
        (vec!["9223372036854775807"], "too large"),
        (vec!["4294967296", "4294967296"], "too large"),
        (vec!["2"; 9], "too large"),
    ] {
        let model = Builder::new().input("x", FLOAT, &dims).op("Abs", &["x"], &["y"]).output("y", FLOAT);
        refused(model.proto, &["input `x`", part]);
    }
}

#[test]
fn the_same_faults_through_the_whole_compiler() {
    let scene = Scene::new();
    scene.model(&sum(raw(&[1 << 32, 1 << 32], 16)));
    scene.refuses(&["model.onnx", "tensor `w`", "overflows"]);
    scene.model(&sum(raw(&[4], 15)));
    scene.refuses(&["model.onnx", "tensor `w`", "export it again"]);
}
