//! One graph after another: the main graph, the branch of an `If` that is taken, the bodies of functions.

use std::collections::{BTreeMap, BTreeSet};

use super::order::{MAX_NESTING, OrderError, order};
use crate::onnx::error::{ImportError, message as show, name as shown};
use crate::onnx::file::{Model, canonical_domain, opset_table};
use crate::onnx::ops::call::Call;
use crate::onnx::ops::registry::find;
use crate::onnx::proto::{AttributeProto, FunctionProto, GraphProto, NodeProto, TensorProto};
use crate::onnx::values::{Builder, Fault, V};

/// Most nodes that one import looks at, with those of inlined functions.
const MAX_NODES: usize = 1 << 18;
/// Longest name of a node, a value or an operator, in bytes.
const MAX_NAME_BYTES: usize = 4096;

/// Why walking ended early.
pub(super) enum Stop {
    /// The model cannot be imported.
    Error(ImportError),
    /// A symbol must be bound; import again.
    Bind {
        /// The symbol's name.
        symbol: String,
        /// What it must be.
        dim: qwenc_ir::Dim,
    },
}

impl From<ImportError> for Stop {
    fn from(error: ImportError) -> Self {
        Stop::Error(error)
    }
}

pub(super) type Result<T> = std::result::Result<T, Stop>;

/// Names that are visible in one graph.
#[derive(Default)]
pub(super) struct Scope<'m> {
    values: BTreeMap<&'m str, V>,
    initializers: BTreeMap<&'m str, &'m TensorProto>,
    /// Outputs that the importer of their operator cannot give, such as statistics for training. Files name them even
    /// when nothing reads them.
    unavailable: BTreeSet<&'m str>,
}

impl<'m> Scope<'m> {
    /// A scope with these values.
    pub(super) fn of(values: BTreeMap<&'m str, V>) -> Self {
        Self { values, ..Self::default() }
    }
}

/// What the nodes of one body are read with.
pub(super) struct Frame<'m> {
    /// The body's own scope last; subgraphs see those around them, functions do not.
    pub(super) scopes: Vec<Scope<'m>>,
    pub(super) opsets: BTreeMap<String, i64>,
    /// Attributes of the function call that this is the body of.
    pub(super) attributes: BTreeMap<&'m str, &'m AttributeProto>,
    /// Functions that are being inlined, outermost first.
    pub(super) functions: Vec<(&'m str, &'m str)>,
    /// Scopes of the bodies around this one.
    pub(super) outside: usize,
}

impl Frame<'_> {
    /// True when no subgraph and no call may be entered any more: walking is recursive.
    pub(super) fn is_deep(&self) -> bool {
        self.outside + self.scopes.len() > MAX_NESTING
    }
}

pub(super) struct Walker<'m> {
    model: &'m Model,
    pub(super) builder: Builder,
    file: String,
    functions: BTreeMap<(&'m str, &'m str), &'m FunctionProto>,
    nodes_seen: usize,
}

/// A node's name for people.
pub(super) fn label(node: &NodeProto) -> String {
    let name = if node.name().is_empty() {
        node.output.iter().find(|name| !name.is_empty()).map_or(node.op_type(), String::as_str)
    } else {
        node.name()
    };
    shown(name)
}

/// Why a name has no value.
fn missing(name: &str, frame: &Frame<'_>) -> Fault {
    if frame.scopes.iter().any(|scope| scope.unavailable.contains(name)) {
        return Fault::new(format!("operand `{name}` is an output that is not supported for its operator"));
    }
    Fault::new(format!("operand `{name}` is neither an input, a constant nor computed"))
}

/// A node's attributes by name, with references to those of the surrounding function resolved.
fn resolve<'m>(
    node: &'m NodeProto,
    frame: &Frame<'m>,
) -> std::result::Result<BTreeMap<&'m str, &'m AttributeProto>, Fault> {
    let mut attributes = BTreeMap::new();
    for attribute in &node.attribute {
        let reference = attribute.ref_attr_name();
        let resolved = if reference.is_empty() {
            Some(attribute)
        } else {
            // A reference to an attribute that the caller left out leaves this one out.
            frame.attributes.get(reference).copied()
        };
        if let Some(resolved) = resolved
            && attributes.insert(attribute.name(), resolved).is_some()
        {
            return Err(Fault::new(format!("attribute `{}` is given twice", attribute.name())));
        }
    }
    Ok(attributes)
}

