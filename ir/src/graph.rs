//! The graph: values and nodes on a petgraph, with ports on the edges.
//!
//! The graph is bipartite. An edge value -> node with port i says that the value is the node's input i; an edge
//! node -> value with port o says that the value is its output o. Absent optional inputs are missing ports.

use petgraph::Direction::{Incoming, Outgoing};
use petgraph::stable_graph::{NodeIndex, StableDiGraph};
use petgraph::visit::EdgeRef;

use crate::dim::Dim;
use crate::dtype::DType;
use crate::infer::{InferError, infer};
use crate::op::Op;
use crate::tensor::Tensor;

/// A value's identity; stable while other values come and go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ValueId(NodeIndex<u32>);

/// A node's identity; stable while other nodes come and go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(NodeIndex<u32>);

impl ValueId {
    /// A number that is unique in its graph, for tables and names.
    pub fn index(self) -> usize {
        self.0.index()
    }
}

impl NodeId {
    /// A number that is unique in its graph, for tables and names.
    pub fn index(self) -> usize {
        self.0.index()
    }
}

/// Element type and shape.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ValueType {
    /// Element type.
    pub dtype: DType,
    /// Shape, outermost dimension first; empty for a scalar.
    pub shape: Vec<Dim>,
}

impl ValueType {
    /// A type from its parts.
    pub fn new(dtype: DType, shape: impl IntoIterator<Item = impl Into<Dim>>) -> Self {
        Self { dtype, shape: shape.into_iter().map(Into::into).collect() }
    }

    /// Number of dimensions.
    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// Number of elements.
    pub fn elements(&self) -> Dim {
        crate::dim::product(&self.shape)
    }
}

impl std::fmt::Display for ValueType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}[", self.dtype)?;
        for (index, dim) in self.shape.iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{dim}")?;
        }
        f.write_str("]")
    }
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueKind {
    /// Given by the caller.
    Input,
    /// Known at compile time.
    Const(Tensor),
    /// A node's output.
    Computed,
}

/// A value: a tensor that flows through the graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// Name for people: where it came from. Not necessarily unique; never used as an identifier in output.
    pub name: String,
    /// Element type and shape.
    pub ty: ValueType,
    /// Where it comes from.
    pub kind: ValueKind,
}

/// A node: an operator at work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// What it does.
    pub op: Op,
    /// Name for people: the model file's node that it came from.
    pub name: String,
}

/// What kind of memory a state is, and so how it is updated in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StateKind {
    /// `[B,H,P,D]`, grows along axis 2; pre-allocated to the maximal context.
    KvCache,
    /// `[B,C,W]`: the last W inputs of a convolution.
    Window,
    /// `[B,H,dk,dv]`: the matrix of a delta rule.
    Matrix,
}

/// A recurrent state: what the graph takes as `past` and gives as `present` is one buffer on the device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Name for people and for the manifest.
    pub name: String,
    /// How it is updated.
    pub kind: StateKind,
    /// The graph input.
    pub past: ValueId,
    /// The computed value that replaces it.
    pub present: ValueId,
}

#[derive(Clone, Debug)]
enum Vertex {
    Value(Value),
    Node(Node),
}

/// A computation: inputs, constants, nodes, outputs and states.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    name: String,
    vertices: StableDiGraph<Vertex, usize, u32>,
    inputs: Vec<ValueId>,
    outputs: Vec<(String, ValueId)>,
    states: Vec<State>,
}

/// The graph has a cycle; the node is one on it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the graph has a cycle through node `{0}`")]
pub struct CycleError(pub String);

impl Graph {
    /// An empty graph.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// The graph's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    // ---- building -------------------------------------------------------------------------------------------------

    /// Adds an input, after those that exist.
    pub fn add_input(&mut self, name: impl Into<String>, ty: ValueType) -> ValueId {
        let id = self.add_value(name.into(), ty, ValueKind::Input);
        self.inputs.push(id);
        id
    }

    /// Adds a constant.
    pub fn add_const(&mut self, name: impl Into<String>, tensor: Tensor) -> ValueId {
        let ty = ValueType::new(tensor.dtype(), tensor.shape().iter().copied());
        self.add_value(name.into(), ty, ValueKind::Const(tensor))
    }

