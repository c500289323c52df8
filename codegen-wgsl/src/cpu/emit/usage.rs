//! How a region uses its values, and what must be remembered from region to region.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::super::ir::{Kernel, Op, Stmt, Val};
use super::super::plan::Plan;

/// Operations that are computed again in another region rather than remembered.
pub(super) const CHEAP: usize = 12;

/// How a region uses its values.
#[derive(Debug, Default)]
pub(super) struct Usage {
    /// Uses, and the list that they are in (the last one seen).
    uses: HashMap<Val, (u32, u32)>,
    pub(super) defined: HashMap<Val, u32>,
    /// Used once, in the list that defines it: computed where it is used.
    inline: HashSet<Val>,
    lists: u32,
}

impl Usage {
    pub(super) fn is_inline(&self, val: Val) -> bool {
        self.inline.contains(&val)
    }

    pub(super) fn is_used(&self, val: Val) -> bool {
        self.uses.contains_key(&val)
    }

    /// `keep`: values that are wanted although the region does not use them.
    pub(super) fn of(kernel: &Kernel, list: &[Stmt], keep: &dyn Fn(Val) -> bool) -> Self {
        let mut usage = Self::default();
        usage.list(kernel, list, keep);
        let inline = usage.defined.iter().filter(|(val, list)| {
            usage.uses.get(val) == Some(&(1, **list)) && kernel.op(**val).is_pure() && !keep(**val)
        });
        usage.inline = inline.map(|(val, _)| *val).collect();
        usage
    }

    fn count(&mut self, val: Val, list: u32) {
        // Uses in two lists count twice, so it does not matter which one is noted.
        let before = self.uses.get(&val).map_or(0, |(count, _)| *count);
        self.uses.insert(val, (before + 1, list));
    }

    /// Backwards, so that uses come before what they use.
    fn list(&mut self, kernel: &Kernel, list: &[Stmt], keep: &dyn Fn(Val) -> bool) {
        self.lists += 1;
        let id = self.lists;
        self.stmts(kernel, list, keep, id);
    }

    fn stmts(&mut self, kernel: &Kernel, list: &[Stmt], keep: &dyn Fn(Val) -> bool, id: u32) {
        for stmt in list.iter().rev() {
            match stmt {
                Stmt::Def(val) => {
                    self.defined.insert(*val, id);
                    let effect = matches!(kernel.op(*val), Op::AtomicAdd(..));
                    if effect || self.is_used(*val) || keep(*val) {
                        kernel.op(*val).operands().into_iter().for_each(|operand| self.count(operand, id));
                    }
                }
                Stmt::Set(_, val) => self.count(*val, id),
                Stmt::Store { place, value, guard } => {
                    place.index.iter().chain([value]).chain(guard).for_each(|val| self.count(*val, id));
                }
                Stmt::If(condition, accept, reject) => {
                    self.list(kernel, reject, keep);
                    self.list(kernel, accept, keep);
                    self.count(*condition, id);
                }
                Stmt::Loop { body, continuing, break_if, .. } => {
                    self.lists += 1;
                    let last = self.lists;
                    if let Some(condition) = break_if {
                        self.count(*condition, last);
                    }
                    self.stmts(kernel, continuing, keep, last);
                    self.list(kernel, body, keep);
                }
                Stmt::Block { body, .. } => self.list(kernel, body, keep),
                Stmt::Break(_) | Stmt::Continue(_) | Stmt::Return | Stmt::Barrier => {}
            }
        }
    }
}

/// Values that a region uses and does not define, in order.
pub(super) fn foreign(kernel: &Kernel, plan: &Plan, region: &[Stmt]) -> BTreeSet<Val> {
    // What a region keeps for others counts as used, whatever it is: it is at most computed in vain.
    let usage = Usage::of(kernel, region, &|_| true);
    let outside = |val: &Val| {
        !usage.defined.contains_key(val) && !plan.shared[val.0 as usize] && !kernel.op(*val).is_leaf()
    };
    usage.uses.keys().copied().filter(outside).collect()
}

/// The computations behind a value that depend on nothing but shared values and the invocation's index, in order, when
/// these are few.
pub(super) fn again(kernel: &Kernel, plan: &Plan, val: Val) -> Option<BTreeSet<Val>> {
    let mut found = BTreeSet::new();
    let mut todo = vec![val];
    while let Some(val) = todo.pop() {
        let op = kernel.op(val);
        if plan.shared[val.0 as usize] || op.is_leaf() || found.contains(&val) {
            continue;
        }
        if !op.is_pure() || matches!(op, Op::Call(..)) || found.len() >= CHEAP {
            return None;
        }
        found.insert(val);
        todo.extend(op.operands());
    }
    Some(found)
}

/// Values that must be remembered from region to region, in order.
pub(super) fn remembered(kernel: &Kernel, plan: &Plan) -> BTreeSet<Val> {
    let decided = plan.decided.iter().copied().filter(|val| !kernel.op(*val).is_leaf());
    let mut all: BTreeSet<Val> = decided.collect();
    for region in &plan.regions {
        let outside = foreign(kernel, plan, region).into_iter();
        all.extend(outside.filter(|val| again(kernel, plan, *val).is_none()));
    }
    all
}