impl<'m> Walker<'m> {
    pub(super) fn new(model: &'m Model, builder: Builder, file: String) -> Self {
        let functions = model
            .proto()
            .functions
            .iter()
            .map(|function| ((canonical_domain(function.domain()), function.name()), function))
            .collect();
        Self { model, builder, file, functions, nodes_seen: 0 }
    }

    pub(super) fn into_builder(self) -> Builder {
        self.builder
    }

    pub(super) fn graph_error(&self, message: String) -> Stop {
        Stop::Error(ImportError::Graph { file: self.file.clone(), message: show(&message) })
    }

    pub(super) fn node_error(&self, node: &NodeProto, fault: Fault) -> Stop {
        match fault {
            Fault::Bind { symbol, dim } => Stop::Bind { symbol, dim },
            Fault::Message(message) => Stop::Error(ImportError::Node {
                file: self.file.clone(),
                node: label(node),
                operator: shown(node.op_type()),
                message: show(&message),
            }),
        }
    }

    /// Imports the main graph and gives its outputs in order.
    pub(super) fn run_main(&mut self, inputs: &BTreeMap<&'m str, V>) -> Result<Vec<V>> {
        let graph = self.model.graph();
        let mut frame = Frame {
            scopes: Vec::new(),
            opsets: self.model.opsets().clone(),
            attributes: BTreeMap::new(),
            functions: Vec::new(),
            outside: 0,
        };
        self.run_graph(graph, inputs.clone(), &mut frame)
    }

    pub(super) fn run_graph(
        &mut self,
        graph: &'m GraphProto,
        values: BTreeMap<&'m str, V>,
        frame: &mut Frame<'m>,
    ) -> Result<Vec<V>> {
        if let Some(sparse) = graph.sparse_initializer.first() {
            let name = sparse.values.as_ref().map_or("", |values| values.name());
            return Err(
                self.graph_error(format!("initializer `{name}` is sparse; store it as a dense tensor"))
            );
        }
        let mut scope = Scope { values, ..Scope::default() };
        for tensor in &graph.initializer {
            let name = tensor.name();
            if name.is_empty() || name.len() > MAX_NAME_BYTES {
                return Err(
                    self.graph_error("an initializer has no name, or one that is too long".to_owned())
                );
            }
            let taken = scope.initializers.insert(name, tensor).is_some() || scope.values.contains_key(name);
            if taken {
                return Err(self.graph_error(format!("two values are named `{name}`; names must be unique")));
            }
        }
        frame.scopes.push(scope);
        let result = self.run_nodes(&graph.node, frame).and_then(|()| {
            let outputs = graph.output.iter().map(|output| {
                let found = self.lookup(output.name(), frame)?;
                let why = if frame.scopes.iter().any(|scope| scope.unavailable.contains(output.name())) {
                    "is not supported for its operator; export the model without it"
                } else {
                    "is computed nowhere"
                };
                found.ok_or_else(|| self.graph_error(format!("output `{}` {why}", output.name())))
            });
            outputs.collect()
        });
        frame.scopes.pop();
        result
    }

    /// Counts nodes that are looked at, and what is gone through for every call of a function.
    fn count(&mut self, more: usize) -> Result<()> {
        self.nodes_seen = self.nodes_seen.saturating_add(more);
        if self.nodes_seen <= MAX_NODES {
            return Ok(());
        }
        Err(self
            .graph_error(format!("the model has more than {MAX_NODES} nodes, with those of its functions")))
    }

    fn run_nodes(&mut self, nodes: &'m [NodeProto], frame: &mut Frame<'m>) -> Result<()> {
        self.count(nodes.len())?;
        let order = order(nodes).map_err(|error| match error {
            OrderError::Duplicate(name) => {
                self.graph_error(format!("two values are named `{name}`; names must be unique"))
            }
            OrderError::Nesting => self.graph_error(format!("subgraphs nest deeper than {MAX_NESTING}")),
            OrderError::Cycle(position) => Stop::Error(ImportError::Cycle {
                file: self.file.clone(),
                node: nodes.get(position).map(label).unwrap_or_default(),
            }),
        })?;
        for node in order.into_iter().filter_map(|position| nodes.get(position)) {
            self.run_node(node, frame)?;
        }
        Ok(())
    }

