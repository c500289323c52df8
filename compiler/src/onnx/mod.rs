//! From ONNX files to the IR.
//!
//! [`Model::open`] reads a file: it maps the file into memory, decodes the protocol buffer, and resolves external data.
//! [`import`] walks the graph once and builds a [`qwenc_ir::Graph`]. Integer computations on shapes never enter that
//! graph: they are evaluated while walking, over symbolic dimensions, and end as attributes of the operators that use
//! them.
//!
//! The protocol buffer is decoded by `prost`, from the schema that the ONNX project publishes (`proto/onnx.proto`).
//! `prost` was preferred to the crates that wrap ONNX ready-made because it bounds the nesting of messages, is widely
//! used and maintained, and can leave byte fields as slices of the mapped file, so that gigabytes of weights cost
//! nothing until they are used. The schema is compiled by `protox`, in Rust, so that building needs no `protoc`.
//!
//! A file is untrusted. Reading never leaves the model's folder, never panics, and fails with an error that names the
//! file, the tensor or the node, and what to do.

mod budget;
mod error;
mod external;
mod file;
mod import;
mod known;
mod ops;
mod scan;
mod tensor;
mod values;

#[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated from proto/onnx.proto")]
pub mod proto {
    //! The messages of an ONNX file, generated from `proto/onnx.proto`.
    include!(concat!(env!("OUT_DIR"), "/onnx.rs"));
}

pub use error::{ImportError, ReadError, TensorError};
pub use file::{Model, Port, PortDim};
pub use import::{ImportOptions, Imported, import, symbol_name};
pub use ops::registry::{OpEntry, registry};