    /// Adds a node and its output values, whose types follow from operator and inputs.
    pub fn add_node(
        &mut self,
        name: impl Into<String>,
        op: Op,
        inputs: &[Option<ValueId>],
    ) -> Result<Vec<ValueId>, InferError> {
        let name = name.into();
        let types: Vec<Option<&ValueType>> =
            inputs.iter().map(|id| id.map(|id| &self.value(id).ty)).collect();
        let output_types = infer(&op, &types)?;
        let node = self.vertices.add_node(Vertex::Node(Node { op, name: name.clone() }));
        for (port, input) in inputs.iter().enumerate() {
            if let Some(input) = input {
                self.vertices.add_edge(input.0, node, port);
            }
        }
        let mut outputs = Vec::with_capacity(output_types.len());
        for (port, ty) in output_types.into_iter().enumerate() {
            let label = if port == 0 { name.clone() } else { format!("{name}#{port}") };
            let value = self.add_value(label, ty, ValueKind::Computed);
            self.vertices.add_edge(node, value.0, port);
            outputs.push(value);
        }
        Ok(outputs)
    }

    /// [`Graph::add_node`] for an operator whose inputs are all present, giving its first output.
    pub fn apply(
        &mut self,
        name: impl Into<String>,
        op: Op,
        inputs: &[ValueId],
    ) -> Result<ValueId, InferError> {
        let inputs: Vec<Option<ValueId>> = inputs.iter().copied().map(Some).collect();
        let outputs = self.add_node(name, op, &inputs)?;
        outputs.first().copied().ok_or_else(|| InferError::new("the operator has no output"))
    }

    fn add_value(&mut self, name: String, ty: ValueType, kind: ValueKind) -> ValueId {
        ValueId(self.vertices.add_node(Vertex::Value(Value { name, ty, kind })))
    }

    /// Names a value as an output of the graph, after those that exist.
    pub fn add_output(&mut self, name: impl Into<String>, value: ValueId) {
        self.outputs.push((name.into(), value));
    }

    /// Pairs an input with the computed value that replaces it.
    pub fn add_state(&mut self, state: State) {
        self.states.push(state);
    }

    // ---- reading --------------------------------------------------------------------------------------------------

    /// A value by id.
    ///
    /// # Panics
    /// When the id belongs to another graph or was removed: a bug in the caller.
    pub fn value(&self, id: ValueId) -> &Value {
        match self.vertices.node_weight(id.0) {
            Some(Vertex::Value(value)) => value,
            _ => panic!("{id:?} is no value of this graph"),
        }
    }

    /// A value by id, to change. See [`Graph::value`].
    pub fn value_mut(&mut self, id: ValueId) -> &mut Value {
        match self.vertices.node_weight_mut(id.0) {
            Some(Vertex::Value(value)) => value,
            _ => panic!("{id:?} is no value of this graph"),
        }
    }

    /// A node by id.
    ///
    /// # Panics
    /// When the id belongs to another graph or was removed: a bug in the caller.
    pub fn node(&self, id: NodeId) -> &Node {
        match self.vertices.node_weight(id.0) {
            Some(Vertex::Node(node)) => node,
            _ => panic!("{id:?} is no node of this graph"),
        }
    }

    /// A node by id, to change. The caller keeps output types right. See [`Graph::node`].
    pub fn node_mut(&mut self, id: NodeId) -> &mut Node {
        match self.vertices.node_weight_mut(id.0) {
            Some(Vertex::Node(node)) => node,
            _ => panic!("{id:?} is no node of this graph"),
        }
    }

    /// True while the value exists.
    pub fn contains_value(&self, id: ValueId) -> bool {
        matches!(self.vertices.node_weight(id.0), Some(Vertex::Value(_)))
    }

    /// True while the node exists.
    pub fn contains_node(&self, id: NodeId) -> bool {
        matches!(self.vertices.node_weight(id.0), Some(Vertex::Node(_)))
    }

    /// The constant behind a value.
    pub fn constant(&self, id: ValueId) -> Option<&Tensor> {
        match &self.value(id).kind {
            ValueKind::Const(tensor) => Some(tensor),
            _ => None,
        }
    }

    /// The graph's inputs, in order.
    pub fn inputs(&self) -> &[ValueId] {
        &self.inputs
    }

    /// The graph's outputs, in order, with their names.
    pub fn outputs(&self) -> &[(String, ValueId)] {
        &self.outputs
    }