    fn run_node(&mut self, node: &'m NodeProto, frame: &mut Frame<'m>) -> Result<()> {
        let long = |name: &str| name.len() > MAX_NAME_BYTES;
        if long(node.op_type())
            || long(node.name())
            || node.input.iter().chain(&node.output).any(|name| long(name))
        {
            return Err(self.node_error(node, Fault::new("a name is too long")));
        }
        let mut inputs = Vec::with_capacity(node.input.len());
        for name in &node.input {
            if name.is_empty() {
                inputs.push(None);
                continue;
            }
            let found = self.lookup(name, frame)?;
            inputs.push(Some(found.ok_or_else(|| self.node_error(node, missing(name, frame)))?));
        }
        self.builder.set_label(&label(node));
        let outputs = self.outputs_of(node, inputs, frame)?;
        for (index, name) in node.output.iter().enumerate().filter(|(_, name)| !name.is_empty()) {
            let Some(scope) = frame.scopes.last_mut() else {
                continue;
            };
            let Some(value) = outputs.get(index).copied().flatten() else {
                scope.unavailable.insert(name);
                continue;
            };
            if scope.initializers.contains_key(name.as_str()) || scope.values.insert(name, value).is_some() {
                return Err(self.graph_error(format!("two values are named `{name}`; names must be unique")));
            }
        }
        Ok(())
    }

    /// A value by name; a constant is read when it is first asked for.
    pub(super) fn lookup(&mut self, name: &'m str, frame: &mut Frame<'m>) -> Result<Option<V>> {
        for scope in frame.scopes.iter_mut().rev() {
            if let Some(value) = scope.values.get(name) {
                return Ok(Some(*value));
            }
            if let Some(tensor) = scope.initializers.get(name) {
                let content = self
                    .model
                    .tensor(tensor)
                    .map_err(|source| ImportError::Tensor { file: self.file.clone(), source })?;
                let value = self.builder.constant(&shown(name), content);
                let value = value.map_err(|fault| match fault {
                    Fault::Message(message) => {
                        Stop::Error(ImportError::Graph { file: self.file.clone(), message })
                    }
                    Fault::Bind { symbol, dim } => Stop::Bind { symbol, dim },
                })?;
                scope.values.insert(name, value);
                return Ok(Some(value));
            }
        }
        Ok(None)
    }

    fn outputs_of(
        &mut self,
        node: &'m NodeProto,
        inputs: Vec<Option<V>>,
        frame: &mut Frame<'m>,
    ) -> Result<Vec<Option<V>>> {
        let domain = canonical_domain(node.domain());
        let opset = frame.opsets.get(domain).copied().unwrap_or(0);
        if domain.is_empty() && opset == 0 {
            let message = "the model does not say which version of the standard operators it uses";
            return Err(self.node_error(node, Fault::new(message)));
        }
        let attributes = resolve(node, frame).map_err(|fault| self.node_error(node, fault))?;
        if let Some(import) = find(domain, node.op_type()) {
            let call = Call::new(node, opset, inputs, attributes);
            let built = self.constant_node(&call).and_then(|constant| match constant {
                Some(value) => Ok(vec![Some(value)]),
                None => import(&mut self.builder, &call),
            });
            let built = built.and_then(|outputs| call.check_consumed().map(|()| outputs));
            return built.map_err(|fault| self.node_error(node, fault));
        }
        if domain.is_empty() && node.op_type() == "If" {
            let call = Call::new(node, opset, inputs, attributes);
            return self.branch(&call, frame);
        }
        if domain.is_empty() && node.op_type() == "Scan" {
            let call = Call::new(node, opset, inputs, attributes);
            return self.scan(&call, frame);
        }
        if let Some(function) = self.functions.get(&(domain, node.op_type())).copied() {
            return self.inline(node, function, inputs, attributes, frame);
        }
        Err(Stop::Error(ImportError::UnknownOperator {
            file: self.file.clone(),
            node: label(node),
            operator: shown(node.op_type()),
            domain: shown(if domain.is_empty() { "ai.onnx" } else { domain }),
            opset,
        }))
    }

