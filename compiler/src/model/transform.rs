//! Whole-graph rewrites that build a new graph: specialising symbols, cutting a part out, joining two graphs.

use std::collections::BTreeMap;

use qwenc_ir::{Dim, Expr, Graph, InferError, NodeId, Op, State, ValueId, ValueKind, ValueType};

/// Copies nodes of one graph into another.
///
/// `bound` says which values of the source stand for which of the target; constants and inputs that nodes need and that
/// are not bound are created. Symbols are replaced by `dims`. The nodes come in topological order.
struct Copier<'a> {
    source: &'a Graph,
    target: &'a mut Graph,
    dims: &'a BTreeMap<String, Dim>,
    bound: BTreeMap<ValueId, ValueId>,
}

impl Copier<'_> {
    fn value(&mut self, id: ValueId) -> ValueId {
        if let Some(have) = self.bound.get(&id) {
            return *have;
        }
        let value = self.source.value(id);
        let made = match &value.kind {
            ValueKind::Const(tensor) => self.target.add_const(&value.name, tensor.clone()),
            // A computed value that no copied node produces is cut: it becomes an input.
            ValueKind::Input | ValueKind::Computed => {
                let shape = value.ty.shape.iter().map(|dim| dim.substitute(self.dims));
                self.target
                    .add_input(&value.name, ValueType { dtype: value.ty.dtype, shape: shape.collect() })
            }
        };
        self.bound.insert(id, made);
        made
    }

    fn nodes(&mut self, order: &[NodeId]) -> Result<(), InferError> {
        for node in order {
            let inputs: Vec<Option<ValueId>> = self
                .source
                .node_inputs(*node)
                .into_iter()
                .map(|input| input.map(|id| self.value(id)))
                .collect();
            let from = self.source.node(*node);
            let op = from.op.map_dims(&mut |dim| dim.substitute(self.dims));
            let outputs = self
                .target
                .add_node(&from.name, op, &inputs)
                .map_err(|error| InferError::new(format!("node `{}`: {error}", from.name)))?;
            for (old, new) in self.source.node_outputs(*node).into_iter().zip(outputs) {
                self.target.value_mut(new).name.clone_from(&self.source.value(old).name);
                self.bound.insert(old, new);
            }
        }
        Ok(())
    }
}

/// The part of a graph that computes `outputs`, with symbols replaced. Values in `cuts` are not computed but become
/// inputs of that name; states whose new content is computed in the part come along.
pub fn extract(
    graph: &Graph,
    name: &str,
    outputs: &[(String, ValueId)],
    cuts: &[(String, ValueId)],
    with_states: bool,
    dims: &BTreeMap<String, Dim>,
) -> Result<Graph, InferError> {
    let order = graph.topo_order().map_err(|cycle| InferError::new(cycle.to_string()))?;
    let mut wanted: Vec<ValueId> = outputs.iter().map(|(_, value)| *value).collect();
    if with_states {
        wanted.extend(graph.states().iter().map(|state| state.present));
    }
    let needed = needed_nodes(graph, &wanted, cuts);
    let order: Vec<NodeId> = order.into_iter().filter(|node| needed.contains(node)).collect();

    let mut target = Graph::new(name);
    let mut copier = Copier { source: graph, target: &mut target, dims, bound: BTreeMap::new() };
    for (cut_name, value) in cuts {
        let made = copier.value(*value);
        copier.target.value_mut(made).name.clone_from(cut_name);
    }
    // Inputs keep the order that the caller knows, also those that only a later node reads.
    for input in graph.inputs() {
        let read = graph.consumers(*input).iter().any(|(node, _)| needed.contains(node));
        let is_state = with_states && graph.states().iter().any(|state| state.past == *input);
        if (read || is_state) && !copier.bound.contains_key(input) {
            copier.value(*input);
        }
    }
    copier.nodes(&order)?;
    let mut made_outputs = Vec::new();
    for (output_name, value) in outputs {
        made_outputs.push((output_name.clone(), copier.value(*value)));
    }
    let states: Vec<State> = if with_states {
        graph
            .states()
            .iter()
            .map(|state| State {
                past: copier.value(state.past),
                present: copier.value(state.present),
                ..state.clone()
            })
            .collect()
    } else {
        Vec::new()
    };
    for (output_name, value) in made_outputs {
        target.add_output(output_name, value);
    }
    for state in states {
        target.add_state(state);
    }
    Ok(target)
}

fn needed_nodes(
    graph: &Graph,
    wanted: &[ValueId],
    cuts: &[(String, ValueId)],
) -> std::collections::BTreeSet<NodeId> {
    let mut needed = std::collections::BTreeSet::new();
    let mut work: Vec<ValueId> = wanted.to_vec();
    while let Some(value) = work.pop() {
        if cuts.iter().any(|(_, cut)| *cut == value) {
            continue;
        }
        if let Some((node, _)) = graph.producer(value)
            && needed.insert(node)
        {
            work.extend(graph.node_inputs(node).into_iter().flatten());
        }
    }
    needed
}

