//! naga's IR to [`Kernel`]: functions are inlined, matrices, structures and arrays taken apart.

mod expressions;
mod math;
mod memory;

use std::collections::HashMap;

use naga::valid::{FunctionInfo, ModuleInfo};
use naga::{BuiltIn, Handle, Statement, TypeInner};

use super::build::Builder;
use super::ir::{Binary, Input, Kernel, Kind, Label, Op, Space, Stmt, Ty, Val, Var};
use super::plan::has_barrier;
use memory::Pointer;

/// Functions that call each other deeper than this are not generated here.
const MAX_DEPTH: usize = 32;
/// Parts (scalars and vectors) of one composite value.
const MAX_PARTS: usize = 256;

/// A construct that has no translation, in words.
#[derive(Debug)]
pub(super) struct Unsupported(pub(super) String);

/// Short for the many places that refuse.
pub(super) fn refuse<T>(what: impl Into<String>) -> Result<T, Unsupported> {
    Err(Unsupported(what.into()))
}

/// What an expression of naga's has become.
#[derive(Clone, Debug)]
enum Value {
    /// The parts, in order of memory.
    Parts(Vec<Val>),
    Pointer(Pointer),
}

/// A function that is being inlined.
struct Frame<'a> {
    function: &'a naga::Function,
    info: &'a FunctionInfo,
    values: HashMap<Handle<naga::Expression>, Value>,
    locals: HashMap<Handle<naga::LocalVariable>, Vec<Var>>,
    arguments: Vec<Value>,
    returns: Returns,
    /// Open loops, the innermost last.
    loops: Vec<Label>,
}

/// What `return` does.
enum Returns {
    /// Ends the invocation.
    Entry,
    /// The function has one `return`, its last statement; here is what it gave.
    Tail(Option<Vec<Val>>),
    /// Leaves the block, with the value in variables.
    Leave(Label, Vec<Var>),
}

/// A binding or a workgroup variable.
#[derive(Clone, Copy, Debug)]
struct Global {
    space: Space,
    offset: u32,
}

struct Lowerer<'a> {
    module: &'a naga::Module,
    info: &'a ModuleInfo,
    builder: Builder,
    globals: HashMap<Handle<naga::GlobalVariable>, Global>,
    frames: Vec<Frame<'a>>,
}

/// Translates the entry point `entry`.
pub(super) fn lower(module: &naga::Module, info: &ModuleInfo, entry: &str) -> Result<Kernel, Unsupported> {
    let Some(index) = module.entry_points.iter().position(|point| point.name == entry) else {
        return refuse(format!("the shader has no entry point `{entry}`"));
    };
    let point = &module.entry_points[index];
    let mut lowerer = Lowerer {
        module,
        info,
        builder: Builder::new(point.workgroup_size),
        globals: HashMap::new(),
        frames: Vec::new(),
    };
    lowerer.globals()?;
    let arguments: Result<Vec<Value>, _> =
        point.function.arguments.iter().map(|argument| lowerer.builtin(argument)).collect();
    lowerer.inline(&point.function, info.get_entry_point(index), arguments?, true)?;
    Ok(lowerer.builder.finish())
}

impl<'a> Lowerer<'a> {
    /// Gives every global variable its place.
    fn globals(&mut self) -> Result<(), Unsupported> {
        let mut bindings = Vec::new();
        for (handle, variable) in self.module.global_variables.iter() {
            match variable.space {
                naga::AddressSpace::Uniform | naga::AddressSpace::Storage { .. } => {
                    let Some(binding) = variable.binding else {
                        return refuse("a buffer without a binding");
                    };
                    if binding.group != 0 {
                        return refuse("a binding group other than 0");
                    }
                    let writable = matches!(variable.space,
                        naga::AddressSpace::Storage { access } if access.contains(naga::StorageAccess::STORE));
                    bindings.push((binding.binding, handle, writable));
                }
                naga::AddressSpace::WorkGroup => {
                    let bytes = self.module.types[variable.ty].inner.size(self.module.to_ctx());
                    let offset = self.builder.kernel.workgroup_bytes;
                    self.builder.kernel.workgroup_bytes += bytes.next_multiple_of(16);
                    self.globals.insert(handle, Global { space: Space::Workgroup, offset });
                }
                space => return refuse(format!("variables of address space {space:?}")),
            }
        }
        bindings.sort_by_key(|(binding, ..)| *binding);
        for (slot, (binding, handle, writable)) in (0..).zip(bindings) {
            if binding != slot {
                return refuse("bindings with gaps");
            }
            self.globals
                .insert(handle, Global { space: Space::Binding { slot, constant: !writable }, offset: 0 });
            // naga's size of an array without length is that of one element.
            let ty = &self.module.types[self.module.global_variables[handle].ty].inner;
            self.builder.kernel.bindings.push(ty.size(self.module.to_ctx()));
        }
        Ok(())
    }

