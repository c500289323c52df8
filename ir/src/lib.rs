//! The intermediate representation of qwenc.
//!
//! A [`Graph`] holds values and nodes; every [`Op`] documents its inputs, outputs and meaning; a [`Dim`] is a size that
//! may depend on symbols such as `tokens`. The importer builds graphs, passes rewrite them, the verifier holds them to
//! the invariants between passes, the text form makes tests readable, and the interpreter is the oracle for all.

pub mod dim;
pub mod dtype;
pub mod expr;
pub mod graph;
pub mod infer;
pub mod interp;
pub mod op;
mod quote;
pub mod random;
mod rng;
pub mod tensor;
pub mod text;
pub mod verify;

pub use dim::{Bindings, Dim, Ranges};
pub use dtype::{DType, Scalar};
pub use expr::{BinaryOp, Expr, UnaryOp};
pub use graph::{Graph, Node, NodeId, State, StateKind, Value, ValueId, ValueKind, ValueType};
pub use infer::{InferError, infer};
pub use op::{Activation, Op, Real};
pub use tensor::Tensor;
pub use verify::{VerifyError, verify};