    /// Replaces the list of outputs.
    pub fn set_outputs(&mut self, outputs: Vec<(String, ValueId)>) {
        self.outputs = outputs;
    }

    /// The recurrent states.
    pub fn states(&self) -> &[State] {
        &self.states
    }

    /// Every value, in a stable order.
    pub fn values(&self) -> impl Iterator<Item = ValueId> {
        self.vertices
            .node_indices()
            .filter(|index| matches!(self.vertices.node_weight(*index), Some(Vertex::Value(_))))
            .map(ValueId)
    }

    /// Every node, in a stable order that is not necessarily topological.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> {
        self.vertices
            .node_indices()
            .filter(|index| matches!(self.vertices.node_weight(*index), Some(Vertex::Node(_))))
            .map(NodeId)
    }

    /// A node's inputs by port; `None` where an optional input is absent. Trailing absent inputs are not listed.
    pub fn node_inputs(&self, id: NodeId) -> Vec<Option<ValueId>> {
        let mut inputs = Vec::new();
        for edge in self.vertices.edges_directed(id.0, Incoming) {
            let port = *edge.weight();
            if inputs.len() <= port {
                inputs.resize(port + 1, None);
            }
            inputs[port] = Some(ValueId(edge.source()));
        }
        inputs
    }

    /// A node's input at a port, if present.
    pub fn node_input(&self, id: NodeId, port: usize) -> Option<ValueId> {
        self.vertices
            .edges_directed(id.0, Incoming)
            .find(|edge| *edge.weight() == port)
            .map(|edge| ValueId(edge.source()))
    }

    /// A node's outputs by port.
    pub fn node_outputs(&self, id: NodeId) -> Vec<ValueId> {
        let mut outputs: Vec<(usize, ValueId)> = self
            .vertices
            .edges_directed(id.0, Outgoing)
            .map(|edge| (*edge.weight(), ValueId(edge.target())))
            .collect();
        outputs.sort_unstable();
        outputs.into_iter().map(|(_, value)| value).collect()
    }

    /// The node that computes a value, and which of its outputs it is.
    pub fn producer(&self, id: ValueId) -> Option<(NodeId, usize)> {
        let edge = self.vertices.edges_directed(id.0, Incoming).next()?;
        Some((NodeId(edge.source()), *edge.weight()))
    }

    /// The node that computes a value, with its operator.
    pub fn producer_op(&self, id: ValueId) -> Option<(NodeId, &Op)> {
        let (node, _) = self.producer(id)?;
        Some((node, &self.node(node).op))
    }

    /// The uses of a value as (node, input port), in a stable order.
    pub fn consumers(&self, id: ValueId) -> Vec<(NodeId, usize)> {
        let mut uses: Vec<(NodeId, usize)> = self
            .vertices
            .edges_directed(id.0, Outgoing)
            .map(|edge| (NodeId(edge.target()), *edge.weight()))
            .collect();
        uses.sort_unstable();
        uses
    }

    /// True when the value is an output of the graph or the new content of a state.
    pub fn is_output(&self, id: ValueId) -> bool {
        self.outputs.iter().any(|(_, value)| *value == id) || self.states.iter().any(|s| s.present == id)
    }

    /// True when exactly one node input reads the value and it is no output: it can be fused away.
    pub fn has_single_use(&self, id: ValueId) -> bool {
        !self.is_output(id) && self.vertices.edges_directed(id.0, Outgoing).count() == 1
    }

    /// The nodes in an order in which every node follows those that it reads from. Deterministic: among nodes that
    /// are ready, the one with the smallest id comes first.
    pub fn topo_order(&self) -> Result<Vec<NodeId>, CycleError> {
        let mut waiting: Vec<usize> =
            vec![0; self.vertices.node_indices().map(|i| i.index() + 1).max().unwrap_or(0)];
        let mut ready = std::collections::BTreeSet::new();
        for index in self.vertices.node_indices() {
            let count = self.vertices.edges_directed(index, Incoming).count();
            waiting[index.index()] = count;
            if count == 0 {
                ready.insert(index);
            }
        }
        let mut order = Vec::new();
        while let Some(index) = ready.pop_first() {
            if matches!(self.vertices.node_weight(index), Some(Vertex::Node(_))) {
                order.push(NodeId(index));
            }
            for edge in self.vertices.edges_directed(index, Outgoing) {
                let target = edge.target();
                waiting[target.index()] -= 1;
                if waiting[target.index()] == 0 {
                    ready.insert(target);
                }
            }
        }
        match self.nodes().find(|node| waiting[node.0.index()] > 0) {
            Some(node) => Err(CycleError(self.node(node).name.clone())),
            None => Ok(order),
        }
    }

    // ---- changing -------------------------------------------------------------------------------------------------

    /// Makes every user of `old` (nodes, outputs, states' new contents) use `new` instead.
    pub fn replace_uses(&mut self, old: ValueId, new: ValueId) {
        for (node, port) in self.consumers(old) {
            self.set_input(node, port, Some(new));
        }
        for (_, value) in &mut self.outputs {
            if *value == old {
                *value = new;
            }
        }
        for state in &mut self.states {
            if state.present == old {
                state.present = new;
            }
        }
    }

    /// Connects, replaces or removes one input of a node. The caller keeps output types right.
    pub fn set_input(&mut self, node: NodeId, port: usize, value: Option<ValueId>) {
        let old = self
            .vertices
            .edges_directed(node.0, Incoming)
            .find(|edge| *edge.weight() == port)
            .map(|e| e.id());
        if let Some(edge) = old {
            self.vertices.remove_edge(edge);
        }
        if let Some(value) = value {
            self.vertices.add_edge(value.0, node.0, port);
        }
    }

    /// Removes a node and its outputs. Returns false, changing nothing, when an output is still used.
    pub fn remove_node(&mut self, id: NodeId) -> bool {
        let outputs = self.node_outputs(id);
        if outputs.iter().any(|value| self.is_output(*value) || !self.consumers(*value).is_empty()) {
            return false;
        }
        for value in outputs {
            self.vertices.remove_node(value.0);
        }
        self.vertices.remove_node(id.0);
        true
    }

    /// Removes an unused input or constant. Returns false, changing nothing, when it is used or computed.
    pub fn remove_value(&mut self, id: ValueId) -> bool {
        let used = self.is_output(id)
            || !self.consumers(id).is_empty()
            || self.states.iter().any(|state| state.past == id);
        if used || self.producer(id).is_some() {
            return false;
        }
        self.inputs.retain(|input| *input != id);
        self.vertices.remove_node(id.0);
        true
    }

    /// Turns an input into a constant or a computed value's stand-in: every use reads `new`, and the input goes.
    /// Returns false when the input stays because a state needs it.
    pub fn bind_input(&mut self, input: ValueId, new: ValueId) -> bool {
        self.replace_uses(input, new);
        self.remove_value(input)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expr::{BinaryOp, Expr};

    fn add() -> Op {
        Op::Elementwise(Expr::Arg(0).binary(BinaryOp::Add, Expr::Arg(1)))
    }

    #[test]
    fn building_reading_and_removing() {
        let mut graph = Graph::new("g");
        let x = graph.add_input("x", ValueType::new(DType::F32, [Dim::sym("tokens"), Dim::constant(4)]));
        let c = graph.add_const("c", Tensor::from_f32(vec![4], &[1.0; 4]).unwrap());
        let y = graph.apply("y", add(), &[x, c]).unwrap();
        let z = graph.apply("z", add(), &[y, y]).unwrap();
        graph.add_output("z", z);
        assert_eq!(graph.value(z).ty.to_string(), "f32[tokens, 4]");
        assert_eq!(graph.consumers(y).len(), 2);
        let order = graph.topo_order().unwrap();
        assert_eq!(order.iter().map(|n| graph.node(*n).name.as_str()).collect::<Vec<_>>(), ["y", "z"]);
        assert!(!graph.remove_node(order[0]));
        graph.replace_uses(z, y);
        assert!(graph.remove_node(order[1]));
        assert_eq!(graph.outputs()[0].1, y);
        assert!(!graph.remove_value(c));
    }

    #[test]
    fn cycles_are_found() {
        let mut graph = Graph::new("g");
        let x = graph.add_input("x", ValueType::new(DType::F32, [4usize]));
        let y = graph.apply("y", add(), &[x, x]).unwrap();
        let z = graph.apply("z", add(), &[y, x]).unwrap();
        let (node, _) = graph.producer(y).unwrap();
        graph.set_input(node, 1, Some(z));
        assert!(graph.topo_order().is_err());
    }
}