    /// Tensors in attributes can be in other files, which only the model can read.
    fn constant_node(&mut self, call: &Call<'m>) -> std::result::Result<Option<V>, Fault> {
        let name = match call.node.op_type() {
            "Constant" if call.has("value") => "value",
            _ => return Ok(None),
        };
        let Some(tensor) = call.tensor(name)? else {
            return Ok(None);
        };
        let content = self.model.tensor(tensor).map_err(|error| Fault::new(error.to_string()))?;
        let name = call.node.output.first().map_or("", String::as_str);
        self.builder.constant(&shown(name), content).map(Some)
    }

    /// The branch of an `If` whose condition is known.
    fn branch(&mut self, call: &Call<'m>, frame: &mut Frame<'m>) -> Result<Vec<Option<V>>> {
        let node = call.node;
        if frame.is_deep() {
            return Err(
                self.node_error(node, Fault::new(format!("subgraphs nest deeper than {MAX_NESTING}")))
            );
        }
        let chosen = call.input(0).and_then(|condition| {
            let known = self.builder.known(condition).and_then(|known| known.uniform()?.constant());
            match known {
                Some(0) => call.graph("else_branch"),
                Some(_) => call.graph("then_branch"),
                None => Err(Fault::new(
                    "the condition is computed from data; export the model without control flow, or bind the inputs \
                     that decide it",
                )),
            }
        });
        let graph = chosen.map_err(|fault| self.node_error(node, fault))?;
        let outputs = self.run_graph(graph, BTreeMap::new(), frame)?;
        Ok(outputs.into_iter().map(Some).collect())
    }

    fn inline(
        &mut self,
        node: &'m NodeProto,
        function: &'m FunctionProto,
        inputs: Vec<Option<V>>,
        mut attributes: BTreeMap<&'m str, &'m AttributeProto>,
        frame: &Frame<'m>,
    ) -> Result<Vec<Option<V>>> {
        let id = (function.domain(), function.name());
        if frame.functions.contains(&id) || frame.functions.len() >= MAX_NESTING {
            return Err(
                self.node_error(node, Fault::new(format!("function `{}` calls itself", function.name())))
            );
        }
        if frame.is_deep() {
            let message = format!("functions and subgraphs nest deeper than {MAX_NESTING}");
            return Err(self.node_error(node, Fault::new(message)));
        }
        if inputs.len() > function.input.len() {
            return Err(self.node_error(node, Fault::new("more operands than the function has")));
        }
        self.count(function.input.len() + function.output.len())?;
        self.count(function.attribute_proto.len() + function.opset_import.len())?;
        for default in &function.attribute_proto {
            attributes.entry(default.name()).or_insert(default);
        }
        let names: BTreeSet<&str> = function.input.iter().map(String::as_str).collect();
        if names.len() != function.input.len() {
            let message = format!("function `{}` has two inputs of one name", function.name());
            return Err(self.node_error(node, Fault::new(message)));
        }
        let given = function.input.iter().map(String::as_str).zip(inputs);
        let values = given.filter_map(|(name, value)| Some((name, value?))).collect();
        let mut functions = frame.functions.clone();
        functions.push(id);
        let opsets = opset_table(&function.opset_import).map_err(|message| self.graph_error(message))?;
        let scopes = vec![Scope { values, ..Scope::default() }];
        let absent: Vec<&str> = function
            .input
            .iter()
            .map(String::as_str)
            .filter(|name| !scopes[0].values.contains_key(name))
            .collect();
        let outside = frame.outside + frame.scopes.len();
        let mut body = Frame { scopes, opsets, attributes, functions, outside };
        self.run_body(function, &absent, &mut body)?;
        let mut outputs = Vec::with_capacity(function.output.len());
        for name in &function.output {
            outputs.push(self.lookup(name, &mut body)?);
        }
        Ok(outputs)
    }

    /// Runs the nodes of a function. Operands that its caller left out are left out in its body as well.
    fn run_body(&mut self, function: &'m FunctionProto, absent: &[&str], body: &mut Frame<'m>) -> Result<()> {
        let uses_absent =
            function.node.iter().find(|node| node.input.iter().any(|name| absent.contains(&name.as_str())));
        if let Some(node) = uses_absent {
            let message =
                "it reads an operand that the caller of the function left out, which is not supported";
            return Err(self.node_error(node, Fault::new(message)));
        }
        self.run_nodes(&function.node, body)
    }
}