    /// An argument of the entry point.
    fn builtin(&mut self, argument: &naga::FunctionArgument) -> Result<Value, Unsupported> {
        let Some(naga::Binding::BuiltIn(builtin)) = argument.binding else {
            return refuse("an argument of the entry point that is no built-in value");
        };
        let builder = &mut self.builder;
        let vector = Ty { kind: Kind::U32, lanes: 3 };
        let size = builder.kernel.size;
        let value = match builtin {
            BuiltIn::LocalInvocationIndex => builder.input(Input::Invocation),
            BuiltIn::WorkGroupId | BuiltIn::NumWorkGroups | BuiltIn::WorkGroupSize => {
                let lanes = (0..3u8).map(|axis| match builtin {
                    BuiltIn::WorkGroupId => builder.input(Input::Workgroup(axis)),
                    BuiltIn::NumWorkGroups => builder.input(Input::Workgroups(axis)),
                    _ => builder.u32(size[usize::from(axis)]),
                });
                let lanes = lanes.collect();
                builder.compose(lanes, vector)
            }
            BuiltIn::LocalInvocationId | BuiltIn::GlobalInvocationId => {
                let mut lanes = Vec::new();
                for axis in 0..3u8 {
                    let mut id = builder.input(Input::Invocation);
                    let before: u32 = size.iter().take(axis.into()).product();
                    let before = builder.u32(before);
                    id = builder.binary(Binary::Div, id, before);
                    let length = builder.u32(size[usize::from(axis)]);
                    if axis < 2 {
                        id = builder.binary(Binary::Rem, id, length);
                    }
                    if builtin == BuiltIn::GlobalInvocationId {
                        let workgroup = builder.input(Input::Workgroup(axis));
                        let first = builder.binary(Binary::Mul, workgroup, length);
                        id = builder.binary(Binary::Add, first, id);
                    }
                    lanes.push(id);
                }
                builder.compose(lanes, vector)
            }
            other => return refuse(format!("the built-in value {other:?}")),
        };
        Ok(Value::Parts(vec![value]))
    }

