//! qwenc compiles ONNX models ahead of time to WGSL, a schedule and packed weights.
//!
//! [`pipeline::compile`] is the table of contents: it names every stage in order.

pub mod bench;
pub mod blank;
pub mod bundle;
pub mod cli;
pub mod contain;
pub mod error;
pub mod eval;
pub mod lower;
pub mod matrix;
pub mod model;
pub mod onnx;
pub mod passes;
pub mod pipeline;
pub mod quantize;
pub mod schedule;
pub mod serve;
pub mod tokenizer;
pub mod vision;
