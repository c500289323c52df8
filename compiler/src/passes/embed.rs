//! The token embedding: brings the lookups that exporters write to `gather(table, ids)`.
//!
//! Pattern: `where(ids == token, rows, gather(table, ids))`, the merge of image features into the embedding, where the
//! rows come from a concat of no feature rows with a row of zeros (or only zeros are left of it): the graph was
//! imported without image inputs. Result: the plain gather. The image token's own row of the table then stands where
//! zeros stood; ids with image tokens are not valid without images. The token is reported.
//!
//! It does not fire while the features have rows, or a symbolic number of them: then they are really merged.
//!
//! The tied embedding `gather(transpose(head), ids)` is canonical as it is: the transpose is a view of the constant,
//! which [`super::fold`] never copies at that size, and the packer reads constants with strides.

use qwenc_ir::{BinaryOp, Expr, Graph, NodeId, Op, Scalar, ValueId};

use super::manager::{Pass, PassError, Report};
use super::rewrite::{
    elementwise, first_output, present_inputs, replace_node, shape, splat, strip_reshapes, strip_stored,
};
use super::term::Term;

/// See the module.
pub(super) const PASS: Pass =
    Pass { name: "embed", about: "token embedding without the merge of absent images", run };

fn run(graph: &mut Graph, report: &mut Report) -> Result<(), PassError> {
    for node in graph.topo_order()? {
        if !graph.contains_node(node) || elementwise(graph, node).is_none() {
            continue;
        }
        match find(graph, node) {
            None => {}
            Some(Err(reason)) => report.note(graph, node, reason),
            Some(Ok((embedded, token))) => {
                report.note(
                    graph,
                    node,
                    format!("image token {token}: no image rows to merge, plain lookup"),
                );
                replace_node(graph, node, &[embedded]);
                report.changed("embedding without images");
            }
        }
    }
    Ok(())
}

/// The plain lookup and the image token; `None` when the node merges nothing by token.
fn find(graph: &Graph, node: NodeId) -> Option<Result<(ValueId, i64), String>> {
    let output = first_output(graph, node)?;
    let term = Term::shallow(graph, output, 1);
    let Expr::Select(condition, rows, embedded) = &term.expr else { return None };
    let (ids, token) = token_test(graph, &term, condition)?;
    let embedded = term.leaf(embedded)?;
    let (gather, Op::Gather { axis: 0 }) = graph.producer_op(strip_stored(graph, embedded))? else {
        return None;
    };
    if strip_reshapes(graph, graph.node_input(gather, 1)?) != ids {
        return None;
    }
    if graph.value(embedded).ty != graph.value(output).ty {
        return Some(Err("the lookup broadcasts".into()));
    }
    let absent = matches!(&**rows, Expr::Const(Scalar::F32(0.0)))
        || term.leaf(rows).is_some_and(|rows| only_zeros(graph, rows));
    Some(if absent { Ok((embedded, token)) } else { Err(format!("rows are merged where the id is {token}")) })
}

/// `ids` and `token` of `ids == token`, looking through reshapes.
fn token_test(graph: &Graph, term: &Term, condition: &Expr) -> Option<(ValueId, i64)> {
    if let Expr::Arg(_) = condition {
        let base = strip_reshapes(graph, term.leaf(condition)?);
        let behind = Term::shallow(graph, base, 1);
        return match behind.expr {
            Expr::Arg(_) => None,
            _ => token_test(graph, &behind, &behind.expr),
        };
    }
    let Expr::Binary(BinaryOp::Eq, a, b) = condition else { return None };
    let constant = |expr: &Expr| match expr {
        Expr::Const(Scalar::Int(token)) => Some(*token),
        other => match splat(graph, term.leaf(other)?)? {
            Scalar::Int(token) => Some(token),
            _ => None,
        },
    };
    let (ids, token) = match (constant(a), constant(b)) {
        (None, Some(token)) => (a, token),
        (Some(token), None) => (b, token),
        _ => return None,
    };
    Some((strip_reshapes(graph, term.leaf(ids)?), token))
}

/// True for zeros, for rows gathered from zeros, and for a join of zeros with tensors of no elements.
fn only_zeros(graph: &Graph, value: ValueId) -> bool {
    let value = strip_stored(graph, value);
    if splat(graph, value).is_some_and(|scalar| scalar.as_f32() == 0.0)
        || shape(graph, value).iter().any(|dim| dim.is(0))
    {
        return true;
    }
    match graph.producer_op(value) {
        Some((node, Op::Gather { .. } | Op::Reshape { .. } | Op::Expand { .. })) => {
            graph.node_input(node, 0).is_some_and(|table| only_zeros(graph, table))
        }
        Some((node, Op::Concat { .. })) => {
            present_inputs(graph, node).iter().all(|part| only_zeros(graph, *part))
        }
        _ => false,
    }
}
