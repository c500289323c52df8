//! A graph as text.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::constant;
use super::names::Named;
use super::print_op::attributes;
use crate::graph::{Graph, NodeId, ValueId, ValueKind};
use crate::quote::quoted;

/// The graph as text. Inputs come first, then constants by first use, then nodes in topological order.
///
/// Large constants are written by their content hash, so every byte of them is read; [`super::ConstPool::of`] gives
/// the pool to read them back. A graph with a cycle still prints, but does not read back.
pub fn print(graph: &Graph) -> String {
    print_graph(graph, true)
}

/// [`print()`] for people: large constants are `extern "..."`, and their bytes are not read. Does not parse back.
pub fn print_brief(graph: &Graph) -> String {
    print_graph(graph, false)
}

fn print_graph(graph: &Graph, hashed: bool) -> String {
    let nodes = graph.topo_order().unwrap_or_else(|_| graph.nodes().collect());
    let mut printer = Printer { graph, hashed, names: Names::default(), text: String::new() };
    // Writing to a string cannot fail.
    let _ = printer.graph_text(&nodes);
    printer.text
}

struct Printer<'a> {
    graph: &'a Graph,
    /// Write the hashes of large constants.
    hashed: bool,
    names: Names,
    text: String,
}

impl Printer<'_> {
    fn graph_text(&mut self, nodes: &[NodeId]) -> std::fmt::Result {
        writeln!(self.text, "graph {} {{", quoted(self.graph.name()))?;
        for id in self.graph.inputs() {
            let value = self.graph.value(*id);
            let name = self.names.get(*id, &value.name);
            let label = label(&name, &value.name);
            writeln!(self.text, "  input %{name}: {}{label}", value.ty)?;
        }
        for id in self.constants(nodes) {
            let value = self.graph.value(id);
            if let ValueKind::Const(tensor) = &value.kind {
                let name = self.names.get(id, &value.name);
                let label = label(&name, &value.name);
                let content = constant::show(tensor, self.hashed);
                writeln!(self.text, "  const %{name}: {} = {content}{label}", value.ty)?;
            }
        }
        for node in nodes {
            self.node(*node)?;
        }
        for (name, id) in self.graph.outputs() {
            let value = self.name_of(*id);
            writeln!(self.text, "  output {} = %{value}", quoted(name))?;
        }
        for state in self.graph.states() {
            let (past, present) = (self.name_of(state.past), self.name_of(state.present));
            let (kind, name) = (state.kind.word(), quoted(&state.name));
            writeln!(self.text, "  state {kind} {name} past=%{past} present=%{present}")?;
        }
        writeln!(self.text, "}}")
    }

    /// Constants in order of first use, then those that nothing uses.
    fn constants(&self, nodes: &[NodeId]) -> Vec<ValueId> {
        let used = nodes.iter().flat_map(|node| self.graph.node_inputs(*node)).flatten();
        let mut seen = BTreeSet::new();
        used.chain(self.graph.values())
            .filter(|id| self.graph.constant(*id).is_some() && seen.insert(*id))
            .collect()
    }

    fn node(&mut self, id: NodeId) -> std::fmt::Result {
        let node = self.graph.node(id);
        let outputs = self.graph.node_outputs(id);
        let inputs: Vec<String> =
            self.graph.node_inputs(id).into_iter().map(|input| self.argument(input)).collect();
        let mut results = Vec::new();
        let mut types = Vec::new();
        for (port, output) in outputs.iter().enumerate() {
            let value = self.graph.value(*output);
            let name = self.names.get(*output, &value.name);
            let usual = if port == 0 { node.name.clone() } else { format!("{}#{port}", node.name) };
            let own = if value.name == usual { String::new() } else { format!("({})", quoted(&value.name)) };
            results.push(format!("%{name}{own}"));
            types.push(value.ty.to_string());
        }
        let first = outputs.first().map(|id| self.name_of(*id)).unwrap_or_default();
        let label = label(&first, &node.name);
        let (results, inputs, types) = (results.join(", "), inputs.join(", "), types.join(", "));
        let (op, attributes) = (node.op.name(), attributes(&node.op));
        writeln!(self.text, "  {results} = {op}({inputs}){attributes} : {types}{label}")
    }

    fn argument(&mut self, input: Option<ValueId>) -> String {
        input.map_or_else(|| "_".into(), |id| format!("%{}", self.name_of(id)))
    }

    fn name_of(&mut self, id: ValueId) -> String {
        let label =
            if self.graph.contains_value(id) { self.graph.value(id).name.clone() } else { "missing".into() };
        self.names.get(id, &label)
    }
}

/// The label behind a line, when the id does not say it already.
fn label(id: &str, name: &str) -> String {
    if id == name { String::new() } else { format!(" {}", quoted(name)) }
}

/// Unique ids that resemble the values' names.
#[derive(Default)]
struct Names {
    ids: BTreeMap<ValueId, String>,
    taken: BTreeSet<String>,
    /// The last number given to a name that was taken already.
    counters: BTreeMap<String, usize>,
}

impl Names {
    fn get(&mut self, id: ValueId, name: &str) -> String {
        if let Some(have) = self.ids.get(&id) {
            return have.clone();
        }
        let base = base_name(name);
        let mut unique = base.clone();
        while !self.taken.insert(unique.clone()) {
            let counter = self.counters.entry(base.clone()).or_insert(1);
            *counter += 1;
            unique = format!("{base}_{counter}");
        }
        self.ids.insert(id, unique.clone());
        unique
    }
}

fn base_name(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '.' };
    let text: String = name.chars().take(80).map(plain).collect();
    let text = text.trim_matches('.');
    if text.is_empty() { "v".into() } else { text.into() }
}
