//! One region: the loop over invocations, and its statements.

use std::collections::{BTreeSet, HashSet};

use wasm_encoder::{BlockType, Instruction as I, ValType};

use super::super::ir::{Binary, Input, Kernel, Op, Stmt, Ty, Unary, Val};
use super::super::plan::each;
use super::usage::{CHEAP, Usage, again, foreign};
use super::{Emitter, Scope, memarg, ops};

/// The invocations of a region: `count` runs of `length`, every `stride`, from `start` on.
#[derive(Clone, Copy, Debug)]
struct Runs {
    start: u32,
    stride: u32,
    count: u32,
    length: u32,
}

impl Emitter<'_> {
    pub(super) fn region(&mut self, at: usize) {
        let plan = self.plan;
        let whole = &plan.regions[at];
        let slots = self.val_slots.clone();
        self.usage = Usage::of(self.kernel, whole, &|val| slots.contains_key(&val));
        let (region, runs) = self.narrowed(at, whole);
        if runs.count == 0 {
            return;
        }
        // A run after the other, an invocation after the other.
        let first = self.local(ValType::I32);
        self.extend([ops::word(runs.start), I::LocalSet(first)]);
        self.open(I::Loop(BlockType::Empty), Scope::Plain);
        self.extend([I::LocalGet(first), I::LocalSet(self.invocation)]);
        self.open(I::Loop(BlockType::Empty), Scope::Plain);
        self.remember(at);
        let mut returns = false;
        region.iter().for_each(|stmt| each(stmt, &mut |inner| returns |= matches!(inner, Stmt::Return)));
        if returns {
            self.open(I::Block(BlockType::Empty), Scope::Return);
        }
        self.stmts(region);
        if returns {
            self.end();
        }
        for var in self.kept[at].store.clone() {
            let ty = self.kernel.vars[var.0 as usize];
            let local = self.var_local(var);
            if let Some(slot) = self.var_slots.get(&var).copied() {
                self.store_slot(ty, slot, local);
            }
        }
        self.extend([
            I::LocalGet(self.invocation),
            I::I32Const(1),
            I::I32Add,
            I::LocalTee(self.invocation),
            I::LocalGet(first),
            ops::word(runs.length),
            I::I32Add,
            I::I32LtU,
            I::BrIf(0),
        ]);
        self.end();
        if runs.count > 1 {
            self.extend([
                I::LocalGet(first),
                ops::word(runs.stride),
                I::I32Add,
                I::LocalTee(first),
                ops::word(runs.start + runs.count * runs.stride),
                I::I32LtU,
                I::BrIf(0),
            ]);
        }
        self.end();
        self.usage = Usage::default();
    }

    /// What an invocation knows from earlier regions: taken from memory, or computed again.
    fn remember(&mut self, at: usize) {
        let plan = self.plan;
        let kept = self.kept[at].clone();
        let mut loads = Vec::new();
        let mut repeated = BTreeSet::new();
        for val in foreign(self.kernel, plan, &plan.regions[at]) {
            match (again(self.kernel, plan, val), self.val_slots.get(&val)) {
                (Some(values), _) => repeated.extend(values),
                (None, Some(slot)) => loads.push((val, *slot)),
                (None, None) => {}
            }
        }
        let keeps = self.usage.defined.keys().any(|val| self.val_slots.contains_key(val));
        if !loads.is_empty() || !kept.load.is_empty() || !kept.store.is_empty() || keeps {
            for (local, shift) in self.scaled.into_iter().zip([2, 4]) {
                self.extend([
                    I::LocalGet(self.invocation),
                    I::I32Const(shift),
                    I::I32Shl,
                    I::LocalSet(local),
                ]);
            }
        }
        for val in repeated {
            self.op(val);
            let local = self.val_local(val);
            self.push(I::LocalSet(local));
        }
        for (val, slot) in loads {
            let ty = self.kernel.ty(val);
            let local = self.val_local(val);
            self.load_slot(ty, slot, local);
        }
        for var in &kept.load {
            let ty = self.kernel.vars[var.0 as usize];
            let local = self.var_local(*var);
            if let Some(slot) = self.var_slots.get(var).copied() {
                self.load_slot(ty, slot, local);
            }
        }
    }

    fn load_slot(&mut self, ty: Ty, slot: u32, local: u32) {
        self.push(I::LocalGet(self.scaled[usize::from(ty.is_vector())]));
        self.push(ops::load_whole(ty, memarg(slot)));
        self.push(I::LocalSet(local));
    }

    fn store_slot(&mut self, ty: Ty, slot: u32, local: u32) {
        self.extend([I::LocalGet(self.scaled[usize::from(ty.is_vector())]), I::LocalGet(local)]);
        self.push(ops::store_whole(ty, memarg(slot)));
    }

    fn stmts(&mut self, list: &[Stmt]) {
        list.iter().for_each(|stmt| self.stmt(stmt));
    }

    fn stmt(&mut self, stmt: &Stmt) {
        match stmt {
            Stmt::Def(val) => {
                let slot = self.val_slots.get(val).copied();
                let effect = matches!(self.kernel.op(*val), Op::AtomicAdd(..));
                if self.usage.is_inline(*val) || !(effect || slot.is_some() || self.usage.is_used(*val)) {
                    return;
                }
                self.op(*val);
                let local = self.val_local(*val);
                self.push(I::LocalSet(local));
                if let Some(slot) = slot {
                    self.store_slot(self.kernel.ty(*val), slot, local);
                }
            }
            Stmt::Set(var, val) => {
                self.val(*val);
                let local = self.var_local(*var);
                self.push(I::LocalSet(local));
            }
            Stmt::Store { place, value, guard } => {
                if let Some(guard) = guard {
                    self.val(*guard);
                    self.open(I::If(BlockType::Empty), Scope::Plain);
                }
                self.store(*place, *value);
                if guard.is_some() {
                    self.end();
                }
            }
            Stmt::If(condition, accept, reject) => {
                self.val(*condition);
                self.open(I::If(BlockType::Empty), Scope::Plain);
                self.stmts(accept);
                if !reject.is_empty() {
                    self.push(I::Else);
                    self.stmts(reject);
                }
                self.end();
            }
            Stmt::Loop { label, body, continuing, break_if } => {
                self.open(I::Block(BlockType::Empty), Scope::Break(*label));
                self.open(I::Loop(BlockType::Empty), Scope::Plain);
                self.open(I::Block(BlockType::Empty), Scope::Continue(*label));
                self.stmts(body);
                self.end();
                self.stmts(continuing);
                if let Some(condition) = break_if {
                    self.val(*condition);
                    self.push(I::BrIf(1));
                }
                self.push(I::Br(0));
                self.end();
                self.end();
            }
            Stmt::Block { label, body } => {
                self.open(I::Block(BlockType::Empty), Scope::Break(*label));
                self.stmts(body);
                self.end();
            }
            Stmt::Break(label) => self.push(I::Br(self.depth(Scope::Break(*label)))),
            Stmt::Continue(label) => self.push(I::Br(self.depth(Scope::Continue(*label)))),
            Stmt::Return => self.push(I::Br(self.depth(Scope::Return))),
            Stmt::Barrier => {}
        }
    }

    /// The invocations that a region is for: all, or, when it is one `if` whose condition depends on the invocation alone,
    /// those that pass it. A step of a reduction is for half of the invocations, the next one for a quarter, and so on.
    fn narrowed<'r>(&self, at: usize, region: &'r [Stmt]) -> (&'r [Stmt], Runs) {
        let all = (region, Runs { start: 0, stride: 1, count: 1, length: self.kernel.invocations() });
        let Some((Stmt::If(condition, accept, reject), rest)) = region.split_last() else { return all };
        // In front of the `if`, only computations without effect.
        let plain = |stmt: &Stmt| matches!(stmt, Stmt::Def(val) if !self.val_slots.contains_key(val) && self.kernel.op(*val).is_pure());
        if !reject.is_empty() || !self.kept[at].store.is_empty() || !rest.iter().all(plain) {
            return all;
        }
        let Some(runs) = self.passing(*condition).and_then(|passing| runs_of(&passing)) else { return all };
        // Where the inner statements use values in front of the `if`, the `if` stays, and only the loop is narrower.
        let mut used = HashSet::new();
        let operands = |stmt: &Stmt| match stmt {
            Stmt::Def(val) => self.kernel.op(*val).operands(),
            Stmt::Set(_, val) | Stmt::If(val, ..) => vec![*val],
            Stmt::Store { place, value, guard } => {
                place.index.iter().chain([value]).chain(guard).copied().collect()
            }
            Stmt::Loop { break_if, .. } => break_if.iter().copied().collect(),
            _ => Vec::new(),
        };
        accept.iter().for_each(|stmt| each(stmt, &mut |inner| used.extend(operands(inner))));
        let needed = rest.iter().any(|stmt| matches!(stmt, Stmt::Def(val) if used.contains(val)));
        if needed { (region, runs) } else { (accept, runs) }
    }

    /// Which invocations pass a condition that depends on the invocation alone.
    fn passing(&self, condition: Val) -> Option<Vec<bool>> {
        let passes = |invocation| evaluate(self.kernel, condition, invocation, CHEAP).map(|bits| bits != 0);
        (0..self.kernel.invocations()).map(passes).collect()
    }
}

