//! Files made to do harm, one module a class. `docs/security.md` has the table of classes.
//!
//! Every case ends in an error that names what is wrong, leaves nothing on the disk, and has not read outside of the
//! model's folder. What one module cannot show (memory) is in `tests/memory.rs`.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

#[path = "../onnx_builder/mod.rs"]
mod onnx_builder;

mod beside;
mod bombs;
mod containment;
mod functions;
mod graphs;
mod links;
mod names;
mod output;
mod scene;
mod tensors;
mod wire;
