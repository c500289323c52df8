//! Runs a program: statements, scopes, loops and macros.

use super::ast::{Expr, For, Id, Kind, Macro, Program, Stmt};
use super::call::Args;
use super::value::{Refusal, Value};

/// Deepest nesting of statements, expressions and macros together: each level takes some of the stack.
const MAX_DEPTH: usize = 400;

/// A rendering.
pub(super) struct Eval<'a> {
    pub(super) program: &'a Program,
    globals: &'a [(&'a str, Value)],
    /// Names that statements set, the innermost scope last.
    scopes: Vec<Vec<(&'a str, Value)>>,
    pub(super) macros: Vec<Bound<'a>>,
    pub(super) loops: Vec<Loop<'a>>,
    pub(super) out: String,
    fuel: u64,
    depth: usize,
    /// The line of what runs.
    pub(super) line: usize,
    /// The template called `raise_exception`.
    pub(super) raised: bool,
}

/// A macro, and how many scopes there were where it was defined.
#[derive(Clone, Copy)]
pub(super) struct Bound<'a> {
    pub(super) of: &'a Macro,
    scopes: usize,
}

/// A loop that runs.
pub(super) struct Loop<'a> {
    of: &'a For,
    items: Vec<Value>,
    at: usize,
    level: usize,
    /// What `loop.changed` was last given.
    pub(super) seen: Option<Vec<Value>>,
}

/// How statements ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    Next,
    Break,
    Continue,
}

