//! Cutting a kernel at its barriers.
//!
//! Statements between barriers form *regions*: each runs in a loop over the invocations of a workgroup. Control flow that
//! has barriers inside is the same for all invocations (WGSL demands it), and is taken once a workgroup, around the
//! regions. Values that all invocations share are computed once a workgroup, too, in front of the region that needs them.

use std::collections::{HashMap, HashSet};

use super::ir::{Input, Kernel, Label, Op, Space, Stmt, Val, Var};
use super::lower::{Unsupported, refuse};

/// A statement of a workgroup.
#[derive(Debug)]
pub(super) enum Node {
    /// All invocations run these statements, one after the other.
    Region(usize),
    Def(Val),
    Set(Var, Val),
    /// Where the condition is not a shared value, that of the first invocation counts.
    If(Val, Vec<Node>, Vec<Node>),
    Loop {
        label: Label,
        body: Vec<Node>,
        continuing: Vec<Node>,
        break_if: Option<Val>,
    },
    Block {
        label: Label,
        body: Vec<Node>,
    },
    Break(Label),
    Continue(Label),
    Return,
}

/// A kernel, cut.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) nodes: Vec<Node>,
    pub(super) regions: Vec<Vec<Stmt>>,
    /// By value: computed once a workgroup.
    pub(super) shared: Vec<bool>,
    /// Variables of the workgroup.
    pub(super) shared_vars: HashSet<Var>,
    /// Conditions of the workgroup's control flow that the first invocation decides.
    pub(super) decided: HashSet<Val>,
}

/// Cuts a kernel.
pub(super) fn plan(kernel: &Kernel) -> Result<Plan, Unsupported> {
    let mut survey = Survey::default();
    survey.list(&kernel.body, false);
    let (shared, shared_vars) = shared(kernel, &survey);
    let mut cutter = Cutter {
        survey: &survey,
        plan: Plan { nodes: Vec::new(), regions: Vec::new(), shared, shared_vars, decided: HashSet::new() },
        open: Vec::new(),
        out: vec![Vec::new()],
        returned: false,
        torn: false,
    };
    cutter.list(&kernel.body, false);
    cutter.close();
    if cutter.torn {
        return refuse("a return of single invocations, behind a barrier and before code of all,");
    }
    let mut plan = cutter.plan;
    plan.nodes = cutter.out.pop().unwrap_or_default();
    Ok(plan)
}

/// What is where: the first walk over a kernel.
#[derive(Default)]
struct Survey {
    /// Loops and blocks that are the workgroup's.
    labels: HashSet<Label>,
    /// Those of them that are functions, which single invocations may leave.
    functions: HashSet<Label>,
    /// Conditions of the workgroup's control flow.
    conditions: Vec<Val>,
    /// Every assignment, and whether it is the workgroup's, not within a region's control flow.
    sets: HashMap<Var, Vec<(Val, bool)>>,
}

impl Survey {
    /// A list of the workgroup's; `after`: a barrier can follow behind it.
    fn list(&mut self, list: &[Stmt], after: bool) {
        for (at, stmt) in list.iter().enumerate() {
            let after = after || list[at + 1..].iter().any(has_barrier);
            if let Stmt::Set(var, val) = stmt {
                self.sets.entry(*var).or_default().push((*val, true));
            }
            if !self.lifts(stmt, after) {
                each(stmt, &mut |inner| {
                    if let Stmt::Set(var, val) = inner
                        && !matches!(stmt, Stmt::Set(..))
                    {
                        self.sets.entry(*var).or_default().push((*val, false));
                    }
                });
                continue;
            }
            match stmt {
                Stmt::If(condition, accept, reject) => {
                    self.conditions.push(*condition);
                    self.list(accept, after);
                    self.list(reject, after);
                }
                Stmt::Loop { label, body, continuing, break_if } => {
                    self.labels.insert(*label);
                    self.conditions.extend(break_if);
                    let after = after || has_barrier(stmt);
                    self.list(body, after);
                    self.list(continuing, after);
                }
                Stmt::Block { label, body } => {
                    self.labels.insert(*label);
                    self.functions.insert(*label);
                    self.list(body, after);
                }
                _ => {}
            }
        }
    }

