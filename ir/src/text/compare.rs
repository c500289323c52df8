//! Structural equality of graphs, up to ids.

use std::collections::BTreeMap;
use std::fmt::Debug;

use crate::graph::{Graph, NodeId, ValueId, ValueKind};

/// True when two graphs have the same names, types, constants, operators, connections, outputs and states, whatever
/// their ids and the order of their nodes and constants.
pub fn graph_eq(a: &Graph, b: &Graph) -> bool {
    difference(a, b).is_none()
}

/// The first difference that [`graph_eq`] finds, in words.
pub fn difference(a: &Graph, b: &Graph) -> Option<String> {
    let mut comparison = Comparison { a, b, values: BTreeMap::new(), nodes: BTreeMap::new() };
    comparison.graphs().err()
}

type Same = Result<(), String>;

fn same<T: PartialEq + Debug>(what: &str, a: T, b: T) -> Same {
    if a == b { Ok(()) } else { Err(format!("{what}: {a:?} and {b:?}")) }
}

struct Comparison<'a> {
    a: &'a Graph,
    b: &'a Graph,
    values: BTreeMap<ValueId, ValueId>,
    nodes: BTreeMap<NodeId, NodeId>,
}

impl Comparison<'_> {
    fn graphs(&mut self) -> Same {
        let (a, b) = (self.a, self.b);
        same("names", a.name(), b.name())?;
        same("number of inputs", a.inputs().len(), b.inputs().len())?;
        same("number of outputs", a.outputs().len(), b.outputs().len())?;
        same("number of states", a.states().len(), b.states().len())?;
        same("number of values", a.values().count(), b.values().count())?;
        same("number of nodes", a.nodes().count(), b.nodes().count())?;
        let mut pairs: Vec<(ValueId, ValueId)> =
            a.inputs().iter().copied().zip(b.inputs().iter().copied()).collect();
        for ((name, x), (other, y)) in a.outputs().iter().zip(b.outputs()) {
            same("output names", name, other)?;
            pairs.push((*x, *y));
        }
        for (x, y) in a.states().iter().zip(b.states()) {
            same("states", (&x.name, x.kind), (&y.name, y.kind))?;
            pairs.extend([(x.past, y.past), (x.present, y.present)]);
        }
        self.pair_up(pairs)?;
        self.unreached()
    }

    /// Follows pairs of values through their producers. Every value and node meets exactly one partner.
    fn pair_up(&mut self, mut pairs: Vec<(ValueId, ValueId)>) -> Same {
        while let Some((x, y)) = pairs.pop() {
            if let Some(partner) = self.values.insert(x, y) {
                same("sharing of a value", partner, y)?;
                continue;
            }
            self.same_value(x, y)?;
            let (Some((node, port)), Some((other, other_port))) = (self.a.producer(x), self.b.producer(y))
            else {
                same("producers", self.a.producer(x).is_some(), self.b.producer(y).is_some())?;
                continue;
            };
            same("output ports", port, other_port)?;
            if let Some(partner) = self.nodes.insert(node, other) {
                same("sharing of a node", partner, other)?;
                continue;
            }
            let (left, right) = (self.a.node(node), self.b.node(other));
            same("nodes", left, right)?;
            let (inputs, others) = (self.a.node_inputs(node), self.b.node_inputs(other));
            let presence =
                |inputs: &[Option<ValueId>]| inputs.iter().map(Option::is_some).collect::<Vec<_>>();
            same(&format!("inputs of `{}`", left.name), presence(&inputs), presence(&others))?;
            pairs.extend(inputs.into_iter().flatten().zip(others.into_iter().flatten()));
            let (outputs, others) = (self.a.node_outputs(node), self.b.node_outputs(other));
            same(&format!("number of outputs of `{}`", left.name), outputs.len(), others.len())?;
            pairs.extend(outputs.into_iter().zip(others));
        }
        // A function from a to b so far; no two of a may share a partner in b.
        let mut partners: Vec<ValueId> = self.values.values().copied().collect();
        partners.sort_unstable();
        partners.dedup();
        same("number of distinct values", partners.len(), self.values.len())
    }

    fn same_value(&self, x: ValueId, y: ValueId) -> Same {
        let (x, y) = (self.a.value(x), self.b.value(y));
        same("value names", &x.name, &y.name)?;
        same(&format!("types of `{}`", x.name), x.ty.to_string(), y.ty.to_string())?;
        match (&x.kind, &y.kind) {
            (ValueKind::Const(a), ValueKind::Const(b)) if a != b => Err(format!("contents of `{}`", x.name)),
            (a, b) => {
                same(&format!("kinds of `{}`", x.name), std::mem::discriminant(a), std::mem::discriminant(b))
            }
        }
    }

    /// What no output depends on: the same parts must be there, whatever their order.
    fn unreached(&self) -> Same {
        let rest = |graph: &Graph, known: &dyn Fn(ValueId) -> bool| {
            let describe = |id: ValueId| {
                let value = graph.value(id);
                let hash = graph.constant(id).map(crate::Tensor::content_hash);
                let origin = graph.producer(id).map(|(node, port)| {
                    let inputs = graph.node_inputs(node).into_iter();
                    let inputs: Vec<_> = inputs.map(|id| id.map(|id| graph.value(id).name.clone())).collect();
                    (graph.node(node).clone(), port, inputs)
                });
                format!("{} {} {hash:?} {origin:?}", value.name, value.ty)
            };
            let mut parts: Vec<String> = graph.values().filter(|id| !known(*id)).map(describe).collect();
            parts.sort_unstable();
            parts
        };
        let reached: std::collections::BTreeSet<ValueId> = self.values.values().copied().collect();
        let left = rest(self.a, &|id| self.values.contains_key(&id));
        let right = rest(self.b, &|id| reached.contains(&id));
        same("values that nothing needs", left, right)
    }
}
