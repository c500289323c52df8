//! Putting a [`Kernel`] together: values with their types and bounds, simplified where that is easy.

use std::collections::HashMap;

use super::ir::{
    Binary, Function, Input, Kernel, Kind, Label, Op, Place, Stmt, Ty, Unary, Val, ValData, Var,
};

/// Values of a kernel after inlining; more than any generated kernel has by far.
const MAX_VALUES: usize = 100_000;

/// Builds one kernel. Statements go into the innermost open list.
#[derive(Debug)]
pub(super) struct Builder {
    pub(super) kernel: Kernel,
    lists: Vec<Vec<Stmt>>,
    /// Constants and inputs, which are values without a statement.
    leaves: HashMap<(Op, Ty), Val>,
    /// What loop conditions say of variables: the largest value.
    pub(super) bounds: HashMap<Var, u32>,
}

impl Builder {
    pub(super) fn new(size: [u32; 3]) -> Self {
        Self {
            kernel: Kernel { size, ..Kernel::default() },
            lists: vec![Vec::new()],
            leaves: HashMap::new(),
            bounds: HashMap::new(),
        }
    }

    /// The kernel, when every list is closed.
    pub(super) fn finish(mut self) -> Kernel {
        self.kernel.body = self.lists.pop().unwrap_or_default();
        self.kernel
    }

    /// Too many values: the shader's functions call each other too often.
    pub(super) fn is_full(&self) -> bool {
        self.kernel.vals.len() > MAX_VALUES
    }

    pub(super) fn open(&mut self) {
        self.lists.push(Vec::new());
    }

    pub(super) fn close(&mut self) -> Vec<Stmt> {
        self.lists.pop().unwrap_or_default()
    }

    pub(super) fn push(&mut self, stmt: Stmt) {
        if let Some(list) = self.lists.last_mut() {
            list.push(stmt);
        }
    }

    pub(super) fn label(&mut self) -> Label {
        self.kernel.labels += 1;
        Label(self.kernel.labels - 1)
    }

    pub(super) fn var(&mut self, ty: Ty) -> Var {
        let var = Var(u32::try_from(self.kernel.vars.len()).unwrap_or(u32::MAX));
        self.kernel.vars.push(ty);
        var
    }

    pub(super) fn ty(&self, val: Val) -> Ty {
        self.kernel.ty(val)
    }

    fn add(&mut self, op: Op, ty: Ty) -> Val {
        let upper = self.upper(&op, ty);
        let val = Val(u32::try_from(self.kernel.vals.len()).unwrap_or(u32::MAX));
        self.kernel.vals.push(ValData { op, ty, upper });
        val
    }

    /// A constant or an input.
    fn leaf(&mut self, op: Op, ty: Ty) -> Val {
        if let Some(val) = self.leaves.get(&(op.clone(), ty)) {
            return *val;
        }
        let val = self.add(op.clone(), ty);
        self.leaves.insert((op, ty), val);
        val
    }

    /// A value computed here.
    pub(super) fn def(&mut self, op: Op, ty: Ty) -> Val {
        if let Some(known) = self.fold(&op, ty) {
            return known;
        }
        let val = self.add(op, ty);
        self.push(Stmt::Def(val));
        val
    }

    pub(super) fn constant(&mut self, ty: Ty, bits: u32) -> Val {
        if ty.is_vector() {
            self.leaf(Op::ConstVector([bits; 4]), ty)
        } else {
            self.leaf(Op::Const(bits), ty)
        }
    }

    pub(super) fn u32(&mut self, value: u32) -> Val {
        self.constant(Ty::U32, value)
    }

    pub(super) fn f32(&mut self, value: f32) -> Val {
        self.constant(Ty::scalar(Kind::F32), value.to_bits())
    }

    pub(super) fn input(&mut self, input: Input) -> Val {
        self.leaf(Op::Input(input), Ty::U32)
    }

    pub(super) fn unary(&mut self, op: Unary, a: Val, ty: Ty) -> Val {
        self.def(Op::Unary(op, a), ty)
    }

    /// A binary operator; a scalar beside a vector is splat.
    pub(super) fn binary(&mut self, op: Binary, a: Val, b: Val) -> Val {
        let (a, b) = match (self.ty(a).lanes, self.ty(b).lanes) {
            (x, y) if x > y => (a, self.splat(b, x)),
            (x, y) if x < y => (self.splat(a, y), b),
            _ => (a, b),
        };
        let ty = self.ty(a);
        let comparison =
            matches!(op, Binary::Eq | Binary::Ne | Binary::Lt | Binary::Le | Binary::Gt | Binary::Ge);
        self.def(Op::Binary(op, a, b), if comparison { Ty { kind: Kind::Bool, ..ty } } else { ty })
    }

    pub(super) fn splat(&mut self, a: Val, lanes: u8) -> Val {
        let ty = Ty { lanes, ..self.ty(a) };
        match *self.kernel.op(a) {
            // A boolean lane is all bits.
            Op::Const(bits) if ty.kind != Kind::Bool => self.constant(ty, bits),
            _ => self.def(Op::Splat(a), ty),
        }
    }

