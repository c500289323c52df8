//! Running a graph.

use std::collections::{BTreeMap, BTreeSet};

use super::eval::{Limits, OpError, eval_op_within};
use super::host::{HostError, HostTensor};
use crate::dim::{Bindings, EvalError};
use crate::dtype::DType;
use crate::graph::{CycleError, Graph, NodeId, ValueId, ValueKind, ValueType};

/// Tensors for a graph's inputs.
pub type Inputs = BTreeMap<ValueId, HostTensor>;

/// Why a graph cannot be run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// An input has no tensor.
    #[error("input `{0}` is not given")]
    MissingInput(String),
    /// A tensor is given for what is no input.
    #[error("the graph has no input `{0}`")]
    UnknownInput(String),
    /// A value's name stands for several.
    #[error("several inputs are called `{0}`; give them by id")]
    AmbiguousInput(String),
    /// A tensor differs from its declared type.
    #[error("`{name}` is {actual}{shape:?}, declared as {declared}")]
    Mismatch {
        /// The value's name.
        name: String,
        /// Element type of the tensor.
        actual: DType,
        /// Shape of the tensor.
        shape: Vec<usize>,
        /// The declared type.
        declared: String,
    },
    /// A declared dim has no value.
    #[error("the type {declared} of `{name}` has no value: {source}")]
    Dim {
        /// The value's name.
        name: String,
        /// The declared type.
        declared: String,
        /// Why.
        source: EvalError,
    },
    /// A constant cannot be read.
    #[error("constant `{name}`: {source}")]
    Constant {
        /// The constant's name.
        name: String,
        /// Why.
        source: HostError,
    },
    /// An operator has no result.
    #[error("node `{node}` ({op}): {source}")]
    Node {
        /// The node's name.
        node: String,
        /// The operator's name.
        op: &'static str,
        /// Why.
        source: OpError,
    },
    /// The graph is not acyclic.
    #[error(transparent)]
    Cycle(#[from] CycleError),
    /// A value is computed by no node.
    #[error("`{0}` is computed by no node")]
    Unproduced(String),
}

/// What a run gave.
#[derive(Clone, Debug, Default)]
pub struct Values {
    values: BTreeMap<ValueId, HostTensor>,
    outputs: BTreeMap<String, ValueId>,
}

impl Values {
    /// A value by id: outputs and new states, and after [`run_all`] any.
    pub fn get(&self, id: ValueId) -> Option<&HostTensor> {
        self.values.get(&id)
    }

    /// An output of the graph by its name.
    pub fn output(&self, name: &str) -> Option<&HostTensor> {
        self.get(*self.outputs.get(name)?)
    }

    /// Every value that was kept, by id.
    pub fn iter(&self) -> impl Iterator<Item = (ValueId, &HostTensor)> {
        self.values.iter().map(|(id, tensor)| (*id, tensor))
    }
}

/// Finds inputs by the names of their values.
pub fn inputs_by_name<N: AsRef<str>>(
    graph: &Graph,
    named: impl IntoIterator<Item = (N, HostTensor)>,
) -> Result<Inputs, RunError> {
    let mut inputs = Inputs::new();
    for (name, tensor) in named {
        let name = name.as_ref();
        let mut matching = graph.inputs().iter().filter(|id| graph.value(**id).name == name);
        let id = matching.next().ok_or_else(|| RunError::UnknownInput(name.into()))?;
        if matching.next().is_some() {
            return Err(RunError::AmbiguousInput(name.into()));
        }
        inputs.insert(*id, tensor);
    }
    Ok(inputs)
}

/// Runs a graph and gives its outputs and new states. Only nodes that these need are evaluated.
pub fn run(graph: &Graph, bindings: &Bindings, inputs: &Inputs) -> Result<Values, RunError> {
    run_within(graph, bindings, inputs, Limits::default())
}

/// [`run`] with other limits than the default ones.
pub fn run_within(
    graph: &Graph,
    bindings: &Bindings,
    inputs: &Inputs,
    limits: Limits,
) -> Result<Values, RunError> {
    let states = graph.states().iter().map(|state| state.present);
    let wanted: BTreeSet<ValueId> = graph.outputs().iter().map(|(_, id)| *id).chain(states).collect();
    Run { graph, bindings, limits, values: BTreeMap::new() }.go(inputs, &wanted)
}

/// Runs every node of a graph and gives every value, constants included.
pub fn run_all(graph: &Graph, bindings: &Bindings, inputs: &Inputs) -> Result<Values, RunError> {
    let wanted = graph.values().collect();
    Run { graph, bindings, limits: Limits::default(), values: BTreeMap::new() }.go(inputs, &wanted)
}

struct Run<'a> {
    graph: &'a Graph,
    bindings: &'a Bindings,
    limits: Limits,
    values: BTreeMap<ValueId, HostTensor>,
}

