//! A cut kernel to one WebAssembly function: loops over workgroups, and for every region a loop over invocations.

mod ops;
mod region;
mod usage;

use std::collections::{BTreeMap, HashMap};

use wasm_encoder::{BlockType, Instruction as I, MemArg, ValType};

use super::ir::{Input, Kernel, Kind, Label, Op, Ty, Val, Var};
use super::live::{self, Kept};
use super::plan::{Node, Plan};

/// A function of the module.
pub(super) struct Emitted {
    pub(super) parameters: Vec<ValType>,
    pub(super) locals: Vec<ValType>,
    pub(super) code: Vec<I<'static>>,
    /// Bytes from address 0 on that it uses as workgroup and private memory.
    pub(super) scratch: u32,
}

/// Something that a branch can leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    Plain,
    Break(Label),
    Continue(Label),
    /// The rest of the invocation in this region, or of the workgroup.
    Return,
}

struct Emitter<'a> {
    kernel: &'a Kernel,
    plan: &'a Plan,
    kept: Vec<Kept>,
    parameters: u32,
    locals: Vec<ValType>,
    code: Vec<I<'static>>,
    scopes: Vec<Scope>,
    vals: HashMap<Val, u32>,
    vars: HashMap<Var, u32>,
    /// Locals that are set once, before anything else.
    constants: BTreeMap<[u32; 4], u32>,
    last_indices: BTreeMap<(u32, u32, u32), u32>,
    /// The workgroup's index along x, y, z, and the invocation's.
    workgroup: [u32; 3],
    invocation: u32,
    /// The invocation's index times 4 and times 16.
    scaled: [u32; 2],
    /// Where values and variables are remembered between regions.
    val_slots: HashMap<Val, u32>,
    var_slots: HashMap<Var, u32>,
    scratch: u32,
    usage: usage::Usage,
}

/// Translates a kernel.
pub(super) fn emit(kernel: &Kernel, plan: &Plan) -> Emitted {
    let parameters = 3 + 2 * u32::try_from(kernel.bindings.len()).unwrap_or(0);
    let mut emitter = Emitter {
        kernel,
        plan,
        kept: live::kept(kernel, plan),
        parameters,
        locals: Vec::new(),
        code: Vec::new(),
        scopes: Vec::new(),
        vals: HashMap::new(),
        vars: HashMap::new(),
        constants: BTreeMap::new(),
        last_indices: BTreeMap::new(),
        workgroup: [0; 3],
        invocation: 0,
        scaled: [0; 2],
        val_slots: HashMap::new(),
        var_slots: HashMap::new(),
        scratch: kernel.workgroup_bytes,
        usage: usage::Usage::default(),
    };
    emitter.workgroup = [0; 3].map(|_| emitter.local(ValType::I32));
    emitter.invocation = emitter.local(ValType::I32);
    emitter.scaled = [0; 2].map(|_| emitter.local(ValType::I32));
    emitter.reserve();
    emitter.workgroups();
    let body = std::mem::take(&mut emitter.code);
    emitter.prologue();
    emitter.code.extend(body);
    emitter.code.push(I::End);
    Emitted {
        parameters: vec![ValType::I32; parameters as usize],
        locals: emitter.locals,
        code: emitter.code,
        scratch: emitter.scratch,
    }
}

/// The WebAssembly type of a value.
fn valtype(ty: Ty) -> ValType {
    match ty {
        Ty { lanes: 1, kind: Kind::F32 } => ValType::F32,
        Ty { lanes: 1, .. } => ValType::I32,
        _ => ValType::V128,
    }
}

fn memarg(offset: u32) -> MemArg {
    MemArg { offset: offset.into(), align: 2, target: wasm_encoder::MemArgTarget::Memory(0), ordering: None }
}

