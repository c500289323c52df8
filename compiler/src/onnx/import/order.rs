//! The order in which nodes are imported.

use std::collections::{BTreeMap, BTreeSet};

use crate::onnx::proto::{GraphProto, NodeProto};

/// Subgraphs nest at most this deep; the reader bounds messages in a similar way.
pub(super) const MAX_NESTING: usize = 32;

/// Why there is no order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum OrderError {
    /// A value is defined twice.
    Duplicate(String),
    /// The node at this position is on a cycle.
    Cycle(usize),
    /// Subgraphs nest too deeply.
    Nesting,
}

/// Positions of nodes so that each follows those it reads from; the file's own order when that is one.
pub(super) fn order(nodes: &[NodeProto]) -> Result<Vec<usize>, OrderError> {
    let mut producers: BTreeMap<&str, usize> = BTreeMap::new();
    for (position, node) in nodes.iter().enumerate() {
        for output in node.output.iter().filter(|name| !name.is_empty()) {
            if producers.insert(output, position).is_some() {
                return Err(OrderError::Duplicate(output.clone()));
            }
        }
    }
    let mut users: Vec<Vec<usize>> = vec![Vec::new(); nodes.len()];
    let mut waiting: Vec<usize> = vec![0; nodes.len()];
    for (position, node) in nodes.iter().enumerate() {
        let mut reads = BTreeSet::new();
        collect_reads(node, &mut reads, 0)?;
        let sources: BTreeSet<usize> = reads.iter().filter_map(|name| producers.get(name).copied()).collect();
        waiting[position] = sources.len();
        for source in sources {
            users[source].push(position);
        }
    }
    let mut ready: BTreeSet<usize> = (0..nodes.len()).filter(|position| waiting[*position] == 0).collect();
    let mut order = Vec::with_capacity(nodes.len());
    while let Some(position) = ready.pop_first() {
        order.push(position);
        for user in &users[position] {
            waiting[*user] -= 1;
            if waiting[*user] == 0 {
                ready.insert(*user);
            }
        }
    }
    if order.len() == nodes.len() {
        return Ok(order);
    }
    Err(OrderError::Cycle(on_cycle(nodes, &producers, &waiting)))
}

/// Walks backwards from a stuck node until a node repeats, which is on a cycle.
fn on_cycle(nodes: &[NodeProto], producers: &BTreeMap<&str, usize>, waiting: &[usize]) -> usize {
    let mut at = waiting.iter().position(|count| *count > 0).unwrap_or(0);
    let mut seen = BTreeSet::new();
    while seen.insert(at) {
        let mut reads = BTreeSet::new();
        if collect_reads(&nodes[at], &mut reads, 0).is_err() {
            break;
        }
        let stuck = reads.iter().filter_map(|name| producers.get(name).copied()).find(|p| waiting[*p] > 0);
        match stuck {
            Some(source) => at = source,
            None => break,
        }
    }
    at
}

/// The names that a node reads, with those that its subgraphs read from outside.
fn collect_reads<'a>(
    node: &'a NodeProto,
    into: &mut BTreeSet<&'a str>,
    depth: usize,
) -> Result<(), OrderError> {
    if depth > MAX_NESTING {
        return Err(OrderError::Nesting);
    }
    into.extend(node.input.iter().map(String::as_str).filter(|name| !name.is_empty()));
    for attribute in &node.attribute {
        for graph in attribute.g.iter().chain(&attribute.graphs) {
            collect_graph_reads(graph, into, depth + 1)?;
        }
    }
    Ok(())
}

/// The names that a subgraph reads from outside.
pub(super) fn graph_reads(graph: &GraphProto) -> Result<BTreeSet<&str>, OrderError> {
    let mut names = BTreeSet::new();
    collect_graph_reads(graph, &mut names, 0)?;
    Ok(names)
}

fn collect_graph_reads<'a>(
    graph: &'a GraphProto,
    into: &mut BTreeSet<&'a str>,
    depth: usize,
) -> Result<(), OrderError> {
    let mut own: BTreeSet<&str> = graph.input.iter().map(|input| input.name()).collect();
    own.extend(graph.initializer.iter().map(|tensor| tensor.name()));
    own.extend(graph.node.iter().flat_map(|node| node.output.iter().map(String::as_str)));
    let mut reads: BTreeSet<&str> = graph.output.iter().map(|output| output.name()).collect();
    for node in &graph.node {
        collect_reads(node, &mut reads, depth)?;
    }
    into.extend(reads.difference(&own));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(inputs: &[&str], outputs: &[&str]) -> NodeProto {
        let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect();
        NodeProto { input: names(inputs), output: names(outputs), ..NodeProto::default() }
    }

    #[test]
    fn unsorted_files_are_sorted_and_sorted_ones_kept() {
        assert_eq!(
            order(&[node(&["b"], &["c"]), node(&["x"], &["b"]), node(&["x"], &["d"])]),
            Ok(vec![1, 0, 2])
        );
        assert_eq!(order(&[node(&["x"], &["a"]), node(&["x"], &["b"])]), Ok(vec![0, 1]));
    }

    #[test]
    fn cycles_and_duplicates() {
        let nodes =
            [node(&["c"], &["d"]), node(&["x"], &["a"]), node(&["a", "c"], &["b"]), node(&["b"], &["c"])];
        assert!(matches!(order(&nodes), Err(OrderError::Cycle(2 | 3))));
        assert_eq!(order(&[node(&["a"], &["a"])]), Err(OrderError::Cycle(0)));
        let twice = [node(&[], &["a"]), node(&[], &["a"])];
        assert_eq!(order(&twice), Err(OrderError::Duplicate("a".to_owned())));
    }
}