    fn frame(&mut self) -> Result<&mut Frame<'a>, Unsupported> {
        match self.frames.last_mut() {
            Some(frame) => Ok(frame),
            None => refuse("code outside of a function"),
        }
    }

    /// The statements of a function, and its result.
    fn inline(
        &mut self,
        function: &'a naga::Function,
        info: &'a FunctionInfo,
        arguments: Vec<Value>,
        entry: bool,
    ) -> Result<Option<Value>, Unsupported> {
        if self.frames.len() >= MAX_DEPTH {
            return refuse("functions that call each other so deep");
        }
        if self.builder.is_full() {
            return refuse("functions that call each other so often");
        }
        let types = match &function.result {
            Some(result) => self.parts_of(&self.module.types[result.ty].inner)?,
            None => Vec::new(),
        };
        let returns = if entry {
            Returns::Entry
        } else if returns_once(&function.body) {
            Returns::Tail(None)
        } else {
            let vars = types.iter().map(|ty| self.builder.var(*ty)).collect();
            Returns::Leave(self.builder.label(), vars)
        };
        let leaves = matches!(returns, Returns::Leave(..));
        self.frames.push(Frame {
            function,
            info,
            values: HashMap::new(),
            locals: HashMap::new(),
            arguments,
            returns,
            loops: Vec::new(),
        });
        if leaves {
            self.builder.open();
        }
        for (handle, local) in function.local_variables.iter() {
            let types = self.parts_of(&self.module.types[local.ty].inner)?;
            let vars: Vec<Var> = types.iter().map(|ty| self.builder.var(*ty)).collect();
            let initial = match local.init {
                Some(init) => self.parts(init)?,
                None => types.iter().map(|ty| self.builder.constant(*ty, 0)).collect(),
            };
            for (var, value) in vars.iter().zip(initial) {
                self.builder.push(Stmt::Set(*var, value));
            }
            self.frame()?.locals.insert(handle, vars);
        }
        self.block(&function.body)?;
        let Some(frame) = self.frames.pop() else { return Ok(None) };
        Ok(match frame.returns {
            Returns::Entry => None,
            Returns::Tail(value) => value.map(Value::Parts),
            Returns::Leave(label, vars) => {
                let mut body = self.builder.close();
                // Behind the last barrier single invocations may return: a block of its own, without barriers.
                if let Some(last) = body.iter().rposition(has_barrier) {
                    let tail = body.split_off(last + 1);
                    let inner = self.builder.label();
                    let tail = tail.into_iter().map(|stmt| relabel(stmt, label, inner)).collect();
                    body.push(Stmt::Block { label: inner, body: tail });
                }
                self.builder.push(Stmt::Block { label, body });
                Some(Value::Parts(vars.into_iter().map(|var| self.builder.get(var)).collect()))
            }
        })
    }

    /// The statements of a block, in a list of their own.
    fn list(&mut self, block: &'a naga::Block) -> Result<Vec<Stmt>, Unsupported> {
        self.builder.open();
        let done = self.block(block);
        let list = self.builder.close();
        done.map(|()| list)
    }

    fn block(&mut self, block: &'a naga::Block) -> Result<(), Unsupported> {
        block.iter().try_for_each(|statement| self.statement(statement))
    }

    fn statement(&mut self, statement: &'a Statement) -> Result<(), Unsupported> {
        match statement {
            Statement::Emit(range) => {
                for handle in range.clone() {
                    let value = self.expression(handle)?;
                    self.frame()?.values.insert(handle, value);
                }
            }
            Statement::Block(block) => self.block(block)?,
            Statement::If { condition, accept, reject } => {
                let condition = self.scalar(*condition)?;
                let accept = self.list(accept)?;
                let reject = self.list(reject)?;
                self.builder.push(Stmt::If(condition, accept, reject));
            }
            Statement::Loop { body, continuing, break_if } => self.loop_(body, continuing, *break_if)?,
            Statement::Break => {
                let label = self.frame()?.loops.last().copied();
                match label {
                    Some(label) => self.builder.push(Stmt::Break(label)),
                    None => return refuse("`break` outside of a loop"),
                }
            }
            Statement::Continue => {
                let label = self.frame()?.loops.last().copied();
                match label {
                    Some(label) => self.builder.push(Stmt::Continue(label)),
                    None => return refuse("`continue` outside of a loop"),
                }
            }
            Statement::Return { value } => self.return_(*value)?,
            // All invocations of a dispatch run in one thread: only the order of a workgroup's is to be kept.
            Statement::ControlBarrier(_) => self.builder.push(Stmt::Barrier),
            Statement::MemoryBarrier(_) => {}
            Statement::Store { pointer, value } => {
                let parts = self.parts(*value)?;
                let pointer = self.pointer(*pointer)?;
                self.store(&pointer, parts)?;
            }
            Statement::Atomic { pointer, fun: naga::AtomicFunction::Add, value, result } => {
                let value = self.scalar(*value)?;
                let pointer = self.pointer(*pointer)?;
                let old = self.atomic_add(&pointer, value)?;
                if let Some(result) = result {
                    self.frame()?.values.insert(*result, Value::Parts(vec![old]));
                }
            }
            Statement::Call { function, arguments, result } => {
                let arguments: Result<Vec<Value>, _> = arguments.iter().map(|a| self.value(*a)).collect();
                let module = self.module;
                let info = &self.info[*function];
                let value = self.inline(&module.functions[*function], info, arguments?, false)?;
                if let (Some(result), Some(value)) = (result, value) {
                    self.frame()?.values.insert(*result, value);
                }
            }
            other => {
                let text = format!("{other:?}");
                let name = text.split([' ', '{', '(']).next().unwrap_or_default();
                return refuse(format!("the statement {name}"));
            }
        }
        Ok(())
    }

    fn return_(&mut self, value: Option<Handle<naga::Expression>>) -> Result<(), Unsupported> {
        let parts = match value {
            Some(value) => self.parts(value)?,
            None => Vec::new(),
        };
        let (label, sets) = match &mut self.frame()?.returns {
            Returns::Entry => {
                self.builder.push(Stmt::Return);
                return Ok(());
            }
            Returns::Tail(result) => {
                *result = Some(parts);
                return Ok(());
            }
            Returns::Leave(label, vars) => (*label, vars.iter().copied().zip(parts).collect::<Vec<_>>()),
        };
        for (var, part) in sets {
            self.builder.push(Stmt::Set(var, part));
        }
        self.builder.push(Stmt::Break(label));
        Ok(())
    }

    fn loop_(
        &mut self,
        body: &'a naga::Block,
        continuing: &'a naga::Block,
        break_if: Option<Handle<naga::Expression>>,
    ) -> Result<(), Unsupported> {
        let label = self.builder.label();
        self.frame()?.loops.push(label);
        let before = self.builder.bounds.clone();
        self.builder.open();
        let done = self.loop_body(body, body);
        let body = self.builder.close();
        done?;
        // In `continuing` the variable moves on.
        self.builder.bounds = before;
        self.builder.open();
        let done = self.block(continuing);
        let break_if = break_if.map(|condition| self.scalar(condition)).transpose();
        let continuing = self.builder.close();
        done?;
        self.frame()?.loops.pop();
        self.builder.push(Stmt::Loop { label, body, continuing, break_if: break_if? });
        Ok(())
    }

    /// As [`Self::block`], learning from `if (!(i < n)) { break; }` that i is below n behind it, as long as the body does not
    /// assign i.
    fn loop_body(&mut self, block: &'a naga::Block, whole: &naga::Block) -> Result<(), Unsupported> {
        for statement in block {
            match statement {
                Statement::Block(inner) => self.loop_body(inner, whole)?,
                Statement::If { condition, accept, reject }
                    if accept.is_empty() && matches!(reject[..], [Statement::Break]) =>
                {
                    self.statement(statement)?;
                    let condition = self.scalar(*condition)?;
                    self.learn(condition, whole)?;
                }
                _ => self.statement(statement)?,
            }
        }
        Ok(())
    }

    fn learn(&mut self, condition: Val, body: &naga::Block) -> Result<(), Unsupported> {
        let Op::Binary(Binary::Lt, a, b) = *self.builder.kernel.op(condition) else { return Ok(()) };
        let Op::Get(var) = *self.builder.kernel.op(a) else { return Ok(()) };
        let limit = self.builder.upper_of(b);
        let frame = self.frame()?;
        let local = frame.locals.iter().find(|(_, vars)| **vars == [var]).map(|(local, _)| *local);
        if let Some(local) = local
            && !assigns(body, frame.function, local)
            && self.builder.ty(a) == Ty::U32
            && limit > 0
        {
            self.builder.bounds.insert(var, limit - 1);
        }
        Ok(())
    }

    /// The scalars and vectors that a type consists of, in order.
    fn parts_of(&self, inner: &TypeInner) -> Result<Vec<Ty>, Unsupported> {
        Ok(self.layout(inner)?.into_iter().map(|(_, ty)| ty).collect())
    }

    /// The parts of a type with their offsets in memory.
    fn layout(&self, inner: &TypeInner) -> Result<Vec<(u32, Ty)>, Unsupported> {
        let parts = match inner {
            TypeInner::Scalar(scalar) | TypeInner::Atomic(scalar) => {
                vec![(0, Ty::scalar(kind_of(*scalar)?))]
            }
            TypeInner::Vector { size, scalar } => {
                vec![(0, Ty { kind: kind_of(*scalar)?, lanes: *size as u8 })]
            }
            TypeInner::Matrix { columns, rows, scalar } => {
                let stride = if *rows as u8 == 2 { 8 } else { 16 };
                let ty = Ty { kind: kind_of(*scalar)?, lanes: *rows as u8 };
                (0..*columns as u32).map(|column| (column * stride, ty)).collect()
            }
            TypeInner::Array { base, size: naga::ArraySize::Constant(count), stride } => {
                let element = self.layout(&self.module.types[*base].inner)?;
                if element.len().saturating_mul(count.get() as usize) > MAX_PARTS {
                    return refuse("an array of so many elements outside of memory");
                }
                let at = |i: u32| element.iter().map(move |(offset, ty)| (i * stride + offset, *ty));
                (0..count.get()).flat_map(at).collect()
            }
            TypeInner::Struct { members, .. } => {
                let mut parts = Vec::new();
                for member in members {
                    let inner = self.layout(&self.module.types[member.ty].inner)?;
                    parts.extend(inner.into_iter().map(|(offset, ty)| (member.offset + offset, ty)));
                }
                parts
            }
            other => return refuse(format!("values of type {other:?}")),
        };
        Ok(parts)
    }
}

