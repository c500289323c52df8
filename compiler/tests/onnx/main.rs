//! Reading ONNX: operators, exporters' ways to write them, errors, and graphs of the real models' sizes. No GPU.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

#[path = "../common/mod.rs"]
mod common;
#[path = "../onnx_builder/mod.rs"]
mod onnx_builder;

mod counts;
mod errors;
mod exports;
mod large_shapes;
mod operators;
mod opset27;
mod runtime_cases;
mod scan;
mod tensor_ops;