    /// Whether a statement is the workgroup's: it has a barrier, leaves one of the workgroup's loops, or ends what goes on
    /// to a barrier.
    fn lifts(&self, stmt: &Stmt, after: bool) -> bool {
        let mut lifts = false;
        each(stmt, &mut |inner| match inner {
            Stmt::Barrier => lifts = true,
            Stmt::Break(label) | Stmt::Continue(label) => lifts |= self.labels.contains(label),
            Stmt::Return => lifts |= after,
            _ => {}
        });
        lifts
    }
}

/// Calls `visit` for a statement and all inside.
pub(super) fn each(stmt: &Stmt, visit: &mut impl FnMut(&Stmt)) {
    visit(stmt);
    match stmt {
        Stmt::If(_, accept, reject) => accept.iter().chain(reject).for_each(|inner| each(inner, visit)),
        Stmt::Loop { body, continuing, .. } => {
            body.iter().chain(continuing).for_each(|inner| each(inner, visit));
        }
        Stmt::Block { body, .. } => body.iter().for_each(|inner| each(inner, visit)),
        _ => {}
    }
}

/// Whether a statement is such, or has such inside.
fn any(stmt: &Stmt, is: &dyn Fn(&Stmt) -> bool) -> bool {
    let mut found = false;
    each(stmt, &mut |inner| found |= is(inner));
    found
}

pub(super) fn has_barrier(stmt: &Stmt) -> bool {
    any(stmt, &|inner| matches!(inner, Stmt::Barrier))
}

/// Which values and variables all invocations share. A variable is shared when the workgroup's control flow depends on
/// it, and it is assigned shared values only, outside of the regions' control flow.
fn shared(kernel: &Kernel, survey: &Survey) -> (Vec<bool>, HashSet<Var>) {
    let mut vars = HashSet::new();
    let mut seen = HashSet::new();
    let mut todo = survey.conditions.clone();
    while let Some(val) = todo.pop() {
        if !seen.insert(val) {
            continue;
        }
        todo.extend(kernel.op(val).operands());
        if let Op::Get(var) = kernel.op(val)
            && vars.insert(*var)
        {
            todo.extend(survey.sets.get(var).into_iter().flatten().map(|(val, _)| *val));
        }
    }
    vars.retain(|var| survey.sets.get(var).is_some_and(|sets| sets.iter().all(|(_, workgroup)| *workgroup)));
    loop {
        let mut shared: Vec<bool> = Vec::with_capacity(kernel.vals.len());
        for data in &kernel.vals {
            let operands = data.op.operands().iter().all(|operand| shared[operand.0 as usize]);
            shared.push(match &data.op {
                Op::Input(Input::Invocation) | Op::AtomicAdd(..) => false,
                Op::Get(var) => vars.contains(var),
                Op::Load(place) => operands && matches!(place.space, Space::Binding { constant: true, .. }),
                _ => operands,
            });
        }
        let before = vars.len();
        vars.retain(|var| {
            survey.sets.get(var).is_none_or(|sets| sets.iter().all(|(val, _)| shared[val.0 as usize]))
        });
        if vars.len() == before {
            return (shared, vars);
        }
    }
}

struct Cutter<'a> {
    survey: &'a Survey,
    plan: Plan,
    /// Statements of the region that is being gathered.
    open: Vec<Stmt>,
    out: Vec<Vec<Node>>,
    /// Invocations may have ended in a region.
    returned: bool,
    /// An invocation that has ended would have to skip a further region, which is not done.
    torn: bool,
}