/// Leaves another block.
fn relabel(stmt: Stmt, from: Label, to: Label) -> Stmt {
    let all = |list: Vec<Stmt>| list.into_iter().map(|stmt| relabel(stmt, from, to)).collect();
    match stmt {
        Stmt::Break(label) if label == from => Stmt::Break(to),
        Stmt::If(condition, accept, reject) => Stmt::If(condition, all(accept), all(reject)),
        Stmt::Loop { label, body, continuing, break_if } => {
            Stmt::Loop { label, body: all(body), continuing: all(continuing), break_if }
        }
        Stmt::Block { label, body } => Stmt::Block { label, body: all(body) },
        other => other,
    }
}

/// A scalar's kind; 32 bits only.
fn kind_of(scalar: naga::Scalar) -> Result<Kind, Unsupported> {
    match (scalar.kind, scalar.width) {
        (naga::ScalarKind::Float, 4) => Ok(Kind::F32),
        (naga::ScalarKind::Sint, 4) => Ok(Kind::I32),
        (naga::ScalarKind::Uint, 4) => Ok(Kind::U32),
        (naga::ScalarKind::Bool, _) => Ok(Kind::Bool),
        (kind, width) => refuse(format!("{kind:?} scalars of {width} bytes")),
    }
}

/// The only `return` is the last statement.
fn returns_once(block: &naga::Block) -> bool {
    match block.split_last() {
        Some((Statement::Return { .. }, rest)) => !rest.iter().any(returns),
        Some((Statement::Block(last), rest)) => !rest.iter().any(returns) && returns_once(last),
        _ => !block.iter().any(returns),
    }
}