/// Joins two graphs: `first` computes values that stand for inputs of `second`, by pairs of (output of first, input of
/// second), by name. Inputs of the same name become one. The outputs and states are those of `second`.
pub fn join(first: &Graph, second: &Graph, pairs: &[(&str, &str)]) -> Result<Graph, InferError> {
    let none = BTreeMap::new();
    let mut target = Graph::new(second.name());
    let topo = |graph: &Graph| graph.topo_order().map_err(|cycle| InferError::new(cycle.to_string()));

    let mut copier = Copier { source: first, target: &mut target, dims: &none, bound: BTreeMap::new() };
    for input in first.inputs() {
        copier.value(*input);
    }
    copier.nodes(&topo(first)?)?;
    let first_bound = copier.bound;

    let mut bound = BTreeMap::new();
    for input in second.inputs() {
        let name = &second.value(*input).name;
        let from_output = pairs.iter().find(|(_, to)| to == name).and_then(|(from, _)| {
            first.outputs().iter().find(|(output, _)| output == from).map(|(_, value)| *value)
        });
        let same_input = first.inputs().iter().copied().find(|have| first.value(*have).name == *name);
        if let Some(value) = from_output.or(same_input)
            && let Some(made) = first_bound.get(&value)
        {
            let (have, want) = (target.value(*made).ty.clone(), &second.value(*input).ty);
            let castable = have.dtype == want.dtype || (have.dtype.is_float() && want.dtype.is_float());
            if have.shape != want.shape || !castable {
                return Err(InferError::new(format!("`{name}` is {want}, but what stands for it is {have}")));
            }
            let mut made = *made;
            if have.dtype != want.dtype {
                // Exporters give embeddings in f32 also to decoders in f16.
                made =
                    target.apply(name.as_str(), Op::Elementwise(Expr::Arg(0).cast(want.dtype)), &[made])?;
            }
            bound.insert(*input, made);
        }
    }
    let mut copier = Copier { source: second, target: &mut target, dims: &none, bound };
    for input in second.inputs() {
        copier.value(*input);
    }
    copier.nodes(&topo(second)?)?;
    let outputs: Vec<(String, ValueId)> =
        second.outputs().iter().map(|(name, value)| (name.clone(), copier.value(*value))).collect();
    let states: Vec<State> = second
        .states()
        .iter()
        .map(|state| State {
            past: copier.value(state.past),
            present: copier.value(state.present),
            ..state.clone()
        })
        .collect();
    for (name, value) in outputs {
        target.add_output(name, value);
    }
    for state in states {
        target.add_state(state);
    }
    Ok(target)
}

#[cfg(test)]
mod tests {
    use super::*;
    use qwenc_ir::{BinaryOp, DType};

    fn add() -> Op {
        Op::Elementwise(Expr::Arg(0).binary(BinaryOp::Add, Expr::Arg(1)))
    }

    fn rows() -> ValueType {
        ValueType::new(DType::F32, [Dim::sym("tokens"), Dim::constant(4)])
    }

    #[test]
    fn a_graph_is_cut_in_two() {
        let mut graph = Graph::new("g");
        let x = graph.add_input("x", rows());
        let y = graph.apply("y", add(), &[x, x]).unwrap();
        let z = graph.apply("z", add(), &[y, y]).unwrap();
        graph.add_output("z", z);
        let one = BTreeMap::from([("tokens".to_string(), Dim::constant(1))]);
        let head = extract(&graph, "head", &[("z".into(), z)], &[("hidden".into(), y)], false, &one).unwrap();
        assert_eq!(head.inputs().len(), 1);
        let input = head.value(head.inputs()[0]);
        assert_eq!((input.name.as_str(), input.ty.to_string()), ("hidden", "f32[1, 4]".to_string()));
        assert_eq!(head.nodes().count(), 1);
    }

    #[test]
    fn an_output_feeds_an_input() {
        let mut first = Graph::new("first");
        let a = first.add_input("a", rows());
        let b = first.apply("b", add(), &[a, a]).unwrap();
        first.add_output("embeds", b);
        let mut second = Graph::new("second");
        let c = second.add_input("inputs_embeds", rows());
        let d = second.apply("d", add(), &[c, c]).unwrap();
        second.add_output("out", d);
        let joined = join(&first, &second, &[("embeds", "inputs_embeds")]).unwrap();
        assert_eq!(joined.inputs().len(), 1);
        assert_eq!(joined.nodes().count(), 2);
        assert_eq!(joined.outputs()[0].0, "out");
    }
}
