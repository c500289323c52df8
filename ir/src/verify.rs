//! The invariants of a graph, checked between passes and on everything that is read from text.
//!
//! 1. **Order.** The graph is acyclic.
//! 2. **Production.** A computed value is the output of exactly one node, at the port where the node lists it; an input
//!    or a constant is the output of none.
//! 3. **Slots.** A node's required inputs are there, gaps are only where the operator allows them, and there is no input
//!    that the operator does not read. A past key comes with a past value.
//! 4. **Types.** Type inference accepts the node, and its result is what the output values declare. (This holds
//!    broadcasts, reshape products, permutations, slices, argument types of expressions and so on.)
//! 5. **Dims.** No dim of a value or an operator is poison; constant sizes are not negative; ranks are at most
//!    [`MAX_RANK`]; the number of elements does not overflow.
//! 6. **Attributes.** Epsilons are finite and not negative, scales are finite, scalars are of their tensor's kind, and
//!    expressions have at most [`MAX_EXPR_NODES`] nodes.
//! 7. **Constants.** A constant's declared type is that of its tensor.
//! 8. **Inputs.** The list of inputs holds every input value once, and nothing else.
//! 9. **Outputs.** Every output exists; names are distinct and not empty.
//! 10. **States.** A state pairs an input with a computed value of the same element type and rank; the sizes are equal,
//!     but for axis 2 of a KV cache. Names, pasts and presents are distinct. Caches and matrices have rank 4, windows 3.

use std::collections::BTreeSet;

use crate::dim::{Dim, product};
use crate::dtype::{DType, Scalar};
use crate::expr::{Expr, MAX_EXPR_NODES};
use crate::graph::{Graph, NodeId, State, StateKind, ValueId, ValueKind, ValueType};
use crate::infer::{MAX_RANK, infer};
use crate::op::{Op, Real};

mod slots;

/// An invariant that a graph breaks, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct VerifyError {
    /// The node, value, output or state, for people.
    pub place: String,
    /// Which invariant, and how it is broken.
    pub problem: Problem,
}

/// How an invariant is broken. The variants are in the order of the module's list.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// 1: a node is on a cycle.
    #[error("the graph has a cycle here")]
    Cycle,
    /// 2: a value's kind and its producer contradict each other.
    #[error("{0}")]
    Production(String),
    /// 3: an input slot is wrongly empty or wrongly filled.
    #[error("{0}")]
    Slot(String),
    /// 4: inference refuses the node or disagrees with a declared type.
    #[error("{0}")]
    Type(String),
    /// 5: a dim is out of bounds.
    #[error("{0}")]
    Dim(String),
    /// 6: an attribute is out of bounds.
    #[error("{0}")]
    Attribute(String),
    /// 7: a constant differs from its tensor.
    #[error("declared as {declared}, but the tensor is {actual}")]
    Constant {
        /// The value's type.
        declared: String,
        /// The tensor's type.
        actual: String,
    },
    /// 8: the list of inputs is wrong.
    #[error("{0}")]
    Input(String),
    /// 9: an output is wrong.
    #[error("{0}")]
    Output(String),
    /// 10: a state is wrong.
    #[error("{0}")]
    State(String),
}

/// Holds a graph to every invariant. Gives all that are broken, in a stable order.
pub fn verify(graph: &Graph) -> Result<(), Vec<VerifyError>> {
    let mut verifier = Verifier { graph, errors: Vec::new() };
    verifier.order();
    graph.values().for_each(|id| verifier.value(id));
    graph.nodes().for_each(|id| verifier.node(id));
    verifier.inputs();
    verifier.outputs();
    verifier.states();
    if verifier.errors.is_empty() { Ok(()) } else { Err(verifier.errors) }
}

struct Verifier<'a> {
    graph: &'a Graph,
    errors: Vec<VerifyError>,
}