fn returns(statement: &Statement) -> bool {
    match statement {
        Statement::Return { .. } => true,
        Statement::Block(block) => block.iter().any(returns),
        Statement::If { accept, reject, .. } => accept.iter().chain(reject).any(returns),
        Statement::Loop { body, continuing, .. } => body.iter().chain(continuing).any(returns),
        Statement::Switch { cases, .. } => cases.iter().any(|case| case.body.iter().any(returns)),
        _ => false,
    }
}

/// Whether statements may assign a local variable.
fn assigns(block: &naga::Block, function: &naga::Function, local: Handle<naga::LocalVariable>) -> bool {
    let reaches = |mut pointer: Handle<naga::Expression>| {
        loop {
            match function.expressions[pointer] {
                naga::Expression::LocalVariable(found) => return found == local,
                naga::Expression::Access { base, .. } | naga::Expression::AccessIndex { base, .. } => {
                    pointer = base;
                }
                _ => return false,
            }
        }
    };
    block.iter().any(|statement| match statement {
        Statement::Store { pointer, .. } | Statement::Atomic { pointer, .. } => reaches(*pointer),
        Statement::Call { arguments, .. } => arguments.iter().any(|argument| reaches(*argument)),
        Statement::Block(block) => assigns(block, function, local),
        Statement::If { accept, reject, .. } => {
            assigns(accept, function, local) || assigns(reject, function, local)
        }
        Statement::Loop { body, continuing, .. } => {
            assigns(body, function, local) || assigns(continuing, function, local)
        }
        Statement::Switch { cases, .. } => cases.iter().any(|case| assigns(&case.body, function, local)),
        _ => false,
    })
}
