//! A template, parsed. Expressions lie in one list and refer to each other by place, so that however deep they are, nothing
//! recurses when they go.

/// The place of an expression in [`Program::exprs`].
pub(super) type Id = usize;

/// A template.
#[derive(Debug, Default)]
pub(super) struct Program {
    pub(super) exprs: Vec<Expr>,
    pub(super) body: Vec<Stmt>,
}

/// An expression.
#[derive(Clone, Debug)]
pub(super) enum Expr {
    Undefined,
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(String),
    Name(String),
    List(Vec<Id>),
    Tuple(Vec<Id>),
    Map(Vec<(Id, Id)>),
    Not(Id),
    Negative(Id),
    Positive(Id),
    And(Id, Id),
    Or(Id, Id),
    Binary(Binary, Id, Id),
    /// `a < b < c`
    Compare(Id, Vec<(Compare, Id)>),
    /// `then if condition else otherwise`
    Choice(Id, Id, Id),
    Attribute(Id, String),
    Index(Id, Id),
    Slice(Id, [Option<Id>; 3]),
    Call(Id, Arguments),
    /// `value.name(…)`
    Method(Id, String, Arguments),
    Filter(Id, String, Arguments),
    Test(Id, String, Vec<Id>),
}

/// Arguments of a call.
#[derive(Clone, Debug, Default)]
pub(super) struct Arguments {
    pub(super) places: Vec<Id>,
    pub(super) names: Vec<(String, Id)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Binary {
    Add,
    Subtract,
    Multiply,
    Divide,
    FloorDivide,
    Modulo,
    Power,
    Concat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compare {
    Equal,
    Unequal,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    In,
    NotIn,
}

/// A statement and its line.
#[derive(Debug)]
pub(super) struct Stmt {
    pub(super) line: usize,
    pub(super) kind: Kind,
}

#[derive(Debug)]
pub(super) enum Kind {
    Text(String),
    Output(Id),
    /// Conditions with their bodies; the last one may have none.
    If(Vec<(Option<Id>, Vec<Stmt>)>),
    For(For),
    Set(Vec<String>, Id),
    SetAttribute(String, String, Id),
    SetBlock(String, Vec<FilterCall>, Vec<Stmt>),
    Macro(Macro),
    With(Vec<(String, Id)>, Vec<Stmt>),
    FilterBlock(Vec<FilterCall>, Vec<Stmt>),
    Break,
    Continue,
    /// A tag that needs other templates, of which there are none.
    NoTemplates(String),
}

/// A filter and its arguments.
pub(super) type FilterCall = (String, Arguments);

#[derive(Debug)]
pub(super) struct For {
    pub(super) targets: Vec<String>,
    pub(super) items: Id,
    pub(super) condition: Option<Id>,
    pub(super) recursive: bool,
    pub(super) body: Vec<Stmt>,
    pub(super) otherwise: Vec<Stmt>,
}

#[derive(Debug)]
pub(super) struct Macro {
    pub(super) name: String,
    pub(super) parameters: Vec<(String, Option<Id>)>,
    pub(super) body: Vec<Stmt>,
}