impl Verifier<'_> {
    fn report(&mut self, place: impl Into<String>, problem: Problem) {
        self.errors.push(VerifyError { place: place.into(), problem });
    }

    fn order(&mut self) {
        if let Err(cycle) = self.graph.topo_order() {
            self.report(format!("node `{}`", cycle.0), Problem::Cycle);
        }
    }

    fn value(&mut self, id: ValueId) {
        let value = self.graph.value(id);
        let place = format!("value `{}`", value.name);
        let produced = self.graph.producer(id).is_some();
        match &value.kind {
            ValueKind::Computed if !produced => {
                self.report(&place, Problem::Production("computed by no node".into()));
            }
            ValueKind::Input | ValueKind::Const(_) if produced => {
                self.report(&place, Problem::Production("no computed value, but a node's output".into()));
            }
            ValueKind::Const(tensor) => {
                let actual = ValueType::new(tensor.dtype(), tensor.shape().iter().copied());
                if actual != value.ty {
                    let (declared, actual) = (value.ty.to_string(), actual.to_string());
                    self.report(&place, Problem::Constant { declared, actual });
                }
            }
            ValueKind::Input | ValueKind::Computed => {}
        }
        if let Some(problem) = shape_problem(&value.ty.shape) {
            self.report(place, Problem::Dim(problem));
        }
    }

    fn node(&mut self, id: NodeId) {
        let node = self.graph.node(id);
        let place = format!("node `{}` ({})", node.name, node.op.name());
        let outputs = self.graph.node_outputs(id);
        for (port, output) in outputs.iter().enumerate() {
            if self.graph.producer(*output) != Some((id, port)) {
                let problem = format!("output {port} is not where the value `{}` says", self.name(*output));
                self.report(&place, Problem::Production(problem));
            }
        }
        let inputs = self.graph.node_inputs(id);
        for problem in slots::problems(&node.op, &inputs) {
            self.report(&place, Problem::Slot(problem));
        }
        if node.op.dims().into_iter().any(Dim::is_poison) {
            self.report(&place, Problem::Dim("a dim of the operator overflows".into()));
        }
        let types: Vec<Option<&ValueType>> =
            inputs.iter().map(|input| input.map(|id| &self.graph.value(id).ty)).collect();
        for problem in attribute_problems(&node.op, &types) {
            self.report(&place, Problem::Attribute(problem));
        }
        match infer(&node.op, &types) {
            Err(error) => self.report(&place, Problem::Type(error.to_string())),
            Ok(inferred) => {
                let declared: Vec<&ValueType> = outputs.iter().map(|id| &self.graph.value(*id).ty).collect();
                if !declared.iter().copied().eq(&inferred) {
                    let (declared, inferred) = (show(declared), show(&inferred));
                    let problem = format!("the outputs are declared as {declared}, but are {inferred}");
                    self.report(&place, Problem::Type(problem));
                }
            }
        }
    }

    fn inputs(&mut self) {
        let listed = self.graph.inputs();
        let mut seen = BTreeSet::new();
        for id in listed {
            let place = format!("input `{}`", self.name(*id));
            if !seen.insert(*id) {
                self.report(&place, Problem::Input("listed twice".into()));
            }
            if self.kind(*id) != Some(&ValueKind::Input) {
                self.report(&place, Problem::Input("listed, but no input value".into()));
            }
        }
        for id in self.graph.values() {
            if self.kind(id) == Some(&ValueKind::Input) && !seen.contains(&id) {
                self.report(format!("input `{}`", self.name(id)), Problem::Input("not listed".into()));
            }
        }
    }

    fn outputs(&mut self) {
        let mut names = BTreeSet::new();
        for (name, id) in self.graph.outputs() {
            let place = format!("output `{name}`");
            if name.is_empty() || !names.insert(name) {
                self.report(&place, Problem::Output("the name is empty or used twice".into()));
            }
            if !self.graph.contains_value(*id) {
                self.report(&place, Problem::Output("the value does not exist".into()));
            }
        }
    }

    fn states(&mut self) {
        let (mut names, mut pasts, mut presents) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for state in self.graph.states() {
            let place = format!("state `{}`", state.name);
            let distinct =
                [names.insert(&state.name), pasts.insert(state.past), presents.insert(state.present)];
            if distinct.contains(&false) {
                let problem = "its name, its past or its present is that of another state";
                self.report(&place, Problem::State(problem.into()));
            }
            if let Some(problem) = self.state_problem(state) {
                self.report(&place, Problem::State(problem));
            }
        }
    }

    fn state_problem(&self, state: &State) -> Option<String> {
        if self.kind(state.past) != Some(&ValueKind::Input) {
            return Some("the past is no input".into());
        }
        if self.kind(state.present) != Some(&ValueKind::Computed) {
            return Some("the present is not computed".into());
        }
        let (past, present) = (&self.graph.value(state.past).ty, &self.graph.value(state.present).ty);
        let (rank, growing) = match state.kind {
            StateKind::KvCache => (4, Some(2)),
            StateKind::Window => (3, None),
            StateKind::Matrix => (4, None),
        };
        let same_sizes = past.rank() == present.rank()
            && (0..past.rank()).all(|axis| Some(axis) == growing || past.shape[axis] == present.shape[axis]);
        if past.rank() != rank || past.dtype != present.dtype || !same_sizes {
            return Some(format!("past {past} and present {present} do not fit a {:?} state", state.kind));
        }
        None
    }

    fn kind(&self, id: ValueId) -> Option<&ValueKind> {
        self.graph.contains_value(id).then(|| &self.graph.value(id).kind)
    }

    fn name(&self, id: ValueId) -> String {
        if self.graph.contains_value(id) {
            self.graph.value(id).name.clone()
        } else {
            format!("#{}", id.index())
        }
    }
}

