//! Bundles on devices: everything that compiles a graph and replays it on lavapipe and on SwiftShader.
//!
//! These are one binary because SwiftShader takes seconds for a large kernel: models share most of their kernels, and
//! the GPUs of a test process keep the pipelines that they have compiled.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

#[path = "../common/mod.rs"]
mod common;

mod chat;
mod decoder;
mod decoder_dialects;
mod decoder_quantized;
mod encoder;
mod images;
mod nano;
mod replay;
mod sample;
mod vision;
