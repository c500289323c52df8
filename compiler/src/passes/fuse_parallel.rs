//! Linears over the same tensor become one Linear with several weights, and slices of its result.
//!
//! Pattern: at least two Linears with the same `x`, without norm, gated pair or epilogue. Result: one Linear whose
//! weights stand side by side, with a slice of the last axis in place of each old result. The slices are views; the
//! matrix is read in one dispatch. Wider projections come first, equal ones by name, with numbers by value (for these
//! models q|k|v, or qkv|z|a|b): layers that are alike become alike whatever the order of their nodes, and share their kernels.
//!
//! It runs before norms and epilogues are fused, which would make the Linears differ.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use qwenc_ir::op::{LinearAttrs, linear};
use qwenc_ir::{Dim, Graph, NodeId, Op, ValueId};

use super::manager::{Pass, PassError, Report};
use super::rewrite::{add_node, apply, first_output, last_dim, replace_node, shape};

/// See the module.
pub(super) const PASS: Pass =
    Pass { name: "fuse_parallel", about: "Linears over the same tensor become one", run };

fn run(graph: &mut Graph, report: &mut Report) -> Result<(), PassError> {
    let mut groups: BTreeMap<ValueId, Vec<NodeId>> = BTreeMap::new();
    for node in graph.topo_order()? {
        let Op::Linear(attrs) = &graph.node(node).op else { continue };
        let Some(x) = graph.node_input(node, linear::X) else { continue };
        if attrs.glu.is_some() {
            continue;
        }
        if attrs.norm.is_some() || attrs.epilogue.is_some() {
            report.note(graph, node, "has a norm or an epilogue fused already");
            continue;
        }
        groups.entry(x).or_default().push(node);
    }
    for mut members in groups.into_values().filter(|members| members.len() > 1) {
        members.sort_by_cached_key(|member| {
            (
                Reverse(width(graph, *member).and_then(|width| width.as_const())),
                natural(&graph.node(*member).name),
            )
        });
        join(graph, &members)?;
        report.changed("parallel linears");
    }
    Ok(())
}

fn join(graph: &mut Graph, members: &[NodeId]) -> Result<(), PassError> {
    // Read here: joining another group may have replaced the tensor by a slice.
    let x = members.first().and_then(|first| graph.node_input(*first, linear::X));
    let mut attrs = LinearAttrs { weights: Vec::new(), norm: None, glu: None, epilogue: None };
    let mut inputs = vec![None; linear::WEIGHTS];
    inputs[linear::X] = x;
    for member in members {
        if let Op::Linear(own) = &graph.node(*member).op {
            attrs.weights.extend(&own.weights);
            inputs.extend((0..own.weights.len()).map(|at| graph.node_input(*member, linear::WEIGHTS + at)));
        }
    }
    let names: Vec<&str> = members.iter().map(|node| graph.node(*node).name.as_str()).collect();
    let name = joined_name(&names);
    let new = add_node(graph, &name, Op::Linear(Box::new(attrs)), &inputs)?;
    let Some(joined) = new.first().copied() else { return Ok(()) };
    let axis = shape(graph, joined).len().saturating_sub(1);
    let mut start = Dim::constant(0);
    for member in members {
        let Some(len) = width(graph, *member).cloned() else { continue };
        let name = graph.node(*member).name.clone();
        let op = Op::Slice { axis, start: start.clone(), len: len.clone(), step: 1 };
        let part = apply(graph, &name, op, &[joined])?;
        replace_node(graph, *member, &[part]);
        start = start + len;
    }
    Ok(())
}

/// A name as texts with the number behind each: `linear_9` comes before `linear_10`.
fn natural(name: &str) -> Vec<(String, u64)> {
    let mut parts = Vec::new();
    let mut rest = name;
    while !rest.is_empty() {
        let digit = |c: char| c.is_ascii_digit();
        let (text, behind) = rest.split_at(rest.find(digit).unwrap_or(rest.len()));
        let (number, behind) = behind.split_at(behind.find(|c| !digit(c)).unwrap_or(behind.len()));
        // A number that is too long counts as the largest; the order is for looks.
        parts.push((text.to_string(), number.parse().unwrap_or(u64::MAX)));
        rest = behind;
    }
    parts
}

/// The number of columns that a Linear computes.
fn width(graph: &Graph, linear: NodeId) -> Option<&Dim> {
    first_output(graph, linear).and_then(|value| last_dim(graph, value))
}

/// `layer/{q|k|v}/MatMul` of `layer/q/MatMul`, `layer/k/MatMul` and `layer/v/MatMul`: what the names share, once.
fn joined_name(names: &[&str]) -> String {
    let Some((first, rest)) = names.split_first() else { return String::new() };
    let separator = |c: char| c == '/' || c == '.';
    let shared = |lengths: &mut dyn Iterator<Item = usize>| lengths.min().unwrap_or(0);
    let prefix = shared(&mut rest.iter().map(|name| {
        first
            .char_indices()
            .zip(name.chars())
            .take_while(|((_, a), b)| a == b)
            .map(|((at, a), _)| at + a.len_utf8())
            .last()
            .unwrap_or(0)
    }));
    let prefix = first[..prefix].rfind(separator).map_or(0, |at| at + 1);
    let suffix = shared(&mut rest.iter().map(|name| {
        let pairs = first[prefix..].chars().rev().zip(name[prefix..].chars().rev());
        pairs.take_while(|(a, b)| a == b).map(|(a, _)| a.len_utf8()).sum()
    }));
    let tail = &first[first.len() - suffix..];
    let tail = tail.find(separator).map_or("", |at| &tail[at..]);
    let middle: Vec<&str> = names.iter().map(|name| &name[prefix..name.len() - tail.len()]).collect();
    format!("{}{{{}}}{tail}", &first[..prefix], middle.join("|"))
}

#[cfg(test)]
mod tests {
    use super::{joined_name, natural};

    #[test]
    fn numbers_in_names_count_by_value() {
        let mut names = ["l.10.b", "l.9.b", "l.9.a2", "l.9.a11", "l"];
        names.sort_by_key(|name| natural(name));
        assert_eq!(names, ["l", "l.9.a2", "l.9.a11", "l.9.b", "l.10.b"]);
    }

    #[test]
    fn shared_parts_of_names_are_written_once() {
        let names = ["/l.0/attn/q_proj/MatMul", "/l.0/attn/k_proj/MatMul", "/l.0/attn/v_proj/MatMul"];
        assert_eq!(joined_name(&names), "/l.0/attn/{q_proj|k_proj|v_proj}/MatMul");
        assert_eq!(joined_name(&["a", "b"]), "{a|b}");
        assert_eq!(joined_name(&["x/a.1", "x/a.2"]), "x/a.{1|2}");
        assert_eq!(joined_name(&["same", "same"]), "{same|same}");
        assert_eq!(joined_name(&["é/a", "è/a"]), "{é|è}/a");
    }
}
