//! The form between naga's IR and WebAssembly: one kernel, all functions inlined, composites taken apart.
//!
//! A value is a scalar or a vector of at most four lanes, which is one WebAssembly value: vectors of any width are a
//! `v128` whose upper lanes mean nothing. Values are assigned once; variables are what a shader's `var`s become.
//! Statements are structured as in naga. Reads of memory are already clamped and writes already guarded.

/// What a lane holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    F32,
    I32,
    U32,
    /// 0 or 1 as a scalar; no or all bits as a lane of a vector.
    Bool,
}

/// The type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Ty {
    pub(super) kind: Kind,
    /// 1 for a scalar.
    pub(super) lanes: u8,
}

impl Ty {
    pub(super) const U32: Self = Self::scalar(Kind::U32);
    pub(super) const BOOL: Self = Self::scalar(Kind::Bool);

    pub(super) const fn scalar(kind: Kind) -> Self {
        Self { kind, lanes: 1 }
    }

    pub(super) const fn is_vector(self) -> bool {
        self.lanes > 1
    }
}

/// A value, by its index in [`Kernel::vals`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Val(pub(super) u32);

/// A variable, by its index in [`Kernel::vars`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Var(pub(super) u32);

/// A loop or a block that statements inside can leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Label(pub(super) u32);

/// Where memory starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Space {
    /// A binding, by its place among the kernel's; `constant` when no invocation writes it.
    Binding { slot: u32, constant: bool },
    /// Workgroup memory.
    Workgroup,
}

/// A place in memory: `space + index + offset`, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Place {
    pub(super) space: Space,
    pub(super) index: Option<Val>,
    pub(super) offset: u32,
}

/// What a workgroup or an invocation is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Input {
    /// Index of the workgroup along an axis.
    Workgroup(u8),
    /// Number of workgroups along an axis.
    Workgroups(u8),
    /// Index of the invocation in its workgroup.
    Invocation,
    /// Bytes of a binding.
    Length(u32),
    /// The largest index of a binding's elements of `stride` bytes, which start at byte `start`.
    LastIndex { slot: u32, start: u32, stride: u32 },
}

/// Operators of one operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Unary {
    Negate,
    /// Of booleans or bits.
    Not,
    Abs,
    Ceil,
    Floor,
    /// To the nearest, ties to even.
    Round,
    Trunc,
    Sqrt,
    /// Booleans of a vector.
    Any,
    All,
    /// To the value's own kind.
    Convert,
    /// The same bits as the value's own kind.
    Bitcast,
    /// Two halves of a word to two lanes.
    UnpackHalves,
    CountOneBits,
    LeadingZeros,
    TrailingZeros,
}

/// Operators of two operands of equal type; the result of a comparison is boolean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Binary {
    Add,
    Sub,
    Mul,
    Div,
    Rem,
    And,
    Or,
    Xor,
    Shl,
    Shr,
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    Min,
    Max,
}

/// Functions of floats that WebAssembly does not have; each is a function of the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Function {
    Exp,
    Exp2,
    Log,
    Log2,
    Pow,
    Sin,
    Cos,
    Tanh,
}

/// What a value is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Op {
    /// The bits of a scalar.
    Const(u32),
    /// The bits of a vector.
    ConstVector([u32; 4]),
    Input(Input),
    Get(Var),
    Load(Place),
    /// The old word; adds a value. Invocations of a dispatch run one after the other, so nothing is to be locked.
    AtomicAdd(Place, Val),
    Unary(Unary, Val),
    Binary(Binary, Val, Val),
    /// Condition, value if true, value if false. A scalar condition may choose between vectors.
    Select(Val, Val, Val),
    Splat(Val),
    Compose(Vec<Val>),
    Extract(Val, u8),
    /// A lane of the first by the second.
    ExtractAt(Val, Val),
    Replace(Val, u8, Val),
    /// Lanes of two vectors, those of the second from 4 on.
    Shuffle(Val, Val, [u8; 4]),
    Call(Function, Vec<Val>),
}

impl Op {
    /// The values that it is made of.
    pub(super) fn operands(&self) -> Vec<Val> {
        match self {
            Self::Const(_) | Self::ConstVector(_) | Self::Input(_) | Self::Get(_) => Vec::new(),
            Self::Load(place) => place.index.into_iter().collect(),
            Self::AtomicAdd(place, value) => place.index.into_iter().chain([*value]).collect(),
            Self::Unary(_, a) | Self::Splat(a) | Self::Extract(a, _) => vec![*a],
            Self::Binary(_, a, b)
            | Self::ExtractAt(a, b)
            | Self::Replace(a, _, b)
            | Self::Shuffle(a, b, _) => vec![*a, *b],
            Self::Select(a, b, c) => vec![*a, *b, *c],
            Self::Compose(vals) | Self::Call(_, vals) => vals.clone(),
        }
    }

    /// Depends on nothing but its operands.
    pub(super) fn is_pure(&self) -> bool {
        !matches!(self, Self::Get(_) | Self::Load(_) | Self::AtomicAdd(..))
    }

    /// A constant or an input: written where it is used, never stored.
    pub(super) fn is_leaf(&self) -> bool {
        matches!(self, Self::Const(_) | Self::ConstVector(_) | Self::Input(_))
    }
}

/// A value: what it is and of which type.
#[derive(Clone, Debug)]
pub(super) struct ValData {
    pub(super) op: Op,
    pub(super) ty: Ty,
    /// The largest that it can be, as unsigned bits.
    pub(super) upper: u32,
}

/// A statement.
#[derive(Clone, Debug)]
pub(super) enum Stmt {
    /// The value is computed here.
    Def(Val),
    Set(Var, Val),
    /// Dropped when the guard is false.
    Store {
        place: Place,
        value: Val,
        guard: Option<Val>,
    },
    If(Val, Vec<Stmt>, Vec<Stmt>),
    Loop {
        label: Label,
        body: Vec<Stmt>,
        continuing: Vec<Stmt>,
        /// Evaluated behind `continuing`.
        break_if: Option<Val>,
    },
    /// Left by [`Stmt::Break`].
    Block {
        label: Label,
        body: Vec<Stmt>,
    },
    Break(Label),
    Continue(Label),
    Return,
    Barrier,
}

/// A kernel.
#[derive(Clone, Debug, Default)]
pub(super) struct Kernel {
    pub(super) vals: Vec<ValData>,
    pub(super) vars: Vec<Ty>,
    pub(super) labels: u32,
    pub(super) body: Vec<Stmt>,
    /// Invocations of a workgroup along x, y, z.
    pub(super) size: [u32; 3],
    /// The least bytes that each binding must have; a dispatch with less does nothing.
    pub(super) bindings: Vec<u32>,
    /// Bytes of workgroup memory.
    pub(super) workgroup_bytes: u32,
}

impl Kernel {
    pub(super) fn val(&self, val: Val) -> &ValData {
        &self.vals[val.0 as usize]
    }

    pub(super) fn op(&self, val: Val) -> &Op {
        &self.val(val).op
    }

    pub(super) fn ty(&self, val: Val) -> Ty {
        self.val(val).ty
    }

    /// Invocations of a workgroup.
    pub(super) fn invocations(&self) -> u32 {
        self.size.iter().product()
    }
}