fn show<'a>(types: impl IntoIterator<Item = &'a ValueType>) -> String {
    let types: Vec<String> = types.into_iter().map(ToString::to_string).collect();
    format!("({})", types.join(", "))
}

fn shape_problem(shape: &[Dim]) -> Option<String> {
    if shape.len() > MAX_RANK {
        return Some(format!("rank {} is above the supported {MAX_RANK}", shape.len()));
    }
    if shape.iter().any(Dim::is_poison) || product(shape).is_poison() {
        return Some("the dimensions overflow".into());
    }
    if shape.iter().any(|dim| dim.as_const().is_some_and(|size| size < 0)) {
        return Some("a negative dimension".into());
    }
    None
}

fn attribute_problems(op: &Op, inputs: &[Option<&ValueType>]) -> Vec<String> {
    let mut problems = Vec::new();
    let mut epsilon = |eps: Option<Real>| {
        if let Some(Real(eps)) = eps.filter(|eps| !(eps.0.is_finite() && eps.0 >= 0.0)) {
            problems.push(format!("an epsilon of {eps}"));
        }
    };
    match op {
        Op::LayerNorm { eps } | Op::RmsNorm { eps, .. } | Op::L2Norm { eps } => epsilon(Some(*eps)),
        Op::Attention(attrs) => epsilon(attrs.qk_norm),
        Op::GatedDelta(attrs) => epsilon(attrs.qk_norm),
        Op::Linear(attrs) => epsilon(attrs.norm),
        _ => {}
    }
    let scale = match op {
        Op::Attention(attrs) => Some(attrs.scale.0),
        Op::GatedDelta(attrs) => Some(attrs.scale.0),
        _ => None,
    };
    if let Some(scale) = scale.filter(|scale| !scale.is_finite()) {
        problems.push(format!("a scale of {scale}"));
    }
    let scalar = match op {
        Op::Fill { dtype, value, .. } => Some((*dtype, *value)),
        Op::Pad { value, .. } => inputs.first().copied().flatten().map(|x| (x.dtype, *value)),
        _ => None,
    };
    if let Some((dtype, value)) = scalar.filter(|(dtype, value)| !is_of_kind(*value, *dtype)) {
        problems.push(format!("the value {value:?} in a tensor of {dtype}"));
    }
    let expr = match op {
        Op::Elementwise(expr) => Some(expr),
        Op::Linear(attrs) => attrs.epilogue.as_ref(),
        _ => None,
    };
    if expr.map_or(0, Expr::size) > MAX_EXPR_NODES {
        problems.push(format!("an expression of more than {MAX_EXPR_NODES} nodes"));
    }
    problems
}

fn is_of_kind(value: Scalar, dtype: DType) -> bool {
    match value {
        Scalar::F32(_) => dtype.is_float(),
        Scalar::Int(_) => dtype.is_int(),
        Scalar::Bool(_) => dtype == DType::Bool,
    }
}