impl Cutter<'_> {
    fn push(&mut self, node: Node) {
        if let Some(list) = self.out.last_mut() {
            list.push(node);
        }
    }

    /// Ends the open region.
    fn close(&mut self) {
        if !self.open.is_empty() {
            let stmts = std::mem::take(&mut self.open);
            self.torn |= self.returned;
            let returns = |stmt: &Stmt| matches!(stmt, Stmt::Return);
            self.returned |= stmts.iter().any(|stmt| any(stmt, &returns));
            self.plan.regions.push(stmts);
            self.push(Node::Region(self.plan.regions.len() - 1));
        }
    }

    fn nodes(&mut self, list: &[Stmt], after: bool) -> Vec<Node> {
        self.out.push(Vec::new());
        self.list(list, after);
        self.close();
        self.out.pop().unwrap_or_default()
    }

    fn list(&mut self, list: &[Stmt], after: bool) {
        for (at, stmt) in list.iter().enumerate() {
            let after = after || list[at + 1..].iter().any(has_barrier);
            match stmt {
                Stmt::Def(val) if self.is_shared(*val) => {
                    self.push(Node::Def(*val));
                    continue;
                }
                Stmt::Set(var, val) if self.plan.shared_vars.contains(var) => {
                    self.close();
                    self.push(Node::Set(*var, *val));
                    continue;
                }
                // All invocations that are still there come to it. naga puts one at every end of an entry point.
                Stmt::Return => {
                    self.close();
                    self.push(Node::Return);
                    continue;
                }
                _ => {}
            }
            if !self.survey.lifts(stmt, after) {
                let stmt = self.hoist(stmt.clone());
                self.open.extend(stmt);
                continue;
            }
            self.close();
            match stmt {
                Stmt::If(condition, accept, reject) => {
                    // Around a barrier, and out of a loop that has one, all go the same way. Out of a function they need not.
                    let leaves = |stmt: &Stmt| matches!(stmt, Stmt::Break(label) if self.survey.functions.contains(label));
                    self.torn |= !self.is_shared(*condition) && !has_barrier(stmt) && any(stmt, &leaves);
                    self.decide(*condition);
                    // No workgroup takes both ways.
                    let before = self.returned;
                    let accept = self.nodes(accept, after);
                    let returned = std::mem::replace(&mut self.returned, before);
                    let reject = self.nodes(reject, after);
                    self.returned |= returned;
                    self.push(Node::If(*condition, accept, reject));
                }
                Stmt::Loop { label, body, continuing, break_if } => {
                    let after = after || has_barrier(stmt);
                    let body = self.nodes(body, after);
                    let continuing = self.nodes(continuing, after);
                    if let Some(condition) = break_if {
                        self.decide(*condition);
                    }
                    self.push(Node::Loop { label: *label, body, continuing, break_if: *break_if });
                }
                Stmt::Block { label, body } => {
                    let body = self.nodes(body, after);
                    self.push(Node::Block { label: *label, body });
                }
                Stmt::Break(label) => self.push(Node::Break(*label)),
                Stmt::Continue(label) => self.push(Node::Continue(*label)),
                // A barrier is where a region ends.
                _ => {}
            }
        }
    }

    fn is_shared(&self, val: Val) -> bool {
        self.plan.shared[val.0 as usize]
    }

    fn decide(&mut self, condition: Val) {
        if !self.is_shared(condition) {
            self.plan.decided.insert(condition);
        }
    }

    /// Takes the computation of shared values out of a region's statement. They have no effect but time, so that it does
    /// not matter whether the statement would have come to them.
    fn hoist(&mut self, stmt: Stmt) -> Option<Stmt> {
        Some(match stmt {
            Stmt::Def(val) if self.is_shared(val) => {
                self.push(Node::Def(val));
                return None;
            }
            Stmt::If(condition, accept, reject) => {
                Stmt::If(condition, self.hoist_all(accept), self.hoist_all(reject))
            }
            Stmt::Loop { label, body, continuing, break_if } => {
                let (body, continuing) = (self.hoist_all(body), self.hoist_all(continuing));
                Stmt::Loop { label, body, continuing, break_if }
            }
            Stmt::Block { label, body } => Stmt::Block { label, body: self.hoist_all(body) },
            other => other,
        })
    }

    fn hoist_all(&mut self, list: Vec<Stmt>) -> Vec<Stmt> {
        list.into_iter().filter_map(|stmt| self.hoist(stmt)).collect()
    }
}
