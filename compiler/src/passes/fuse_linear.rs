//! Matrix products with a constant right side become Linear.
//!
//! Pattern: `matmul(x, w)` with `w` a constant of rank 2, dequantized constants, or the transpose of either; `x` has any
//! leading axes. Result: `Linear` with the weight as it lies in the file, its layout in the attribute: nothing is copied,
//! and codes stay codes.
//!
//! It does not fire when the right side is computed (attention written out) or has a batch, when codes are in blocks that
//! kernels do not read, or the left is transposed.

use qwenc_ir::op::{LinearAttrs, WeightLayout, linear};
use qwenc_ir::{Graph, NodeId, Op, ValueId};

use super::manager::{Pass, PassError, Report};
use super::rewrite::{add_node, replace_node, shape};
use crate::matrix::Matrix;

/// See the module.
pub(super) const PASS: Pass =
    Pass { name: "fuse_linear", about: "matrix products with constant weights become Linear", run };

fn run(graph: &mut Graph, report: &mut Report) -> Result<(), PassError> {
    for node in graph.topo_order()? {
        let Op::MatMul { transpose_a, transpose_b } = graph.node(node).op else { continue };
        match find(graph, node, transpose_a, transpose_b) {
            Err(reason) => report.note(graph, node, reason),
            Ok((x, weight, layout)) => {
                let name = graph.node(node).name.clone();
                let attrs = LinearAttrs { weights: vec![layout], norm: None, glu: None, epilogue: None };
                let mut inputs = vec![None; linear::WEIGHTS + 1];
                inputs[linear::X] = Some(x);
                inputs[linear::WEIGHTS] = Some(weight);
                let new = add_node(graph, &name, Op::Linear(Box::new(attrs)), &inputs)?;
                replace_node(graph, node, &new);
                report.changed("linear");
            }
        }
    }
    Ok(())
}

fn find(
    graph: &Graph,
    node: NodeId,
    transpose_a: bool,
    transpose_b: bool,
) -> Result<(ValueId, ValueId, WeightLayout), &'static str> {
    let (Some(x), Some(right)) = (graph.node_input(node, 0), graph.node_input(node, 1)) else {
        return Err("an input is missing");
    };
    if shape(graph, right).len() != 2 {
        return Err("the right side has a batch");
    }
    let (weight, swapped) = behind_transpose(graph, right);
    let layout = if transpose_b == swapped { WeightLayout::KN } else { WeightLayout::NK };
    let matrix = Matrix::of_with_reason(graph, weight)?;
    match layout {
        WeightLayout::NK => matrix.kind()?,
        WeightLayout::KN => matrix.transposed().kind()?,
    };
    if transpose_a || !graph.value(x).ty.dtype.is_float() {
        return Err("the left side is transposed or integer");
    }
    Ok((x, weight, layout))
}

/// A matrix behind its transpose, and whether there was one.
fn behind_transpose(graph: &Graph, value: ValueId) -> (ValueId, bool) {
    if let Some((node, Op::Transpose { perm })) = graph.producer_op(value)
        && perm.as_slice() == [1, 0]
        && let Some(input) = graph.node_input(node, 0)
    {
        return (input, true);
    }
    (value, false)
}