impl Run<'_> {
    fn go(mut self, inputs: &Inputs, wanted: &BTreeSet<ValueId>) -> Result<Values, RunError> {
        self.take_inputs(inputs)?;
        let order = self.needed_nodes(wanted)?;
        let mut uses_left: BTreeMap<ValueId, usize> = BTreeMap::new();
        for id in order.iter().flat_map(|node| self.graph.node_inputs(*node)).flatten() {
            *uses_left.entry(id).or_insert(0) += 1;
        }
        for node in order {
            self.evaluate(node)?;
            for id in self.graph.node_inputs(node).into_iter().flatten() {
                let left = uses_left.entry(id).or_insert(1);
                *left -= 1;
                if *left == 0 && !wanted.contains(&id) {
                    self.values.remove(&id);
                }
            }
        }
        for id in wanted {
            self.load(*id)?;
        }
        self.values.retain(|id, _| wanted.contains(id));
        let outputs = self.graph.outputs().iter().map(|(name, id)| (name.clone(), *id)).collect();
        Ok(Values { values: self.values, outputs })
    }

    fn take_inputs(&mut self, inputs: &Inputs) -> Result<(), RunError> {
        if let Some(id) = inputs.keys().find(|id| !self.graph.inputs().contains(id)) {
            return Err(RunError::UnknownInput(format!("#{}", id.index())));
        }
        for id in self.graph.inputs() {
            let name = || self.graph.value(*id).name.clone();
            let tensor = inputs.get(id).ok_or_else(|| RunError::MissingInput(name()))?;
            self.check(*id, tensor)?;
            self.values.insert(*id, tensor.clone());
        }
        Ok(())
    }

    /// The nodes that the wanted values depend on, in topological order.
    fn needed_nodes(&self, wanted: &BTreeSet<ValueId>) -> Result<Vec<NodeId>, RunError> {
        let mut needed = wanted.clone();
        let mut order = self.graph.topo_order()?;
        let mut keep = BTreeSet::new();
        for node in order.iter().rev() {
            if self.graph.node_outputs(*node).iter().any(|id| needed.contains(id)) {
                keep.insert(*node);
                needed.extend(self.graph.node_inputs(*node).into_iter().flatten());
            }
        }
        order.retain(|node| keep.contains(node));
        Ok(order)
    }

    fn evaluate(&mut self, id: NodeId) -> Result<(), RunError> {
        let node = self.graph.node(id);
        let slots = self.graph.node_inputs(id);
        for input in slots.iter().flatten() {
            self.load(*input)?;
        }
        let inputs: Vec<Option<&HostTensor>> =
            slots.iter().map(|slot| slot.and_then(|id| self.values.get(&id))).collect();
        let results = eval_op_within(&node.op, &inputs, self.bindings, self.limits)
            .map_err(|source| RunError::Node { node: node.name.clone(), op: node.op.name(), source })?;
        for (value, tensor) in self.graph.node_outputs(id).into_iter().zip(results) {
            self.check(value, &tensor)?;
            self.values.insert(value, tensor);
        }
        Ok(())
    }

    /// Makes sure that a value is there: constants are read when first needed.
    fn load(&mut self, id: ValueId) -> Result<(), RunError> {
        if self.values.contains_key(&id) {
            return Ok(());
        }
        let value = self.graph.value(id);
        let ValueKind::Const(tensor) = &value.kind else {
            return Err(RunError::Unproduced(value.name.clone()));
        };
        let tensor = HostTensor::from_tensor(tensor)
            .map_err(|source| RunError::Constant { name: value.name.clone(), source })?;
        self.values.insert(id, tensor);
        Ok(())
    }

    /// A tensor agrees with the declared type of its value.
    fn check(&self, id: ValueId, tensor: &HostTensor) -> Result<(), RunError> {
        let value = self.graph.value(id);
        let shape = self.concrete_shape(&value.name, &value.ty)?;
        let same_kind =
            tensor.dtype() == value.ty.dtype || (tensor.dtype().is_float() && value.ty.dtype.is_float());
        if same_kind
            && shape
                .iter()
                .map(|size| usize::try_from(*size).ok())
                .eq(tensor.shape().iter().map(|s| Some(*s)))
        {
            return Ok(());
        }
        Err(RunError::Mismatch {
            name: value.name.clone(),
            actual: tensor.dtype(),
            shape: tensor.shape().to_vec(),
            declared: format!("{} = {shape:?}", value.ty),
        })
    }

    fn concrete_shape(&self, name: &str, ty: &ValueType) -> Result<Vec<i64>, RunError> {
        let sizes = ty.shape.iter().map(|dim| dim.eval(self.bindings));
        sizes.collect::<Result<_, _>>().map_err(|source| RunError::Dim {
            name: name.into(),
            declared: ty.to_string(),
            source,
        })
    }
}