impl<'a> Eval<'a> {
    pub(super) fn new(program: &'a Program, globals: &'a [(&'a str, Value)], fuel: u64) -> Self {
        Self {
            program,
            globals,
            scopes: vec![Vec::new()],
            macros: Vec::new(),
            loops: Vec::new(),
            out: String::new(),
            fuel,
            depth: 0,
            line: 1,
            raised: false,
        }
    }

    /// Runs it all; the text is in `out`.
    pub(super) fn run(&mut self) -> Result<(), Refusal> {
        self.body(&self.program.body).map(drop)
    }

    /// Pays for work on so many bytes.
    pub(super) fn charge(&mut self, bytes: usize) -> Result<(), Refusal> {
        let work = u64::try_from(bytes / 64 + 1).unwrap_or(u64::MAX);
        let left = self.fuel.checked_sub(work);
        self.fuel = left.unwrap_or(0);
        left.map(drop).ok_or_else(|| "it does too much work for this conversation".to_owned())
    }

    fn enter(&mut self) -> Result<(), Refusal> {
        self.depth += 1;
        if self.depth > MAX_DEPTH { Err("it nests too deeply".to_owned()) } else { self.charge(0) }
    }

    fn body(&mut self, body: &'a [Stmt]) -> Result<Flow, Refusal> {
        self.enter()?;
        let mut flow = Flow::Next;
        for statement in body {
            self.line = statement.line;
            flow = self.statement(&statement.kind)?;
            if flow != Flow::Next {
                break;
            }
        }
        self.depth -= 1;
        Ok(flow)
    }

    fn statement(&mut self, kind: &'a Kind) -> Result<Flow, Refusal> {
        match kind {
            Kind::Text(text) => self.write(text)?,
            Kind::Output(id) => {
                let value = self.eval(*id)?;
                let text = self.text(&value)?;
                self.write(&text)?;
            }
            Kind::If(arms) => {
                for (condition, body) in arms {
                    let holds = match condition {
                        Some(condition) => self.eval(*condition)?.truth(),
                        None => true,
                    };
                    if holds {
                        return self.body(body);
                    }
                }
            }
            Kind::For(of) => {
                let items = self.eval(of.items)?;
                self.for_each(of, &items, 0)?;
            }
            Kind::Set(names, id) => {
                let value = self.eval(*id)?;
                self.assign(names, value)?;
            }
            Kind::SetAttribute(name, attribute, id) => {
                let value = self.eval(*id)?;
                match (self.lookup(name), value) {
                    (_, Value::Namespace(_)) => {
                        return Err("a namespace cannot be part of another value".to_owned());
                    }
                    (Value::Namespace(pairs), value) => {
                        let mut pairs = pairs.borrow_mut();
                        match pairs.iter_mut().find(|(known, _)| known == attribute) {
                            Some(pair) => pair.1 = value,
                            None => pairs.push((attribute.clone(), value)),
                        }
                    }
                    (other, _) => {
                        return Err(format!("attributes of a value of type {} cannot be set", other.kind()));
                    }
                }
            }
            Kind::SetBlock(name, filters, body) => {
                let text = self.capture(body)?;
                let text = self.through(filters, text)?;
                self.define(name, text);
            }
            Kind::FilterBlock(filters, body) => {
                let text = self.capture(body)?;
                let text = self.through(filters, text)?;
                let text = self.text(&text)?;
                self.write(&text)?;
            }
            Kind::Macro(of) => {
                let scopes = self.scopes.len();
                let known = |it: &Bound<'_>| std::ptr::eq(it.of, of) && it.scopes == scopes;
                let place = self.macros.iter().position(known).unwrap_or_else(|| {
                    self.macros.push(Bound { of, scopes });
                    self.macros.len() - 1
                });
                self.define(&of.name, Value::Macro(place));
            }
            Kind::With(values, body) => {
                let mut scope = Vec::new();
                for (name, id) in values {
                    scope.push((name.as_str(), self.eval(*id)?));
                }
                return self.scoped(scope, body);
            }
            Kind::Break => return Ok(Flow::Break),
            Kind::Continue => return Ok(Flow::Continue),
            Kind::NoTemplates(tag) => return Err(format!("`{tag}`: there are no other templates")),
        }
        Ok(Flow::Next)
    }

    fn write(&mut self, text: &str) -> Result<(), Refusal> {
        self.charge(text.len())?;
        self.out.push_str(text);
        Ok(())
    }

    /// `str(value)`, paid for.
    pub(super) fn text(&mut self, value: &Value) -> Result<std::rc::Rc<str>, Refusal> {
        self.charge(value.weight())?;
        value.to_text()
    }

    fn scoped(&mut self, scope: Vec<(&'a str, Value)>, body: &'a [Stmt]) -> Result<Flow, Refusal> {
        self.scopes.push(scope);
        let flow = self.body(body)?;
        self.scopes.pop();
        Ok(flow)
    }

    /// The text of statements in a scope of their own.
    fn capture(&mut self, body: &'a [Stmt]) -> Result<Value, Refusal> {
        self.capture_with(Vec::new(), body)
    }

    fn capture_with(&mut self, scope: Vec<(&'a str, Value)>, body: &'a [Stmt]) -> Result<Value, Refusal> {
        let before = std::mem::take(&mut self.out);
        self.scoped(scope, body)?;
        Ok(Value::text(std::mem::replace(&mut self.out, before)))
    }

    pub(super) fn lookup(&self, name: &str) -> Value {
        let scopes = self.scopes.iter().rev().map(Vec::as_slice);
        for scope in scopes.chain([self.globals]) {
            if let Some((_, value)) = scope.iter().rev().find(|(known, _)| *known == name) {
                return value.clone();
            }
        }
        let known = ["range", "dict", "namespace", "raise_exception", "strftime_now"];
        known.into_iter().find(|known| *known == name).map_or(Value::Undefined, Value::Function)
    }

    fn define(&mut self, name: &'a str, value: Value) {
        if let Some(scope) = self.scopes.last_mut() {
            match scope.iter_mut().find(|(known, _)| *known == name) {
                Some(pair) => pair.1 = value,
                None => scope.push((name, value)),
            }
        }
    }

    fn assign(&mut self, names: &'a [String], value: Value) -> Result<(), Refusal> {
        if let [name] = names {
            self.define(name, value);
            return Ok(());
        }
        self.charge(value.width())?;
        let values = value.iterate()?;
        if values.len() != names.len() {
            return Err(format!("{} values cannot be given to {} names", values.len(), names.len()));
        }
        for (name, value) in names.iter().zip(values) {
            self.define(name, value);
        }
        Ok(())
    }

    /// Runs a loop, on its own level when it calls itself.
    fn for_each(&mut self, of: &'a For, items: &Value, level: usize) -> Result<(), Refusal> {
        self.charge(items.width())?;
        let mut items = items.iterate()?;
        if let Some(condition) = of.condition {
            let mut kept = Vec::new();
            for item in items {
                self.scopes.push(Vec::new());
                self.assign(&of.targets, item.clone())?;
                if self.eval(condition)?.truth() {
                    kept.push(item);
                }
                self.scopes.pop();
            }
            items = kept;
        }
        let count = items.len();
        if count == 0 {
            return self.scoped(Vec::new(), &of.otherwise).map(drop);
        }
        let place = self.loops.len();
        self.loops.push(Loop { of, items, at: 0, level, seen: None });
        for at in 0..count {
            self.scopes.push(vec![("loop", Value::Loop(place))]);
            let Some(it) = self.loops.get_mut(place) else { break };
            it.at = at;
            let item = it.items.get(at).cloned().unwrap_or(Value::Undefined);
            self.assign(&of.targets, item)?;
            let flow = self.body(&of.body)?;
            self.scopes.pop();
            if flow == Flow::Break {
                break;
            }
        }
        self.loops.truncate(place);
        Ok(())
    }

    /// `loop(items)` in a loop that is `recursive`.
    pub(super) fn call_loop(&mut self, place: usize, items: &Value) -> Result<Value, Refusal> {
        let Some((of, level)) = self.loops.get(place).map(|it| (it.of, it.level)) else {
            return Err("the loop has ended".to_owned());
        };
        if !of.recursive {
            return Err("only a loop that is `recursive` can be called".to_owned());
        }
        let line = self.line;
        self.enter()?;
        let before = std::mem::take(&mut self.out);
        self.for_each(of, items, level + 1)?;
        let text = std::mem::replace(&mut self.out, before);
        self.depth -= 1;
        self.line = line;
        Ok(Value::text(text))
    }

    /// What a loop knows of itself.
    pub(super) fn loop_attribute(&self, place: usize, name: &str) -> Value {
        let Some(it) = self.loops.get(place) else { return Value::Undefined };
        let number = |value: usize| i128::try_from(value).map_or(Value::Undefined, Value::Int);
        let item =
            |at: Option<usize>| at.and_then(|at| it.items.get(at)).cloned().unwrap_or(Value::Undefined);
        let (at, count) = (it.at, it.items.len());
        match name {
            "index" => number(at + 1),
            "index0" => number(at),
            "revindex" => number(count - at),
            "revindex0" => number(count - at - 1),
            "first" => Value::Bool(at == 0),
            "last" => Value::Bool(at + 1 == count),
            "length" => number(count),
            "depth" => number(it.level + 1),
            "depth0" => number(it.level),
            "previtem" => item(at.checked_sub(1)),
            "nextitem" => item(Some(at + 1)),
            _ => Value::Undefined,
        }
    }

    /// Calls a macro. It sees the scopes that it was defined in.
    pub(super) fn call_macro(&mut self, place: usize, mut args: Args<'_>) -> Result<Value, Refusal> {
        let Some(Bound { of, scopes }) = self.macros.get(place).copied() else { return Ok(Value::Undefined) };
        let line = self.line;
        let hidden = self.scopes.split_off(scopes.min(self.scopes.len()));
        let mut scope = Vec::new();
        for (at, (name, default)) in of.parameters.iter().enumerate() {
            let value = match (args.get(at, name), default) {
                (Some(value), _) => value,
                (None, Some(default)) => {
                    // Defaults may name the parameters before them.
                    self.scopes.push(std::mem::take(&mut scope));
                    let value = self.eval(*default)?;
                    scope = self.scopes.pop().unwrap_or_default();
                    value
                }
                (None, None) => Value::Undefined,
            };
            scope.push((name.as_str(), value));
        }
        args.end(of.parameters.len())?;
        let text = self.capture_with(scope, &of.body)?;
        self.scopes.extend(hidden);
        self.line = line;
        Ok(text)
    }

    /// The value of an expression.
    pub(super) fn eval(&mut self, id: Id) -> Result<Value, Refusal> {
        self.enter()?;
        let program = self.program;
        let value = program.exprs.get(id).map_or(Ok(Value::Undefined), |expr| self.expression(expr))?;
        self.depth -= 1;
        Ok(value)
    }

    pub(super) fn all(&mut self, ids: &'a [Id]) -> Result<Vec<Value>, Refusal> {
        let mut values = Vec::new();
        for id in ids {
            values.push(self.eval(*id)?);
        }
        Ok(values)
    }

    fn expression(&mut self, expr: &'a Expr) -> Result<Value, Refusal> {
        Ok(match expr {
            Expr::Undefined => Value::Undefined,
            Expr::None => Value::None,
            Expr::Bool(value) => Value::Bool(*value),
            Expr::Int(value) => Value::Int(*value),
            Expr::Float(value) => Value::Float(*value),
            Expr::Text(text) => {
                self.charge(text.len())?;
                Value::text(text.as_str())
            }
            Expr::Name(name) => self.lookup(name),
            Expr::List(ids) => Value::list(self.all(ids)?)?,
            Expr::Tuple(ids) => Value::tuple(self.all(ids)?)?,
            Expr::Map(ids) => {
                let mut pairs = Vec::new();
                for (key, value) in ids {
                    let (key, value) = (self.eval(*key)?, self.eval(*value)?);
                    self.charge(key.weight().saturating_mul(pairs.len()))?;
                    super::value::insert(&mut pairs, key, value);
                }
                Value::map(pairs)?
            }
            Expr::Not(id) => Value::Bool(!self.eval(*id)?.truth()),
            Expr::Negative(id) => self.eval(*id)?.negative()?,
            Expr::Positive(id) => self.eval(*id)?,
            Expr::And(left, right) => {
                let left = self.eval(*left)?;
                if left.truth() { self.eval(*right)? } else { left }
            }
            Expr::Or(left, right) => {
                let left = self.eval(*left)?;
                if left.truth() { left } else { self.eval(*right)? }
            }
            Expr::Binary(operator, left, right) => {
                let (left, right) = (self.eval(*left)?, self.eval(*right)?);
                self.binary(*operator, &left, &right)?
            }
            Expr::Compare(first, rest) => {
                let mut left = self.eval(*first)?;
                for (compare, id) in rest {
                    let right = self.eval(*id)?;
                    if !self.compare(*compare, &left, &right)? {
                        return Ok(Value::Bool(false));
                    }
                    left = right;
                }
                Value::Bool(true)
            }
            Expr::Choice(condition, then, otherwise) => {
                let holds = self.eval(*condition)?.truth();
                self.eval(if holds { *then } else { *otherwise })?
            }
            Expr::Attribute(id, name) => {
                let value = self.eval(*id)?;
                self.attribute(&value, name)?
            }
            Expr::Index(id, index) => {
                let (value, index) = (self.eval(*id)?, self.eval(*index)?);
                self.index(&value, &index)?
            }
            Expr::Slice(id, parts) => {
                let value = self.eval(*id)?;
                let mut bounds = [None; 3];
                for (bound, part) in bounds.iter_mut().zip(parts) {
                    let Some(part) = part else { continue };
                    *bound = match self.eval(*part)? {
                        Value::None => None,
                        value => Some(value.as_int().ok_or("the bounds of a slice are whole numbers")?),
                    };
                }
                self.charge(value.width())?;
                value.slice(bounds)?
            }
            Expr::Call(id, arguments) => {
                let (callee, args) = (self.eval(*id)?, self.arguments(arguments)?);
                self.call(&callee, args)?
            }
            Expr::Method(id, name, arguments) => {
                let (value, args) = (self.eval(*id)?, self.arguments(arguments)?);
                self.method(&value, name, args)?
            }
            Expr::Filter(id, name, arguments) => {
                let (value, args) = (self.eval(*id)?, self.arguments(arguments)?);
                self.filter(name, value, args)?
            }
            Expr::Test(id, name, ids) => {
                let (value, args) = (self.eval(*id)?, self.all(ids)?);
                Value::Bool(self.test(name, &value, &args)?)
            }
        })
    }
}
