//! Common subexpression elimination: nodes with the same operator and the same inputs become one; so do constants with
//! the same content.
//!
//! Every operator is a pure function, so equality of operator and inputs is the whole check. Constants above
//! [`MAX_COMPARED`] bytes are the same only when they share their bytes (exporters store a tied weight once, and
//! comparing gigabytes would page in the whole file).

use std::collections::HashMap;

use qwenc_ir::{Graph, Op, Tensor, ValueId};

use super::manager::{Pass, PassError, Report};
use super::rewrite::replace_node;

/// Largest constant that is compared by content.
const MAX_COMPARED: usize = 4096;

/// See the module.
pub(super) const PASS: Pass =
    Pass { name: "cse", about: "compute equal things once and store equal constants once", run };

fn run(graph: &mut Graph, report: &mut Report) -> Result<(), PassError> {
    merge_constants(graph, report);
    // Looked up, never iterated: the order of a hash map does not reach the output.
    let mut seen: HashMap<(Op, Vec<Option<ValueId>>), Vec<ValueId>> = HashMap::new();
    for node in graph.topo_order()? {
        let key = (graph.node(node).op.clone(), graph.node_inputs(node));
        match seen.get(&key) {
            Some(first) => {
                let first = first.clone();
                replace_node(graph, node, &first);
                report.changed("same computation");
            }
            None => {
                seen.insert(key, graph.node_outputs(node));
            }
        }
    }
    Ok(())
}

fn merge_constants(graph: &mut Graph, report: &mut Report) {
    let mut seen: HashMap<Content, ValueId> = HashMap::new();
    let values: Vec<ValueId> = graph.values().collect();
    for value in values {
        let Some(tensor) = graph.constant(value) else { continue };
        match seen.get(&Content::of(tensor)) {
            Some(first) => {
                let first = *first;
                graph.replace_uses(value, first);
                graph.remove_value(value);
                report.changed("same constant");
            }
            None => {
                seen.insert(Content::of(tensor), value);
            }
        }
    }
}

/// What makes two constants the same.
#[derive(PartialEq, Eq, Hash)]
struct Content {
    dtype: qwenc_ir::DType,
    shape: Vec<usize>,
    bytes: ContentBytes,
}

#[derive(PartialEq, Eq, Hash)]
enum ContentBytes {
    Small(Vec<u8>),
    Shared { address: usize, length: usize },
}

impl Content {
    fn of(tensor: &Tensor) -> Self {
        let bytes = tensor.bytes();
        let bytes = if bytes.len() <= MAX_COMPARED {
            ContentBytes::Small(bytes.to_vec())
        } else {
            ContentBytes::Shared { address: bytes.as_ptr().addr(), length: bytes.len() }
        };
        Self { dtype: tensor.dtype(), shape: tensor.shape().to_vec(), bytes }
    }
}
