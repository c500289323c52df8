//! What invocations must remember from region to region: variables that a later region reads.

use std::collections::HashMap;

use super::ir::{Kernel, Label, Op, Stmt, Var};
use super::plan::{Node, Plan};

/// A set of variables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Set(Vec<u64>);

impl Set {
    fn contains(&self, var: Var) -> bool {
        self.0.get(var.0 as usize / 64).is_some_and(|word| word >> (var.0 % 64) & 1 == 1)
    }

    fn insert(&mut self, var: Var) {
        let at = var.0 as usize / 64;
        if self.0.len() <= at {
            self.0.resize(at + 1, 0);
        }
        self.0[at] |= 1 << (var.0 % 64);
    }

    fn merge(&mut self, other: &Self) {
        self.0.resize(self.0.len().max(other.0.len()), 0);
        self.0.iter_mut().zip(&other.0).for_each(|(a, b)| *a |= b);
    }

    fn intersect(&mut self, other: &Self) {
        self.0.truncate(other.0.len());
        self.0.iter_mut().zip(&other.0).for_each(|(a, b)| *a &= b);
    }

    fn without(&self, other: &Self) -> Self {
        let mut out = self.clone();
        out.0.iter_mut().zip(&other.0).for_each(|(a, b)| *a &= !b);
        out
    }
}

/// What a region does with variables.
#[derive(Clone, Debug, Default)]
struct Access {
    /// Read before they are surely assigned.
    exposed: Set,
    /// Assigned on every way to the end.
    surely: Set,
    /// Assigned somewhere.
    perhaps: Set,
}

/// Variables that a region takes from memory when an invocation begins, and puts there when it ends.
#[derive(Clone, Debug, Default)]
pub(super) struct Kept {
    pub(super) load: Vec<Var>,
    pub(super) store: Vec<Var>,
}

/// For every region, the variables to load and to store.
pub(super) fn kept(kernel: &Kernel, plan: &Plan) -> Vec<Kept> {
    let accesses: Vec<Access> = plan.regions.iter().map(|region| access(kernel, plan, region)).collect();
    let mut flow =
        Flow { accesses: &accesses, out: vec![Set::default(); accesses.len()], labels: HashMap::new() };
    flow.nodes(&plan.nodes, Set::default());
    let vars = (0..u32::try_from(kernel.vars.len()).unwrap_or(u32::MAX)).map(Var);
    let regions = accesses.iter().zip(&flow.out).map(|(access, out)| {
        let mut kept = Kept::default();
        for var in vars.clone() {
            let leaves = access.perhaps.contains(var) && out.contains(var);
            if access.exposed.contains(var) || (leaves && !access.surely.contains(var)) {
                kept.load.push(var);
            }
            if leaves {
                kept.store.push(var);
            }
        }
        kept
    });
    regions.collect()
}

fn access(kernel: &Kernel, plan: &Plan, region: &[Stmt]) -> Access {
    let mut walk = Walk { kernel, plan, access: Access::default(), left: HashMap::new() };
    let end = walk.list(region, Some(Set::default()));
    walk.access.surely = end.unwrap_or_default();
    walk.access
}

/// Walks a region; `None` is a place that is never reached.
struct Walk<'a> {
    kernel: &'a Kernel,
    plan: &'a Plan,
    access: Access,
    /// What is surely assigned where a loop or block is left.
    left: HashMap<Label, Option<Set>>,
}