    pub(super) fn extract(&mut self, a: Val, lane: u8) -> Val {
        let ty = Ty::scalar(self.ty(a).kind);
        self.def(Op::Extract(a, lane), ty)
    }

    pub(super) fn select(&mut self, condition: Val, accept: Val, reject: Val) -> Val {
        let ty = self.ty(accept);
        self.def(Op::Select(condition, accept, reject), ty)
    }

    /// The vector of these scalars.
    pub(super) fn compose(&mut self, lanes: Vec<Val>, ty: Ty) -> Val {
        let constants: Option<Vec<u32>> = lanes
            .iter()
            .map(|lane| match self.kernel.op(*lane) {
                Op::Const(bits) if ty.kind != Kind::Bool => Some(*bits),
                _ => None,
            })
            .collect();
        if let Some(bits) = constants {
            let mut all = [0; 4];
            for (lane, bits) in all.iter_mut().zip(bits) {
                *lane = bits;
            }
            return self.leaf(Op::ConstVector(all), ty);
        }
        if lanes.windows(2).all(|pair| pair[0] == pair[1]) {
            return self.def(Op::Splat(lanes[0]), ty);
        }
        self.def(Op::Compose(lanes), ty)
    }

    pub(super) fn call(&mut self, function: Function, arguments: Vec<Val>) -> Val {
        let ty = self.ty(arguments[0]);
        if !ty.is_vector() {
            return self.def(Op::Call(function, arguments), ty);
        }
        let lanes = (0..ty.lanes).map(|lane| {
            let arguments = arguments.iter().map(|a| self.extract(*a, lane)).collect();
            self.def(Op::Call(function, arguments), Ty::scalar(ty.kind))
        });
        let lanes: Vec<Val> = lanes.collect();
        self.compose(lanes, ty)
    }

    pub(super) fn load(&mut self, place: Place, ty: Ty) -> Val {
        self.def(Op::Load(place), ty)
    }

    pub(super) fn get(&mut self, var: Var) -> Val {
        let ty = self.kernel.vars[var.0 as usize];
        self.def(Op::Get(var), ty)
    }

    pub(super) fn as_const(&self, val: Val) -> Option<u32> {
        match self.kernel.op(val) {
            Op::Const(bits) => Some(*bits),
            _ => None,
        }
    }

    pub(super) fn upper_of(&self, val: Val) -> u32 {
        self.kernel.val(val).upper
    }

    /// What an operation of constants or with a neutral operand is.
    fn fold(&mut self, op: &Op, ty: Ty) -> Option<Val> {
        match op {
            Op::Binary(op, a, b) if ty == Ty::U32 && self.ty(*a) == Ty::U32 => {
                match (op, self.as_const(*a), self.as_const(*b)) {
                    (Binary::Add, Some(a), Some(b)) => Some(self.u32(a.wrapping_add(b))),
                    (Binary::Mul, Some(a), Some(b)) => Some(self.u32(a.wrapping_mul(b))),
                    (Binary::Add | Binary::Sub, _, Some(0)) | (Binary::Mul | Binary::Div, _, Some(1)) => {
                        Some(*a)
                    }
                    (Binary::Add, Some(0), _) | (Binary::Mul, Some(1), _) => Some(*b),
                    (Binary::Min, _, Some(limit)) if self.upper_of(*a) <= limit => Some(*a),
                    _ => None,
                }
            }
            Op::Extract(a, lane) => match self.kernel.op(*a) {
                Op::ConstVector(bits) if ty.kind != Kind::Bool => {
                    let bits = bits[usize::from(*lane)];
                    Some(self.constant(ty, bits))
                }
                Op::Splat(value) => Some(*value),
                Op::Compose(lanes) => lanes.get(usize::from(*lane)).copied(),
                _ => None,
            },
            _ => None,
        }
    }

    /// The largest value, as unsigned bits.
    fn upper(&self, op: &Op, ty: Ty) -> u32 {
        if ty != Ty::U32 {
            return if ty == Ty::BOOL { 1 } else { u32::MAX };
        }
        let of = |val: &Val| self.upper_of(*val);
        match op {
            Op::Const(bits) => *bits,
            Op::Input(Input::Invocation) => self.kernel.invocations().saturating_sub(1),
            Op::Input(Input::Workgroup(_)) => 65_534,
            Op::Get(var) => self.bounds.get(var).copied().unwrap_or(u32::MAX),
            Op::Select(_, a, b) => of(a).max(of(b)),
            Op::Binary(op, a, b) => match op {
                Binary::Add => of(a).saturating_add(of(b)),
                Binary::Mul => of(a).saturating_mul(of(b)),
                Binary::Div => match self.as_const(*b) {
                    Some(divisor) if divisor != 0 => of(a) / divisor,
                    _ => of(a),
                },
                Binary::Rem => match self.as_const(*b) {
                    Some(divisor) if divisor != 0 => of(a).min(divisor - 1),
                    _ => of(a),
                },
                Binary::And | Binary::Min => of(a).min(of(b)),
                Binary::Max => of(a).max(of(b)),
                Binary::Shr => self.as_const(*b).map_or(of(a), |by| of(a) >> (by & 31)),
                _ => u32::MAX,
            },
            _ => u32::MAX,
        }
    }
}
