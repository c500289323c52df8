//! The text form of a graph: [`print()`] writes it, [`parse`] reads it back, one value or node a line.
//!
//! ```text
//! graph "decoder" {
//!   input %x: f32[1, tokens, 64] "inputs_embeds"
//!   const %w: f32[64, 192] = seeded(7)            // pseudo-random, for tests; `seeded(7, -3, 3)` gives the range
//!   const %g: f32[3] = dense(1, 2.5, -3)          // small ones inline, exactly
//!   const %big: f32[512, 64] = extern "0f3a..."   // large ones from a pool, by content hash
//!   %h = rms_norm(%x, %n) {eps = 1e-6} : f32[1, tokens, 64] "layer0/norm"
//!   %y = elementwise(%h, %g) {expr = add(mul(a0, sigmoid(a0)), a1)}
//!   %q, %p("window") = causal_conv(%x, %w, _, %past) {activation = silu}
//!   output "logits" = %y
//!   state window "conv.0" past=%past present=%p
//! }
//! ```
//!
//! - A string at the end of a line is the name of the value or node; without it the name is that of the (first) `%id`.
//!   A string behind a result's id is that value's own name; without it the name follows from the node's.
//! - `_` is an absent input. Attributes that are left out are `false`, none, or (a slice's `step`) 1.
//! - Types behind a colon are checked against inference and may be left out.
//! - Dims are integers, symbols (quoted when they are no identifiers), `+ - *`, parentheses, and `floor_div(a, b)`,
//!   `mod(a, b)`, `min(a, b)`, `max(a, b)`.
//! - Expressions are written as calls: `a0` is an argument, `1.0` a float, `1` an integer, `true` a boolean,
//!   `select(c, x, y)` a choice, `cast(i64, x)` a conversion. A float may also be `inf`, `nan` or `bits(0x7fc00001)`.
//! - Everything is defined before it is used. Comments run from `//` to the end of the line.
//!
//! The parser takes untrusted text: what it builds is bounded, and every fault is an error with its place. It checks
//! each node by inference; [`crate::verify()`] holds the result to the other invariants.

mod attrs;
mod compare;
mod constant;
mod expr;
mod lexer;
mod names;
mod parser;
mod print;
mod print_op;

use std::collections::BTreeMap;

use crate::graph::{Graph, ValueKind};
use crate::tensor::Tensor;

pub use compare::{difference, graph_eq};
pub use parser::parse;
pub use print::{print, print_brief};

/// Where the text is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub struct ParseError {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong there.
    pub message: String,
}

/// Constants by content hash: what `extern` refers to.
#[derive(Clone, Debug, Default)]
pub struct ConstPool(BTreeMap<String, Tensor>);

impl ConstPool {
    /// A pool without constants.
    pub fn new() -> Self {
        Self::default()
    }

    /// Every constant of a graph. Hashes all of their bytes.
    pub fn of(graph: &Graph) -> Self {
        let mut pool = Self::new();
        for id in graph.values() {
            if let ValueKind::Const(tensor) = &graph.value(id).kind {
                pool.insert(tensor.clone());
            }
        }
        pool
    }

    /// Adds a constant and gives the hash that refers to it.
    pub fn insert(&mut self, tensor: Tensor) -> String {
        let hash = tensor.content_hash();
        self.0.insert(hash.clone(), tensor);
        hash
    }

    /// The constant of this hash.
    pub fn get(&self, hash: &str) -> Option<&Tensor> {
        self.0.get(hash)
    }
}