/// A value for an invocation, when it depends on nothing else.
fn evaluate(kernel: &Kernel, val: Val, invocation: u32, depth: usize) -> Option<u32> {
    let depth = depth.checked_sub(1)?;
    let of = |val: Val| evaluate(kernel, val, invocation, depth);
    match kernel.op(val) {
        Op::Const(bits) if matches!(kernel.ty(val), Ty::U32 | Ty::BOOL) => Some(*bits),
        Op::Input(Input::Invocation) => Some(invocation),
        Op::Unary(Unary::Not, a) if kernel.ty(*a) == Ty::BOOL => Some(1 - of(*a)?.min(1)),
        Op::Binary(op, a, b) if matches!(kernel.ty(*a), Ty::U32 | Ty::BOOL) => {
            let (a, b) = (of(*a)?, of(*b)?);
            Some(match op {
                Binary::Add => a.wrapping_add(b),
                Binary::Sub => a.wrapping_sub(b),
                Binary::Mul => a.wrapping_mul(b),
                Binary::Div => a.checked_div(b)?,
                Binary::Rem => a.checked_rem(b)?,
                Binary::And => a & b,
                Binary::Or => a | b,
                Binary::Eq => u32::from(a == b),
                Binary::Ne => u32::from(a != b),
                Binary::Lt => u32::from(a < b),
                Binary::Le => u32::from(a <= b),
                Binary::Gt => u32::from(a > b),
                Binary::Ge => u32::from(a >= b),
                _ => return None,
            })
        }
        _ => None,
    }
}

/// Those that are set as runs of one length and distance, if they are such.
fn runs_of(set: &[bool]) -> Option<Runs> {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for (at, _) in (0u32..).zip(set).filter(|(_, set)| **set) {
        match runs.last_mut() {
            Some((start, length)) if *start + *length == at => *length += 1,
            _ => runs.push((at, 1)),
        }
    }
    let Some(&(start, length)) = runs.first() else {
        return Some(Runs { start: 0, stride: 1, count: 0, length: 0 });
    };
    let stride = runs.get(1).map_or(1, |(second, _)| second - start);
    let even = (0u32..).zip(&runs).all(|(at, run)| *run == (start + at * stride, length));
    let count = u32::try_from(runs.len()).unwrap_or(0);
    even.then_some(Runs { start, stride, count, length })
}