impl Walk<'_> {
    fn list(&mut self, list: &[Stmt], mut done: Option<Set>) -> Option<Set> {
        for stmt in list {
            done = self.stmt(stmt, done);
        }
        done
    }

    fn stmt(&mut self, stmt: &Stmt, done: Option<Set>) -> Option<Set> {
        let mut now = done?;
        match stmt {
            Stmt::Def(val) => {
                if let Op::Get(var) = self.kernel.op(*val)
                    && !now.contains(*var)
                    && !self.plan.shared_vars.contains(var)
                {
                    self.access.exposed.insert(*var);
                }
                Some(now)
            }
            Stmt::Set(var, _) => {
                now.insert(*var);
                self.access.perhaps.insert(*var);
                Some(now)
            }
            Stmt::If(_, accept, reject) => {
                let accept = self.list(accept, Some(now.clone()));
                let reject = self.list(reject, Some(now));
                both(accept, reject)
            }
            Stmt::Loop { label, body, continuing, break_if } => {
                self.left.insert(*label, None);
                // `continue` may have passed assignments by.
                let continued = self
                    .list(body, Some(now.clone()))
                    .map(|end| if has_continue(body) { now.clone() } else { end });
                let continued = continued.or(Some(now));
                let end = self.list(continuing, continued);
                let left = self.left.remove(label).flatten();
                if break_if.is_some() { both(left, end) } else { left }
            }
            Stmt::Block { label, body } => {
                self.left.insert(*label, None);
                let end = self.list(body, Some(now));
                both(self.left.remove(label).flatten(), end)
            }
            Stmt::Break(label) => {
                let left = self.left.entry(*label).or_default();
                *left = both(left.take(), Some(now));
                None
            }
            Stmt::Continue(_) | Stmt::Return => None,
            Stmt::Store { .. } | Stmt::Barrier => Some(now),
        }
    }
}

fn has_continue(list: &[Stmt]) -> bool {
    let mut found = false;
    for stmt in list {
        super::plan::each(stmt, &mut |inner| found |= matches!(inner, Stmt::Continue(_)));
    }
    found
}

/// What holds behind two ways that meet.
fn both(a: Option<Set>, b: Option<Set>) -> Option<Set> {
    match (a, b) {
        (Some(mut a), Some(b)) => {
            a.intersect(&b);
            Some(a)
        }
        (a, b) => a.or(b),
    }
}

/// Backwards over the workgroup's control flow.
struct Flow<'a> {
    accesses: &'a [Access],
    /// Variables that are read after a region.
    out: Vec<Set>,
    /// What is read after a loop or block is left, and where it goes on with `continue`.
    labels: HashMap<Label, (Set, Set)>,
}

impl Flow<'_> {
    /// What is read from the start of the nodes on, when `after` is read behind them.
    fn nodes(&mut self, nodes: &[Node], mut after: Set) -> Set {
        for node in nodes.iter().rev() {
            after = self.node(node, after);
        }
        after
    }

    fn node(&mut self, node: &Node, after: Set) -> Set {
        match node {
            Node::Region(at) => {
                self.out[*at].merge(&after);
                let access = &self.accesses[*at];
                let mut before = after.without(&access.surely);
                before.merge(&access.exposed);
                before
            }
            Node::Def(_) | Node::Set(..) => after,
            Node::If(_, accept, reject) => {
                let mut before = self.nodes(accept, after.clone());
                before.merge(&self.nodes(reject, after));
                before
            }
            Node::Loop { label, body, continuing, .. } => {
                let mut start = Set::default();
                loop {
                    let mut again = start.clone();
                    again.merge(&after);
                    let next = self.nodes(continuing, again);
                    self.labels.insert(*label, (after.clone(), next.clone()));
                    let found = self.nodes(body, next);
                    let mut grown = start.clone();
                    grown.merge(&found);
                    if grown == start {
                        return start;
                    }
                    start = grown;
                }
            }
            Node::Block { label, body } => {
                self.labels.insert(*label, (after.clone(), Set::default()));
                self.nodes(body, after)
            }
            Node::Break(label) => self.labels.get(label).map(|(left, _)| left.clone()).unwrap_or_default(),
            Node::Continue(label) => self.labels.get(label).map(|(_, next)| next.clone()).unwrap_or_default(),
            Node::Return => Set::default(),
        }
    }
}