impl Emitter<'_> {
    fn local(&mut self, ty: ValType) -> u32 {
        self.locals.push(ty);
        self.parameters + u32::try_from(self.locals.len() - 1).unwrap_or(0)
    }

    fn push(&mut self, instruction: I<'static>) {
        self.code.push(instruction);
    }

    fn extend(&mut self, instructions: impl IntoIterator<Item = I<'static>>) {
        self.code.extend(instructions);
    }

    fn val_local(&mut self, val: Val) -> u32 {
        if let Some(local) = self.vals.get(&val) {
            return *local;
        }
        let local = self.local(valtype(self.kernel.ty(val)));
        self.vals.insert(val, local);
        local
    }

    fn var_local(&mut self, var: Var) -> u32 {
        if let Some(local) = self.vars.get(&var) {
            return *local;
        }
        let local = self.local(valtype(self.kernel.vars[var.0 as usize]));
        self.vars.insert(var, local);
        local
    }

    fn is_shared(&self, val: Val) -> bool {
        self.plan.shared[val.0 as usize]
    }

    /// Bytes that an invocation's copy of a value takes.
    fn slot_bytes(ty: Ty) -> u32 {
        if ty.is_vector() { 16 } else { 4 }
    }

    fn slot(&mut self, ty: Ty) -> u32 {
        let at = self.scratch.next_multiple_of(16);
        self.scratch = at + Self::slot_bytes(ty) * self.kernel.invocations();
        at
    }

    /// Decides what is remembered between regions, and where.
    fn reserve(&mut self) {
        let kept: Vec<Var> = self.kept.iter().flat_map(|kept| kept.load.iter().copied()).collect();
        for var in kept {
            if !self.var_slots.contains_key(&var) {
                let slot = self.slot(self.kernel.vars[var.0 as usize]);
                self.var_slots.insert(var, slot);
            }
        }
        for val in usage::remembered(self.kernel, self.plan) {
            let slot = self.slot(self.kernel.ty(val));
            self.val_slots.insert(val, slot);
        }
    }

    /// Refuses buffers that are too small, and sets what never changes.
    fn prologue(&mut self) {
        for (slot, bytes) in (0u32..).zip(&self.kernel.bindings) {
            let fewest = i32::from_ne_bytes(bytes.to_ne_bytes());
            self.code.extend([
                I::LocalGet(4 + 2 * slot),
                I::I32Const(fewest),
                I::I32LtU,
                I::If(BlockType::Empty),
                I::Return,
                I::End,
            ]);
        }
        for axis in 0..3 {
            self.code.extend([I::LocalGet(axis), I::I32Eqz, I::If(BlockType::Empty), I::Return, I::End]);
        }
        for (bits, local) in &self.constants {
            let mut bytes = [0; 16];
            for (chunk, bits) in bytes.chunks_exact_mut(4).zip(bits) {
                chunk.copy_from_slice(&bits.to_le_bytes());
            }
            self.code.extend([I::V128Const(i128::from_le_bytes(bytes)), I::LocalSet(*local)]);
        }
        for ((slot, start, stride), local) in &self.last_indices {
            self.code.extend([
                I::LocalGet(4 + 2 * slot),
                ops::word(*start),
                I::I32Sub,
                ops::word((*stride).max(1)),
                I::I32DivU,
                I::I32Const(1),
                I::I32Sub,
                I::LocalSet(*local),
            ]);
        }
    }

    /// The loops over workgroups.
    fn workgroups(&mut self) {
        for axis in [2, 1, 0] {
            self.extend([I::I32Const(0), I::LocalSet(self.workgroup[axis])]);
            self.open(I::Loop(BlockType::Empty), Scope::Plain);
        }
        if self.kernel.workgroup_bytes > 0 {
            let bytes = ops::word(self.kernel.workgroup_bytes);
            self.extend([I::I32Const(0), I::I32Const(0), bytes, I::MemoryFill(0)]);
        }
        self.open(I::Block(BlockType::Empty), Scope::Return);
        let plan = self.plan;
        self.nodes(&plan.nodes);
        self.end();
        for axis in 0..3u32 {
            let index = self.workgroup[axis as usize];
            self.extend([
                I::LocalGet(index),
                I::I32Const(1),
                I::I32Add,
                I::LocalTee(index),
                I::LocalGet(axis),
                I::I32LtU,
                I::BrIf(0),
            ]);
            self.end();
        }
    }

    fn open(&mut self, instruction: I<'static>, scope: Scope) {
        self.push(instruction);
        self.scopes.push(scope);
    }

    fn end(&mut self) {
        self.push(I::End);
        self.scopes.pop();
    }

    /// How many scopes a branch leaves.
    fn depth(&self, scope: Scope) -> u32 {
        let at = self.scopes.iter().rev().position(|have| *have == scope);
        u32::try_from(at.unwrap_or(0)).unwrap_or(0)
    }

    fn nodes(&mut self, nodes: &[Node]) {
        nodes.iter().for_each(|node| self.node(node));
    }

    fn node(&mut self, node: &Node) {
        match node {
            Node::Region(at) => self.region(*at),
            Node::Def(val) => {
                self.op(*val);
                let local = self.val_local(*val);
                self.push(I::LocalSet(local));
            }
            Node::Set(var, val) => {
                self.val(*val);
                let local = self.var_local(*var);
                self.push(I::LocalSet(local));
            }
            Node::If(condition, accept, reject) => {
                self.decision(*condition);
                self.open(I::If(BlockType::Empty), Scope::Plain);
                self.nodes(accept);
                if !reject.is_empty() {
                    self.push(I::Else);
                    self.nodes(reject);
                }
                self.end();
            }
            Node::Loop { label, body, continuing, break_if } => {
                self.open(I::Block(BlockType::Empty), Scope::Break(*label));
                self.open(I::Loop(BlockType::Empty), Scope::Plain);
                self.open(I::Block(BlockType::Empty), Scope::Continue(*label));
                self.nodes(body);
                self.end();
                self.nodes(continuing);
                if let Some(condition) = break_if {
                    self.decision(*condition);
                    self.push(I::BrIf(1));
                }
                self.push(I::Br(0));
                self.end();
                self.end();
            }
            Node::Block { label, body } => {
                self.open(I::Block(BlockType::Empty), Scope::Break(*label));
                self.nodes(body);
                self.end();
            }
            Node::Break(label) => self.push(I::Br(self.depth(Scope::Break(*label)))),
            Node::Continue(label) => self.push(I::Br(self.depth(Scope::Continue(*label)))),
            Node::Return => self.push(I::Br(self.depth(Scope::Return))),
        }
    }

    /// A condition of the workgroup's control flow.
    fn decision(&mut self, condition: Val) {
        match self.val_slots.get(&condition) {
            Some(slot) if !self.is_shared(condition) => {
                let offset = *slot;
                self.extend([I::I32Const(0), I::I32Load(memarg(offset))]);
            }
            _ => self.val(condition),
        }
    }

    /// Puts a value on the stack.
    fn val(&mut self, val: Val) {
        match self.kernel.op(val) {
            Op::Const(_) | Op::ConstVector(_) => self.op(val),
            Op::Input(Input::LastIndex { slot, start, stride }) => {
                let key = (*slot, *start, *stride);
                let local = match self.last_indices.get(&key) {
                    Some(local) => *local,
                    None => {
                        let local = self.local(ValType::I32);
                        self.last_indices.insert(key, local);
                        local
                    }
                };
                self.push(I::LocalGet(local));
            }
            Op::Input(input) => {
                let local = match input {
                    Input::Workgroup(axis) => self.workgroup[usize::from(*axis)],
                    Input::Workgroups(axis) => u32::from(*axis),
                    Input::Length(slot) => 4 + 2 * slot,
                    Input::Invocation | Input::LastIndex { .. } => self.invocation,
                };
                self.push(I::LocalGet(local));
            }
            _ if self.usage.is_inline(val) => self.op(val),
            _ => {
                let local = self.val_local(val);
                self.push(I::LocalGet(local));
            }
        }
    }
}
